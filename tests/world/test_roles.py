"""The role of a user: ours kept as it should be, others' checked and given one policy, or none at all."""

import json
from typing import Any

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.world.harness import AUDIENCE, Ground, Operator

from elasticache_iam.core import names
from elasticache_iam.core.policy import operator_policy, trust_policy
from elasticache_iam.reconcile.queue import USERS

USER = (USERS, "shop", "checkout")
USER_ID = names.default_id(OWNER, "shop", "checkout")
POLICY_NAME = f"elasticache-iam.dev.{OWNER}.shop.checkout"
QUICK = {"driftInterval": 0.3, "slowDriftInterval": 0.3}
THEIRS = f"arn:aws:iam::{ACCOUNT}:role/apps/checkout"
USER_ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:user:{USER_ID}"
CACHE_ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:orders-prod"
CONSENT = {"Key": "elasticache-iam.dev/allow", "Value": f"{OWNER}/shop"}
EXISTING = {"mode": "Existing", "arn": THEIRS}
EXTERNAL = {"mode": "External", "arn": THEIRS}
SELF_SIGNING = {"mode": "None"}


def trust_of(world: Ground, *accounts: str, audience: str = AUDIENCE) -> dict[str, Any]:
    issuer = world.signer.issuer
    return trust_policy(
        provider_arn=names.oidc_provider_arn(REGION, ACCOUNT, issuer),
        issuer=issuer,
        audience=audience,
        subjects=tuple(("shop", account) for account in accounts),
    )


def connect(*resources: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": "elasticache:Connect", "Resource": list(resources)}
    return {"Version": "2012-10-17", "Statement": [statement]}


def make_role(world: Ground, trust: dict[str, Any], *, consents: bool = False, **policies: dict[str, Any]) -> None:
    world.iam.create_role(
        RoleName="checkout",
        Path="/apps/",
        AssumeRolePolicyDocument=json.dumps(trust),
        Tags=[CONSENT] if consents else [],
    )
    for name, document in policies.items():
        world.iam.put_role_policy(RoleName="checkout", PolicyName=name, PolicyDocument=json.dumps(document))


def role(world: Ground, name: str = "checkout") -> Any:
    return world.in_aws()["roles"].get(name)


def granted(world: Ground) -> tuple[str, str]:
    return world.conditions(*USER).get("AccessGranted", ("", ""))


def status(world: Ground) -> dict[str, Any]:
    found: dict[str, Any] = (world.kube.get(*USER) or {})["status"]
    return found


async def start(world: Ground, config: dict[str, Any] | None = None, **spec: Any) -> Operator:
    """Start an operator with a group and one user."""
    world.add_cache()
    operator = await world.start({**QUICK, **(config or {})})
    world.apply(group_manifest(), user_manifest(**spec))
    return operator


async def writes_nothing_more(world: Ground, operator: Operator) -> None:
    """Two more passes over a world at rest change nothing."""
    await world.until_quiet(operator)
    kube_writes, before = len(world.kube.writes), world.in_aws()
    for key in operator.plane.store.all_keys() * 2:
        await operator.work(key)
    assert len(world.kube.writes) == kube_writes
    assert world.in_aws() == before


# -- ours --------------------------------------------------------------------------------------------------------------


async def test_a_policy_that_somebody_adds_to_our_role_is_taken_off_and_told(world: Ground):
    await start(world)
    await world.until_ready()
    before = role(world, USER_ID)

    world.iam.put_role_policy(RoleName=USER_ID, PolicyName="more", PolicyDocument=json.dumps(connect("*")))

    await world.until(lambda: role(world, USER_ID) == before)
    (event,) = [event for event in world.kube.events if event["reason"] == "DriftRepaired"]
    assert "more was added" in event["note"]


async def test_session_length_and_tags_are_put_back(world: Ground):
    await start(world, {"allowedTagKeys": ["team"]}, tags={"team": "a"})
    await world.until_ready()
    before = role(world, USER_ID)

    world.iam.update_role(RoleName=USER_ID, MaxSessionDuration=3600)
    world.iam.tag_role(RoleName=USER_ID, Tags=[{"Key": "team", "Value": "b"}])

    await world.until(lambda: role(world, USER_ID) == before)
    await world.until(lambda: session_of(world) == 43200)


async def test_an_edit_of_ours_is_no_drift(world: Ground):
    await start(world, {"allowedTagKeys": ["team"]}, tags={"team": "a"})
    await world.until_ready()

    world.apply(user_manifest(serviceAccounts=["checkout", "worker"], tags={"team": "b"}))
    await world.until(lambda: "worker" in json.dumps(role(world, USER_ID)[0]))
    await world.until(lambda: role(world, USER_ID)[2].get("team") == "b")

    assert not [event for event in world.kube.events if event["reason"] == "DriftRepaired"]


async def test_a_tag_that_is_asked_no_more_is_taken_off(world: Ground):
    await start(world, {"allowedTagKeys": ["team"]}, tags={"team": "a"})
    await world.until_ready()

    world.apply(user_manifest())

    await world.until(lambda: "team" not in role(world, USER_ID)[2])
    await world.until(lambda: "team" not in world.in_aws()["users"][USER_ID][5])


async def test_a_configuration_that_changed_reaches_roles_that_are_there(world: Ground):
    first = await start(world)
    await world.until_ready()
    await first.kill()
    boundary = world.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(connect("*")))["Policy"]["Arn"]
    policy = operator_policy(owner=OWNER, partition="aws", account=ACCOUNT, region=REGION, boundary=boundary)
    world.operator_key = world.world.add_access_key(ACCOUNT, user_name="operator-with-boundary", policy=policy)

    await world.start({**QUICK, "permissionsBoundary": boundary, "maxSessionSeconds": 7200})

    await world.until(lambda: session_of(world) == 7200)
    await world.until(lambda: boundary_of(world) == boundary)
    assert not [event for event in world.kube.events if event["reason"] == "DriftRepaired"]


