"""What an installation needs: whether it is there, and the command that brings it."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from tests.builders import observed_cache

from elasticache_iam.api import crd
from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.core import prerequisites as need
from elasticache_iam.core.diagnosis import Mark
from elasticache_iam.core.policy import operator_policy, pod_identity_trust, trust_policy
from elasticache_iam.core.prerequisites import Identity, Place
from elasticache_iam.core.state import ObservedRole
from elasticache_iam.kube.rights import needed_rights

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ISSUER = "https://oidc.example.com/id/1"
PROVIDER = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/1"
ROLE_ARN = "arn:aws:iam::111122223333:role/elasticache-iam-operator"
CLUSTER_ARN = "arn:aws:eks:eu-central-1:111122223333:cluster/main"
HERE = Place("elasticache-iam", "elasticache-iam-operator")
IDENTITY = Identity(HERE, ROLE_ARN, ISSUER, PROVIDER, CLUSTER_ARN)
SUBJECT = ("elasticache-iam", "elasticache-iam-operator")
SIGN = "elasticache-iam.dev/sign"


def marks(found):
    return [each.mark for each in found]


# -- AWS ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audiences", "mark", "repair"),
    [
        (None, Mark.BROKEN, f"aws iam create-open-id-connect-provider --url {ISSUER} --client-id-list {SIGN}"),
        (frozenset({"sts.amazonaws.com"}), Mark.BROKEN, "aws iam add-client-id-to-open-id-connect-provider"),
        (frozenset({SIGN}), Mark.WHOLE, ""),
    ],
    ids=["no-provider", "no-audience", "there"],
)
def test_the_account_must_take_tokens_for_signing(audiences, mark, repair):
    (found,) = need.check_provider(audiences, issuer=ISSUER, audience=SIGN, provider_arn=PROVIDER)

    assert found.mark is mark
    assert found.repair.startswith(repair)


def test_an_audience_that_irsa_roles_trust_is_remarked_on():
    _, remark = need.check_provider(
        frozenset({"sts.amazonaws.com"}), issuer=ISSUER, audience="sts.amazonaws.com", provider_arn=PROVIDER
    )

    assert remark.mark is Mark.UNTOLD
    assert "every IRSA role" in remark.says


def test_a_boundary_that_is_not_there_is_missing_and_none_is_remarked_on():
    assert need.check_boundary("arn:aws:iam::1:policy/x", is_there=True).mark is Mark.WHOLE
    assert need.check_boundary(None, is_there=False).mark is Mark.UNTOLD
    missing = need.check_boundary("arn:aws:iam::1:policy/x", is_there=False)
    assert missing.mark is Mark.BROKEN
    assert missing.repair.startswith("aws iam create-policy --policy-name x --policy-document '{")


# -- the role ----------------------------------------------------------------------------------------------------------


def role(trust):
    return ObservedRole("elasticache-iam-operator", ROLE_ARN, "/", trust, 3600)


def irsa_trust(subject=SUBJECT):
    return trust_policy(provider_arn=PROVIDER, issuer=ISSUER, audience="sts.amazonaws.com", subjects=(subject,))


def test_a_role_that_nobody_names_is_asked_for():
    found = need.check_role_known(replace(IDENTITY, role_arn=None), is_account_seen=True)

    assert found is not None
    assert "eks.amazonaws.com/role-arn=ROLE_ARN" in found.repair
    assert need.check_role_known(IDENTITY, is_account_seen=True) is None


def test_of_a_service_account_that_was_not_looked_at_nothing_is_claimed():
    found = need.check_role_known(replace(IDENTITY, role_arn=None), is_account_seen=False)

    assert found is not None
    assert (found.mark, found.repair) == (Mark.UNTOLD, "")
    assert "--operator-role" in found.says


def test_a_role_that_is_not_there_is_made_with_its_trust():
    (found,) = need.check_role(None, IDENTITY)

    assert found.repair.startswith("aws iam create-role --role-name elasticache-iam-operator")
    assert "system:serviceaccount:elasticache-iam:elasticache-iam-operator" in found.repair


@pytest.mark.parametrize(
    "trust",
    [irsa_trust(), pod_identity_trust(cluster_arn=CLUSTER_ARN, subjects=(SUBJECT,))],
    ids=["irsa", "pod-identity"],
)
def test_a_role_that_admits_the_operator_is_in_order(trust):
    assert marks(need.check_role(role(trust), IDENTITY)) == [Mark.WHOLE, Mark.WHOLE]


def test_a_role_that_admits_another_one_is_not():
    _, found = need.check_role(role(irsa_trust(("other", "other"))), IDENTITY)

    assert found.mark is Mark.BROKEN
    assert found.repair.startswith("aws iam update-assume-role-policy --role-name elasticache-iam-operator")


NOTHING_DENIED = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


def policy(**more):
    return operator_policy(owner="demo", partition="aws", account="111122223333", region="eu-central-1", **more)


def check_policy(*documents, **named):
    held = {f"policy-{number}": document for number, document in enumerate(documents)} | named
    return need.check_policy(
        held,
        lambda options: policy(**asdict(options)),
        lambda options: "elasticache-iam policy operator" + " --without-memorydb" * (not options.memorydb),
        role_name="r",
    )


def without(action, document):
    """Return an older version's policy, which lacks an action."""
    statements = [
        {**each, "Action": [one for one in each["Action"] if one != action]} for each in document["Statement"]
    ]
    return {**document, "Statement": statements}


