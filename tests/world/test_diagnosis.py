"""Each way to break a login, done to the sandbox behind the operator's back: the condition names it."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from tests.builders import ACCOUNT, REGION, group_manifest, user_manifest
from tests.fakes.probe import WorldProbe
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.api.keys import ROLE_POLICY_NAME
from elasticache_iam.reconcile.queue import GROUPS, USERS

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
