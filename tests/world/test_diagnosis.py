"""Each way to break a login, done to the sandbox behind the operator's back: condition and command name it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from unittest.mock import patch

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.fakes.probe import WorldProbe
from tests.world.virtual import BridgeInPlace, VirtualGround, play, virtual_ground

from elasticache_iam.api.keys import ROLE_POLICY_NAME
from elasticache_iam.core.diagnosis_tree import Tree
from elasticache_iam.core.errors import NotFoundError, UnavailableError
from elasticache_iam.kube.connection import Request
from elasticache_iam.reconcile.queue import GROUPS, USERS
from elasticache_iam.runtime import planning
from elasticache_iam.runtime.installation import Said
from elasticache_iam.runtime.verifying import Inquiry, verify

USER: Final = (USERS, "shop", "checkout")
CACHE: Final = "orders-prod"
HOST: Final = f"{CACHE}.cache.example"


class Chain:
    """What a login depends on, and the hands to break it with: an administrator's."""

    def __init__(self, ground: VirtualGround) -> None:
        self.ground = ground
        self.elasticache: Any = ground.elasticache
        self.iam: Any = ground.iam
        status = (ground.kube.get(*USER) or {})["status"]
        self.user_id: str = status["id"]
        self.role: str = status["role"]["arn"].rpartition("/")[2]
        region = ground.world._state.accounts[ACCOUNT].region(REGION)
        self.cache = region.caches[CACHE]
        self.user = region.users[self.user_id]
        self.group_id: str = self.cache.group_id or ""

    def detach(self) -> None:
        self.elasticache.modify_replication_group(
            ReplicationGroupId=CACHE, RemoveUserGroups=True, ApplyImmediately=True
        )

    def put_policy(self, name: str, effect: str, *resources: str) -> None:
        self.iam.put_role_policy(
            RoleName=self.role, PolicyName=name, PolicyDocument=document(effect, "elasticache:Connect", *resources)
        )