async def test_who_keeps_opening_our_role_is_shut_out_each_time_and_told_of(world: Ground):
    await start(world)
    await world.until_ready()
    before = role(world, USER_ID)
    wide = json.dumps(connect("*"))

    for _ in range(6):
        world.iam.put_role_policy(RoleName=USER_ID, PolicyName="more", PolicyDocument=wide)
        await world.until(lambda: role(world, USER_ID) == before)

    await world.until(lambda: [event for event in world.kube.events if event["reason"] == "Contested"])


async def test_a_role_that_is_somebody_elses_now_ends_the_tokens(world: Ground):
    await start(world)
    await world.until_ready()

    world.iam.tag_role(RoleName=USER_ID, Tags=[{"Key": "elasticache-iam.dev/owner", "Value": "rival"}])

    await world.until(lambda: granted(world) == ("False", "NotOwned"))
    await world.until(lambda: world.kube.secret_names() == [])


async def test_more_service_accounts_than_a_trust_policy_takes_are_told_before_aws_is_asked(world: Ground):
    namespace = "n" * 60
    world.add_cache()
    await world.start(QUICK)
    accounts = [f"{'a' * 60}{number:02}" for number in range(16)]

    world.apply(group_manifest(admits=(namespace,)), user_manifest("checkout", namespace, serviceAccounts=accounts))
    where = (USERS, namespace, "checkout")
    await world.until(lambda: world.conditions(*where).get("AccessGranted") == ("False", "PolicyTooLarge"))

    assert "spec.serviceAccounts" in world.condition(*where, "AccessGranted")["message"]
    assert world.calls("CreateRole") == 0


async def test_one_missing_service_account_is_told_and_the_others_go_on(world: Ground):
    world.add_cache()
    await world.start(QUICK)
    world.kube.put_service_account("shop", "checkout")
    world.apply(group_manifest())

    world.kube.put(user_manifest(serviceAccounts=["checkout", "worker"]))

    await world.until(lambda: granted(world) == ("False", "ServiceAccountNotFound"))
    await world.until(lambda: world.kube.secret("shop", "checkout"))
    world.kube.put_service_account("shop", "worker")
    await world.later(world.is_ready, step_s=10)


# -- others', with their leave -----------------------------------------------------------------------------------------


async def test_an_existing_role_gets_one_policy_and_nothing_else(world: Ground):
    make_role(world, trust_of(world, "checkout"), consents=True, theirs=connect("arn:aws:s3:::theirs"))
    before = role(world)

    operator = await start(world, role=EXISTING)
    await world.until_ready()

    trust, policies, tags = role(world)
    assert (trust, tags) == (before[0], before[2])
    assert policies.keys() == {"theirs", POLICY_NAME}
    assert policies[POLICY_NAME] == connect(CACHE_ARN, USER_ARN)
    assert status(world)["role"]["arn"] == THEIRS
    assert role(world, USER_ID) is None
    await writes_nothing_more(world, operator)


async def test_our_policy_leaves_an_existing_role_with_its_user(world: Ground):
    make_role(world, trust_of(world, "checkout"), consents=True)
    before = role(world)
    await start(world, role=EXISTING)
    await world.until_ready()

    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert role(world) == before


