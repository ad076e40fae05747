"""EKS Pod Identity: associations of ours kept, others' never touched, and one list for all users."""

import json
from typing import Any

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.world.harness import CLUSTER, Ground, Operator

from elasticache_iam.core import names
from elasticache_iam.core.policy import pod_identity_trust
from elasticache_iam.reconcile.queue import USERS

USER = (USERS, "shop", "checkout")
USER_ID = names.default_id(OWNER, "shop", "checkout")
ROLE_ARN = names.role_arn(REGION, ACCOUNT, names.role_path(OWNER), USER_ID)
CLUSTER_ARN = names.cluster_arn(REGION, ACCOUNT, CLUSTER)
QUICK = {"driftInterval": 0.3, "slowDriftInterval": 0.3, "clusterName": CLUSTER}
BY_PODS = {"delivery": {"mode": "None"}, "role": {"binding": "PodIdentity"}}
CALM = {"clusterName": CLUSTER, "driftInterval": 60.0, "slowDriftInterval": 3600.0}


async def start(world: Ground, config: dict[str, Any] | None = None, **spec: Any) -> Operator:
    world.add_cache()
    operator = await world.start(config or QUICK)
    world.apply(group_manifest(), user_manifest(**{**BY_PODS, **spec}))
    return operator


def granted(world: Ground) -> tuple[str, str]:
    return world.conditions(*USER).get("AccessGranted", ("", ""))


def eks(world: Ground) -> Any:
    return world.admin.client("eks")


def associations(world: Ground) -> dict[str, tuple[str, dict[str, str]]]:
    """Return role and tags by ServiceAccount, as AWS has them."""
    found = eks(world).list_pod_identity_associations(clusterName=CLUSTER)["associations"]
    described = [
        eks(world).describe_pod_identity_association(clusterName=CLUSTER, associationId=one["associationId"])
        for one in found
    ]
    return {
        f"{one['namespace']}/{one['serviceAccount']}": (one["roleArn"], one["tags"])
        for one in (answer["association"] for answer in described)
    }