def document(effect: str, action: str, *resources: str) -> str:
    statement = {"Effect": effect, "Action": action, "Resource": list(resources) or "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


# -- the breaks ------------------------------------------------------------------------------------------------------


def leave_iam_mode(chain: Chain) -> None:
    chain.elasticache.modify_user(
        UserId=chain.user_id, AuthenticationMode={"Type": "password", "Passwords": ["a-password-of-their-own"]}
    )


def switch_off(chain: Chain) -> None:
    chain.elasticache.modify_user(UserId=chain.user_id, AccessString="off ~orders:* +@read")


def delete_user(chain: Chain) -> None:
    chain.elasticache.delete_user(UserId=chain.user_id)


def end_user_slowly(chain: Chain) -> None:
    chain.ground.settings.transition_s = 3000.0
    chain.elasticache.delete_user(UserId=chain.user_id)


def leave_group(chain: Chain) -> None:
    chain.elasticache.modify_user_group(UserGroupId=chain.group_id, UserIdsToRemove=[chain.user_id])


def detach_group(chain: Chain) -> None:
    chain.detach()


def attach_another_group(chain: Chain) -> None:
    chain.elasticache.create_user_group(UserGroupId="somebody-elses", Engine="redis", UserIds=["default"])
    chain.elasticache.modify_replication_group(
        ReplicationGroupId=CACHE,
        UserGroupIdsToRemove=[chain.group_id],
        UserGroupIdsToAdd=["somebody-elses"],
        ApplyImmediately=True,
    )


def delete_group(chain: Chain) -> None:
    chain.detach()
    chain.elasticache.delete_user_group(UserGroupId=chain.group_id)


def delete_cache(chain: Chain) -> None:
    chain.elasticache.delete_replication_group(ReplicationGroupId=CACHE)


def end_cache_slowly(chain: Chain) -> None:
    chain.ground.pass_time(61)
    chain.ground.settings.transition_s = 3000.0
    chain.elasticache.delete_replication_group(ReplicationGroupId=CACHE)


def replace_cache_by_a_serverless_one(chain: Chain) -> None:
    chain.elasticache.delete_replication_group(ReplicationGroupId=CACHE)
    chain.ground.world.add_serverless_cache(ACCOUNT, REGION, CACHE, engine="redis", host=HOST, port=6379)


def move_cache(chain: Chain) -> None:
    chain.ground.pass_time(61)
    chain.ground.world.set_endpoint(ACCOUNT, REGION, CACHE, host="elsewhere.cache.example", port=6379)


def fall_back_to_an_old_engine(chain: Chain) -> None:
    chain.cache.engine_version = "6.2.6"
    chain.ground.pass_time(3700)  # versions are read once an hour: they hardly change


def turn_tls_off(chain: Chain) -> None:
    chain.cache.tls, chain.cache.tls_mode = False, None


def delete_role(chain: Chain) -> None:
    chain.iam.delete_role_policy(RoleName=chain.role, PolicyName=ROLE_POLICY_NAME)
    chain.iam.delete_role(RoleName=chain.role)


def delete_policy(chain: Chain) -> None:
    chain.iam.delete_role_policy(RoleName=chain.role, PolicyName=ROLE_POLICY_NAME)


def allow_only_the_cache(chain: Chain) -> None:
    chain.put_policy(ROLE_POLICY_NAME, "Allow", chain.cache.arn)


def deny_by_another_policy(chain: Chain) -> None:
    chain.put_policy("quarantine", "Deny", "*")


def put_a_boundary_on(chain: Chain) -> None:
    policy = chain.iam.create_policy(PolicyName="narrow", PolicyDocument=document("Allow", "s3:GetObject", "*"))
    chain.iam.put_role_permissions_boundary(RoleName=chain.role, PermissionsBoundary=policy["Policy"]["Arn"])


def set_the_clock(ahead: timedelta) -> Callable[[Chain], None]:
    def break_it(chain: Chain) -> None:
        chain.ground.settings.clock_offset = -ahead
        for operator in chain.ground._operators:  # calls that take the shortcut have no headers
            operator.plane.get_ahead = lambda: ahead

    return break_it


BREAKS: Final[dict[str, tuple[Callable[[Chain], None], str, str]]] = {
    "another mode": (leave_iam_mode, "UserNotInIamMode", "modify-user --region eu-central-1 --user-id"),
    "switched off": (switch_off, "UserOff", "--access-string 'on ~orders:* -@all +@read'"),
    "user deleted": (delete_user, "UserNotFound", "elasticache-iam.dev/paused-"),
    "user being deleted": (end_user_slowly, "UserNotActive", "describe-users"),
    "out of the group": (leave_group, "NotInGroup", "modify-user-group"),
    "group taken off": (detach_group, "GroupNotAttached", "--user-group-ids-to-add"),
    "another group": (attach_another_group, "GroupNotAttached", "somebody-elses"),
    "group deleted": (delete_group, "GroupNotFound", "ecug"),
    "cache deleted": (delete_cache, "CacheGone", "spec.caches"),
    "cache being deleted": (end_cache_slowly, "CacheNotAvailable", "describe-replication-groups"),
    "another kind of cache": (replace_cache_by_a_serverless_one, "WrongSigningParameters", "ResourceType"),
    "another endpoint": (move_cache, "WrongEndpoint", "elsewhere.cache.example:6379"),
    "an old engine": (fall_back_to_an_old_engine, "EngineTooOld", "--engine-version 7.0"),
    "TLS off": (turn_tls_off, "TLSDisabled", "--transit-encryption-enabled"),
    "role deleted": (delete_role, "RoleNotFound", "elasticache-iam.dev/paused-"),
    "policy deleted": (delete_policy, "PolicyDenies", "aws iam put-role-policy"),
    "only one ARN": (allow_only_the_cache, "PolicyDenies", ":user:"),
    "an explicit Deny": (deny_by_another_policy, "PolicyDenies", "Deny"),
    "a boundary": (put_a_boundary_on, "BoundaryDenies", "policy/narrow"),
    "a fast clock": (set_the_clock(timedelta(minutes=7)), "ClockSkew", "420 s ahead of"),
    "a slow clock": (set_the_clock(timedelta(minutes=-16)), "ClockSkew", "960 s behind"),
}


async def begin(ground: VirtualGround) -> Chain:
    """Take the main job to its end: the user has logged in."""
    ground.probe = WorldProbe(ground.world)  # type: ignore[assignment]
    ground.add_cache(host=HOST)
    await ground.start()
    ground.apply(group_manifest(), user_manifest())
    await ground.until_ready(GROUPS, "platform", "orders")
    await ground.until_ready()
    await ground.until(lambda: ground.conditions(*USER)["Verified"] == ("True", "LoggedIn"))
    return Chain(ground)


def ask_for_a_login(ground: VirtualGround) -> None:
    """Change what is delivered, and nothing in AWS: the next token has to be seen to log in."""
    body = user_manifest(delivery={"secret": {"labels": {"edited": "yes"}}})
    ground.apply(body)


def explanation(ground: VirtualGround, reason: str) -> str | None:
    """Return what `Verified` has said with that reason: the operator may have repaired it meanwhile."""
    found = [message for _, shown, message in ground.shown if shown == reason and message.startswith("main: ")]
    return found[0] if found else None


@pytest.mark.parametrize("name", BREAKS)
def test_a_refused_login_is_explained(name: str):
    break_it, reason, repair = BREAKS[name]

    async def story() -> tuple[str, list[str]]:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            break_it(chain)
            ask_for_a_login(ground)
            message = await ground.until(lambda: explanation(ground, reason), timeout_s=1800.0)
            assert ground.failures() == []
            return message, ground.probe.refusals  # type: ignore[attr-defined]

    message, refusals = play(story())

    assert repair in message
    assert refusals or reason in {"CacheGone", "CacheNotAvailable", "WrongEndpoint", "TLSDisabled"}


async def look(ground: VirtualGround) -> Tree:
    """Walk the chain as `elasticache-iam verify` does, with an administrator's credentials."""

    async def connect(_: object) -> ClusterInMemory:
        return ClusterInMemory(ground)

    said = Said({"owner": OWNER, "region": REGION, "account": ACCOUNT, "oidcIssuer": ground.signer.issuer})
    with (
        patch.object(planning, "Session", lambda: ground.aws.session(*ground.admin_key, REGION)),
        patch.object(planning, "Bridge", BridgeInPlace),
        patch.object(planning, "SystemClock", lambda: ground.clock),
        patch.object(planning, "ApiKube", lambda *_, **__: ground.kube),
        patch.object(planning, "_connect", connect),
    ):
        return await verify(Inquiry("shop", "checkout", said))


class ClusterInMemory:
    """A connection to read our resources by."""

    def __init__(self, ground: VirtualGround) -> None:
        self._ground = ground

    async def call(self, request: Request) -> Mapping[str, Any]:
        found = self._ground.kube.get(request.resource, request.namespace, request.name)
        if request.verb != "get" or found is None:
            raise NotFoundError(f"{request.resource} not found")
        return found

    async def close(self) -> None: ...


@pytest.mark.parametrize("name", [name for name in BREAKS if "clock" not in name])
def test_the_tree_names_the_broken_link_where_nobody_has_repaired_it(name: str):
    break_it, reason, repair = BREAKS[name]

    async def story() -> tuple[Tree, Tree, dict[str, Any]]:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            await ground.kill_all()
            before = await look(ground)
            break_it(chain)
            broken = ground.in_aws()
            after = await look(ground)
            assert ground.in_aws() == broken
            return before, after, broken

    before, after, _ = play(story())

    assert before.broken == ()
    first = after.branches[0].diagnosis.broken
    assert first is not None
    assert first.cause == reason
    assert repair in f"{first.says} {first.repair}"


TRUST_BREAKS: Final[dict[str, tuple[Callable[[Chain], None], str, str]]] = {
    "another trust": (
        lambda chain: chain.iam.update_assume_role_policy(
            RoleName=chain.role,
            PolicyDocument=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
                    ],
                }
            ),
        ),
        "TrustMissing",
        "aws iam update-assume-role-policy",
    ),
    "another audience": (
        lambda chain: chain.iam.remove_client_id_from_open_id_connect_provider(
            OpenIDConnectProviderArn=chain.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"][0]["Arn"],
            ClientID="elasticache-iam.dev/sign",
        ),
        "AudienceMissing",
        "aws iam add-client-id-to-open-id-connect-provider",
    ),
}


