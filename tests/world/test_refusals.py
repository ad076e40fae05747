"""Each refusal of AWS, met where it can come, ends in the condition that docs/reference/conditions.md explains.

Then AWS thinks better of it, and what was asked for comes by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from tests.builders import OWNER, group_manifest, user_manifest
from tests.world.disturbances import HTTP_STATUSES, documented_reasons
from tests.world.scenarios import GROUP, USER, deliver, gone, ready
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.core import names

USER_ID: Final = names.default_id(OWNER, "shop", "checkout")
GROUP_ID: Final = names.default_id(OWNER, "platform", "orders")
ROLE: Final = names.role_name(OWNER, "shop", "checkout")
DENY_ALL: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}'


@dataclass(frozen=True)
class Refusal:
    """What AWS answers to an operation, and the condition that tells it.

    Attributes:
        during: create, change or delete: when the operator makes that call.
        is_told_by: The resource.
    """

    service: str
    operation: str
    code: str
    condition: str
    reason: str
    message: str = ""
    during: str = "create"

    def __str__(self) -> str:
        return f"{self.operation}-{self.code}-is-{self.reason}" + (
            f"-{self.message.split()[-1]}" if self.message else ""
        )

    @property
    def is_told_by(self) -> tuple[str, str, str]:
        return GROUP if self.condition in {"GroupSynced", "CachesAttached"} else USER


def elasticache(operation: str, condition: str, **reasons: str) -> list[Refusal]:
    return [Refusal("elasticache", operation, code, condition, reason) for code, reason in reasons.items()]


NOT_A_MEMBER: Final = "User x is not a member of user group y"
SAME_NAME: Final = "User Id and User name must be same for authentication type: iam"
AUTH_TOKEN: Final = "User group can't be associated with auth token enabled. Pass AuthStrategy delete to proceed"
NEEDS_TLS: Final = "User group based access control requires encryption-in-transit to be enabled"
PRINCIPAL: Final = "Invalid principal in policy"

REFUSALS: Final = (
    *elasticache(
        "CreateUser",
        "UserSynced",
        DuplicateUserName="InvalidSpec",
        UserQuotaExceeded="QuotaExceeded",
        TagQuotaPerResourceExceeded="InvalidSpec",
        InvalidParameterValue="InvalidSpec",
        ServiceLinkedRoleNotFoundFault="AccessDenied",
        AccessDenied="AccessDenied",
        Throttling="Throttled",
        RequestLimitExceeded="Throttled",
        InternalFailure="Unavailable",
    ),
    Refusal("elasticache", "CreateUser", "InvalidParameterCombination", "UserSynced", "InvalidSpec", SAME_NAME),
    Refusal("elasticache", "ModifyUser", "InvalidUserState", "UserSynced", "Busy", during="change"),
    Refusal("elasticache", "ModifyUser", "UserNotFound", "UserSynced", "NotFound", during="change"),
    Refusal("elasticache", "DeleteUser", "InvalidUserState", "UserSynced", "Busy", during="delete"),
    Refusal("elasticache", "DeleteUser", "DefaultUserAssociatedToUserGroup", "UserSynced", "Busy", during="delete"),
    *elasticache(
        "CreateUserGroup",
        "GroupSynced",
        DuplicateUserName="InvalidSpec",
        DefaultUserRequired="InvalidSpec",
        UserNotFound="NotFound",
        InvalidUserState="Busy",
        UserGroupQuotaExceeded="QuotaExceeded",
        TagQuotaPerResourceExceeded="InvalidSpec",
    ),
    *(
        Refusal("elasticache", "ModifyUserGroup", code, "GroupSynced", reason, message, during="change")
        for code, reason, message in (
            ("InvalidUserGroupState", "Busy", ""),
            ("UserGroupNotFound", "NotFound", ""),
            ("DuplicateUserName", "InvalidSpec", ""),
            ("DefaultUserRequired", "InvalidSpec", ""),
            ("InvalidParameterValue", "Conflict", NOT_A_MEMBER),
        )
    ),
    *elasticache(
        "ModifyReplicationGroup",
        "CachesAttached",
        InvalidReplicationGroupState="Busy",
        InvalidCacheClusterState="Busy",
        ReplicationGroupNotFoundFault="NotFound",
        UserGroupNotFound="NotFound",
        InvalidUserGroupState="Busy",
    ),
    *(
        Refusal("elasticache", "ModifyReplicationGroup", code, "CachesAttached", "InvalidSpec", message)
        for code, message in (("InvalidParameterCombination", AUTH_TOKEN), ("InvalidParameterValue", NEEDS_TLS))
    ),
    *(
        Refusal("iam", operation, code, "AccessGranted", reason, message)
        for operation, code, reason, message in (
            ("CreateRole", "MalformedPolicyDocument", "InvalidSpec", ""),
            ("CreateRole", "MalformedPolicyDocument", "NotFound", PRINCIPAL),
            ("CreateRole", "LimitExceeded", "QuotaExceeded", ""),
            ("CreateRole", "ConcurrentModification", "Conflict", ""),
            ("CreateRole", "InvalidInput", "InvalidSpec", ""),
            ("CreateRole", "ServiceFailure", "Unavailable", ""),
            ("PutRolePolicy", "NoSuchEntity", "NotFound", ""),
            ("PutRolePolicy", "UnmodifiableEntity", "InvalidSpec", ""),
            ("PutRolePolicy", "LimitExceeded", "QuotaExceeded", ""),
        )
    ),
    Refusal("iam", "UpdateAssumeRolePolicy", "UnmodifiableEntity", "AccessGranted", "InvalidSpec", during="change"),
    Refusal("iam", "DeleteRole", "DeleteConflict", "UserSynced", "Conflict", during="delete"),
    *(
        Refusal("sts", "AssumeRoleWithWebIdentity", code, "TokenDelivered", reason)
        for code, reason in (
            ("AccessDenied", "Propagating"),
            ("AccessDenied", "AccessDenied"),
            ("InvalidIdentityToken", "AccessDenied"),
            ("IDPRejectedClaim", "AccessDenied"),
            ("ExpiredTokenException", "AccessDenied"),
            ("IDPCommunicationError", "Unavailable"),
            ("MalformedPolicyDocument", "InvalidSpec"),
            ("PackedPolicyTooLarge", "InvalidSpec"),
            ("RegionDisabledException", "AccessDenied"),
            ("ValidationError", "InvalidSpec"),
        )
    ),
)


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_refusal_is_told_by_its_documented_reason_and_heals(refusal: Refusal):
    condition = play(_refuse(refusal))

    assert condition["status"] == "False"
    assert refusal.reason in documented_reasons()
    assert f"{refusal.operation}: {refusal.code}: " in condition["message"]


async def _refuse(refusal: Refusal) -> Any:
    async with virtual_ground() as world:
        world.add_cache()
        if refusal.during != "create":
            await deliver(world, group_manifest(), user_manifest())
        fault = world.fault(
            refusal.service,
            refusal.operation,
            refusal.code,
            error_message=refusal.message or "a fault of the test",
            http_status=HTTP_STATUSES.get(refusal.code, 400),
        )
        await world.start()
        _ask(world, refusal.during)

        def told() -> Any:
            condition = world.condition(*refusal.is_told_by, refusal.condition)
            is_it = condition is not None and condition["reason"] == refusal.reason
            return condition if is_it and refusal.code in condition["message"] else None

        condition = await world.until(told)
        world.settings.faults.remove(fault)
        await (gone(world, USER) if refusal.during == "delete" else ready(world, GROUP, USER))
        assert world.failures() == []
        return condition


def _ask(world: VirtualGround, during: str) -> None:
    match during:
        case "create":
            world.apply(group_manifest(), user_manifest())
        case "change":
            access = {"preset": "ReadOnly", "keys": ["orders:*"]}
            world.apply(user_manifest(access=access, service_account="checkout-v2"), user_manifest("billing"))
        case _:
            world.kube.delete(*USER)


# -- what somebody else has --------------------------------------------------------------------------------------------


def _take_user_id(world: VirtualGround) -> None:
    world.elasticache.create_user(
        UserId=USER_ID,
        UserName=USER_ID,
        Engine="redis",
        AccessString="on ~* +@all",
        AuthenticationMode={"Type": "iam"},
    )


def _take_group_id(world: VirtualGround) -> None:
    world.elasticache.create_user_group(UserGroupId=GROUP_ID, Engine="redis", UserIds=["default"])


def _take_role_name(world: VirtualGround) -> None:
    world.iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=DENY_ALL)


@pytest.mark.parametrize(
    ("take", "kind", "condition"),
    [
        (_take_user_id, USER, "UserSynced"),
        (_take_group_id, GROUP, "GroupSynced"),
        (_take_role_name, USER, "AccessGranted"),
    ],
    ids=["UserAlreadyExists", "UserGroupAlreadyExists", "EntityAlreadyExists"],
)
def test_a_name_that_is_taken_is_told_and_left_alone(
    take: Callable[[VirtualGround], None], kind: tuple[str, str, str], condition: str
):
    async def story() -> tuple[Any, Any, Any]:
        async with virtual_ground() as world:
            world.add_cache()
            take(world)
            before = world.in_aws()
            await world.start()
            world.apply(group_manifest(), user_manifest())
            told = await world.until(lambda: world.condition(*kind, condition))
            await world.until(lambda: world.condition(*kind, condition)["reason"] == "NotOwned")
            told = world.condition(*kind, condition)
            return told, before, world.in_aws()

    told, before, after = play(story())

    assert told["reason"] == "NotOwned"
    for part in ("users", "groups", "roles"):
        assert before[part].items() <= after[part].items()
