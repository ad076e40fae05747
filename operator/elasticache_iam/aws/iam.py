"""Roles of one account, and the IAM OIDC provider: IAM knows no regions, so all places of an account share them.

Roles come from paged reads: names and trust from one list, policies, boundaries and tags from another, slower one. What
our own writes tell, or a read of one role alone, is put over them until the pages are newer.
"""

import asyncio
import functools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from elasticache_iam.aws.api import Api
from elasticache_iam.aws.errors import gone_is_success
from elasticache_iam.aws.observe import observe_role, observe_simulation, read_tags, write_tags
from elasticache_iam.aws.part import Merged, Part, Reading, Sequence
from elasticache_iam.core.errors import AccessDeniedError, NotFoundError
from elasticache_iam.core.names import oidc_provider_arn, role_path
from elasticache_iam.core.policy import compact_json
from elasticache_iam.core.state import ObservedRole, SimulatedConnect
from elasticache_iam.ports import Clock, Document

PAGE_SIZE: Final = 1000
MOST_ROLES_READ_ALONE: Final = 25
"""Beyond this many roles without details, the account's pages are cheaper than three calls each."""
OIDC_MAX_AGE_S: Final = 120.0
"""How long an answer about the OIDC provider is kept: all users of a pass ask for the same one."""


@dataclass(frozen=True, slots=True)
class RoleDetails:
    """What ListRoles doesn't tell."""

    policies: Mapping[str, Mapping[str, Any]]
    boundary: str | None
    tags: Mapping[str, str]
    managed_policies: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class KnownRole:
    """What we know of one role from a write, or a read of it alone. `role` None: it is gone."""

    stamp: int
    role: ObservedRole | None
    is_certain: bool = True
    """False while a write of ours has no clear outcome: read the role."""


@dataclass(frozen=True, slots=True)
class _Roles:
    """Roles by name; `unclear` are those that only a read of them alone makes clear, or pages newer than the stamps."""

    by_name: Mapping[str, ObservedRole]
    unclear: tuple[str, ...]
    list_after: int
    details_after: int


