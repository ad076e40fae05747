"""Resources for what exists in AWS: what is written, what isn't and why, who has to agree."""

from dataclasses import replace

import pytest
from tests.builders import observed_cache

from elasticache_iam.api.group import GroupAdoption, Service
from elasticache_iam.api.parse import parse_group, parse_user
from elasticache_iam.core.importing import Wish, write_resources
from elasticache_iam.core.state import CacheKind, CacheRef, Inventory, ObservedGroup, ObservedUser, Place

PLACE = Place(Service.ELASTICACHE, "111122223333", "eu-central-1")
ARN = "arn:aws:elasticache:eu-central-1:111122223333"
REFERENCE = Wish("demo", GroupAdoption.REFERENCE, "platform", "platform")
ADOPT = replace(REFERENCE, adoption=GroupAdoption.ADOPT)
CACHE = CacheRef(CacheKind.REPLICATION_GROUP, "orders-prod")


def user(user_id, *, name=None, access="on ~orders:* -@all +@read", mode="iam", groups=("orders",)):
    return ObservedUser(
        user_id, name or user_id, f"{ARN}:user:{user_id}", "redis", "active", access, mode, group_ids=frozenset(groups)
    )


def group(group_id="orders", *, users=(), caches=("orders-prod",), engine="redis", serverless=()):
    return ObservedGroup(
        group_id,
        f"{ARN}:usergroup:{group_id}",
        engine,
        "active",
        user_ids=frozenset(users),
        replication_group_ids=frozenset(caches),
        serverless_cache_names=frozenset(serverless),
    )


def inventory(*objects, tags=None, caches=(CACHE,)):
    return Inventory(
        users={found.user_id: found for found in objects if isinstance(found, ObservedUser)},
        groups={found.group_id: found for found in objects if isinstance(found, ObservedGroup)},
        caches={ref: observed_cache(ref.id, ref=ref) for ref in caches},
        tags=tags or {},
    )


DISABLED = user("orders-default", name="default", access="off ~* -@all", mode="password")


def bodies(made):
    return [written.body for written in made.written]


# -- reference ---------------------------------------------------------------------------------------------------------


def test_a_referenced_group_is_all_that_is_written():
    made = write_resources(inventory(group(users=["batch"]), user("batch")), PLACE, REFERENCE)

    (body,) = bodies(made)
    assert body["metadata"] == {"name": "orders", "namespace": "platform"}
    assert body["spec"] == {
        "engine": "redis",
        "id": "orders",
        "adoption": "Reference",
        "caches": [{"replicationGroup": "orders-prod"}],
    }
    assert parse_group(body).spec.adoption is GroupAdoption.REFERENCE


def test_only_a_referenced_groups_owner_has_to_agree():
    made = write_resources(inventory(group()), PLACE, REFERENCE)

    (command,) = made.consents
    assert command == (
        f"aws elasticache add-tags-to-resource --region eu-central-1 --resource-name {ARN}:usergroup:orders "
        "--tags Key=elasticache-iam.dev/allow,Value=demo/platform"
    )


def test_who_has_agreed_is_not_asked_again():
    tags = {f"{ARN}:usergroup:orders": {"elasticache-iam.dev/allow": "demo"}}

    assert write_resources(inventory(group(), tags=tags), PLACE, REFERENCE).consents == ()


# -- adopt -------------------------------------------------------------------------------------------------------------


def test_an_adopted_group_brings_its_iam_users():
    made = write_resources(inventory(group(users=["batch", "orders-default"]), user("batch"), DISABLED), PLACE, ADOPT)

    group_body, user_body = bodies(made)
    assert group_body["spec"]["adoption"] == "Adopt"
    assert user_body["spec"] == {
        "adoption": "Adopt",
        "id": "batch",
        "groups": [{"name": "orders"}],
        "access": {"accessString": "on ~orders:* -@all +@read"},
        "serviceAccounts": ["batch"],
        "deletionPolicy": "Retain",
    }
    assert parse_user(user_body).metadata.namespace == "platform"


def test_what_is_adopted_is_only_planned_at_first():
    made = write_resources(inventory(group(users=["batch"]), user("batch")), PLACE, ADOPT)

    for body in bodies(made):
        assert body["metadata"]["annotations"] == {"elasticache-iam.dev/plan-only": "true"}


def test_owners_of_group_cache_and_user_have_to_agree_to_an_adoption():
    made = write_resources(inventory(group(users=["batch"]), user("batch")), PLACE, ADOPT)

    objects = [command.split()[6] for command in made.consents]
    assert objects == [f"{ARN}:usergroup:orders", f"{ARN}:replicationgroup:orders-prod", f"{ARN}:user:batch"]