@pytest.mark.parametrize("name", TRUST_BREAKS)
def test_the_tree_tells_before_a_session_ends_that_no_other_can_be_had(name: str):
    break_it, reason, repair = TRUST_BREAKS[name]

    async def story() -> Tree:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            await ground.kill_all()
            break_it(chain)
            return await look(ground)

    first = play(story()).branches[0].diagnosis.broken

    assert first is not None
    assert first.cause == reason
    assert first.repair.startswith(repair)


@pytest.mark.parametrize(
    "name",
    [
        "another mode",
        "switched off",
        "user deleted",
        "out of the group",
        "group taken off",
        "role deleted",
        "policy deleted",
        "an explicit Deny",
    ],
)
def test_what_the_operator_can_repair_it_repairs_once_it_is_explained(name: str):
    break_it, reason, _ = BREAKS[name]

    async def story() -> None:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            break_it(chain)
            ask_for_a_login(ground)
            await ground.until(lambda: explanation(ground, reason))
            await ground.until(lambda: ground.conditions(*USER)["Verified"] == ("True", "LoggedIn"), timeout_s=60.0)

    play(story())


def test_a_refusal_whose_cause_nobody_can_see_lists_what_is_in_order():
    async def story() -> str:
        async with virtual_ground() as ground:
            await begin(ground)
            ground.probe.hidden_cause = "a policy of the organization"  # type: ignore[attr-defined]
            ask_for_a_login(ground)
            return await ground.until(lambda: explanation(ground, "LoginRefused"))

    message = play(story())

    assert "in order: signature, user, group, cache, role, session" in message
    assert "Can't be told from outside" in message


