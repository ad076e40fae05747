"""AWS as it would be: reads come from the real one, writes are noted and done to a copy, finished at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from elasticache_iam.api.group import Service
from elasticache_iam.core import names
from elasticache_iam.core.access.rules import shown
from elasticache_iam.core.errors import AlreadyExistsError, NotFoundError
from elasticache_iam.core.plan import calls
from elasticache_iam.core.plan.calls import Call
from elasticache_iam.core.plan.group import BUILT_IN_DEFAULT, DEFAULT_USER_ACCESS
from elasticache_iam.core.state import (
    CacheKind,
    CacheRef,
    Inventory,
    ObservedCache,
    ObservedGroup,
    ObservedRole,
    ObservedUser,
    Place,
    SimulatedConnect,
)
from elasticache_iam.ports import Aws, Document


class PreviewAws:
    """`ports.Aws` for one preview in one place.

    Args:
        real: What is read.
        place: Where that is.
        note: Told each call that would be made, in order.
    """

    def __init__(self, real: Aws, place: Place, note: Callable[[Place, Call], None]) -> None:
        self._real = real
        self._place = place
        self._note = note
        self._before: Inventory | None = None
        self._users: dict[str, ObservedUser] = {}
        self._groups: dict[str, ObservedGroup] = {}
        self._caches: dict[CacheRef, ObservedCache] = {}
        self._roles: dict[str, ObservedRole] = {}
        self._tags: dict[str, Mapping[str, str]] = {}
        self._touched_tags: set[str] = set()
        self._touched_roles: set[str] = set()
        self.roles_before: dict[str, ObservedRole | None] = {}
        """Roles that would be written to, as they are."""

    @property
    def before(self) -> Inventory:
        """The real inventory, with AWS done with what it was asked earlier; empty if nobody looked."""
        return self._before or Inventory()

    @property
    def after(self) -> Inventory:
        """The inventory as it would be."""
        return Inventory(
            users=dict(self._users),
            groups=dict(self._groups),
            caches=dict(self._caches),
            roles=dict(self._roles),
            tags=dict(self._tags),
        )

    def mark_baseline(self) -> None:
        """Have what was written so far count as what was there before."""
        if self._before is not None:
            self._before, self.roles_before = self.after, {}

    @property
    def roles_after(self) -> Mapping[str, ObservedRole | None]:
        """The roles of `roles_before` as they would be."""
        return {name: self._roles.get(name) for name in self.roles_before}

    # -- reads --------------------------------------------------------------------------------------------------------

    async def get_inventory(self, *, max_age_s: float, slow_max_age_s: float) -> Inventory:
        """As in the port."""
        if self._before is None:
            real = await self._real.get_inventory(max_age_s=max_age_s, slow_max_age_s=slow_max_age_s)
            settled = _settle(real)
            self._before = settled
            self._users, self._groups = dict(settled.users), dict(settled.groups)
            self._caches, self._roles, self._tags = dict(settled.caches), dict(settled.roles), dict(settled.tags)
        return self.after

    async def list_tags(self, arn: str) -> Mapping[str, str]:
        """As in the port."""
        if arn in self._touched_tags:
            if arn not in self._tags:
                raise NotFoundError(f"{arn} would be gone")
            return self._tags[arn]
        return await self._real.list_tags(arn)

    async def get_role(self, name: str) -> ObservedRole | None:
        """As in the port."""
        if name in self._touched_roles:
            return self._roles.get(name)
        return await self._real.get_role(name)

    async def get_oidc_audiences(self, issuer: str) -> frozenset[str] | None:
        """As in the port."""
        return await self._real.get_oidc_audiences(issuer)

    async def simulate_connect(
        self, role_arn: str, arns: tuple[str, ...], *, service: str
    ) -> Mapping[str, SimulatedConnect]:
        """As in the port: of the role as it is."""
        return await self._real.simulate_connect(role_arn, arns, service=service)

    # -- tags ---------------------------------------------------------------------------------------------------------

    async def set_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        """As in the port."""
        known = await self.list_tags(arn)
        self._write(calls.set_tags(self._place, arn, tags))
        self._put_tags(arn, {**known, **tags})

    async def remove_tags(self, arn: str, keys: frozenset[str]) -> None:
        """As in the port."""
        known = await self.list_tags(arn)
        if there := keys & known.keys():
            self._write(calls.remove_tags(self._place, arn, there))
            self._put_tags(arn, {key: value for key, value in known.items() if key not in there})

    def _put_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        self._touched_tags.add(arn)
        self._tags[arn] = dict(tags)

    def _drop_tags(self, arn: str) -> None:
        self._touched_tags.add(arn)
        self._tags.pop(arn, None)

    # -- users --------------------------------------------------------------------------------------------------------

    async def create_user(
        self, user_id: str, *, engine: str, access_string: str, tags: Mapping[str, str]
    ) -> ObservedUser:
        """As in the port."""
        self._write(
            calls.create_user(self._place, user_id, engine=engine, access_string=shown(access_string), tags=tags)
        )
        return self._put_user(user_id, engine, tags, user_name=user_id, access_string=access_string, auth_mode="iam")

    async def create_default_user(self, user_id: str, *, engine: str, tags: Mapping[str, str]) -> ObservedUser:
        """As in the port."""
        self._write(calls.create_default_user(user_id, engine=engine, tags=tags))
        return self._put_user(
            user_id, engine, tags, user_name=BUILT_IN_DEFAULT, access_string=DEFAULT_USER_ACCESS, auth_mode="password"
        )

    def _put_user(
        self, user_id: str, engine: str, tags: Mapping[str, str], *, user_name: str, access_string: str, auth_mode: str
    ) -> ObservedUser:
        user = ObservedUser(
            user_id=user_id,
            user_name=user_name,
            arn=names.user_arn(self._place, user_id),
            engine="" if self._place.service is Service.MEMORYDB else engine,
            status="active",
            access_string=access_string,
            auth_mode=auth_mode,
        )
        self._users[user_id] = user
        self._put_tags(user.arn, tags)
        return user

    async def set_access_string(self, user_id: str, access_string: str) -> ObservedUser:
        """As in the port."""
        self._write(calls.set_access_string(self._place, user_id, shown(access_string)))
        self._users[user_id] = replace(self._user(user_id), access_string=access_string)
        return self._users[user_id]

    async def set_iam_mode(self, user_id: str) -> ObservedUser:
        """As in the port."""
        self._write(calls.set_iam_mode(self._place, user_id))
        self._users[user_id] = replace(self._user(user_id), auth_mode="iam")
        return self._users[user_id]

    async def delete_user(self, user_id: str) -> None:
        """As in the port."""
        self._write(calls.delete_user(self._place, user_id))
        user = self._users.pop(user_id, None)
        if user is not None:
            self._drop_tags(user.arn)
        for group in list(self._groups.values()):  # AWS takes a deleted user out of its groups
            if user_id in group.user_ids:
                self._groups[group.group_id] = replace(group, user_ids=group.user_ids - {user_id})

    def _user(self, user_id: str) -> ObservedUser:
        if user_id not in self._users:
            raise NotFoundError(f"there would be no user {user_id}")
        return self._users[user_id]

    # -- groups -------------------------------------------------------------------------------------------------------

    async def create_group(
        self, group_id: str, *, engine: str, user_ids: frozenset[str], tags: Mapping[str, str]
    ) -> ObservedGroup:
        """As in the port."""
        self._write(calls.create_group(self._place, group_id, engine=engine, user_ids=user_ids, tags=tags))
        group = ObservedGroup(
            group_id=group_id,
            arn=names.group_arn(self._place, group_id),
            engine="" if self._place.service is Service.MEMORYDB else engine,
            status="active",
        )
        self._put_tags(group.arn, tags)
        return self._put_members(group, user_ids)

    async def modify_group(self, group_id: str, *, add: frozenset[str], remove: frozenset[str]) -> ObservedGroup:
        """As in the port."""
        self._write(calls.modify_group(self._place, group_id, add=add, remove=remove))
        group = self._group(group_id)
        return self._put_members(group, (group.user_ids | add) - remove)

    async def set_group_engine(self, group_id: str, engine: str) -> ObservedGroup:
        """As in the port."""
        self._write(calls.set_group_engine(group_id, engine))
        self._groups[group_id] = replace(self._group(group_id), engine=engine)
        return self._groups[group_id]

    async def delete_group(self, group_id: str) -> None:
        """As in the port."""
        self._write(calls.delete_group(self._place, group_id))
        group = self._groups.pop(group_id, None)
        if group is not None:
            self._drop_tags(group.arn)
            self._link_users(group_id, frozenset())

    def _group(self, group_id: str) -> ObservedGroup:
        if group_id not in self._groups:
            raise NotFoundError(f"there would be no group {group_id}")
        return self._groups[group_id]

    def _put_members(self, group: ObservedGroup, user_ids: frozenset[str]) -> ObservedGroup:
        self._groups[group.group_id] = replace(group, user_ids=user_ids)
        self._link_users(group.group_id, user_ids)
        return self._groups[group.group_id]

    def _link_users(self, group_id: str, members: Iterable[str]) -> None:
        members = frozenset(members)
        for user in list(self._users.values()):
            is_in = user.user_id in members
            if is_in != (group_id in user.group_ids):
                groups = user.group_ids | {group_id} if is_in else user.group_ids - {group_id}
                self._users[user.user_id] = replace(user, group_ids=groups)

    async def attach_group(self, cache: CacheRef, group_id: str) -> None:
        """As in the port."""
        self._write(calls.attach_group(cache, group_id))
        if cache not in self._caches:
            raise NotFoundError(f"there is no cache {cache.id}")
        self._caches[cache] = replace(self._caches[cache], group_ids=frozenset({group_id}))
        group = self._group(group_id)
        match cache.kind:
            case CacheKind.REPLICATION_GROUP:
                group = replace(group, replication_group_ids=group.replication_group_ids | {cache.id})
            case CacheKind.SERVERLESS_CACHE:
                group = replace(group, serverless_cache_names=group.serverless_cache_names | {cache.id})
            case CacheKind.MEMORYDB_CLUSTER:
                group = replace(group, cluster_names=group.cluster_names | {cache.id})
        self._groups[group_id] = group

    # -- roles --------------------------------------------------------------------------------------------------------

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
        """As in the port."""
        if await self.get_role(name) is not None:  # under another path, where the inventory doesn't look
            raise AlreadyExistsError(f"the role {name} exists")
        call = calls.create_role(
            name,
            path=path,
            trust=trust,
            tags=tags,
            boundary=boundary,
            max_session_s=max_session_s,
            description=description,
        )
        self._write(call)
        self._touch_role(name, None)
        self._roles[name] = ObservedRole(
            name=name,
            arn=names.role_arn(self._place.region, self._place.account, path, name),
            path=path,
            trust=trust,
            max_session_s=max_session_s,
            policies={},
            boundary=boundary,
            tags=dict(tags),
        )
        return self._roles[name]

    async def set_trust(self, role_name: str, trust: Document) -> None:
        """As in the port."""
        await self._write_role(calls.set_trust(role_name, trust), trust=trust)

    async def put_role_policy(self, role_name: str, policy_name: str, document: Document) -> None:
        """As in the port."""
        role = await self._role(role_name)
        policies = {**(role.policies or {}), policy_name: document}
        await self._write_role(calls.put_role_policy(role_name, policy_name, document), policies=policies)

    async def delete_role_policy(self, role_name: str, policy_name: str) -> None:
        """As in the port."""
        role = await self.get_role(role_name)
        if role is None or policy_name not in (role.policies or {}):
            return
        policies = {name: document for name, document in (role.policies or {}).items() if name != policy_name}
        await self._write_role(calls.delete_role_policy(role_name, policy_name), policies=policies)

    async def set_boundary(self, role_name: str, boundary: str) -> None:
        """As in the port."""
        await self._write_role(calls.set_boundary(role_name, boundary), boundary=boundary)

    async def set_max_session(self, role_name: str, max_session_s: int) -> None:
        """As in the port."""
        await self._write_role(calls.set_max_session(role_name, max_session_s), max_session_s=max_session_s)

    async def tag_role(self, role_name: str, tags: Mapping[str, str]) -> None:
        """As in the port."""
        role = await self._role(role_name)
        await self._write_role(calls.tag_role(role_name, tags), tags={**(role.tags or {}), **tags})

    async def untag_role(self, role_name: str, keys: frozenset[str]) -> None:
        """As in the port."""
        role = await self._role(role_name)
        tags = {key: value for key, value in (role.tags or {}).items() if key not in keys}
        await self._write_role(calls.untag_role(role_name, keys), tags=tags)

    async def delete_role(self, role_name: str) -> None:
        """As in the port."""
        role = await self.get_role(role_name)
        if role is None:
            return
        for policy_name in sorted(role.policies or {}):
            await self.delete_role_policy(role_name, policy_name)
        self._touch_role(role_name, role)
        self._write(calls.delete_role(role_name))
        self._roles.pop(role_name, None)

    async def _role(self, name: str) -> ObservedRole:
        """Return a role with all its details."""
        role = await self.get_role(name)
        if role is None:
            raise NotFoundError(f"there would be no role {name}")
        return role

    async def _write_role(self, call: Call, **changes: Any) -> None:
        name = str(call.parameters["RoleName"])
        role = await self._role(name)
        self._touch_role(name, role)
        self._write(call)
        self._roles[name] = replace(role, **changes)

    def _touch_role(self, name: str, before: ObservedRole | None) -> None:
        self._touched_roles.add(name)
        self.roles_before.setdefault(name, before)

    def _write(self, call: Call) -> None:
        self._note(self._place, call)


def _settle(real: Inventory) -> Inventory:
    """Return what will be there once AWS is done with what it was asked before."""
    users = {
        user_id: replace(user, status="active") for user_id, user in real.users.items() if user.status != "deleting"
    }
    groups = {
        group_id: replace(
            group,
            status="active",
            user_ids=group.future_user_ids & users.keys(),
            pending_add=frozenset(),
            pending_remove=frozenset(),
        )
        for group_id, group in real.groups.items()
        if group.status != "deleting"
    }
    caches = {
        ref: replace(cache, status="available", group_ids=cache.future_group_ids, pending_group_ids=frozenset())
        for ref, cache in real.caches.items()
        if cache.status != "deleting"
    }
    return replace(real, users=users, groups=groups, caches=caches)
