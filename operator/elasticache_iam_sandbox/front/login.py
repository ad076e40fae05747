"""What to make of a user name and a password, whichever command brought them."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from elasticache_iam_sandbox.front.token import (
    Admitted,
    Reason,
    Refused,
    Verdict,
    is_on,
    looks_like_token,
    verify_token,
)
from elasticache_iam_sandbox.world.call import CacheKind, CacheView, ConnectDecision, EngineUser, SigningIdentity
from elasticache_iam_sandbox.world.settings import WorldSettings


class World(Protocol):
    """What a front asks of AWS."""

    @property
    def settings(self) -> WorldSettings:
        """Lives of tokens and connections; read at each login."""
        ...

    def cache_view(
        self, account_id: str, region: str, cache_id: str, *, kind: CacheKind | None = None
    ) -> CacheView | None:
        """Return the cache as it is now."""
        ...

    def signing_identity(self, access_key_id: str) -> SigningIdentity | None:
        """Return what verifies a signature."""
        ...

    def decide_connect(
        self, identity: SigningIdentity, view: CacheView, user_id: str, *, source_ip: str
    ) -> ConnectDecision:
        """Evaluate Connect."""
        ...

    def now(self) -> datetime:
        """Return AWS's clock."""
        ...


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Which cache of all there are."""

    account_id: str
    region: str
    cache_id: str
    kind: CacheKind

    def view(self, world: World) -> CacheView | None:
        """Return the cache as it is now; None if it is gone."""
        return world.cache_view(self.account_id, self.region, self.cache_id, kind=self.kind)


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A user as the cache's server has it.

    Attributes:
        password: With it the front logs an IAM user in.
        may_multi: Whether the server lets the user start a transaction.
    """

    user: EngineUser
    password: str = field(repr=False)
    may_multi: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """The server checks the password itself; `user` is who the client then is, None if the server will refuse."""

    user: EngineUser | None
    refused: Refused | None


@dataclass(frozen=True, slots=True)
class Replace:
    """The server reads another password, under which the client becomes the IAM user."""

    user: EngineUser
    password: bytes = field(repr=False)


def judge_login(
    world: World,
    view: CacheView | None,
    known: KnownUser | None,
    *,
    user_name: str,
    password: bytes,
    source_ip: str,
    in_transaction: bool,
) -> Pass | Replace | Refused:
    """Decide one login.

    Args:
        world: Answers what the token's checks need.
        view: The cache now; None if it is gone.
        known: The user of that name as the server has it.
        user_name: As given.
        password: As given: a password or a token.
        source_ip: The client's.
        in_transaction: Between MULTI and EXEC, where AWS refuses IAM logins.
    """
    if view is None:
        return Refused(Reason.USER_NOT_IN_GROUP, "there is no such cache")
    user = view.users.get(user_name)
    if user is not None and user.auth_mode != "iam" and _opens(user, password):
        return Pass(user, None)
    if not looks_like_token(password) and (user is None or user.auth_mode != "iam"):
        return Pass(None, Refused(Reason.WRONG_PASSWORD, "no such user, a user that is off, or another password"))
    if in_transaction:
        return Refused(Reason.INSIDE_TRANSACTION, "IAM logins are refused between MULTI and EXEC")
    verdict: Verdict = verify_token(
        password,
        username=user_name,
        view=view,
        now=world.now(),
        token_seconds=world.settings.token_seconds,
        signing_identity=world.signing_identity,
        decide_connect=lambda identity, user_id: world.decide_connect(identity, view, user_id, source_ip=source_ip),
    )
    if isinstance(verdict, Refused):
        return verdict
    return _admit(verdict, known)


def _admit(admitted: Admitted, known: KnownUser | None) -> Replace | Refused:
    user = admitted.user
    if known is None or known.user.user_id != user.user_id or known.user.auth_mode != "iam":
        return Refused(Reason.USER_NOT_READY, f"the cache's server does not have {user.user_name} yet")
    if not is_on(known.user.access_string):
        return Refused(Reason.USER_NOT_READY, f"the cache's server still has {user.user_name} off")
    return Replace(user, known.password.encode())


def _opens(user: EngineUser, password: bytes) -> bool:
    if not is_on(user.access_string):
        return False
    return user.auth_mode == "no-password" or hashlib.sha256(password).hexdigest() in user.password_sha256