MADE_WITH = {
    "nothing": {},
    "no-memorydb": {"memorydb": False},
    "existing-roles": {"existing_roles": True},
    "pod-identity": {"pod_identity_cluster": "main"},
    "more-regions": {"more_regions": ("eu-west-1", "us-east-1")},
    "all": {
        "memorydb": False,
        "existing_roles": True,
        "pod_identity_cluster": "main",
        "more_regions": ("us-east-1",),
    },
}


@pytest.mark.parametrize("document", [policy(**options) for options in MADE_WITH.values()], ids=MADE_WITH)
def test_this_versions_policy_is_in_order(document):
    assert check_policy({"Version": "2012-10-17", "Statement": []}, document).mark is Mark.WHOLE


def test_a_policy_without_an_action_is_missing_it():
    held = policy()
    held["Statement"] = [each for each in held["Statement"] if "iam:CreateRole" not in str(each["Action"])]

    found = check_policy(held)

    assert found.mark is Mark.BROKEN
    assert "iam:CreateRole" in found.says
    assert found.repair.startswith("elasticache-iam policy operator > operator-policy.json && aws iam put-role-policy")


@pytest.mark.parametrize("name", ["operator", "elasticache-iam-operator", "arn:aws:iam::111122223333:policy/operator"])
def test_an_older_policy_is_replaced_where_it_is(name):
    found = check_policy(**{"a": {"Version": "2012-10-17", "Statement": []}, name: without("iam:TagRole", policy())})

    assert found.says == "its policies lack iam:TagRole"
    put = found.repair.partition(" && ")[2]
    if name.startswith("arn:"):
        assert put.startswith(f"aws iam create-policy-version --set-as-default --policy-arn {name} --policy-document ")
    else:
        assert put.startswith(f"aws iam put-role-policy --role-name r --policy-name {name} ")


def test_a_managed_policy_that_would_be_too_long_gets_an_inline_one_beside_it():
    held = without("iam:TagRole", policy(existing_roles=True, pod_identity_cluster="main"))

    found = check_policy(**{"arn:aws:iam::111122223333:policy/operator": held})

    assert " && aws iam put-role-policy --role-name r --policy-name operator " in found.repair


def test_a_first_policy_gets_the_name_that_it_has_everywhere():
    assert "--policy-name operator " in check_policy().repair