def make_theirs(world: Ground, service_account: str = "checkout", role_name: str = "theirs") -> str:
    """Give a ServiceAccount's pods a role that is nothing to do with us; return the association's id."""
    trust = pod_identity_trust(cluster_arn=CLUSTER_ARN, subjects=(("shop", "checkout"),))
    made = world.iam.create_role(RoleName=role_name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    answer = eks(world).create_pod_identity_association(
        clusterName=CLUSTER, namespace="shop", serviceAccount=service_account, roleArn=made["Arn"]
    )
    return str(answer["association"]["associationId"])


async def test_pods_of_each_service_account_get_the_role(world: Ground):
    await start(world, serviceAccounts=["checkout", "worker"])
    await world.until_ready()

    found = associations(world)
    ownership = names.ownership_tags(OWNER, "ElastiCacheIAMUser", "shop", "checkout", "")
    assert found.keys() == {"shop/checkout", "shop/worker"}
    for role_arn, tags in found.values():
        assert role_arn == ROLE_ARN
        assert {**tags, "elasticache-iam.dev/uid": ""} == ownership
    trust = world.iam.get_role(RoleName=USER_ID)["Role"]["AssumeRolePolicyDocument"]
    assert trust == pod_identity_trust(cluster_arn=CLUSTER_ARN, subjects=(("shop", "checkout"), ("shop", "worker")))


async def test_a_world_at_rest_is_asked_for_nothing_and_written_nothing(world: Ground):
    operator = await start(world, CALM)
    await world.until_ready()
    await world.until_quiet(operator)
    calls, writes, found = dict(world.world.call_counts()), len(world.kube.writes), associations(world)
    spent = {key: count for key, count in world.world.call_counts().items() if key[0] == "eks"}

    for key in operator.plane.store.all_keys() * 3:
        await operator.work(key)

    after = {key: count for key, count in world.world.call_counts().items() if key[0] == "eks"}
    assert after == spent
    assert calls
    assert len(world.kube.writes) == writes
    assert associations(world) == found


async def test_many_users_cost_one_list_and_a_creation_each(world: Ground):
    users = [f"u{number}" for number in range(12)]
    world.add_cache()
    operator = await world.start(CALM)
    world.apply(group_manifest(), *(user_manifest(name, serviceAccounts=[name], **BY_PODS) for name in users))
    await world.until(lambda: all(world.is_ready(USERS, "shop", name) for name in users))
    await world.until_quiet(operator)

    assert world.calls("CreatePodIdentityAssociation") == len(users)
    assert world.calls("ListPodIdentityAssociations") == 1
    assert world.calls("DescribePodIdentityAssociation") == 0


async def test_a_restart_reads_the_list_and_no_association(world: Ground):
    first = await start(world, CALM)
    await world.until_ready()
    await first.kill()
    before = world.calls("ListPodIdentityAssociations")

    second = await world.start(CALM)
    await world.until_quiet(second)

    assert world.calls("ListPodIdentityAssociations") == before + 1
    assert world.calls("DescribePodIdentityAssociation") == 0
    assert world.is_ready()


async def test_an_association_of_somebody_elses_is_told_and_left_alone(world: Ground):
    make_theirs(world)
    before = associations(world)

    await start(world)
    await world.until(lambda: granted(world) == ("False", "AssociationTaken"))

    assert associations(world) == before
    assert ":role/theirs" in world.condition(*USER, "AccessGranted")["message"]


async def test_once_their_association_is_gone_ours_is_made(world: Ground):
    theirs = make_theirs(world)
    await start(world)
    await world.until(lambda: granted(world) == ("False", "AssociationTaken"))

    eks(world).delete_pod_identity_association(clusterName=CLUSTER, associationId=theirs)

    await world.later(world.is_ready, step_s=10)
    assert associations(world)["shop/checkout"][0] == ROLE_ARN


async def test_one_that_is_deleted_behind_our_back_is_made_again(world: Ground):
    await start(world)
    await world.until_ready()
    (one,) = eks(world).list_pod_identity_associations(clusterName=CLUSTER)["associations"]

    eks(world).delete_pod_identity_association(clusterName=CLUSTER, associationId=one["associationId"])

    await world.later(lambda: "shop/checkout" in associations(world), step_s=1)
    await world.later(world.is_ready, step_s=1)


async def test_a_role_that_was_changed_behind_our_back_is_put_back_at_the_next_edit(world: Ground):
    await start(world)
    await world.until_ready()
    (one,) = eks(world).list_pod_identity_associations(clusterName=CLUSTER)["associations"]
    other = world.iam.create_role(
        RoleName="other",
        AssumeRolePolicyDocument=json.dumps(
            pod_identity_trust(cluster_arn=CLUSTER_ARN, subjects=(("shop", "checkout"),))
        ),
    )["Role"]["Arn"]
    eks(world).update_pod_identity_association(clusterName=CLUSTER, associationId=one["associationId"], roleArn=other)

    world.apply(user_manifest(serviceAccounts=["checkout", "worker"], **BY_PODS))

    await world.until(lambda: associations(world)["shop/checkout"][0] == ROLE_ARN)


async def test_a_service_account_that_is_dropped_loses_its_association(world: Ground):
    await start(world, serviceAccounts=["checkout", "worker"])
    await world.until_ready()

    world.apply(user_manifest(serviceAccounts=["checkout"], **BY_PODS))

    await world.until(lambda: associations(world).keys() == {"shop/checkout"})


async def test_changing_over_to_irsa_takes_the_associations_away(world: Ground):
    await start(world)
    await world.until_ready()

    world.apply(user_manifest(delivery={"mode": "None"}))

    await world.until(lambda: associations(world) == {})
    await world.until(lambda: "podIdentity" not in (world.kube.get(*USER) or {})["status"])
    await world.until_ready()


async def test_deleting_the_user_deletes_its_associations_and_no_others(world: Ground):
    await start(world)
    await world.until_ready()
    make_theirs(world, "worker")

    world.kube.delete(*USER)

    await world.until(lambda: world.kube.get(*USER) is None)
    assert associations(world).keys() == {"shop/worker"}


async def test_an_association_that_a_crash_left_unnoted_is_found_again(world: Ground):
    fault = world.fault("eks", "CreatePodIdentityAssociation", "LostAnswer", times=1)

    await start(world)
    await world.later(world.is_ready, step_s=10)

    assert fault.remaining == 0
    assert associations(world).keys() == {"shop/checkout"}
    assert world.calls("CreatePodIdentityAssociation") <= 3


async def test_without_the_cluster_s_name_the_condition_says_what_to_set(world: Ground):
    await start(world, {"driftInterval": 0.3, "slowDriftInterval": 0.3})

    await world.until(lambda: granted(world) == ("False", "ClusterNameMissing"))
    assert "clusterName" in world.condition(*USER, "AccessGranted")["message"]
    assert world.calls("CreateRole") == 0


@pytest.mark.parametrize(
    ("agent", "expected"), [("AddOn", ("False", "PodIdentityAgentMissing")), ("Own", ("True", "Granted"))]
)
async def test_without_the_agents_add_on_it_is_told_unless_the_agent_comes_otherwise(
    world: Ground, agent: str, expected: tuple[str, str]
):
    world.world.add_cluster(ACCOUNT, REGION, CLUSTER, world.signer.issuer, addons=())

    await start(world, {**QUICK, "podIdentityAgent": agent})

    await world.until(lambda: granted(world) == expected)
    assert associations(world).keys() == {"shop/checkout"}


async def test_a_role_of_others_is_given_to_pods_by_its_owner_only(world: Ground):
    trust = pod_identity_trust(cluster_arn=CLUSTER_ARN, subjects=(("shop", "checkout"),))
    role = world.iam.create_role(RoleName="checkout", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    connect = {"Effect": "Allow", "Action": "elasticache:Connect", "Resource": "*"}
    world.iam.put_role_policy(
        RoleName="checkout",
        PolicyName="connect",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [connect]}),
    )

    await start(world, role={"mode": "External", "arn": role, "binding": "PodIdentity"})
    await world.until(lambda: granted(world) == ("False", "AssociationMissing"))
    assert associations(world) == {}
    eks(world).create_pod_identity_association(
        clusterName=CLUSTER, namespace="shop", serviceAccount="checkout", roleArn=role
    )

    await world.later(world.is_ready, step_s=10)
    assert associations(world)["shop/checkout"] == (role, {})


async def test_a_plan_shows_the_association_and_makes_none(world: Ground):
    world.add_cache()
    await world.start(QUICK)
    manifest = user_manifest(**BY_PODS)
    manifest["metadata"]["annotations"] = {"elasticache-iam.dev/plan-only": "true"}

    world.apply(group_manifest(), manifest)
    await world.until(lambda: world.conditions(*USER).get("Ready", ("", ""))[1] == "PlanOnly")

    body = world.kube.get(*USER)
    assert body is not None
    assert any("CreatePodIdentityAssociation" in line for line in body["status"]["plan"])
    assert associations(world) == {}
