"""Names: readable, unique, and within every limit AWS has."""

import json
import re
from pathlib import Path

import botocore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.api.group import Service
from elasticache_iam.api.keys import TAG_ALLOW
from elasticache_iam.core import names
from elasticache_iam.core.state import CacheKind, CacheRef, Place

OWNERS = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
AWS_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def test_a_default_id_is_owner_then_readable_then_hash():
    assert names.default_id("prod", "shop", "checkout") == "prod-checkout-1286e5f6"


def test_default_ids_of_one_name_in_two_namespaces_differ():
    assert names.default_id("prod", "shop", "checkout") != names.default_id("prod", "other", "checkout")


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        pytest.param("a-very-long-name-that-is-cut", "a-very-long-name-tha", id="cut-to-twenty"),
        pytest.param("exactly-nineteen-ab-c", "exactly-nineteen-ab", id="no-hyphen-where-it-was-cut"),
        pytest.param("Mixed_Case", "mixed-case", id="lower-case"),
        pytest.param("a--b", "a-b", id="no-double-hyphen"),
        pytest.param("0day", "0day", id="digits-may-come-first"),
    ],
)
def test_the_readable_part_is_an_id(name: str, readable: str):
    assert names.default_id("o", "n", name).startswith(f"o-{readable}-")


def test_a_name_with_nothing_to_show_leaves_owner_and_hash():
    assert re.fullmatch(r"prod-[0-9a-f]{8}", names.default_id("prod", "shop", "___"))


@given(owner=OWNERS, namespace=st.text(max_size=63), name=st.text(max_size=63))
def test_every_default_id_is_one_aws_takes(owner: str, namespace: str, name: str):
    for identifier in (names.default_id(owner, namespace, name), names.default_user_id(owner, name)):
        assert len(identifier) <= 40
        assert AWS_ID.fullmatch(identifier)
        assert identifier.startswith(f"{owner}-")


def test_a_role_is_named_as_its_user_is():
    assert names.role_name("prod", "shop", "checkout") == names.default_id("prod", "shop", "checkout")


def test_the_main_caches_secret_has_the_plain_name():
    assert names.secret_name("checkout", "main") == "checkout"


def test_other_caches_secrets_end_in_their_alias():
    assert names.secret_name("checkout", "replica") == "checkout.replica"


def test_a_short_session_name_is_readable():
    assert names.session_name("shop", "checkout") == "shop.checkout"


def test_long_session_names_with_one_beginning_differ():
    assert names.session_name("n" * 63, "a") != names.session_name("n" * 63, "b")


@given(namespace=st.text(max_size=70), name=st.text(min_size=1, max_size=70))
def test_every_session_name_is_one_sts_takes(namespace: str, name: str):
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", names.session_name(namespace, name), re.ASCII)


def _regions() -> list[tuple[str, str]]:
    document = json.loads((Path(botocore.__file__).parent / "data" / "partitions.json").read_text())
    return [
        (region, partition["id"])
        for partition in document["partitions"]
        for region in partition["regions"]
        if not region.endswith("-global")
    ]


@pytest.mark.parametrize(("region", "partition"), _regions())
def test_every_region_that_botocore_knows_is_in_its_partition(region: str, partition: str):
    assert names.partition_of(region) == partition


BEIJING = Place(Service.ELASTICACHE, "111122223333", "cn-north-1")
GOV_MEMORYDB = Place(Service.MEMORYDB, "111122223333", "us-gov-west-1")


def test_elasticache_puts_a_colon_before_the_id_and_memorydb_a_slash():
    assert names.user_arn(BEIJING, "u") == "arn:aws-cn:elasticache:cn-north-1:111122223333:user:u"
    assert names.user_arn(GOV_MEMORYDB, "u") == "arn:aws-us-gov:memorydb:us-gov-west-1:111122223333:user/u"


@pytest.mark.parametrize(
    ("place", "kind", "arn"),
    [
        (BEIJING, CacheKind.REPLICATION_GROUP, "arn:aws-cn:elasticache:cn-north-1:111122223333:replicationgroup:c"),
        (BEIJING, CacheKind.SERVERLESS_CACHE, "arn:aws-cn:elasticache:cn-north-1:111122223333:serverlesscache:c"),
        (GOV_MEMORYDB, CacheKind.MEMORYDB_CLUSTER, "arn:aws-us-gov:memorydb:us-gov-west-1:111122223333:cluster/c"),
    ],
)
def test_each_kind_of_cache_has_its_arn(place, kind, arn):
    assert names.cache_arn(place, CacheRef(kind, "c")) == arn


@pytest.mark.parametrize("place", [BEIJING, GOV_MEMORYDB])
def test_an_arn_tells_its_place(place):
    assert names.place_of_arn(names.user_arn(place, "u")) == place


@pytest.mark.parametrize("arn", ["", "arn:aws:iam::111122223333:role/x", "arn:aws:elasticache"])
def test_other_arns_tell_no_place(arn):
    assert names.place_of_arn(arn) is None


