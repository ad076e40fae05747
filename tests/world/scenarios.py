"""What people do to an operator, as stories that can be disturbed at any call.

A scenario is one function: an async generator. What it does before its `yield` is prepared without disturbance; what
comes after it is played while the operator dies or AWS and the API server fail. It ends when what was asked for is
there. Adding one here has it played by every test of crashes and faults.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.builders import ACCOUNT, OWNER, REGION, Manifest, group_manifest, user_manifest
from tests.world.harness import AUDIENCE, CLUSTER
from tests.world.virtual import VirtualGround

from elasticache_iam.core import names
from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.core.policy import operator_policy, pod_identity_trust, trust_policy
from elasticache_iam.reconcile.queue import GROUPS, USERS

GROUP: Final = (GROUPS, "platform", "orders")
USER: Final = (USERS, "shop", "checkout")
CONSENT: Final = {"elasticache-iam.dev/allow": "demo"}
QUICK: Final = {"driftInterval": 60, "slowDriftInterval": 60}
SLOW_S: Final = 4.0
"""A transition time at which every object is seen creating, modifying and deleting."""

Story = Callable[[VirtualGround], AsyncIterator[None]]


@dataclass(frozen=True)
class Scenario:
    """A story, and the world it is played in."""

    name: str
    story: Story
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.name

    @property
    def is_slow(self) -> bool:
        """Whether AWS takes its time."""
        return bool(self.settings)


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(story: Story) -> Story:
    """Add a story twice: where AWS does everything at once, and where it takes its time."""
    once(story)
    name = story.__name__.replace("_", "-")
    SCENARIOS[f"{name}-slowly"] = Scenario(f"{name}-slowly", story, {"transition_s": SLOW_S})
    return story


def once(story: Story) -> Story:
    """Add a story that AWS's pace tells nothing new about."""
    name = story.__name__.replace("_", "-")
    SCENARIOS[name] = Scenario(name, story)
    return story


# -- what stories are made of -----------------------------------------------------------------------------------------


@asynccontextmanager
async def operated(world: VirtualGround) -> AsyncIterator[None]:
    """Have an operator at work for a while, that nothing disturbs."""
    operator = await world.start()
    yield
    await asyncio.sleep(10.0)
    await operator.kill()


async def ready(world: VirtualGround, *kinds: tuple[str, str, str]) -> None:
    """Wait until resources are Ready as they are asked for now."""
    for kind in kinds:
        await world.until(lambda kind=kind: is_done(world, kind))  # type: ignore[misc]  # bound at once


def is_done(world: VirtualGround, kind: tuple[str, str, str]) -> bool:
    body = world.kube.get(*kind)
    if body is None or not world.is_ready(*kind):
        return False
    return bool(body["status"]["observedGeneration"] == body["metadata"]["generation"])


async def gone(world: VirtualGround, kind: tuple[str, str, str]) -> None:
    await world.until(lambda: world.kube.get(*kind) is None)


def put_strangers(world: VirtualGround) -> None:
    """Put there what nobody may touch: objects of another installation, of nobody, and of a likely name."""
    world.settings.transition_s, slow_s = 0.0, world.settings.transition_s
    rival = [
        {"Key": f"elasticache-iam.dev/{key}", "Value": value}
        for key, value in {
            "owner": "rival",
            "kind": "ElastiCacheIAMUser",
            "namespace": "shop",
            "name": "checkout",
        }.items()
    ]
    for user_id, tags in (("rival-checkout", rival), ("demo-checkout", []), ("legacy-batch", [])):
        world.elasticache.create_user(
            UserId=user_id,
            UserName=user_id,
            Engine="redis",
            AccessString="on ~theirs:* +@read",
            AuthenticationMode={"Type": "iam"},
            Tags=tags,
        )
    world.elasticache.create_user_group(UserGroupId="legacy", Engine="redis", UserIds=["default", "legacy-batch"])
    world.add_cache("legacy-prod", allow=None)
    world.elasticache.modify_replication_group(ReplicationGroupId="legacy-prod", UserGroupIdsToAdd=["legacy"])
    world.iam.create_role(
        RoleName="demo-checkout",
        AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}',
    )
    world.settings.transition_s = slow_s
    world.kube.put(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": "shop", "name": "theirs"},
            "data": {"a": "Yg=="},
        }
    )