async def test_without_its_owners_tag_an_existing_role_is_only_checked(world: Ground):
    make_role(world, trust_of(world, "checkout"))
    before = role(world)

    operator = await start(world, role=EXISTING)
    await world.until(lambda: granted(world) == ("False", "PolicyMissing"))

    assert role(world) == before
    assert status(world)["role"]["policy"] == connect(CACHE_ARN, USER_ARN)["Statement"]
    assert "aws iam tag-role" in world.condition(*USER, "AccessGranted")["message"]
    assert world.kube.secret_names() == []
    await writes_nothing_more(world, operator)


async def test_a_tag_of_its_owner_lets_us_in(world: Ground):
    make_role(world, trust_of(world, "checkout"))
    await start(world, role=EXISTING)
    await world.until(lambda: granted(world) == ("False", "PolicyMissing"))

    world.iam.tag_role(RoleName="checkout", Tags=[CONSENT])

    await world.later(world.is_ready, step_s=10)
    assert "policy" not in status(world)["role"]


@pytest.mark.parametrize("consents", [True, False])
async def test_a_pattern_in_the_trust_is_no_consent(world: Ground, consents: bool):  # noqa: FBT001
    trust = trust_of(world, "checkout")
    (statement,) = trust["Statement"]
    equals = statement["Condition"].pop("StringEquals")
    statement["Condition"]["StringLike"] = {
        key: "system:serviceaccount:shop:*" if key.endswith(":sub") else value for key, value in equals.items()
    }
    make_role(world, trust, consents=consents)
    before = role(world)

    operator = await start(world, role=EXISTING)
    await world.until(lambda: granted(world) == ("False", "TrustMissing"))

    assert status(world)["role"]["trust"] == trust_of(world, "checkout")["Statement"]
    assert role(world) == before
    await writes_nothing_more(world, operator)


async def test_only_the_accounts_that_a_trust_lacks_are_asked_for(world: Ground):
    make_role(world, trust_of(world, "checkout"), consents=True)

    await start(world, role=EXISTING, serviceAccounts=["checkout", "worker"])
    await world.until(lambda: granted(world) == ("False", "TrustMissing"))

    assert status(world)["role"]["trust"] == trust_of(world, "worker")["Statement"]
    assert "policy" not in status(world)["role"]


async def test_a_role_that_is_not_there_is_described(world: Ground):
    await start(world, role=EXISTING)

    await world.until(lambda: granted(world) == ("False", "RoleNotFound"))
    assert status(world)["role"]["trust"] == trust_of(world, "checkout")["Statement"]
    assert status(world)["role"]["policy"] == connect(CACHE_ARN, USER_ARN)["Statement"]
    make_role(world, trust_of(world, "checkout"), consents=True)

    await world.later(world.is_ready, step_s=10)


async def test_a_role_of_another_account_is_refused(world: Ground):
    await start(world, role={"mode": "Existing", "arn": "arn:aws:iam::444455556666:role/checkout"})

    await world.until(lambda: granted(world) == ("False", "InvalidSpec"))

    assert world.calls("GetRole") == 0


async def test_another_users_managed_role_is_not_to_be_had(world: Ground):
    await start(world)
    await world.until_ready()
    managed = status(world)["role"]["arn"]
    before = role(world, USER_ID)

    world.apply(user_manifest("thief", role={"mode": "Existing", "arn": managed}))
    await world.until(
        lambda: world.conditions(USERS, "shop", "thief").get("AccessGranted") == ("False", "TrustMissing")
    )

    assert role(world, USER_ID) == before
    assert world.kube.secret("shop", "thief") is None


async def test_our_policy_in_an_existing_role_is_put_back(world: Ground):
    make_role(world, trust_of(world, "checkout"), consents=True)
    await start(world, role=EXISTING)
    await world.until_ready()
    before = role(world)

    world.iam.delete_role_policy(RoleName="checkout", PolicyName=POLICY_NAME)

    await world.until(lambda: role(world) == before)
    assert [event for event in world.kube.events if event["reason"] == "DriftRepaired"]


# -- others', only looked at -------------------------------------------------------------------------------------------


async def test_an_external_role_that_has_all_is_never_written_to(world: Ground):
    make_role(world, trust_of(world, "checkout"), consents=True, theirs=connect("*"))
    before = role(world)

    operator = await start(world, role=EXTERNAL)
    await world.until_ready()

    assert granted(world) == ("True", "Granted")
    assert role(world) == before
    await writes_nothing_more(world, operator)