@pytest.mark.parametrize(
    ("member", "why"),
    [
        pytest.param(user("legacy", mode="password"), "logs in with a password, not by IAM", id="password"),
        pytest.param(user("legacy", mode="no-password"), "logs in with no password, not by IAM", id="no-password"),
        pytest.param(user("legacy", name="other"), "its name, other, isn't its id", id="another-name"),
        pytest.param(user("legacy", groups=("orders", "more")), "in several groups (more, orders)", id="two-groups"),
    ],
)
def test_who_can_not_be_a_resource_stays_a_member(member, why):
    made = write_resources(inventory(group(users=["legacy"]), member), PLACE, ADOPT)

    (body,) = bodies(made)
    (skipped,) = made.skipped
    assert body["spec"]["members"] == ["legacy"]
    assert skipped.startswith(f"user legacy: {why}")


def test_a_default_user_that_can_log_in_is_kept():
    open_default = user("orders-default", name="default", access="on ~* +@all", mode="no-password")

    made = write_resources(inventory(group(users=["orders-default"]), open_default), PLACE, ADOPT)

    (body,) = bodies(made)
    assert body["spec"]["defaultUser"] == "Unmanaged"
    assert any("can log in today" in comment for comment in made.written[0].comments)


def test_the_last_word_of_an_access_string_decides_whether_a_default_user_can_log_in():
    disabled = user("orders-default", name="default", access="on ~* +@all off", mode="no-password")

    (body,) = bodies(write_resources(inventory(group(users=["orders-default"]), disabled), PLACE, ADOPT))

    assert "defaultUser" not in body["spec"]


def test_aws_own_default_user_counts_as_one_that_can_log_in():
    (body,) = bodies(write_resources(inventory(group(users=["default"])), PLACE, ADOPT))

    assert body["spec"]["defaultUser"] == "Unmanaged"
    assert parse_group(body)


def test_a_disabled_default_user_is_replaced():
    (body,) = bodies(write_resources(inventory(group(users=["orders-default"]), DISABLED), PLACE, ADOPT))

    assert "defaultUser" not in body["spec"]


def test_users_of_another_namespace_are_admitted_by_their_ids():
    wish = replace(ADOPT, user_namespace="shop")

    group_body, user_body = bodies(write_resources(inventory(group(users=["batch"]), user("batch")), PLACE, wish))

    assert group_body["spec"]["admission"] == [
        {"namespaces": {"names": ["shop"]}, "limit": {"preset": "Admin"}, "ids": ["batch"]}
    ]
    assert user_body["spec"]["groups"] == [{"name": "orders", "namespace": "platform"}]
    assert parse_group(group_body)


def test_a_user_in_no_group_is_told_about():
    made = write_resources(inventory(user("lonely", groups=())), PLACE, ADOPT)

    assert made.skipped == ("user lonely: in no group, and a resource names its UserGroup",)


# -- all the same ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", [REFERENCE, ADOPT], ids=["reference", "adopt"])
def test_what_an_installation_has_made_is_not_written_again(wish):
    tags = {f"{ARN}:usergroup:orders": {"elasticache-iam.dev/owner": "other"}}

    made = write_resources(inventory(group(), tags=tags), PLACE, wish)

    assert made.written == ()
    assert made.skipped == ("group orders: made by the installation other, which has a UserGroup for it",)


def test_several_caches_get_their_ids_as_names():
    made = write_resources(inventory(group(caches=("a-prod", "b-prod"))), PLACE, REFERENCE)

    assert bodies(made)[0]["spec"]["caches"] == [
        {"name": "a-prod", "replicationGroup": "a-prod"},
        {"name": "b-prod", "replicationGroup": "b-prod"},
    ]


def test_a_serverless_cache_is_called_one():
    made = write_resources(inventory(group(caches=(), serverless=("orders",))), PLACE, REFERENCE)

    assert bodies(made)[0]["spec"]["caches"] == [{"serverlessCache": "orders"}]


def test_only_the_groups_that_are_named_are_written():
    wish = replace(REFERENCE, group_ids=frozenset({"orders", "missing"}))

    made = write_resources(inventory(group(), group("others")), PLACE, wish)

    assert [body["spec"]["id"] for body in bodies(made)] == ["orders"]
    assert made.skipped == ("group missing: there is none in eu-central-1 of account 111122223333",)


def test_a_region_that_is_not_the_operators_stands_in_the_group():
    wish = replace(REFERENCE, region="us-east-1", account="444455556666")

    (body,) = bodies(write_resources(inventory(group()), PLACE, wish))

    assert (body["spec"]["region"], body["spec"]["account"]) == ("us-east-1", "444455556666")


def test_an_acl_of_memorydb_has_the_engine_of_its_cluster():
    ref = CacheRef(CacheKind.MEMORYDB_CLUSTER, "orders")
    acl = replace(group(engine="", caches=()), cluster_names=frozenset({"orders"}))
    place = replace(PLACE, service=Service.MEMORYDB)

    (body,) = bodies(write_resources(inventory(acl, caches=(ref,)), place, REFERENCE))

    assert (body["spec"]["service"], body["spec"]["engine"]) == ("MemoryDB", "redis")
    assert body["spec"]["caches"] == [{"memoryDBCluster": "orders"}]
    assert parse_group(body)
