"""What the planes need from the outside: Protocols, implemented by aws/, kube/, cache/ and by the tests' fakes.

Every method raises only `core.errors`. Writes ask the fence themselves (adapters hold it), so no plane can forget.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from elasticache_iam.core.mint import LoginResult
from elasticache_iam.core.state import (
    CacheRef,
    Inventory,
    ObservedAssociation,
    ObservedGroup,
    ObservedRole,
    ObservedUser,
    SimulatedConnect,
)
from elasticache_iam.core.token import Credentials

Document = Mapping[str, Any]
"""A JSON object: a Kubernetes object, an IAM policy."""


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards, and pass while the machine sleeps."""
        ...


class Fence(Protocol):
    """Whether this process may write."""

    def check(self) -> None:
        """Raise NotLeaderError if this process isn't, or can't be sure to be, the leader."""
        ...

    def left_s(self) -> float:
        """Return the seconds until another process may lead: by then nothing may be under way any more."""
        ...


class Aws(Protocol):
    """The control plane of AWS in one place: its users, groups and caches, and its account's IAM.

    The words are ElastiCache's; in MemoryDB a group is an ACL, and an id is a name. Whoever changes or deletes makes
    sure first that the object is ours.
    """

    async def get_inventory(self, *, max_age_s: float, slow_max_age_s: float) -> Inventory:
        """Return what AWS has, no older than asked.

        Args:
            max_age_s: For users, groups, caches and roles with their trust. A write of ours makes what it touched stale
                at once, whatever its age. Concurrent callers share one refresh.
            slow_max_age_s: For tags, inline policies and boundaries.
        """
        ...

    async def list_tags(self, arn: str) -> Mapping[str, str]:
        """Return the tags of a user, group or cache, read now. Raises NotFoundError."""
        ...

    async def set_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags to a user or group, or replace their values; others stay. Raises NotFoundError, BusyError."""
        ...

    async def remove_tags(self, arn: str, keys: frozenset[str]) -> None:
        """Take tags off a user or group; missing ones are success. Raises NotFoundError, BusyError."""
        ...

    async def create_user(
        self, user_id: str, *, engine: str, access_string: str, tags: Mapping[str, str]
    ) -> ObservedUser:
        """Create an IAM-mode user whose name is its id; MemoryDB ignores the engine. Raises AlreadyExistsError."""
        ...

    async def create_default_user(self, user_id: str, *, engine: str, tags: Mapping[str, str]) -> ObservedUser:
        """Create a user *named* default, `off ~* -@all`, with a random password that nobody keeps.

        ElastiCache only: MemoryDB's groups need none.
        """
        ...

    async def set_access_string(self, user_id: str, access_string: str) -> ObservedUser:
        """Replace a user's access string. Raises BusyError unless it is active."""
        ...

    async def set_iam_mode(self, user_id: str) -> ObservedUser:
        """Make a user log in by IAM again; its passwords are gone. Raises BusyError unless it is active."""
        ...

    async def delete_user(self, user_id: str) -> None:
        """Delete a user; a missing one is success."""
        ...

    async def create_group(
        self, group_id: str, *, engine: str, user_ids: frozenset[str], tags: Mapping[str, str]
    ) -> ObservedGroup:
        """Create a user group. Raises AlreadyExistsError."""
        ...

    async def modify_group(self, group_id: str, *, add: frozenset[str], remove: frozenset[str]) -> ObservedGroup:
        """Change members in one call, all or nothing. Raises BusyError, ConflictError (membership differs)."""
        ...

    async def set_group_engine(self, group_id: str, engine: str) -> ObservedGroup:
        """Make a redis group a valkey one (AWS knows no way back); its users stay. Raises BusyError."""
        ...

    async def delete_group(self, group_id: str) -> None:
        """Delete a group; a missing one is success."""
        ...

    async def attach_group(self, cache: CacheRef, group_id: str) -> None:
        """Attach a group to a cache that has none (MemoryDB: that is open). "Nothing to modify" is success."""
        ...

    async def get_role(self, name: str) -> ObservedRole | None:
        """Return a role with its policies, boundary and tags, read now; None if there is none."""
        ...

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
        ...

    async def set_trust(self, role_name: str, trust: Document) -> None:
        """Replace a role's trust policy."""
        ...

    async def put_role_policy(self, role_name: str, policy_name: str, document: Document) -> None:
        """Write an inline policy (an upsert)."""
        ...

    async def delete_role_policy(self, role_name: str, policy_name: str) -> None:
        """Delete an inline policy; a missing one, or a missing role, is success."""
        ...

    async def set_boundary(self, role_name: str, boundary: str) -> None:
        """Put a permissions boundary (its ARN) on a role. None is ever taken off: it only narrows."""
        ...

    async def set_max_session(self, role_name: str, max_session_s: int) -> None:
        """Set how long a role's sessions may last, 3600 to 43200 s."""
        ...

    async def tag_role(self, role_name: str, tags: Mapping[str, str]) -> None:
        """Add tags to a role, or replace their values; others stay."""
        ...

    async def untag_role(self, role_name: str, keys: frozenset[str]) -> None:
        """Take tags off a role; missing ones are success."""
        ...

    async def delete_role(self, role_name: str) -> None:
        """Delete a role with its inline policies; a missing one is success."""
        ...

    async def simulate_connect(
        self, role_arn: str, arns: tuple[str, ...], *, service: str
    ) -> Mapping[str, SimulatedConnect]:
        """Return what AWS says of a role's right to connect, by ARN: all its policies and its boundary, as written.

        Raises NotFoundError, AccessDeniedError.
        """
        ...

    async def get_oidc_audiences(self, issuer: str) -> frozenset[str] | None:
        """Return the client ids of the account's IAM OIDC provider for an issuer; None if there is no provider."""
        ...