class Iam:
    """An account's roles and OIDC provider, for one event loop. What notes something may come from worker threads.

    Args:
        api: Calls in any region of the account's partition.
        owner: This installation; its roles are those under its path.
        region: Tells the partition.
        account: The account id.
        clock: Its monotonic side tells the age of readings.
    """

    def __init__(self, api: Api, *, owner: str, region: str, account: str, clock: Clock) -> None:
        self._api = api
        self._path = role_path(owner)
        self._region = region
        self._account = account
        self._clock = clock
        self._sequence = Sequence()
        self._list = Part(self._read_list, clock=clock, sequence=self._sequence)
        self._details = Part(self._read_details, clock=clock, sequence=self._sequence)
        self._audiences: dict[str, Part[frozenset[str] | None]] = {}
        self._lock = threading.RLock()  # guards the next three
        self._ended: Counter[str] = Counter()
        """How many writes to a role have ended."""
        self._known: dict[str, KnownRole] = {}
        self._version = 0
        self._merged: Merged[_Roles] = Merged((), _Roles({}, (), 0, 0))
        self._reading_alone = asyncio.Lock()

    async def get_roles(self, *, max_age_s: float, slow_max_age_s: float) -> Mapping[str, ObservedRole]:
        """Return the roles under our path, no older than asked (the slow age is for policies, boundaries, tags)."""
        await asyncio.gather(self._list.get(max_age_s), self._details.get(slow_max_age_s))
        roles = self._merge()
        if len(roles.unclear) > MOST_ROLES_READ_ALONE:
            await asyncio.gather(
                self._list.get(max_age_s, after=roles.list_after),
                self._details.get(slow_max_age_s, after=roles.details_after),
            )
            roles = self._merge()
        if roles.unclear:
            async with self._reading_alone:  # others may have read them while we waited
                for name in self._merge().unclear[:MOST_ROLES_READ_ALONE]:
                    await self.get_role(name)
            roles = self._merge()
        return roles.by_name

    def _merge(self) -> _Roles:
        listed, details = self._list.latest, self._details.latest
        with self._lock:
            key = (listed.stamp, details.stamp, self._version)
            if self._merged.key != key:
                for name, known in list(self._known.items()):
                    if known.stamp < listed.stamp and known.stamp < details.stamp:
                        del self._known[name]  # both pages are newer
                self._merged = Merged(key, _merge_roles(listed, details, self._known))
            return self._merged.value

    async def get_role(self, name: str) -> ObservedRole | None:
        """Return a role with its policies, boundary and tags, read now; None if there is none."""
        stamp = self._sequence.next()
        try:
            answer = await self._api.call("iam", "GetRole", {"RoleName": name})
            names = [
                policy
                async for page in self._api.pages("iam", "ListRolePolicies", {"RoleName": name})
                for policy in page["PolicyNames"]
            ]
            policies = {policy: await self._read_policy(name, policy) for policy in names}
            managed = await self._read_managed_policies(name)
        except NotFoundError:
            self._remember(name, KnownRole(stamp, None))
            return None
        role = observe_role(answer["Role"], policies=policies, managed_policies=managed, is_whole=True)
        if role.path == self._path:
            self._remember(name, KnownRole(stamp, role))
        else:
            self._forget(name, stamp)
        return role

    # -- writes -----------------------------------------------------------------------------------------------------

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
        answer = await self._write(
            name,
            "CreateRole",
            {
                "Path": path,
                "AssumeRolePolicyDocument": compact_json(trust),
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
            managed_policies=frozenset(),
        )
        self._note(role)
        return role

    async def set_trust(self, role_name: str, trust: Document) -> None:
        """Replace a role's trust policy."""
        parameters = {"PolicyDocument": compact_json(trust)}
        await self._change(role_name, "UpdateAssumeRolePolicy", parameters, lambda role: replace(role, trust=trust))

    async def put_role_policy(self, role_name: str, policy_name: str, document: Document) -> None:
        """Write an inline policy (an upsert)."""
        parameters = {"PolicyName": policy_name, "PolicyDocument": compact_json(document)}

        def put(role: ObservedRole) -> ObservedRole:
            return replace(role, policies={**(role.policies or {}), policy_name: document})

        await self._change(role_name, "PutRolePolicy", parameters, put)

    async def delete_role_policy(self, role_name: str, policy_name: str) -> None:
        """Delete an inline policy; a missing one, or a missing role, is success."""

        def delete(role: ObservedRole) -> ObservedRole:
            policies = {name: document for name, document in (role.policies or {}).items() if name != policy_name}
            return replace(role, policies=policies)

        with gone_is_success("NoSuchEntity"):
            await self._change(role_name, "DeleteRolePolicy", {"PolicyName": policy_name}, delete)

    async def set_boundary(self, role_name: str, boundary: str) -> None:
        """Put a permissions boundary (its ARN) on a role. None is ever taken off: it only narrows."""
        parameters = {"PermissionsBoundary": boundary}
        await self._change(
            role_name, "PutRolePermissionsBoundary", parameters, lambda role: replace(role, boundary=boundary)
        )

    async def set_max_session(self, role_name: str, max_session_s: int) -> None:
        """Set how long a role's sessions may last, 3600 to 43200 s."""
        parameters = {"MaxSessionDuration": max_session_s}
        await self._change(role_name, "UpdateRole", parameters, lambda role: replace(role, max_session_s=max_session_s))

    async def tag_role(self, role_name: str, tags: Mapping[str, str]) -> None:
        """Add tags to a role, or replace their values; others stay."""

        def tag(role: ObservedRole) -> ObservedRole:
            return replace(role, tags={**(role.tags or {}), **tags})

        await self._change(role_name, "TagRole", {"Tags": write_tags(tags)}, tag)

    async def untag_role(self, role_name: str, keys: frozenset[str]) -> None:
        """Take tags off a role; missing ones are success."""

        def untag(role: ObservedRole) -> ObservedRole:
            return replace(role, tags={key: value for key, value in (role.tags or {}).items() if key not in keys})

        await self._change(role_name, "UntagRole", {"TagKeys": sorted(keys)}, untag)

    async def delete_role(self, role_name: str) -> None:
        """Delete a role with its inline policies; a missing one is success.

        Managed policies that somebody attached aren't ours to detach: AWS then answers DeleteConflict.
        """
        policies: list[str] = []
        with gone_is_success("NoSuchEntity"):
            async for page in self._api.pages("iam", "ListRolePolicies", {"RoleName": role_name}):
                policies += page["PolicyNames"]
        try:
            for policy in policies:
                with gone_is_success("NoSuchEntity"):
                    await self._write(role_name, "DeleteRolePolicy", {"PolicyName": policy})
            with gone_is_success("NoSuchEntity"):
                await self._write(role_name, "DeleteRole", {})
        except AccessDeniedError:
            # Whom a policy lets delete what has our tags is denied what is gone: it has none. The answer to our own
            # deletion was lost, and botocore asked again.
            if await self.get_role(role_name) is not None:
                raise
        self._remember(role_name, KnownRole(self._sequence.next(), None))

    async def _change(
        self,
        role_name: str,
        operation: str,
        parameters: Mapping[str, Any],
        change: Callable[[ObservedRole], ObservedRole],
    ) -> None:
        """Carry out a write, and note what it makes of the role as it was, if that is certain."""
        with self._lock:
            known, ended = self._known_role(role_name), self._ended[role_name]
        await self._write(role_name, operation, parameters)
        with self._lock:
            # Another one, whose caller was cancelled, may have ended meanwhile: what it did isn't in what we knew.
            # One that ends from here on is noted after this one.
            if known is not None and self._ended[role_name] == ended + 1:
                self._note(change(known))

    async def _write(self, role_name: str, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out a write to one role; unless noted better afterwards, the role is read again."""
        return await self._api.call(
            "iam",
            operation,
            {"RoleName": role_name, **parameters},
            on_end=lambda: self._doubt(role_name),
        )

    # -- what AWS makes of all policies together --------------------------------------------------------------------

    async def simulate_connect(
        self, role_arn: str, arns: tuple[str, ...], *, service: str
    ) -> Mapping[str, SimulatedConnect]:
        """Return what AWS says of a role's right to connect, by ARN; one call each, so that no answer is mistaken."""
        return {arn: await self._simulate(role_arn, arn, f"{service}:Connect") for arn in arns}

    async def _simulate(self, role_arn: str, arn: str, action: str) -> SimulatedConnect:
        asked = {"PolicySourceArn": role_arn, "ActionNames": [action], "ResourceArns": [arn]}
        answer = await self._api.call("iam", "SimulatePrincipalPolicy", asked)
        return observe_simulation(answer["EvaluationResults"][0])

    # -- the OIDC provider ------------------------------------------------------------------------------------------

    async def get_oidc_audiences(self, issuer: str) -> frozenset[str] | None:
        """Return the client ids of the account's IAM OIDC provider for an issuer; None if there is no provider.

        An answer is kept for two minutes.
        """
        audiences = self._audiences.get(issuer)
        if audiences is None:
            audiences = Part(
                functools.partial(self._read_audiences, issuer), clock=self._clock, sequence=self._sequence
            )
            self._audiences[issuer] = audiences
        return (await audiences.get(OIDC_MAX_AGE_S)).value

    async def _read_audiences(self, issuer: str) -> frozenset[str] | None:
        arn = oidc_provider_arn(self._region, self._account, issuer)
        try:
            answer = await self._api.call("iam", "GetOpenIDConnectProvider", {"OpenIDConnectProviderArn": arn})
        except NotFoundError:
            return None
        return frozenset(answer.get("ClientIDList", ()))

    # -- what our own writes tell -----------------------------------------------------------------------------------

    def _known_role(self, name: str) -> ObservedRole | None:
        """Return the role with its details as last seen; None if something about it isn't certain."""
        with self._lock:
            known = self._known.get(name)
        if known is not None and not known.is_certain:
            return None
        role = known.role if known is not None else self._merged.value.by_name.get(name)
        return role if role is not None and role.policies is not None else None

    def _note(self, role: ObservedRole) -> None:
        """Remember how our write left a role."""
        if role.path == self._path:
            self._remember(role.name, KnownRole(self._sequence.next(), role))

    def _doubt(self, name: str) -> None:
        """Have a role read, unless what a write did to it is noted before anybody looks."""
        with self._lock:
            self._ended[name] += 1
            self._remember(name, KnownRole(self._sequence.next(), None, is_certain=False))

    def _remember(self, name: str, known: KnownRole) -> None:
        with self._lock:
            before = self._known.get(name)
            if before is None or before.stamp < known.stamp:
                self._known[name] = known
                self._version += 1

    def _forget(self, name: str, stamp: int) -> None:
        """Drop the doubt about a role that turns out not to be under our path: the inventory is without it."""
        with self._lock:
            before = self._known.get(name)
            if before is not None and before.stamp < stamp:
                del self._known[name]
                self._version += 1

    # -- reads ------------------------------------------------------------------------------------------------------

    async def _read_list(self) -> dict[str, ObservedRole]:
        roles = self._api.items("iam", "ListRoles", "Roles", {"PathPrefix": self._path, "MaxItems": PAGE_SIZE})
        return {role["RoleName"]: observe_role(role) async for role in roles}

    async def _read_details(self) -> dict[str, RoleDetails]:
        roles = self._api.items(
            "iam", "GetAccountAuthorizationDetails", "RoleDetailList", {"Filter": ["Role"], "MaxItems": PAGE_SIZE}
        )
        return {role["RoleName"]: _details_in(role) async for role in roles if role.get("Path") == self._path}

    async def _read_managed_policies(self, role_name: str) -> frozenset[str] | None:
        """Return the ARNs of managed policies that others attached; None where our policy is too old to show them."""
        attached = self._api.items("iam", "ListAttachedRolePolicies", "AttachedPolicies", {"RoleName": role_name})
        try:
            return frozenset([policy["PolicyArn"] async for policy in attached])
        except AccessDeniedError:
            return None

    async def _read_policy(self, role_name: str, policy_name: str) -> Mapping[str, Any]:
        answer = await self._api.call("iam", "GetRolePolicy", {"RoleName": role_name, "PolicyName": policy_name})
        document: Mapping[str, Any] = answer["PolicyDocument"]
        return document


def _details_in(role: Mapping[str, Any]) -> RoleDetails:
    """Return what GetAccountAuthorizationDetails tells beyond ListRoles."""
    return RoleDetails(
        policies={policy["PolicyName"]: policy["PolicyDocument"] for policy in role.get("RolePolicyList", ())},
        boundary=role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        tags=read_tags(role.get("Tags", ())),
        managed_policies=frozenset(policy["PolicyArn"] for policy in role.get("AttachedManagedPolicies", ())),
    )


def _merge_roles(
    listed: Reading[dict[str, ObservedRole]],
    details: Reading[dict[str, RoleDetails]],
    known_roles: Mapping[str, KnownRole],
) -> _Roles:
    """Put together what the two pages and single facts tell; the newest wins, field by field."""
    roles = {name: _with_details(role, details.value.get(name)) for name, role in listed.value.items()}
    unclear: set[str] = set()
    doubted_at = 0
    for name, known in known_roles.items():
        if not known.is_certain:
            unclear.add(name)
            doubted_at = max(doubted_at, known.stamp)
        elif known.stamp > listed.stamp:
            if known.role is None:
                roles.pop(name, None)
            else:
                roles[name] = known.role
        elif name in listed.value and known.stamp > details.stamp:
            roles[name] = _with_details(listed.value[name], _details_of(known.role))
    unclear |= {name for name, role in roles.items() if role.policies is None}
    return _Roles(roles, tuple(sorted(unclear)), doubted_at, max(doubted_at, listed.stamp))


def _details_of(role: ObservedRole | None) -> RoleDetails | None:
    """Return the details of a role, None if they aren't known."""
    if role is None or role.policies is None or role.tags is None:
        return None
    return RoleDetails(role.policies, role.boundary, role.tags, role.managed_policies)


def _with_details(role: ObservedRole, details: RoleDetails | None) -> ObservedRole:
    """Return a listed role with its details, where they are known."""
    if details is None:
        return role
    return replace(
        role,
        policies=details.policies,
        boundary=details.boundary,
        tags=details.tags,
        managed_policies=details.managed_policies,
    )
