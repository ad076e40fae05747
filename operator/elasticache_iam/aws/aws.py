"""The control plane of AWS through boto3: ElastiCache and IAM, in one account and region."""

import contextlib
import functools
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from boto3.session import Session

from elasticache_iam.aws.api import Api
from elasticache_iam.aws.bridge import Bridge, ObserveCall
from elasticache_iam.aws.errors import is_no_operation
from elasticache_iam.aws.inventory import CachedInventory, Part
from elasticache_iam.aws.observe import observe_group, observe_role, observe_user, read_tags, write_tags
from elasticache_iam.aws.rate import TokenBucket
from elasticache_iam.core.errors import BusyError, InvalidSpecError, NotFoundError, OperatorError
from elasticache_iam.core.names import oidc_provider_arn
from elasticache_iam.core.plan.group import DEFAULT_USER_ACCESS
from elasticache_iam.core.state import CacheKind, CacheRef, Inventory, ObservedGroup, ObservedRole, ObservedUser
from elasticache_iam.ports import Clock, Document, Fence

OIDC_MAX_AGE_S: Final = 120.0
"""How long an answer about the OIDC provider is kept: all users of a pass ask for the same one."""

_DISCARDED_PASSWORD_BYTES: Final = 48
"""64 characters of base64; ElastiCache takes 16 to 128."""


