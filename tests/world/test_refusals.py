"""Each refusal of AWS, met where it can come, ends in the condition that docs/reference/conditions.md explains.

Then AWS thinks better of it, and what was asked for comes by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, Manifest, group_manifest, user_manifest
from tests.world.disturbances import HTTP_STATUSES, documented_reasons
from tests.world.scenarios import CONSENT, GROUP, USER, add_cluster, deliver, gone, on_cache, ready
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.core import names

USER_ID: Final = names.default_id(OWNER, "shop", "checkout")
GROUP_ID: Final = names.default_id(OWNER, "platform", "orders")
ROLE: Final = names.role_name(OWNER, "shop", "checkout")
ALLOW_ALL: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
DENY_ALL: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}'


@dataclass(frozen=True)
class Refusal:
    """What AWS answers to an operation, and the condition that tells it.

    Attributes:
        during: create, change, delete (the user), end (the group, too) or limit (a boundary is configured): when the
            operator makes that call.
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


def memorydb(operation: str, condition: str, during: str = "create", **reasons: str) -> list[Refusal]:
    return [Refusal("memorydb", operation, code, condition, reason, during=during) for code, reason in reasons.items()]


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
    *elasticache(
        "ModifyServerlessCache",
        "CachesAttached",
        InvalidServerlessCacheStateFault="Busy",
        ServerlessCacheNotFoundFault="NotFound",
        InvalidCredentialsException="Unavailable",
        InvalidUserGroupState="Busy",
        UserGroupNotFound="NotFound",
        InvalidParameterValue="InvalidSpec",
        InvalidParameterCombination="InvalidSpec",
        ServiceLinkedRoleNotFoundFault="AccessDenied",
    ),
    Refusal("elasticache", "DeleteUserGroup", "InvalidUserGroupState", "GroupSynced", "Busy", during="end"),
    *memorydb(
        "CreateUser",
        "UserSynced",
        DuplicateUserNameFault="InvalidSpec",
        UserQuotaExceededFault="QuotaExceeded",
        TagQuotaPerResourceExceeded="InvalidSpec",
        InvalidParameterValueException="InvalidSpec",
        InvalidParameterCombinationException="InvalidSpec",
        AccessDeniedException="AccessDenied",
        ThrottlingException="Throttled",
        InternalFailure="Unavailable",
    ),
    *memorydb(
        "CreateACL",
        "GroupSynced",
        DuplicateUserNameFault="InvalidSpec",
        DefaultUserRequired="InvalidSpec",
        UserNotFoundFault="NotFound",
        ACLQuotaExceededFault="QuotaExceeded",
        TagQuotaPerResourceExceeded="InvalidSpec",
        InvalidParameterValueException="InvalidSpec",
    ),
    *memorydb(
        "UpdateCluster",
        "CachesAttached",
        ClusterNotFoundFault="NotFound",
        InvalidClusterStateFault="Busy",
        ACLNotFoundFault="NotFound",
        InvalidACLStateFault="Busy",
        InvalidVPCNetworkStateFault="Busy",
        InvalidKMSKeyFault="AccessDenied",
        InvalidParameterValueException="InvalidSpec",
        InvalidParameterCombinationException="InvalidSpec",
    ),
    *memorydb("UpdateUser", "UserSynced", "change", InvalidUserStateFault="Busy", UserNotFoundFault="NotFound"),
    *memorydb(
        "UpdateACL",
        "GroupSynced",
        "change",
        ACLNotFoundFault="NotFound",
        InvalidACLStateFault="Busy",
        UserNotFoundFault="NotFound",
        DuplicateUserNameFault="InvalidSpec",
        DefaultUserRequired="InvalidSpec",
    ),
    *memorydb("DeleteUser", "UserSynced", "delete", InvalidUserStateFault="Busy"),
    *memorydb("DeleteACL", "GroupSynced", "end", InvalidACLStateFault="Busy"),
    *(
        Refusal("iam", "PutRolePermissionsBoundary", code, "AccessGranted", reason, during="limit")
        for code, reason in (
            ("PolicyNotAttachable", "AccessDenied"),
            ("InvalidInput", "InvalidSpec"),
            ("NoSuchEntity", "NotFound"),
            ("UnmodifiableEntity", "InvalidSpec"),
        )
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
            ("InvalidIdentityToken", "IdentityRefused"),
            ("IDPRejectedClaim", "IdentityRefused"),
            ("ExpiredTokenException", "AccessDenied"),
            ("IDPCommunicationError", "IssuerUnreachable"),
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
        group = _prepare(world, refusal)
        if refusal.during != "create":
            await deliver(world, group, user_manifest())
        if refusal.during == "limit":
            made = world.iam.create_policy(PolicyName="boundary", PolicyDocument=ALLOW_ALL)["Policy"]
            world.grant(boundary=made["Arn"])
            world.config = {"permissionsBoundary": made["Arn"]}
        fault = world.fault(
            refusal.service,
            refusal.operation,
            refusal.code,
            error_message=refusal.message or "a fault of the test",
            http_status=HTTP_STATUSES.get(refusal.code, 400),
        )
        await world.start()
        await _ask(world, refusal, group)

        def told() -> Any:
            condition = world.condition(*refusal.is_told_by, refusal.condition)
            is_it = condition is not None and condition["reason"] == refusal.reason
            return condition if is_it and refusal.code in condition["message"] else None

        condition = await world.until(told)
        world.settings.faults.remove(fault)
        await _until_done(world, refusal.during)
        assert world.failures() == []
        return condition


def _prepare(world: VirtualGround, refusal: Refusal) -> Manifest:
    """Put the cache there that the operation is about; return a group for it."""
    if refusal.service == "memorydb":
        return add_cluster(world)
    if refusal.operation == "ModifyServerlessCache":
        world.world.add_serverless_cache(
            ACCOUNT, REGION, "orders-now", engine="valkey", host="127.0.0.1", port=6379, tags=CONSENT
        )
        return on_cache({"serverlessCache": "orders-now"})
    world.add_cache()
    return group_manifest(deletionPolicy="Delete")


async def _ask(world: VirtualGround, refusal: Refusal, group: Manifest) -> None:
    match refusal.during:
        case "create" | "limit":
            world.apply(group, user_manifest())
        case "change":
            access = {"preset": "ReadOnly", "keys": ["orders:*"]}
            world.apply(user_manifest(access=access, service_account="checkout-v2"), user_manifest("billing"))
        case "delete":
            world.kube.delete(*USER)
        case _:
            world.kube.delete(*USER)
            await gone(world, USER)
            if refusal.service == "memorydb":
                world.admin.client("memorydb").delete_cluster(ClusterName="orders-db")
            else:
                world.elasticache.delete_replication_group(ReplicationGroupId="orders-prod")
            world.kube.delete(*GROUP)


async def _until_done(world: VirtualGround, during: str) -> None:
    match during:
        case "delete":
            await gone(world, USER)
        case "end":
            await gone(world, GROUP)
        case _:
            await ready(world, GROUP, USER)


@pytest.mark.parametrize(
    ("service", "operation", "code", "message"),
    [
        ("memorydb", "UpdateCluster", "NoOperationFault", ""),
        ("elasticache", "ModifyServerlessCache", "InvalidParameterCombination", "No modifications were requested"),
        ("elasticache", "ModifyReplicationGroup", "InvalidParameterCombination", "No modifications were requested"),
    ],
)
def test_nothing_to_do_is_no_refusal(service: str, operation: str, code: str, message: str):
    async def story() -> set[str]:
        async with virtual_ground() as world:
            group = _prepare(world, Refusal(service, operation, code, "CachesAttached", ""))
            world.fault(service, operation, code, times=1, error_message=message or "a fault of the test")
            await world.start()
            world.apply(group, user_manifest())
            await ready(world, GROUP, USER)
            assert world.calls(operation) == 2
            return {reason for _, reason, _ in world.shown}

    assert "InvalidSpec" not in play(story())


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