class PodIdentity(Protocol):
    """The EKS Pod Identity associations of the operator's own cluster."""

    async def list_associations(self, *, max_age_s: float) -> Mapping[tuple[str, str], str]:
        """Return the ids of all associations by namespace and ServiceAccount, no older than asked, in pages.

        AWS's list tells neither roles nor tags.
        """
        ...

    async def get_association(self, association_id: str) -> ObservedAssociation | None:
        """Return an association, read now; None if there is none."""
        ...

    async def create_association(
        self, namespace: str, service_account: str, *, role_arn: str, tags: Mapping[str, str]
    ) -> ObservedAssociation:
        """Give a ServiceAccount's new pods a role. Raises AlreadyExistsError: AWS takes one for each."""
        ...

    async def set_association_role(self, association_id: str, role_arn: str) -> None:
        """Give its pods another role. Raises NotFoundError."""
        ...

    async def delete_association(self, association_id: str) -> None:
        """Delete an association; a missing one is success."""
        ...

    async def has_agent(self, *, max_age_s: float) -> bool:
        """Whether the cluster has the add-on that hands roles to pods."""
        ...


class Sts(Protocol):
    """Credentials of workloads: in a lane of its own, so that nothing of the control plane delays a token."""

    async def assume_role_with_web_identity(
        self, *, role_arn: str, session_name: str, web_identity_token: str, duration_s: int, policy: str
    ) -> Credentials:
        """Trade a ServiceAccount's token for a session, narrowed by the session policy (JSON text, at most 2048)."""
        ...

    async def assume_role(
        self, *, role_arn: str, session_name: str, external_id: str, duration_s: int, policy: str
    ) -> Credentials:
        """Become a role that trusts the operator's own, for an hour at most, narrowed by the session policy."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceAccountToken:
    """The answer to a TokenRequest."""

    text: str = field(repr=False)
    expires_at: datetime


class TokenKube(Protocol):
    """What the token plane does at the API server. It can't read a Secret, nor patch one, which would be reading."""

    async def create_secret(self, namespace: str, body: Document) -> str:
        """Create a Secret and return its uid. Raises AlreadyExistsError, and NotFoundError for a missing namespace."""
        ...

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """Replace a Secret of unknown uid only if it has our marks and the body's controller; return its uid.

        It repairs a crash between a creation and the note of its uid, without a right to read: the admission policy
        compares the owners. Where that policy isn't in force nothing is written.

        Raises NotOwnedError when the Secret is another's, or when that can't be told; NotFoundError.
        """
        ...

    async def replace_secret(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """Replace a Secret of ours, whole, by an update that carries its uid: exactly one request.

        What others put on it, labels and annotations too, is gone.

        Raises NotFoundError when that very object is gone (deleted, or another one has its name), NotOwnedError when
        its marks are.
        """
        ...

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """Delete that very Secret; a missing one, another of its name, or one that lost our marks, is success."""
        ...

    async def request_token(
        self, namespace: str, service_account: str, *, audience: str, expires_s: int
    ) -> ServiceAccountToken:
        """Ask for a ServiceAccount's token with one audience. Raises NotFoundError."""
        ...

    async def load_checkpoint(self) -> bytes | None:
        """Return the checkpoint's bytes, None if there is none."""
        ...

    async def save_checkpoint(self, content: bytes) -> None:
        """Write the checkpoint's bytes."""
        ...


class Kube(Protocol):
    """What the control plane does at the API server. `plural` is `elasticacheiamusers` or `usergroups`."""

    def list_resources(self, plural: str) -> AsyncIterator[Document]:
        """Yield all resources of a kind, in chunks of pages."""
        ...

    async def patch_status(self, plural: str, namespace: str, name: str, *, uid: str, status: Document) -> str:
        """Replace the status; return the new resourceVersion.

        Raises ConflictError if another object has the name now, NotFoundError.
        """
        ...

    async def set_finalizers(
        self, plural: str, namespace: str, name: str, *, resource_version: str, finalizers: tuple[str, ...]
    ) -> Document:
        """Replace the finalizers of exactly this version; return the object. Raises ConflictError, NotFoundError."""
        ...

    async def reclaim_secret(self, namespace: str, name: str, *, body: Document) -> str:
        """As TokenKube's."""
        ...

    async def delete_secret(self, namespace: str, name: str, *, uid: str) -> None:
        """As TokenKube's."""
        ...

    async def get_service_account_annotations(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a ServiceAccount's annotations; None if it doesn't exist."""
        ...

    async def annotate_service_account(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of a ServiceAccount; None takes one off. Raises NotFoundError."""
        ...

    async def get_namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Return a namespace's labels. Raises NotFoundError."""
        ...

    async def get_namespace_annotations(self, namespace: str) -> Mapping[str, str]:
        """Return a namespace's annotations. Raises NotFoundError."""
        ...

    async def create_config_map(self, namespace: str, body: Document) -> str:
        """As TokenKube's for a Secret; no ConfigMap is ever read either."""
        ...

    async def reclaim_config_map(self, namespace: str, name: str, *, body: Document) -> str:
        """As TokenKube's for a Secret."""
        ...

    async def replace_config_map(self, namespace: str, name: str, *, uid: str, body: Document) -> None:
        """As TokenKube's for a Secret."""
        ...

    async def delete_config_map(self, namespace: str, name: str, *, uid: str) -> None:
        """As TokenKube's for a Secret."""
        ...

    def list_pods(self, namespace: str) -> AsyncIterator[Document]:
        """Yield the pods of a namespace that haven't ended, in chunks of pages. Raises AccessDeniedError."""
        ...

    async def is_namespace_ending(self, namespace: str) -> bool:
        """Whether the namespace is being deleted, or gone."""
        ...

    async def create_event(self, namespace: str, body: Document) -> None:
        """Post an Event. Raises like the others; callers treat Events as best effort."""
        ...


class CacheProbe(Protocol):
    """A try to log in."""

    async def login(self, *, host: str, port: int, username: str, password: str) -> LoginResult:
        """Connect with TLS verification on, AUTH, ACL WHOAMI, close. Never raises, never shows the password."""
        ...