def test_a_roles_arn_holds_its_path():
    arn = names.role_arn("us-gov-west-1", "111122223333", names.role_path("prod"), "prod-x")

    assert arn == "arn:aws-us-gov:iam::111122223333:role/elasticache-iam/prod/prod-x"


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:iam::111122223333:role/checkout", "checkout"),
        ("arn:aws-us-gov:iam::111122223333:role/apps/eu/checkout@1", "checkout@1"),
        ("", None),
        ("arn:aws:iam::111122223333:user/checkout", None),
        ("arn:aws:iam::111122223333:role/", None),
        ("arn:aws:iam::111122223333:role/apps/ø\U00081383\x15", None),
        ("arn:aws:iam::111122223333:role/" + "a" * 65, None),
        ("arn:aws:iam::111122223333:role/checkout\n", None),
        ("checkout", None),
    ],
    ids=ascii,
)
def test_only_the_arn_of_a_role_that_could_be_tells_its_name(arn: str, name: str | None):
    assert names.role_name_of(arn) == name


@pytest.mark.parametrize(
    "issuer",
    ["https://oidc.eks.eu-west-1.amazonaws.com/id/ABC", "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC/"],
)
def test_an_oidc_provider_has_neither_scheme_nor_trailing_slash(issuer: str):
    arn = names.oidc_provider_arn("eu-west-1", "111122223333", issuer)

    assert arn == "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"


def test_an_object_with_our_tags_is_owned_whatever_the_uid():
    tags = names.ownership_tags("prod", "ElastiCacheIAMUser", "shop", "checkout", "uid-before-the-restore")

    assert names.is_owned(tags, owner="prod", kind="ElastiCacheIAMUser", namespace="shop", name="checkout")


@pytest.mark.parametrize("differs", ["owner", "kind", "namespace", "name"])
def test_an_object_with_one_other_tag_is_not_owned(differs: str):
    tags = names.ownership_tags("prod", "UserGroup", "shop", "orders", "uid")
    wanted = {"owner": "prod", "kind": "UserGroup", "namespace": "shop", "name": "orders"} | {differs: "other"}

    assert not names.is_owned(tags, **wanted)


@pytest.mark.parametrize(
    ("tag", "allowed"),
    [
        pytest.param("prod", True, id="owner-alone-allows-every-namespace"),
        pytest.param("prod/shop", True, id="this-namespace"),
        pytest.param("dev prod/shop", True, id="one-of-several"),
        pytest.param("prod/other", False, id="another-namespace"),
        pytest.param("prod/shopping", False, id="a-longer-namespace"),
        pytest.param("preprod", False, id="an-owner-that-ends-alike"),
        pytest.param("prod2", False, id="an-owner-that-begins-alike"),
        pytest.param("PROD", False, id="case-counts"),
        pytest.param("", False, id="empty"),
    ],
)
def test_consent_names_owner_and_namespace_as_whole_words(tag: str, allowed: bool):  # noqa: FBT001  # a parameter
    assert names.consents({TAG_ALLOW: tag}, owner="prod", namespace="shop") is allowed


@pytest.mark.parametrize("held", ["", "prod", "prod/platform  test/shop"])
@pytest.mark.parametrize("namespace", ["shop", None])
def test_a_consent_comes_beside_those_that_were_given_before(held, namespace):
    value = names.with_consent({TAG_ALLOW: held}, owner="demo", namespace=namespace)

    assert names.consents({TAG_ALLOW: value}, owner="demo", namespace="shop")
    assert set(held.split()) <= set(value.split())


@pytest.mark.parametrize(
    ("tags", "allowed"),
    [
        ({TAG_ALLOW: "prod"}, True),
        ({TAG_ALLOW: "dev prod/other"}, True),
        ({TAG_ALLOW: "preprod/shop prod2/shop"}, False),
        ({"team": "prod/x"}, False),
        ({}, False),
    ],
    ids=["owner-alone", "one-namespace", "others", "another-tag", "no-tag"],
)
def test_some_namespace_will_do_where_none_is_known(tags, allowed):
    assert names.consents(tags, owner="prod", namespace=None) is allowed


def test_without_the_tag_nobody_consents():
    assert not names.consents({}, owner="prod", namespace="shop")


def test_objects_are_labelled_with_owner_and_user():
    assert names.object_labels("prod", "checkout") == {
        "app.kubernetes.io/managed-by": "elasticache-iam-operator",
        "elasticache-iam.dev/owner": "prod",
        "elasticache-iam.dev/user": "checkout",
    }


def test_the_policy_in_a_role_of_others_is_named_after_its_user():
    assert names.granted_policy_name("prod", "shop", "checkout") == "elasticache-iam.dev.prod.shop.checkout"


@given(
    owner=OWNERS,
    namespace=st.from_regex(r"[a-z]{1,63}", fullmatch=True),
    name=st.from_regex(r"[a-z]{1,63}", fullmatch=True),
)
def test_the_policy_in_a_role_of_others_has_a_name_that_iam_takes(owner: str, namespace: str, name: str):
    assert re.fullmatch(r"[\w+=,.@-]{1,128}", names.granted_policy_name(owner, namespace, name), re.ASCII)


def test_long_policy_names_that_begin_alike_differ():
    first, second = (names.granted_policy_name("prod", "n" * 63, "u" * 62 + end) for end in "ab")

    assert first != second
    assert len(first) == len(second) == 128