def test_without_the_right_to_ask_aws_the_rest_is_told():
    async def story() -> str:
        async with virtual_ground() as ground:
            await begin(ground)
            ground.fault("iam", "SimulatePrincipalPolicy", "AccessDenied", http_status=403)
            ground.probe.hidden_cause = "anything"  # type: ignore[attr-defined]
            ask_for_a_login(ground)
            return await ground.until(lambda: explanation(ground, "LoginRefused"))

    assert "in order: signature, user, group, cache, role, session" in play(story())


def test_many_refused_users_cost_few_reads():
    async def story() -> dict[str, int]:
        async with virtual_ground() as ground:
            ground.probe = WorldProbe(ground.world)  # type: ignore[assignment]
            ground.add_cache(host=HOST)
            await ground.start()
            names = [f"user{number}" for number in range(30)]
            ground.apply(group_manifest(), *(user_manifest(name) for name in names))
            for name in names:
                await ground.until_ready(name=name)
            ground.probe.hidden_cause = "anything"
            ground.world.reset_call_counts()
            for name in names:
                ground.apply(user_manifest(name, delivery={"secret": {"labels": {"edited": "yes"}}}))
            for name in names:
                key = (USERS, "shop", name)
                await ground.until(lambda key=key: ground.conditions(*key)["Verified"] == ("False", "LoginRefused"))
            return {operation: count for (_, operation), count in ground.world.call_counts().items()}

    counts = play(story())

    assert counts["DescribeUsers"] <= 4
    assert counts["SimulatePrincipalPolicy"] <= 2 * 30 * 2


# -- logins after the first ------------------------------------------------------------------------------------------


SLOW_S: Final = 3600.0
"""The default of slowDriftInterval."""