@pytest.mark.parametrize(
    ("has_trust", "has_policy", "reason", "shown"),
    [
        (False, False, "TrustMissing", {"arn", "maxSessionSeconds", "trust", "policy"}),
        (False, True, "TrustMissing", {"arn", "maxSessionSeconds", "trust"}),
        (True, False, "PolicyMissing", {"arn", "maxSessionSeconds", "policy"}),
    ],
    ids=["both", "trust", "policy"],
)
async def test_what_an_external_role_lacks_is_shown(
    world: Ground,
    has_trust: bool,  # noqa: FBT001
    has_policy: bool,  # noqa: FBT001
    reason: str,
    shown: set[str],
):
    policies = {"theirs": connect(USER_ARN, CACHE_ARN)} if has_policy else {}
    make_role(world, trust_of(world, "checkout" if has_trust else "other"), consents=True, **policies)
    before = role(world)

    await start(world, role=EXTERNAL)
    await world.until(lambda: granted(world) == ("False", reason))

    assert status(world)["role"].keys() == shown
    assert role(world) == before


async def test_what_only_aws_can_judge_is_left_to_a_login(world: Ground):
    policy = connect(USER_ARN, CACHE_ARN)
    policy["Statement"][0]["Condition"] = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    make_role(world, trust_of(world, "checkout"), theirs=policy)

    await start(world, role=EXTERNAL)
    await world.until_ready()

    assert granted(world) == ("True", "Unproven")
    assert world.conditions(*USER)["Verified"] == ("True", "LoggedIn")


# -- none --------------------------------------------------------------------------------------------------------------


async def test_without_a_role_the_policy_to_attach_is_shown(world: Ground):
    manifest = user_manifest(role={"mode": "None"}, delivery=SELF_SIGNING)
    manifest["spec"]["serviceAccounts"] = []
    operator = await start(world)
    world.apply(manifest)
    await world.until(lambda: granted(world) == ("True", "SelfManaged"))

    await world.until_ready()

    assert status(world)["role"]["policy"] == connect(CACHE_ARN, USER_ARN)["Statement"]
    assert world.kube.secret_names() == []
    await world.later(lambda: role(world, USER_ID) is None, step_s=1)
    await writes_nothing_more(world, operator)


# -- from one to another -----------------------------------------------------------------------------------------------


async def test_tokens_change_over_to_a_role_of_others_and_ours_goes(world: Ground):
    await start(world)
    await world.until_ready()
    make_role(world, trust_of(world, "other"))

    world.apply(user_manifest(role=EXTERNAL))
    await world.until(lambda: granted(world) == ("False", "TrustMissing"))
    assert status(world)["role"]["arn"].endswith(USER_ID)
    assert role(world, USER_ID) is not None
    world.iam.update_assume_role_policy(RoleName="checkout", PolicyDocument=json.dumps(trust_of(world, "checkout")))
    world.iam.put_role_policy(RoleName="checkout", PolicyName="p", PolicyDocument=json.dumps(connect("*")))

    await world.later(world.is_ready, step_s=10)
    await world.later(lambda: role(world, USER_ID) is None, step_s=1)
    assert status(world)["role"]["arn"] == THEIRS
    assert world.kube.secret("shop", "checkout")


async def test_a_role_of_others_that_is_named_no_longer_loses_our_policy(world: Ground):
    make_role(world, trust_of(world, "checkout"), consents=True)
    before = role(world)
    await start(world, role=EXISTING)
    await world.until_ready()

    world.apply(user_manifest())

    await world.until(lambda: role(world) == before)
    await world.until(lambda: status(world)["role"]["arn"].endswith(USER_ID))
    await world.until_ready()


async def test_our_policy_stays_in_a_role_that_is_external_now_until_it_can_do_without(world: Ground):
    make_role(world, trust_of(world, "checkout"), consents=True)
    await start(world, role=EXISTING)
    await world.until_ready()

    world.apply(user_manifest(role=EXTERNAL))
    await world.until_ready()
    assert POLICY_NAME in role(world)[1]
    world.iam.put_role_policy(RoleName="checkout", PolicyName="p", PolicyDocument=json.dumps(connect("*")))

    await world.later(lambda: POLICY_NAME not in role(world)[1], step_s=1)
    assert world.is_ready()


def session_of(world: Ground) -> int:
    return int(world.iam.get_role(RoleName=USER_ID)["Role"]["MaxSessionDuration"])


def boundary_of(world: Ground) -> Any:
    return world.iam.get_role(RoleName=USER_ID)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
