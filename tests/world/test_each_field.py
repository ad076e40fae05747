"""Each field that somebody changes behind our back is put back once, by one write, and an Event says what differed."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from tests.builders import OWNER, group_manifest, user_manifest
from tests.world.scenarios import GROUP, QUICK, USER, ready
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.api.keys import ROLE_POLICY_NAME
from elasticache_iam.core import names

USER_ID: Final = names.default_id(OWNER, "shop", "checkout")
GROUP_ID: Final = names.default_id(OWNER, "platform", "orders")
DEFAULT_ID: Final = names.default_user_id(OWNER, GROUP_ID)
TAGS: Final = {"team": "orders"}
LONG_S: Final = 600.0
"""Long enough for many more looks."""


@dataclass(frozen=True)
class Drift:
    """What somebody changes.

    Attributes:
        change: Their call.
        repair: Ours.
        words: What the Event says: the field, and what it had been changed to.
    """

    name: str
    change: Callable[[VirtualGround], object]
    repair: str
    words: tuple[str, ...]
    around: tuple[str, ...] = ()
    """Calls around the repair: a user that logs in by a password is in no group until it doesn't."""

    def __str__(self) -> str:
        return self.name


def document(*actions: str, **more: Any) -> str:
    resource = {} if "Principal" in more else {"Resource": "*"}
    statement = {"Effect": "Allow", "Action": list(actions), **resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def tag(kind: str, **tags: str) -> Callable[[VirtualGround], object]:
    def change(world: VirtualGround) -> None:
        object_id = {"user": USER_ID, "usergroup": GROUP_ID}[kind]
        world.elasticache.add_tags_to_resource(
            ResourceName=f"arn:aws:elasticache:eu-central-1:111122223333:{kind}:{object_id}",
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    return change


def modify_user(user_id: str, **parameters: Any) -> Callable[[VirtualGround], object]:
    return lambda world: world.elasticache.modify_user(UserId=user_id, **parameters)


def on_role(operation: str, **parameters: Any) -> Callable[[VirtualGround], object]:
    return lambda world: getattr(world.iam, operation)(RoleName=USER_ID, **parameters)


def make_other_boundary(world: VirtualGround) -> None:
    made = world.iam.create_policy(PolicyName="wider", PolicyDocument=document("*"))["Policy"]["Arn"]
    world.iam.put_role_permissions_boundary(RoleName=USER_ID, PermissionsBoundary=made)


DRIFTS: Final = (
    Drift(
        "user-access-string",
        modify_user(USER_ID, AccessString="on ~* +@all"),
        "elasticache ModifyUser",
        (f"the access string of user {USER_ID}", "on ~* +@all"),
    ),
    Drift(
        "user-authentication",
        modify_user(USER_ID, AuthenticationMode={"Type": "password", "Passwords": ["sixteen-characters-or-more"]}),
        "elasticache ModifyUser",
        (f"the authentication mode of user {USER_ID}", "password"),
        around=("elasticache ModifyUserGroup",),
    ),
    Drift("user-tags", tag("user", team="theirs"), "elasticache AddTagsToResource", ("the tags of user", "team")),
    Drift(
        "default-user-access-string",
        modify_user(DEFAULT_ID, AccessString="on ~* +@all"),
        "elasticache ModifyUser",
        (DEFAULT_ID, "on ~* +@all"),
    ),
    Drift(
        "membership",
        lambda world: world.elasticache.modify_user_group(UserGroupId=GROUP_ID, UserIdsToRemove=[USER_ID]),
        "elasticache ModifyUserGroup",
        (GROUP_ID, f"{USER_ID} was taken out"),
    ),
    Drift("group-tags", tag("usergroup", team="theirs"), "elasticache AddTagsToResource", (GROUP_ID, "team")),
    Drift(
        "attachment",
        lambda world: world.elasticache.modify_replication_group(
            ReplicationGroupId="orders-prod", UserGroupIdsToRemove=[GROUP_ID], ApplyImmediately=True
        ),
        "elasticache ModifyReplicationGroup",
        ("the group of cache orders-prod", "left open"),
    ),
    Drift(
        "trust",
        on_role(
            "update_assume_role_policy", PolicyDocument=document("sts:AssumeRole", Principal={"AWS": "111122223333"})
        ),
        "iam UpdateAssumeRolePolicy",
        (f"the trust policy of role {USER_ID}", '"AWS":"111122223333"'),
    ),
    Drift(
        "inline-policy-widened",
        on_role("put_role_policy", PolicyName=ROLE_POLICY_NAME, PolicyDocument=document("elasticache:Connect")),
        "iam PutRolePolicy",
        (f"the policy {ROLE_POLICY_NAME} of role {USER_ID}", '"Resource":"*"'),
    ),
    Drift(
        "inline-policy-deleted",
        on_role("delete_role_policy", PolicyName=ROLE_POLICY_NAME),
        "iam PutRolePolicy",
        (f"the policy {ROLE_POLICY_NAME} of role {USER_ID}", "deleted"),
    ),
    Drift(
        "inline-policy-added",
        on_role("put_role_policy", PolicyName="wider", PolicyDocument=document("*")),
        "iam DeleteRolePolicy",
        (f"the policies of role {USER_ID}", "wider was added"),
    ),
    Drift(
        "boundary-taken-off",
        on_role("delete_role_permissions_boundary"),
        "iam PutRolePermissionsBoundary",
        (f"the permissions boundary of role {USER_ID}", "none"),
    ),
    Drift(
        "boundary-replaced",
        make_other_boundary,
        "iam PutRolePermissionsBoundary",
        (f"the permissions boundary of role {USER_ID}", "policy/wider"),
    ),
    Drift(
        "session-length",
        on_role("update_role", MaxSessionDuration=3600),
        "iam UpdateRole",
        (f"the session length of role {USER_ID}", "3600 s"),
    ),
    Drift(
        "role-tag-changed",
        on_role("tag_role", Tags=[{"Key": "team", "Value": "theirs"}]),
        "iam TagRole",
        (f"the tags of role {USER_ID}", "team"),
    ),
    Drift(
        "role-tag-taken-off",
        on_role("untag_role", TagKeys=["team"]),
        "iam TagRole",
        (f"the tags of role {USER_ID}", "team"),
    ),
    Drift(
        "role-tag-added",
        on_role("tag_role", Tags=[{"Key": "cost", "Value": "theirs"}]),
        "iam UntagRole",
        (f"the tags of role {USER_ID}", "cost"),
    ),
)


@pytest.mark.parametrize("drift", DRIFTS, ids=str)
def test_what_is_changed_is_put_back_once_and_named(drift: Drift):
    writes, notes = play(_drift(drift))

    assert writes == [*drift.around, drift.repair, *drift.around]
    (note,) = notes
    for words in drift.words:
        assert words in note


async def _drift(drift: Drift) -> tuple[list[str], list[str]]:
    """Return the operator's writes to AWS after the change, and what its Events say of repairs."""
    async with virtual_ground() as world:
        boundary = world.iam.create_policy(PolicyName="boundary", PolicyDocument=document("*"))["Policy"]["Arn"]
        world.grant(boundary=boundary)
        world.config = {"permissionsBoundary": boundary, "allowedTagKeys": ["team", "cost"], **QUICK}
        world.add_cache()
        operator = await world.start()
        world.apply(group_manifest(tags=TAGS), user_manifest(tags=TAGS))
        await ready(world, GROUP, USER)
        await asyncio.sleep(LONG_S)
        before, wrote, told = world.in_aws(), len(operator.tap.writes), len(world.kube.events)

        drift.change(world)
        assert world.in_aws() != before
        await world.until(lambda: world.in_aws() == before)
        await asyncio.sleep(LONG_S)

        assert world.failures() == []
        writes = [name for name in operator.tap.writes[wrote:] if not name.startswith(("kubernetes ", "sts "))]
        return writes, [event["note"] for event in world.kube.events[told:] if event["reason"] == "DriftRepaired"]