def test_rights_beside_this_versions_policy_are_named():
    older = {"elasticache-iam-operator": without("iam:TagRole", policy())}

    found = check_policy(operator=policy(), more=NOTHING_DENIED, **older)

    assert found.mark is Mark.UNTOLD
    assert found.says.endswith("it has others beside it: more, elasticache-iam-operator")
    assert found.repair == "aws iam delete-role-policy --role-name r --policy-name elasticache-iam-operator"


def test_an_older_managed_policy_beside_this_versions_is_detached():
    arn = "arn:aws:iam::111122223333:policy/operator"

    found = check_policy(**{"operator": policy(), arn: without("iam:TagRole", policy())})

    assert found.repair == f"aws iam detach-role-policy --role-name r --policy-arn {arn}"


def test_an_action_that_only_memorydb_needs_is_named_where_the_policy_knows_memorydb():
    found = check_policy(operator=without("memorydb:DescribeACLs", policy()))

    assert found.mark is Mark.BROKEN
    assert found.says == "its policies lack memorydb:DescribeACLs"


def test_a_policy_that_was_made_without_memorydb_is_compared_without_it():
    held = policy(memorydb=False)
    held["Statement"][0]["Resource"] = ["arn:aws:elasticache:eu-central-1:111122223333:user:*"]

    found = check_policy(operator=held)

    assert found.mark is Mark.UNTOLD
    assert found.says.startswith("its policies name all actions but MemoryDB's, but aren't this version's")
    assert found.repair.startswith("elasticache-iam policy operator --without-memorydb > ")


def test_a_policy_of_ones_own_can_not_be_judged():
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

    assert check_policy(everything).mark is Mark.UNTOLD


# -- the cluster -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "mark"),
    [("v1.29.9", Mark.BROKEN), ("v1.30.0", Mark.WHOLE), ("v1.36.3-eks-1", Mark.WHOLE), ("v2.0.0", Mark.WHOLE)],
)
def test_kubernetes_must_know_admission_policies(version, mark):
    assert need.check_version(version).mark is mark


def test_the_command_that_installs_has_what_is_known():
    found = need.check_service_account(None, place=HERE, owner="prod", region="eu-central-1")

    assert "--set config.owner=prod --set config.region=eu-central-1 --set image.repository=REGISTRY/" in found.repair
    assert need.check_service_account({}, place=HERE, owner="prod", region="eu-central-1").mark is Mark.WHOLE


def crds():
    return [yaml.safe_load(text) for text in crd.files().values()]


def test_this_versions_crds_are_in_order():
    assert need.check_crds({each["metadata"]["name"]: each for each in crds()}, crds()).mark is Mark.WHOLE


def test_a_crd_that_is_not_there_is_named():
    found = need.check_crds({each["metadata"]["name"]: None for each in crds()}, crds())

    assert found.mark is Mark.BROKEN
    assert "usergroups.elasticache-iam.dev" in found.says