class BotoAws:
    """Implements `ports.Aws`, for one event loop.

    Args:
        session: Where credentials come from.
        region: The caches' region.
        account: The account id.
        owner: This installation; its roles are those under its path.
        bridge: Its control lane carries the calls.
        fence: Asked before each attempt to write.
        clock: Its monotonic side tells the age of readings.
        observe_call: Told of each call.
        elasticache_per_s: Pace of calls, a share of the account's unpublished rate; 0: no limit.
        iam_per_s: As above. IAM's rate is one for all regions.
    """

    def __init__(
        self,
        session: Session,
        *,
        region: str,
        account: str,
        owner: str,
        bridge: Bridge,
        fence: Fence,
        clock: Clock,
        observe_call: ObserveCall | None = None,
        elasticache_per_s: float = 10.0,
        iam_per_s: float = 15.0,
    ) -> None:
        self._region = region
        self._account = account
        self._api = Api(
            session,
            region=region,
            lane=bridge.control,
            fence=fence,
            paces={
                "elasticache": TokenBucket(elasticache_per_s, burst=2 * elasticache_per_s),
                "iam": TokenBucket(iam_per_s, burst=2 * iam_per_s),
            },
            observe_call=observe_call,
        )
        self._inventory = CachedInventory(self._api, owner=owner, clock=clock)
        self._audiences: dict[str, Part[frozenset[str] | None]] = {}

    async def get_inventory(self, *, max_age_s: float, slow_max_age_s: float) -> Inventory:
        """Return what AWS has, no older than asked."""
        return await self._inventory.get(max_age_s=max_age_s, slow_max_age_s=slow_max_age_s)

    async def list_tags(self, arn: str) -> Mapping[str, str]:
        """Return an ElastiCache object's tags, read now.

        Raises:
            NotFoundError: There is no such group or cache.
            BusyError: Such a user is gone, or is being modified: AWS answers both alike, so users are read anew.
        """
        remember = self._inventory.start_reading_tags()
        try:
            answer = await self._api.call("elasticache", "ListTagsForResource", {"ResourceName": arn})
        except BusyError:
            self._inventory.users.invalidate()
            raise
        tags = read_tags(answer.get("TagList", ()))
        remember(arn, tags)
        return tags

    async def set_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags to a user or group, or replace their values; others stay. Raises NotFoundError, BusyError."""
        remember = self._inventory.start_reading_tags()
        answer = await self._api.call(
            "elasticache", "AddTagsToResource", {"ResourceName": arn, "Tags": write_tags(tags)}
        )
        remember(arn, read_tags(answer.get("TagList", ())))

    async def remove_tags(self, arn: str, keys: frozenset[str]) -> None:
        """Take tags off a user or group; missing ones are success. Raises NotFoundError, BusyError."""
        there = keys & (await self.list_tags(arn)).keys()  # AWS refuses the call for one that is missing
        if not there:
            return
        remember = self._inventory.start_reading_tags()
        answer = await self._api.call(
            "elasticache", "RemoveTagsFromResource", {"ResourceName": arn, "TagKeys": sorted(there)}
        )
        remember(arn, read_tags(answer.get("TagList", ())))

    # -- users ------------------------------------------------------------------------------------------------------

    async def create_user(
        self, user_id: str, *, engine: str, access_string: str, tags: Mapping[str, str]
    ) -> ObservedUser:
        """Create an IAM-mode user whose name is its id. Raises AlreadyExistsError."""
        return await self._create_user(
            {
                "UserId": user_id,
                "UserName": user_id,
                "Engine": engine,
                "AccessString": access_string,
                "AuthenticationMode": {"Type": "iam"},
            },
            tags,
        )

    async def create_default_user(self, user_id: str, *, engine: str, tags: Mapping[str, str]) -> ObservedUser:
        """Create a user *named* default that nobody can be.

        It has a password rather than none: a user without one would keep its group from becoming a valkey one.
        """
        return await self._create_user(
            {
                "UserId": user_id,
                "UserName": "default",
                "Engine": engine,
                "AccessString": DEFAULT_USER_ACCESS,
                "AuthenticationMode": {
                    "Type": "password",
                    "Passwords": [secrets.token_urlsafe(_DISCARDED_PASSWORD_BYTES)],
                },
            },
            tags,
        )

    async def _create_user(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> ObservedUser:
        answer = await self._api.call(
            "elasticache",
            "CreateUser",
            {**parameters, "Tags": write_tags(tags)},
            on_end=self._inventory.users.invalidate,
        )
        user = observe_user(answer)
        self._inventory.note_tags(user.arn, tags)
        return user

    async def set_access_string(self, user_id: str, access_string: str) -> ObservedUser:
        """Replace a user's access string. Raises BusyError unless it is active."""
        answer = await self._api.call(
            "elasticache",
            "ModifyUser",
            {"UserId": user_id, "AccessString": access_string},
            on_end=self._touch_members,  # its groups are busy with it
        )
        return observe_user(answer)

    async def delete_user(self, user_id: str) -> None:
        """Delete a user; a missing one is success."""
        with _gone_is_success("UserNotFound"):
            answer = await self._api.call("elasticache", "DeleteUser", {"UserId": user_id}, on_end=self._touch_members)
            self._inventory.note_tags(observe_user(answer).arn, {})

    # -- groups -----------------------------------------------------------------------------------------------------

    async def create_group(
        self, group_id: str, *, engine: str, user_ids: frozenset[str], tags: Mapping[str, str]
    ) -> ObservedGroup:
        """Create a user group. Raises AlreadyExistsError."""
        answer = await self._api.call(
            "elasticache",
            "CreateUserGroup",
            {"UserGroupId": group_id, "Engine": engine, **_ids("UserIds", user_ids), "Tags": write_tags(tags)},
            on_end=self._touch_members,
        )
        group = observe_group(answer)
        self._inventory.note_tags(group.arn, tags)
        return group

    async def modify_group(self, group_id: str, *, add: frozenset[str], remove: frozenset[str]) -> ObservedGroup:
        """Change members in one call, all or nothing. Raises BusyError, ConflictError (membership differs)."""
        answer = await self._api.call(
            "elasticache",
            "ModifyUserGroup",
            {"UserGroupId": group_id, **_ids("UserIdsToAdd", add), **_ids("UserIdsToRemove", remove)},
            on_end=self._touch_members,
        )
        return observe_group(answer)

    async def set_group_engine(self, group_id: str, engine: str) -> ObservedGroup:
        """Make a redis group a valkey one; its users stay. Raises BusyError."""
        answer = await self._api.call(
            "elasticache",
            "ModifyUserGroup",
            {"UserGroupId": group_id, "Engine": engine},
            on_end=self._touch_members,
        )
        return observe_group(answer)

    async def delete_group(self, group_id: str) -> None:
        """Delete a group; a missing one is success."""
        with _gone_is_success("UserGroupNotFound"):
            answer = await self._api.call(
                "elasticache", "DeleteUserGroup", {"UserGroupId": group_id}, on_end=self._touch_members
            )
            self._inventory.note_tags(observe_group(answer).arn, {})

    async def attach_group(self, cache: CacheRef, group_id: str) -> None:
        """Attach a group to a cache that has none. "No modifications were requested" is success."""
        if cache.kind is not CacheKind.REPLICATION_GROUP:
            raise InvalidSpecError(f"{cache.kind} {cache.id}: only replication groups are supported in this version")
        try:
            await self._api.call(
                "elasticache",
                "ModifyReplicationGroup",
                {"ReplicationGroupId": cache.id, "UserGroupIdsToAdd": [group_id], "ApplyImmediately": True},
                on_end=self._touch_attachments,
            )
        except OperatorError as error:
            if not is_no_operation(error):
                raise

    def _touch_members(self) -> None:
        self._inventory.users.invalidate()
        self._inventory.groups.invalidate()

    def _touch_attachments(self) -> None:
        self._inventory.groups.invalidate()
        self._inventory.replication_groups.invalidate()

    # -- roles ------------------------------------------------------------------------------------------------------

    async def get_role(self, name: str) -> ObservedRole | None:
        """Return a role with its policies, boundary and tags, read now; None if there is none."""
        return await self._inventory.read_role(name)

    async def create_role(
        self,
        name: str,
        *,
        path: str,
        trust: Document,
        tags: Mapping[str, str],
        boundary: str | None,
        max_session_s: int,
        description: str,
    ) -> ObservedRole:
        """Create a role. Raises AlreadyExistsError."""
        answer = await self._write_role(
            name,
            "CreateRole",
            {
                "Path": path,
                "AssumeRolePolicyDocument": _json(trust),
                "Description": description,
                "MaxSessionDuration": max_session_s,
                "Tags": write_tags(tags),
                **({"PermissionsBoundary": boundary} if boundary else {}),
            },
        )
        role = replace(  # the answer may leave out what we sent
            observe_role(answer["Role"]),
            trust=trust,
            max_session_s=max_session_s,
            policies={},
            boundary=boundary,
            tags=dict(tags),
        )
        self._inventory.note_role(role)
        return role

    async def set_trust(self, role_name: str, trust: Document) -> None:
        """Replace a role's trust policy."""
        known = self._inventory.known_role(role_name)
        await self._write_role(role_name, "UpdateAssumeRolePolicy", {"PolicyDocument": _json(trust)})
        if known is not None:
            self._inventory.note_role(replace(known, trust=trust))

    async def put_role_policy(self, role_name: str, policy_name: str, document: Document) -> None:
        """Write an inline policy (an upsert)."""
        known = self._inventory.known_role(role_name)
        await self._write_role(
            role_name, "PutRolePolicy", {"PolicyName": policy_name, "PolicyDocument": _json(document)}
        )
        if known is not None:
            self._inventory.note_role(replace(known, policies={**(known.policies or {}), policy_name: document}))

    async def delete_role_policy(self, role_name: str, policy_name: str) -> None:
        """Delete an inline policy; a missing one, or a missing role, is success."""
        known = self._inventory.known_role(role_name)
        with _gone_is_success("NoSuchEntity"):
            await self._write_role(role_name, "DeleteRolePolicy", {"PolicyName": policy_name})
            if known is not None:
                policies = {name: document for name, document in (known.policies or {}).items() if name != policy_name}
                self._inventory.note_role(replace(known, policies=policies))

    async def set_boundary(self, role_name: str, boundary: str | None) -> None:
        """Put a permissions boundary (its ARN) on a role; None takes it off."""
        known = self._inventory.known_role(role_name)
        if boundary is None:
            await self._write_role(role_name, "DeleteRolePermissionsBoundary", {})
        else:
            await self._write_role(role_name, "PutRolePermissionsBoundary", {"PermissionsBoundary": boundary})
        if known is not None:
            self._inventory.note_role(replace(known, boundary=boundary))

    async def set_max_session(self, role_name: str, max_session_s: int) -> None:
        """Set how long a role's sessions may last, 3600 to 43200 s."""
        known = self._inventory.known_role(role_name)
        await self._write_role(role_name, "UpdateRole", {"MaxSessionDuration": max_session_s})
        if known is not None:
            self._inventory.note_role(replace(known, max_session_s=max_session_s))

    async def tag_role(self, role_name: str, tags: Mapping[str, str]) -> None:
        """Add tags to a role, or replace their values; others stay."""
        known = self._inventory.known_role(role_name)
        await self._write_role(role_name, "TagRole", {"Tags": write_tags(tags)})
        if known is not None:
            self._inventory.note_role(replace(known, tags={**(known.tags or {}), **tags}))

    async def untag_role(self, role_name: str, keys: frozenset[str]) -> None:
        """Take tags off a role; missing ones are success."""
        known = self._inventory.known_role(role_name)
        await self._write_role(role_name, "UntagRole", {"TagKeys": sorted(keys)})
        if known is not None:
            tags = {key: value for key, value in (known.tags or {}).items() if key not in keys}
            self._inventory.note_role(replace(known, tags=tags))

    async def delete_role(self, role_name: str) -> None:
        """Delete a role with its inline policies; a missing one is success.

        Managed policies that somebody attached aren't ours to detach: AWS then answers DeleteConflict.
        """
        policies: list[str] = []
        with _gone_is_success("NoSuchEntity"):
            async for page in self._api.pages("iam", "ListRolePolicies", {"RoleName": role_name}):
                policies += page["PolicyNames"]
        for policy in policies:
            with _gone_is_success("NoSuchEntity"):
                await self._write_role(role_name, "DeleteRolePolicy", {"PolicyName": policy})
        with _gone_is_success("NoSuchEntity"):
            await self._write_role(role_name, "DeleteRole", {})
        self._inventory.note_no_role(role_name)

    async def _write_role(self, role_name: str, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out a write to one role; unless noted better afterwards, the role is read again."""
        return await self._api.call(
            "iam",
            operation,
            {"RoleName": role_name, **parameters},
            on_end=lambda: self._inventory.doubt_role(role_name),
        )

    async def get_oidc_audiences(self, issuer: str) -> frozenset[str] | None:
        """Return the client ids of the account's IAM OIDC provider for an issuer; None if there is no provider.

        An answer is kept for two minutes.
        """
        audiences = self._audiences.get(issuer)
        if audiences is None:
            audiences = self._inventory.part(functools.partial(self._read_audiences, issuer))
            self._audiences[issuer] = audiences
        return (await audiences.get(OIDC_MAX_AGE_S)).value

    async def _read_audiences(self, issuer: str) -> frozenset[str] | None:
        arn = oidc_provider_arn(self._region, self._account, issuer)
        try:
            answer = await self._api.call("iam", "GetOpenIDConnectProvider", {"OpenIDConnectProviderArn": arn})
        except NotFoundError:
            return None
        return frozenset(answer.get("ClientIDList", ()))


@contextlib.contextmanager
def _gone_is_success(code: str) -> Iterator[None]:
    """Pass over that very code and no other "not found": another one would be about something else."""
    try:
        yield
    except NotFoundError as error:
        if error.code != code:
            raise


def _ids(parameter: str, ids: frozenset[str]) -> dict[str, list[str]]:
    """Return a parameter with ids, or nothing: AWS refuses empty lists."""
    return {parameter: sorted(ids)} if ids else {}


def _json(document: Document) -> str:
    """Return a policy as text without white space, which counts towards some limits."""
    return json.dumps(document, separators=(",", ":"))