async def deliver(world: VirtualGround, *manifests: Any) -> None:
    """Bring a pair to where it is Ready, undisturbed."""
    async with operated(world):
        world.apply(*(manifests or (group_manifest(deletionPolicy="Delete"), user_manifest())))
        await ready(world, GROUP, USER)
        await asyncio.sleep(SLOW_S)


# -- creating ---------------------------------------------------------------------------------------------------------


@scenario
async def a_redis_pair_is_created(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    put_strangers(world)
    yield
    world.apply(group_manifest(), user_manifest())
    await ready(world, GROUP, USER)


@scenario
async def a_valkey_pair_is_created(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache(engine="valkey", engine_version="8.0")
    put_strangers(world)
    yield
    world.apply(group_manifest(engine="valkey"), user_manifest())
    await ready(world, GROUP, USER)


@scenario
async def a_user_comes_before_its_group_and_cache(world: VirtualGround) -> AsyncIterator[None]:
    yield
    world.apply(user_manifest())
    await world.until(lambda: world.conditions(*USER).get("Ready", ("", ""))[1] == "WaitingForGroup")
    world.apply(group_manifest())
    await world.until(lambda: world.conditions(*GROUP).get("CachesAttached", ("", ""))[1] == "CacheNotFound")
    world.add_cache()
    await ready(world, GROUP, USER)


@scenario
async def several_caches_and_users(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    world.add_cache("orders-archive")
    yield
    world.apply(group_manifest(caches=("orders-prod", "orders-archive")), user_manifest(), user_manifest("billing"))
    await ready(world, GROUP, USER, (USERS, "shop", "billing"))


@scenario
async def a_user_that_signs_for_itself(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    yield
    world.apply(group_manifest(), user_manifest(delivery={"mode": "None"}))
    await ready(world, GROUP, USER)


# -- changing ---------------------------------------------------------------------------------------------------------


@scenario
async def access_and_service_account_change(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world)
    yield
    world.apply(user_manifest(access={"preset": "ReadOnly", "keys": ["orders:*"]}, service_account="checkout-v2"))
    await ready(world, USER)


@scenario
async def a_cache_and_a_member_join(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    world.add_cache("orders-archive")
    await deliver(world)
    yield
    world.apply(
        group_manifest(caches=("orders-prod", "orders-archive"), deletionPolicy="Delete"), user_manifest("billing")
    )
    await ready(world, GROUP, USER, (USERS, "shop", "billing"))


@scenario
async def a_user_is_suspended_and_comes_back(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world)
    yield
    world.apply(user_manifest(suspend=True))
    await world.until(lambda: world.conditions(*USER)["Ready"][1] == "Suspended")
    await world.until(lambda: world.kube.secret("shop", "checkout") is None)
    world.apply(user_manifest())
    await ready(world, USER)


@scenario
async def a_user_moves_to_another_group(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    world.add_cache("billing-prod")
    async with operated(world):
        world.apply(
            group_manifest(),
            group_manifest("billing", caches=("billing-prod",)),
            user_manifest(),
            user_manifest("other"),
        )
        await ready(world, GROUP, USER, (GROUPS, "platform", "billing"))
    yield
    world.apply(user_manifest(group="billing"))
    await ready(world, USER)


@scenario
async def a_detached_cache_is_attached_again(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world)
    world.elasticache.modify_replication_group(ReplicationGroupId="orders-prod", RemoveUserGroups=True)
    await world.until(lambda: world.in_aws()["caches"]["orders-prod"][0] == "available")
    yield
    await world.until(lambda: world.in_aws()["caches"]["orders-prod"][1] is not None)
    await ready(world, GROUP, USER)


@scenario
async def a_secret_is_deleted_by_hand(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world)
    world.kube.delete("secrets", "shop", "checkout")
    yield
    await world.until(lambda: world.kube.secret("shop", "checkout") is not None)
    await ready(world, USER)


@scenario
async def a_redis_group_becomes_a_valkey_group(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache(engine="valkey", engine_version="8.0")
    await deliver(world, group_manifest(), user_manifest())
    yield
    world.apply(group_manifest(engine="valkey"))
    await ready(world, GROUP, USER)


@scenario
async def a_group_comes_to_say_who_its_members_are(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    put_strangers(world)
    await deliver(world)
    group_id = world.in_aws()["caches"]["orders-prod"][1]
    world.elasticache.modify_user_group(UserGroupId=group_id, UserIdsToAdd=["rival-checkout"])
    await world.until(lambda: world.in_aws()["groups"][group_id][1] == "active")
    yield
    world.apply(group_manifest(deletionPolicy="Delete", membership="Authoritative", members=["legacy-batch"]))
    await ready(world, GROUP, USER)
    await world.until(lambda: "legacy-batch" in world.in_aws()["groups"][group_id][2])


TAGGED: Final = {"tags": {"team": "orders"}}


@once
async def tags_come_and_go(world: VirtualGround) -> AsyncIterator[None]:
    world.config = {"allowedTagKeys": ["team", "cost"]}
    world.add_cache()
    await deliver(world, group_manifest(**TAGGED), user_manifest(**TAGGED))
    yield
    world.apply(group_manifest(tags={"cost": "1"}), user_manifest(tags={"cost": "1"}))
    await ready(world, GROUP, USER)
    await world.until(lambda: not any("team" in user[5] for user in world.in_aws()["users"].values()))


@once
async def a_role_is_changed_by_somebody(world: VirtualGround) -> AsyncIterator[None]:
    anything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    policy = world.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(anything))["Policy"]["Arn"]
    world.grant(boundary=policy)
    world.config = {"permissionsBoundary": policy, "allowedTagKeys": ["team", "cost"], **QUICK}
    world.add_cache()
    await deliver(world, group_manifest(), user_manifest(**TAGGED))
    before = world.in_aws()
    (name,) = before["roles"]
    open_trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    world.iam.delete_role_permissions_boundary(RoleName=name)
    world.iam.update_role(RoleName=name, MaxSessionDuration=3600)
    world.iam.untag_role(RoleName=name, TagKeys=["team"])
    world.iam.tag_role(RoleName=name, Tags=[{"Key": "cost", "Value": "theirs"}])
    world.iam.put_role_policy(RoleName=name, PolicyName="wider", PolicyDocument=json.dumps(anything))
    world.iam.update_assume_role_policy(
        RoleName=name, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [open_trust]})
    )
    yield
    await world.until(lambda: world.in_aws() == before)
    await ready(world, GROUP, USER)


@once
async def a_user_is_applied_while_the_watch_is_deaf(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world)
    yield
    await asyncio.sleep(10.0)  # the operator has listed what there was
    watching, world.kube.on_change[:] = list(world.kube.on_change), []
    world.apply(user_manifest(access={"preset": "ReadOnly", "keys": ["orders:*"]}))
    world.kube.on_change[:] = watching
    await ready(world, USER)


@once
async def a_service_account_is_annotated_and_left(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    yield
    world.apply(group_manifest(), user_manifest(delivery={"mode": "None"}, annotateServiceAccounts=True))
    await ready(world, GROUP, USER)
    world.kube.delete(*USER)
    await gone(world, USER)


@once
async def settings_are_delivered_and_left(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world)
    yield
    for variable in ("HOST", "REDIS_HOST"):
        config_map = {"name": "settings", "template": {variable: "{{ host }}"}}
        world.apply(user_manifest(delivery={"mode": "Secret", "configMap": config_map}))
        await ready(world, USER)
        await world.until(
            lambda variable=variable: (
                variable in (world.kube.get("configmaps", "shop", "settings") or {"data": ()})["data"]
            )  # type: ignore[misc]  # bound at once
        )
    world.apply(user_manifest())
    await world.until(lambda: world.kube.get("configmaps", "shop", "settings") is None)
    await ready(world, USER)


@once
async def pods_get_a_users_role(world: VirtualGround) -> AsyncIterator[None]:
    world.config = {"clusterName": CLUSTER}
    world.add_cache()
    for_pods = {"delivery": {"mode": "None"}, "role": {"binding": "PodIdentity"}}
    await deliver(world, group_manifest(), user_manifest(**for_pods))
    eks, cluster = world.admin.client("eks"), {"clusterName": CLUSTER}
    (association,) = eks.list_pod_identity_associations(**cluster)["associations"]
    ours = {**cluster, "associationId": association["associationId"]}
    role = eks.describe_pod_identity_association(**ours)["association"]["roleArn"]
    cluster_arn = names.cluster_arn(REGION, ACCOUNT, CLUSTER)
    trust = pod_identity_trust(cluster_arn=cluster_arn, subjects=(("shop", "checkout"),))
    other = world.iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    eks.update_pod_identity_association(**ours, roleArn=other)
    yield
    world.apply(user_manifest(serviceAccounts=["checkout", "worker"], **for_pods))
    await world.until(lambda: eks.describe_pod_identity_association(**ours)["association"]["roleArn"] == role)
    await ready(world, USER)
    world.kube.delete(*USER)
    await gone(world, USER)


@once
async def a_refused_login_is_explained(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    world.probe.result = LoginResult(LoginOutcome.REFUSED)
    yield
    world.apply(group_manifest(), user_manifest())
    await world.until(lambda: world.conditions(*USER).get("Verified", ("", ""))[0] == "False")
    await asyncio.sleep(10.0)
    world.probe.result = LoginResult(LoginOutcome.LOGGED_IN)
    await ready(world, GROUP, USER)


@once
async def the_operator_signs_for_a_user(world: VirtualGround) -> AsyncIterator[None]:
    world.become_role(assume_role_signing=True)
    world.config = {"signing": "AssumeRole"}
    world.add_cache()
    yield
    world.apply(group_manifest(), user_manifest())
    await ready(world, GROUP, USER)


# -- other services, other people's objects ---------------------------------------------------------------------------


def on_cache(cache: Mapping[str, str], **spec: Any) -> Manifest:
    manifest = group_manifest(engine="valkey", deletionPolicy="Delete", **spec)
    return {**manifest, "spec": {**manifest["spec"], "caches": [{"name": "main", **cache}]}}


@scenario
async def a_serverless_cache_gets_users(world: VirtualGround) -> AsyncIterator[None]:
    world.world.add_serverless_cache(
        ACCOUNT, REGION, "orders-now", engine="valkey", host="127.0.0.1", port=6379, tags=CONSENT
    )
    yield
    world.apply(on_cache({"serverlessCache": "orders-now"}), user_manifest())
    await ready(world, GROUP, USER)


def add_cluster(world: VirtualGround) -> Manifest:
    """Put a MemoryDB cluster there, and return a UserGroup for it."""
    world.world.add_memorydb_cluster(
        ACCOUNT, REGION, "orders-db", engine="valkey", host="127.0.0.1", port=6379, tags=CONSENT
    )
    return on_cache({"memoryDBCluster": "orders-db"}, service="MemoryDB")


@scenario
async def a_memorydb_cluster_gets_users(world: VirtualGround) -> AsyncIterator[None]:
    group = add_cluster(world)
    yield
    world.apply(group, user_manifest())
    await ready(world, GROUP, USER)


@scenario
async def access_to_memorydb_changes_and_ends(world: VirtualGround) -> AsyncIterator[None]:
    group = add_cluster(world)
    await deliver(world, group, user_manifest(), user_manifest("billing"))
    yield
    world.apply(user_manifest(access={"preset": "ReadOnly", "keys": ["orders:*"]}))
    world.kube.delete(USERS, "shop", "billing")
    await gone(world, (USERS, "shop", "billing"))
    await ready(world, GROUP, USER)


@once
async def a_memorydb_cluster_and_its_users_go(world: VirtualGround) -> AsyncIterator[None]:
    world.config = {"allowedTagKeys": ["team", "cost"]}
    group = add_cluster(world)
    await deliver(world, {**group, "spec": {**group["spec"], **TAGGED}}, user_manifest(**TAGGED))
    yield
    world.apply({**group, "spec": {**group["spec"], "tags": {"cost": "1"}}})
    await world.until(lambda: all("team" not in acl[2] for acl in world.in_aws()["MemoryDB ACLs"].values()))
    world.kube.delete(*USER)
    await gone(world, USER)
    world.admin.client("memorydb").delete_cluster(ClusterName="orders-db")
    world.kube.delete(*GROUP)
    await gone(world, GROUP)


@once
async def a_cache_of_another_account_gets_users(world: VirtualGround) -> AsyncIterator[None]:
    elsewhere = "444455556666"
    role = f"arn:aws:iam::{elsewhere}:role/operator"
    world.world.add_account(elsewhere)
    world.world.add_serverless_cache(
        elsewhere, REGION, "orders-now", engine="valkey", host="127.0.0.1", port=6379, tags=CONSENT
    )
    iam = world.aws.session(*world.world.add_access_key(elsewhere, user_name="admin"), REGION).client("iam")
    iam.create_open_id_connect_provider(Url=world.signer.issuer, ClientIDList=[AUDIENCE], ThumbprintList=[])
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    policy = operator_policy(owner=OWNER, partition="aws", account=elsewhere, region=REGION, is_home=False)
    iam.create_role(
        RoleName="operator", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    iam.put_role_policy(RoleName="operator", PolicyName="operator", PolicyDocument=json.dumps(policy))
    world.grant(roles_elsewhere=(role,))
    world.config = {"accounts": [{"id": elsewhere, "roleArn": role, "namespaces": ["platform"]}]}
    yield
    world.apply(on_cache({"serverlessCache": "orders-now"}, account=elsewhere), user_manifest())
    await ready(world, GROUP, USER)
    world.kube.delete(*USER)
    await gone(world, USER)


@once
async def a_user_of_others_is_adopted(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    world.elasticache.create_user(
        UserId="legacy",
        UserName="legacy",
        Engine="redis",
        AccessString="on ~* +@all",
        AuthenticationMode={"Type": "iam"},
        Tags=[{"Key": "elasticache-iam.dev/allow", "Value": "demo/shop"}],
    )
    await world.until(lambda: world.in_aws()["users"]["legacy"][2] == "active")
    rule = {"namespaces": {"names": ["shop"]}, "limit": {"preset": "Admin"}, "ids": ["legacy"]}
    yield
    world.apply(group_manifest(admits=(), admission=[rule]), user_manifest(id="legacy", adoption="Adopt"))
    await ready(world, GROUP, USER)


def make_group_of_others(world: VirtualGround, *, allow: str) -> None:
    """Make a user group as Terraform would, with a user of its own in it, and attach it."""
    world.settings.transition_s, slow_s = 0.0, world.settings.transition_s
    world.elasticache.create_user(
        UserId="legacy",
        UserName="legacy",
        Engine="redis",
        AccessString="on ~* +@read",
        AuthenticationMode={"Type": "iam"},
    )
    world.elasticache.create_user_group(
        UserGroupId="terraform-orders",
        Engine="redis",
        UserIds=["default", "legacy"],
        Tags=[{"Key": "made-by", "Value": "terraform"}, {"Key": "elasticache-iam.dev/allow", "Value": allow}],
    )
    world.elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", UserGroupIdsToAdd=["terraform-orders"], ApplyImmediately=True
    )
    world.settings.transition_s = slow_s


@scenario
async def a_group_of_others_is_adopted(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    make_group_of_others(world, allow="demo/platform")
    yield
    world.apply(group_manifest(id="terraform-orders", adoption="Adopt"), user_manifest())
    await ready(world, GROUP, USER)


@scenario
async def a_group_of_others_is_joined_and_left(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    make_group_of_others(world, allow="demo/platform")
    lent = group_manifest(id="terraform-orders", adoption="Reference", attach=False)
    await deliver(world, lent, user_manifest())
    yield
    world.apply(user_manifest("billing"))
    await ready(world, (USERS, "shop", "billing"))
    world.kube.delete(*USER)
    await gone(world, USER)


@scenario
async def a_role_of_others_is_used_and_left(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    issuer = world.signer.issuer
    trust = trust_policy(
        provider_arn=names.oidc_provider_arn(REGION, ACCOUNT, issuer),
        issuer=issuer,
        audience=AUDIENCE,
        subjects=(("shop", "checkout"),),
    )
    world.iam.create_role(
        RoleName="checkout",
        Path="/apps/",
        AssumeRolePolicyDocument=json.dumps(trust),
        Tags=[{"Key": "elasticache-iam.dev/allow", "Value": "demo/shop"}],
    )
    yield
    world.apply(
        group_manifest(),
        user_manifest(role={"mode": "Existing", "arn": f"arn:aws:iam::{ACCOUNT}:role/apps/checkout"}),
    )
    await ready(world, GROUP, USER)
    world.kube.delete(*USER)
    await gone(world, USER)


# -- deleting ---------------------------------------------------------------------------------------------------------


@scenario
async def all_is_deleted(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    put_strangers(world)
    await deliver(world)
    yield
    world.kube.delete(*USER)
    await gone(world, USER)
    world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
    world.kube.delete(*GROUP)
    await gone(world, GROUP)


@scenario
async def group_and_user_are_deleted_at_once(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world, group_manifest(), user_manifest())
    yield
    world.kube.delete(*GROUP)
    world.kube.delete(*USER)
    await gone(world, USER)
    await gone(world, GROUP)


@scenario
async def a_group_is_retained(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world, group_manifest(), user_manifest())
    yield
    world.kube.delete(*USER)
    await gone(world, USER)
    world.kube.delete(*GROUP)
    await gone(world, GROUP)


@once
async def many_deletions_wait_for_a_word(world: VirtualGround) -> AsyncIterator[None]:
    world.config = {"massDeletionMinimum": 1}
    world.add_cache()
    world.kube.put_namespace("elasticache-iam")
    crowd = [f"app-{number}" for number in range(2)]
    async with operated(world):
        world.apply(group_manifest(), *(user_manifest(name) for name in crowd))
        await ready(world, GROUP, *((USERS, "shop", name) for name in crowd))
    for name in crowd:
        world.kube.delete(USERS, "shop", name)
    yield
    await world.until(lambda: world.conditions(USERS, "shop", crowd[-1])["Ready"][1] == "DeletionsHeld")

    def confirm_until_gone() -> bool:
        now = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        world.kube.annotate_namespace("elasticache-iam", {"elasticache-iam.dev/confirm-deletions": now})
        return all(world.kube.get(USERS, "shop", name) is None for name in crowd)

    await world.until(confirm_until_gone)


@scenario
async def a_user_is_retained(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world, group_manifest(), user_manifest(deletionPolicy="Retain"))
    yield
    world.kube.delete(*USER)
    await gone(world, USER)


@scenario
async def a_user_is_deleted_and_created_anew(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world)
    yield
    world.kube.delete(*USER)
    await gone(world, USER)
    world.apply(user_manifest())
    await ready(world, USER)


@scenario
async def a_namespace_ends(world: VirtualGround) -> AsyncIterator[None]:
    world.add_cache()
    await deliver(world)
    yield
    world.kube.terminate_namespace("shop")
    await gone(world, USER)