def test_an_older_crd_is_told_by_the_fields_that_it_lacks():
    old = {each["metadata"]["name"]: each for each in crds()}
    schema = old["usergroups.elasticache-iam.dev"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"]["admission"]

    found = need.check_crds(old, crds())

    assert found.mark is Mark.BROKEN
    assert "usergroups.elasticache-iam.dev (spec.admission" in found.says


@pytest.mark.parametrize(
    ("holder", "renewed_at", "mark"),
    [
        ("pod-1", NOW - timedelta(seconds=5), Mark.WHOLE),
        ("pod-1", NOW - timedelta(minutes=5), Mark.BROKEN),
        ("", None, Mark.BROKEN),
    ],
    ids=["leads", "lost", "nobody"],
)
def test_somebody_must_lead(holder, renewed_at, mark):
    assert need.check_leader(holder, renewed_at, place=HERE, now=NOW).mark is mark


@pytest.mark.parametrize("kind", ["ClusterRole", "Role"])
def test_what_is_installed_gives_all_rights_that_are_asked_for(kind):
    documents = yaml.safe_load_all((ROOT / "packaging" / "install.yaml").read_text(encoding="utf-8"))
    roles = [each for each in documents if each and each["kind"] == kind]
    rules = next(each for each in roles if each["metadata"]["name"] == "elasticache-iam-operator")["rules"]
    config = OperatorConfig.model_validate({"owner": "demo"})
    wanted = [
        right
        for right in needed_rights(config, namespace=HERE.namespace)
        if (right.namespace != "") == (kind == "Role")
    ]

    lacking = [
        right
        for right in wanted
        if not any(
            right.group in rule["apiGroups"]
            and right.resource in rule["resources"]
            and right.verb in rule["verbs"]
            and ("resourceNames" not in rule or right.name in rule["resourceNames"])
            for rule in rules
        )
    ]

    assert wanted
    assert lacking == []


def test_rights_that_are_missing_are_named():
    found = need.check_rights("list elasticacheiamusers")

    assert found.mark is Mark.BROKEN
    assert found.says == "the operator's ServiceAccount may not list elasticacheiamusers"
    assert need.check_rights("").mark is Mark.WHOLE


def test_who_can_read_secrets_is_told():
    assert need.check_secret_reads("list secrets").mark is Mark.BROKEN
    assert need.check_secret_reads("").mark is Mark.WHOLE


def test_a_policy_without_its_binding_is_no_fence():
    policies = {f"elasticache-iam-operator-{what}" for what in ("secrets", "tokens", "specs")}

    assert need.check_fence(policies, policies, place=HERE).mark is Mark.WHOLE
    found = need.check_fence(policies, policies - {"elasticache-iam-operator-tokens"}, place=HERE)
    assert found.says.endswith("aren't in force: elasticache-iam-operator-tokens")


# -- caches ------------------------------------------------------------------------------------------------------------

CACHE = observed_cache()
AGREED = {"elasticache-iam.dev/allow": "demo/platform"}


def check_cache(cache, tags, namespace="platform"):
    return list(need.check_cache(cache, tags, owner="demo", namespace=namespace, region="eu-central-1"))


@pytest.mark.parametrize(
    ("cache", "tags", "said"),
    [
        (replace(CACHE, tls=False), AGREED, "has no encryption in transit"),
        (replace(CACHE, engine_version="6.2"), AGREED, "IAM needs redis 7.0 or valkey 7.2"),
        (replace(CACHE, auth_token_enabled=True), AGREED, "has an AUTH token"),
        (CACHE, {}, "the owner of orders-prod hasn't agreed"),
    ],
    ids=["no-tls", "old", "auth-token", "no-consent"],
)
def test_a_cache_that_can_not_be_used_is_told_with_the_way_there(cache, tags, said):
    (found,) = check_cache(cache, tags)

    assert found.mark is Mark.BROKEN
    assert said in found.says


def test_a_cache_that_can_be_used_is_in_order():
    (found,) = check_cache(CACHE, AGREED)

    assert found.mark is Mark.WHOLE
    assert "it is open" in found.says


def test_consent_to_any_namespace_will_do_while_none_is_known():
    assert marks(check_cache(CACHE, AGREED, namespace=None)) == [Mark.WHOLE]
    for others in ({"elasticache-iam.dev/allow": "other/platform"}, {"team": "mydemo/x"}):
        assert marks(check_cache(CACHE, others, namespace=None)) == [Mark.BROKEN]


def test_the_document_says_whether_all_is_there():
    found = [need.AWS.there("a"), need.AWS.untold("b"), need.AWS.missing("c", "$ do")]

    document = need.prerequisites_document(found)

    assert document["ready"] is False
    assert [check["state"] for check in document["checks"]] == ["ok", "unknown", "missing"]
    assert need.prerequisites_document(found[:2])["ready"] is True