async def pass_quietly(ground: VirtualGround, seconds: float) -> None:
    """Let virtual time pass, in steps in which AWS goes on."""
    for _ in range(int(seconds // 600)):
        await asyncio.sleep(600.0)
        ground.world.advance()


def test_a_boundary_that_nobody_announced_is_found_within_the_slow_drift_interval():
    async def story() -> str:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            await pass_quietly(ground, 3 * SLOW_S)
            put_a_boundary_on(chain)
            message = await ground.until(lambda: explanation(ground, "BoundaryDenies"), timeout_s=SLOW_S + 120.0)
            assert ground.conditions(*USER)["Verified"] == ("False", "BoundaryDenies")
            return message

    assert "policy/narrow" in play(story())


def test_a_login_is_proven_anew_once_the_boundary_is_gone():
    async def story() -> None:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            put_a_boundary_on(chain)
            await ground.until(lambda: explanation(ground, "BoundaryDenies"), timeout_s=2 * SLOW_S)
            chain.iam.delete_role_permissions_boundary(RoleName=chain.role)
            await ground.until(
                lambda: ground.conditions(*USER)["Verified"] == ("True", "LoggedIn"), timeout_s=2 * SLOW_S
            )

    play(story())


def count_logins(ground: VirtualGround) -> int:
    """Return how many logins have worked so far."""
    return len(ground.probe.logins)  # type: ignore[attr-defined]


def upgrade_engine(chain: Chain) -> None:
    chain.cache.engine_version = "7.2.0"


CHANGES: Final[dict[str, Callable[[Chain], None]]] = {
    "another mode, repaired": leave_iam_mode,
    "policy deleted, repaired": delete_policy,
    "switched off, repaired": switch_off,
    "role deleted, made anew": delete_role,
    "user deleted, made anew": delete_user,
    "group taken off, attached again": detach_group,
    "engine upgraded": upgrade_engine,
    "another policy": lambda chain: chain.put_policy("more", "Allow", "*"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_chain_is_proven_by_a_login(name: str):
    async def story() -> None:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            await pass_quietly(ground, 600.0)
            before = count_logins(ground)
            CHANGES[name](chain)
            await ground.until(lambda: count_logins(ground) > before, timeout_s=SLOW_S + 120.0)
            assert ground.failures() == []

    play(story())


def test_a_login_that_a_crash_forgot_is_tried_by_the_next_operator():
    async def story() -> None:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            await pass_quietly(ground, 600.0)
            seen = (ground.kube.get(*USER) or {})["status"]["chain"]["seen"]
            upgrade_engine(chain)
            await ground.until(
                lambda: (ground.kube.get(*USER) or {})["status"]["chain"]["seen"] != seen, timeout_s=2 * SLOW_S
            )
            await ground.kill_all()
            before = count_logins(ground)
            await ground.start()
            await ground.until(lambda: count_logins(ground) > before, timeout_s=900.0)

    play(story())


def chain_of(ground: VirtualGround) -> dict[str, str] | None:
    """Return what the status has of the chain."""
    return (ground.kube.get(*USER) or {})["status"].get("chain")


async def start_with_chain(ground: VirtualGround, chain: dict[str, str] | None) -> None:
    """Start another operator on a status that has this chain."""
    body = ground.kube.get(*USER) or {}
    status = {key: value for key, value in body["status"].items() if key != "chain"} | (
        {"chain": chain} if chain else {}
    )
    await ground.kube.patch_status(*USER, uid=body["metadata"]["uid"], status=status)
    await ground.start()


def test_of_a_user_that_logged_in_before_chains_were_known_a_change_outlives_a_failover():
    async def story() -> None:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            await pass_quietly(ground, 600.0)
            await ground.kill_all()
            logins = count_logins(ground)
            await start_with_chain(ground, None)
            first = await ground.until(lambda: chain_of(ground))
            await pass_quietly(ground, 2 * SLOW_S)
            assert first["proven"] == first["seen"] != ""
            assert (chain_of(ground), count_logins(ground)) == (first, logins)
            upgrade_engine(chain)
            await ground.until(lambda: chain_of(ground) != first, timeout_s=2 * SLOW_S)
            await ground.kill_all()
            await ground.start()
            await ground.until(lambda: count_logins(ground) > logins, timeout_s=900.0)

    play(story())


def test_a_chain_that_somebody_else_wrote_into_the_status_ends_proven():
    async def story() -> None:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            await pass_quietly(ground, 600.0)
            await ground.kill_all()
            digest = (chain_of(ground) or {})["seen"].partition(".")[0]
            await start_with_chain(ground, {"seen": f"{digest}.x", "proven": "\u00b2"})
            leave_iam_mode(chain)
            await ground.until(
                lambda: chain_of(ground) == {"seen": f"{digest}.1", "proven": f"{digest}.1"}, timeout_s=2 * SLOW_S
            )
            assert ground.failures() == []

    play(story())


def test_a_repair_whose_status_could_not_be_written_is_proven_all_the_same():
    async def story() -> None:
        async with virtual_ground() as ground:
            chain = await begin(ground)
            await pass_quietly(ground, 600.0)
            before, logins = chain_of(ground) or {}, count_logins(ground)
            ground.kube.fail_next("patch_status", UnavailableError("the API server is away"), times=2)
            leave_iam_mode(chain)
            await ground.until(lambda: chain_of(ground) != before, timeout_s=2 * SLOW_S)
            await ground.until(lambda: count_logins(ground) > logins, timeout_s=900.0)

    play(story())


def test_a_login_is_proven_once_a_day_and_an_unchanged_world_is_not_written_to():
    async def story() -> int:
        async with virtual_ground() as ground:
            await begin(ground)
            await pass_quietly(ground, 2 * SLOW_S)
            logins, version = count_logins(ground), statuses(ground)
            await pass_quietly(ground, 1.5 * 86400.0)
            assert statuses(ground) == version
            return count_logins(ground) - logins

    assert play(story()) in {1, 2}


def statuses(ground: VirtualGround) -> list[Any]:
    """Return which versions of the resources there are: a write makes another."""
    return [
        (ground.kube.get(*key) or {})["metadata"]["resourceVersion"] for key in (USER, (GROUPS, "platform", "orders"))
    ]
