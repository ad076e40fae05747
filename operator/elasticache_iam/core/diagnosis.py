"""Why a login fails: the chain from the clock to the session, link by link, each with the command that repairs it.

A cache answers WRONGPASS to a dozen different causes. All of them but the last few can be told from what AWS shows of
the user, its group, the cache and the role; what can't be told from outside is said to be so. Pure: facts in, checks
out.

Sources: ElastiCache user guide, "Authenticating with IAM" and "Connect to a cache"; IAM user guide, "Policy evaluation
logic" and "Changes that I make are not always immediately visible".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote

from elasticache_iam.api.user import UserCacheStatus
from elasticache_iam.core import commands
from elasticache_iam.core.access import parse_access_string
from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.core.plan.attachment import MIN_VERSIONS, has_iam, ref_of_status
from elasticache_iam.core.policy import Verdict, judge_connect
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
from elasticache_iam.core.times import rfc3339

TOLERATED_SKEW: Final = timedelta(minutes=5)
"""AWS's APIs refuse a signature that is dated further ahead; what its caches tolerate isn't published."""
NOTEWORTHY_SKEW: Final = timedelta(seconds=60)
YOUNG: Final = timedelta(minutes=2)
"""For so long IAM's news may still be on their way."""

CACHE_KINDS: Final[Mapping[CacheKind, str]] = {
    CacheKind.REPLICATION_GROUP: "replication group",
    CacheKind.SERVERLESS_CACHE: "serverless cache",
    CacheKind.MEMORYDB_CLUSTER: "MemoryDB cluster",
}
_SHUT: Final = frozenset({"creating", "deleting", "create-failed"})
"""States of a cache that nobody can log in to."""
_MEANT_ONLY_FOR_NEW_USERS: Final = frozenset({"creating", "deleting"})


class Mark(StrEnum):
    """How a link of the chain is."""

    WHOLE = "✔"
    BROKEN = "✘"
    UNTOLD = "?"
    """It can't be told from outside."""


class Cause(StrEnum):
    """A broken link: the reason of `Verified`."""

    CLOCK_SKEW = "ClockSkew"
    WRONG_SIGNING_HOST = "WrongSigningHost"
    WRONG_SIGNING_PARAMETERS = "WrongSigningParameters"
    TOKEN_EXPIRED = "TokenExpired"  # noqa: S105  # a condition's reason
    SESSION_ENDED = "SessionEnded"
    USER_NOT_FOUND = "UserNotFound"
    USER_NOT_ACTIVE = "UserNotActive"
    USER_NOT_IN_IAM_MODE = "UserNotInIamMode"
    USER_NAME_DIFFERS = "UserNameDiffers"
    USER_OFF = "UserOff"
    GROUP_NOT_FOUND = "GroupNotFound"
    GROUP_NOT_ACTIVE = "GroupNotActive"
    NOT_IN_GROUP = "NotInGroup"
    CACHE_GONE = "CacheGone"
    CACHE_NOT_AVAILABLE = "CacheNotAvailable"
    GROUP_NOT_ATTACHED = "GroupNotAttached"
    ENGINE_TOO_OLD = "EngineTooOld"
    TLS_DISABLED = "TLSDisabled"
    WRONG_ENDPOINT = "WrongEndpoint"
    ROLE_NOT_FOUND = "RoleNotFound"
    POLICY_DENIES = "PolicyDenies"
    BOUNDARY_DENIES = "BoundaryDenies"
    ORGANIZATION_DENIES = "OrganizationDenies"
    TRUST_MISSING = "TrustMissing"
    AUDIENCE_MISSING = "AudienceMissing"
    ROLE_REPLACED = "RoleReplaced"
    LOGIN_REFUSED = "LoginRefused"
    TLS_FAILED = "TLSFailed"


@dataclass(frozen=True, slots=True)
class Check:
    """One link of the chain.

    Attributes:
        link: Its name: clock, signature, user, group, cache, role, session, login.
        mark: How it is.
        says: One line.
        cause: Only of a broken one.
        repair: The command that repairs it, "" where there is none.
    """

    link: str
    mark: Mark
    says: str
    cause: Cause | None = None
    repair: str = ""


@dataclass(frozen=True, slots=True)
class SignedFor:
    """What a token says of itself, without what makes it one: neither signature nor credentials."""

    host: str
    service: str
    region: str
    user_id: str
    serverless: bool
    signed_at: str


@dataclass(frozen=True, slots=True)
class TokenLife:
    """From when to when a token is good, and for how long it was asked."""

    issued_at: datetime
    expires_at: datetime
    asked: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one user and one cache; None: not known.

    Attributes:
        namespace: Of the resource.
        name: Of the resource.
        place: Where user, group and cache are.
        user_id: The user's id in AWS.
        group_id: The group's.
        target: What tokens are signed for, and where clients connect to.
        inventory: What AWS shows there.
        role_arn: The role that tokens are signed with; "" for none, or none yet.
        has_role: Whether there is to be one.
        role: That role; None: there is none.
        is_role_known: Whether it was looked at.
        is_role_ours: Whether the operator made it.
        trusted: Whether its trust policy admits who signs.
        trust: What it would have to hold.
        signer: Whom it has to admit, in words.
        is_off_by_spec: Whether the resource itself asks for a user that can't log in.
        lacks_audience: The command that lists the audience on the OIDC provider; "": it is listed, or nobody looked.
        simulated: What AWS itself says of Connect on the two ARNs, by ARN.
        ahead: Our clock minus AWS's.
        now: By our clock.
        granted_at: When role or membership last changed, as far as the resource's conditions tell.
        delivered_at: When tokens began to be delivered.
        token: The life of the token that was tried.
        signed: What it says of itself, where somebody has read it.
        login: What trying it showed.
    """

    namespace: str
    name: str
    place: Place
    user_id: str
    user_arn: str
    group_id: str
    target: UserCacheStatus
    inventory: Inventory
    role_arn: str = ""
    has_role: bool = True
    role: ObservedRole | None = None
    is_role_known: bool = True
    is_role_ours: bool = True
    trusted: Verdict | None = None
    trust: Mapping[str, Any] | None = None
    signer: str = "the ServiceAccount"
    lacks_audience: str = ""
    is_off_by_spec: bool = False
    simulated: Mapping[str, SimulatedConnect] | None = None
    ahead: timedelta | None = None
    now: datetime
    granted_at: datetime | None = None
    delivered_at: datetime | None = None
    token: TokenLife | None = None
    signed: SignedFor | None = None
    login: LoginResult | None = None

    @property
    def user(self) -> ObservedUser | None:
        """The user in AWS."""
        return self.inventory.users.get(self.user_id)

    @property
    def group(self) -> ObservedGroup | None:
        """The group in AWS."""
        return self.inventory.groups.get(self.group_id)

    @property
    def ref(self) -> CacheRef:
        """The cache that tokens are signed for."""
        return ref_of_status(self.target)

    @property
    def cache(self) -> ObservedCache | None:
        """That cache in AWS."""
        return self.inventory.caches.get(self.ref)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The whole chain for one cache."""

    alias: str
    checks: tuple[Check, ...]

    @property
    def broken(self) -> Check | None:
        """The first broken link: the cause, as far as it can be told. None: none was found."""
        found = [check for check in self.checks if check.mark is Mark.BROKEN]
        return next((check for check in found if check.link != "login"), found[0] if found else None)

    @property
    def untold(self) -> tuple[Check, ...]:
        """What can't be told from outside."""
        return tuple(check for check in self.checks if check.mark is Mark.UNTOLD)

    @property
    def cause(self) -> Cause | None:
        """Why logins fail, other than that they do; None: it wasn't found."""
        broken = self.broken
        return broken.cause if broken is not None and broken.link != "login" else None

    def summary(self, said: str) -> str:
        """Return one line: what the login showed, the cause and its repair, or what was looked at in vain."""
        broken = self.broken
        if broken is not None and self.cause is not None:
            repair = f": {broken.repair}" if broken.repair else ""
            return f"{broken.says}{repair} ({said})"
        whole = ", ".join(dict.fromkeys(check.link for check in self.checks if check.mark is Mark.WHOLE))
        untold = "; ".join(check.says for check in self.untold)
        return f"{said}; in order: {whole or 'nothing that could be looked at'}. Can't be told from outside: {untold}"


def diagnose(facts: Facts) -> Diagnosis:
    """Walk the chain; what can't be looked at because an earlier thing is missing is left out."""
    checks = (
        *_clock(facts),
        *_signature(facts),
        *_user(facts),
        *_group(facts),
        *_cache(facts),
        *_role(facts),
        *_session(facts),
        *_login(facts),
    )
    return Diagnosis(facts.target.name, tuple(checks))


def read_token(text: str) -> SignedFor | None:
    """Return what a token says of itself; None for something that is no token. Nothing secret is taken over."""
    host, slash, query = text.partition("/?")
    parameters = dict(pair.partition("=")[::2] for pair in query.split("&"))
    scope = unquote(parameters.get("X-Amz-Credential", "")).split("/")
    if not slash or len(scope) != _SCOPE_PARTS:
        return None
    return SignedFor(
        host=host,
        service=scope[3],
        region=scope[2],
        user_id=unquote(parameters.get("User", "")),
        serverless=parameters.get("ResourceType") == "ServerlessCache",
        signed_at=parameters.get("X-Amz-Date", ""),
    )


_SCOPE_PARTS: Final = 5
"""Key, date, region, service, aws4_request."""


def _ok(link: str, says: str) -> Check:
    return Check(link, Mark.WHOLE, says)


def _broken(link: str, cause: Cause, says: str, repair: str = "") -> Check:
    return Check(link, Mark.BROKEN, says, cause, repair)


def _untold(link: str, says: str) -> Check:
    return Check(link, Mark.UNTOLD, says)


def _is_proven(facts: Facts) -> bool:
    return facts.login is not None and facts.login.outcome is LoginOutcome.LOGGED_IN


# -- the clock and the signature --------------------------------------------------------------------------------------


def _clock(facts: Facts) -> Iterator[Check]:
    ahead = facts.ahead
    if ahead is None:
        if not _is_proven(facts):
            yield _untold("clock", "the clock that signs can't be compared with AWS's from here")
        return
    by = f"{abs(ahead).total_seconds():.0f} s {'ahead of' if ahead > timedelta() else 'behind'} AWS's"
    life = facts.token.asked if facts.token is not None else timedelta(seconds=900)
    if ahead > TOLERATED_SKEW or -ahead >= life:
        says = f"the clock that signs is {by}: its tokens are {'not valid yet' if ahead > timedelta() else 'over'}"
        yield _broken("clock", Cause.CLOCK_SKEW, says, "timedatectl set-ntp true   # on the node of the operator's pod")
    elif abs(ahead) > NOTEWORTHY_SKEW:
        yield _untold("clock", f"the clock that signs is {by}; what caches tolerate isn't published")
    else:
        yield _ok("clock", "the clock that signs agrees with AWS's")


def _signature(facts: Facts) -> Iterator[Check]:
    yield from _signed_text(facts)
    target, ref = facts.target, facts.ref
    other = next(
        (found for kind in CacheKind if kind is not ref.kind and (found := CacheRef(kind, ref.id)) in _caches(facts)),
        None,
    )
    if facts.cache is None and other is not None:
        yield _broken(
            "signature",
            Cause.WRONG_SIGNING_PARAMETERS,
            f"tokens are signed for the {CACHE_KINDS[ref.kind]} {ref.id}, which is a {CACHE_KINDS[other.kind]}: "
            "ResourceType is part of what is signed",
            "kubectl edit the UserGroup: name it in spec.caches by its kind",
        )
        return
    holder = next((cache for cache in _caches(facts).values() if _is_part_of(target.id, cache.ref)), None)
    if facts.cache is None and holder is not None:
        yield _broken(
            "signature",
            Cause.WRONG_SIGNING_HOST,
            f"tokens are signed for {target.id}, a member of {holder.ref.id}: the host is the replication group's id",
            f"kubectl edit the UserGroup: replicationGroup: {holder.ref.id}",
        )
        return
    if facts.place.region != target.region:
        yield _broken(
            "signature",
            Cause.WRONG_SIGNING_PARAMETERS,
            f"tokens are signed for the region {target.region}, the cache is in {facts.place.region}",
            commands.refresh(facts.namespace, facts.name),
        )
        return
    kind = " with ResourceType=ServerlessCache" if target.serverless else ""
    yield _ok("signature", f"for host {target.id}, service {target.service}, region {target.region}{kind}")


def _signed_text(facts: Facts) -> Iterator[Check]:
    """Compare a token that somebody has read with what it should say."""
    signed, target = facts.signed, facts.target
    if signed is None:
        return
    renew = commands.refresh(facts.namespace, facts.name)
    if signed.host != target.id:
        why = ": it is lower case" if signed.host.lower() == target.id else ", and never an endpoint"
        says = f"the token is signed for the host {signed.host}; it has to be {target.id}{why}"
        yield _broken("signature", Cause.WRONG_SIGNING_HOST, says, renew)
    wanted = (
        ("service", signed.service, target.service),
        ("region", signed.region, target.region),
        ("User", signed.user_id, facts.user_id),
        ("ResourceType", *(("" if not flag else "ServerlessCache") for flag in (signed.serverless, target.serverless))),
    )
    for what, given, expected in wanted:
        if given != expected:
            says = f"the token's {what} is {given or 'missing'}; it has to be {expected or 'left out'}"
            yield _broken("signature", Cause.WRONG_SIGNING_PARAMETERS, says, renew)


def _caches(facts: Facts) -> Mapping[CacheRef, ObservedCache]:
    return facts.inventory.caches


def _is_part_of(cache_id: str, ref: CacheRef) -> bool:
    """Whether an id is one of a replication group's members: orders-001, or orders-0001-001 with shards."""
    rest = cache_id.removeprefix(f"{ref.id}-")
    is_numbered = rest != cache_id and rest.replace("-", "").isdigit()
    return ref.kind is CacheKind.REPLICATION_GROUP and is_numbered


# -- the user and its group -------------------------------------------------------------------------------------------


def _user(facts: Facts) -> Iterator[Check]:
    user = facts.user
    if user is None:
        says = f"there is no user {facts.user_id} in {facts.place.region}; the operator makes it anew"
        yield _broken("user", Cause.USER_NOT_FOUND, says, commands.have_repaired(facts.namespace, facts.name))
        return
    if user.status in _MEANT_ONLY_FOR_NEW_USERS:
        look = commands.show_user(facts.place, user.user_id)
        yield _broken("user", Cause.USER_NOT_ACTIVE, f"the user {user.user_id} is {user.status}, not active", look)
    elif not user.is_active:
        yield _untold("user", f"AWS is at work on the user {user.user_id} ({user.status})")
    else:
        yield _ok("user", f"{user.user_id} is active")
    if user.auth_mode != "iam":
        says = f"the user {user.user_id} logs in by {user.auth_mode}, not by IAM"
        yield _broken("user", Cause.USER_NOT_IN_IAM_MODE, says, commands.set_iam_mode(facts.place, user.user_id))
    else:
        yield _ok("user", "it logs in by IAM")
    if user.user_name != user.user_id:
        says = f"the user's name is {user.user_name} and its id {user.user_id}; for IAM they have to be the same"
        repair = "AWS can't rename a user: make a new one, by another spec.id"
        yield _broken("user", Cause.USER_NAME_DIFFERS, says, repair)
    if not parse_access_string(user.access_string).enabled:
        says = f"the access string of {user.user_id} is off: {user.access_string}"
        if facts.is_off_by_spec:
            yield _broken("user", Cause.USER_OFF, f"{says}, as its own spec asks: edit spec.access")
        else:
            repair = commands.switch_on(facts.place, user.user_id, user.access_string)
            yield _broken("user", Cause.USER_OFF, says, repair)


def _group(facts: Facts) -> Iterator[Check]:
    group, user_id = facts.group, facts.user_id
    if group is None:
        says = f"there is no group {facts.group_id} in {facts.place.region}"
        yield _broken("group", Cause.GROUP_NOT_FOUND, says, "kubectl get ecug -A   # its conditions say why")
        return
    if group.status in _MEANT_ONLY_FOR_NEW_USERS:
        look = commands.show_group(facts.place, group.group_id)
        yield _broken("group", Cause.GROUP_NOT_ACTIVE, f"the group {group.group_id} is {group.status}", look)
    elif not group.is_active:
        yield _untold("group", f"AWS is at work on the group {group.group_id} ({group.status})")
    else:
        yield _ok("group", f"{group.group_id} is active")
    if user_id in group.pending_remove:
        says = f"AWS is taking {user_id} out of the group {group.group_id}"
        yield _broken("group", Cause.NOT_IN_GROUP, says, commands.add_member(facts.place, group.group_id, user_id))
    elif user_id in group.user_ids:
        yield _ok("group", f"{user_id} is a member")
    elif user_id in group.pending_add:
        yield _broken("group", Cause.NOT_IN_GROUP, f"{user_id} is only joining the group {group.group_id}: wait")
    else:
        says = f"{user_id} is not in the group {group.group_id}"
        yield _broken("group", Cause.NOT_IN_GROUP, says, commands.add_member(facts.place, group.group_id, user_id))


# -- the cache --------------------------------------------------------------------------------------------------------


def _cache(facts: Facts) -> Iterator[Check]:
    cache, ref = facts.cache, facts.ref
    what = f"the {CACHE_KINDS[ref.kind]} {ref.id}"
    if cache is None:
        says = f"{what} is not in {facts.place.region} of account {facts.place.account}"
        yield _broken("cache", Cause.CACHE_GONE, says, "kubectl edit the UserGroup: correct spec.caches")
        return
    if cache.status in _SHUT:
        look = commands.show_cache(ref, facts.place.region)
        yield _broken("cache", Cause.CACHE_NOT_AVAILABLE, f"{what} is {cache.status}", look)
    else:
        yield _ok("cache", f"{ref.id} is {cache.status}")
    yield from _attachment(facts, cache, what)
    if not has_iam(cache.engine, cache.engine_version):
        version = ".".join(str(part) for part in MIN_VERSIONS.get(cache.engine, ()))
        says = f"{what} has {cache.engine} {cache.engine_version}; logging in by IAM takes {version}"
        yield _broken("cache", Cause.ENGINE_TOO_OLD, says, commands.upgrade(ref, facts.place.region, version))
    elif cache.engine_version:
        yield _ok("cache", f"{cache.engine} {cache.engine_version} knows IAM users")
    if not cache.tls:
        says = f"{what} has no encryption in transit, without which there is no login by IAM"
        yield _broken("cache", Cause.TLS_DISABLED, says, commands.turn_on_tls(ref, facts.place.region))
    else:
        yield _ok("cache", "TLS is on")
    if cache.host and (cache.host, cache.port) != (facts.target.host, facts.target.port):
        says = f"{what} is at {cache.host}:{cache.port}; the Secret says {facts.target.host}:{facts.target.port}"
        repair = commands.refresh(facts.namespace, facts.name)
        yield _broken("cache", Cause.WRONG_ENDPOINT, says, repair)


def _attachment(facts: Facts, cache: ObservedCache, what: str) -> Iterator[Check]:
    if facts.group_id in cache.group_ids:
        yield _ok("cache", f"the group {facts.group_id} is on it")
        return
    if cache.group_ids:
        says = f"{what} has the group {', '.join(sorted(cache.group_ids))}, not {facts.group_id}"
    elif facts.group_id in cache.pending_group_ids:
        yield _broken("cache", Cause.GROUP_NOT_ATTACHED, f"the group {facts.group_id} is only coming onto {what}: wait")
        return
    else:
        says = f"the group {facts.group_id} is not on {what}, which has none: it is open, or has an AUTH token"
    repair = commands.attach(facts.ref, facts.place.region, facts.group_id)
    yield _broken("cache", Cause.GROUP_NOT_ATTACHED, says, repair)


# -- the role ---------------------------------------------------------------------------------------------------------


def _role(facts: Facts) -> Iterator[Check]:
    if not facts.role_arn:
        says = (
            "the operator hasn't found or made it yet"
            if facts.has_role
            else "role.mode is None: who signs isn't known here"
        )
        yield _untold("role", says)
        return
    name = facts.role_arn.rpartition("/")[2]
    role = facts.role
    if not facts.is_role_known:
        yield _untold("role", f"the role {name} can't be read with these credentials")
        return
    if role is None:
        says = f"there is no role {facts.role_arn}; sessions of it are dead"
        repair = commands.have_repaired(facts.namespace, facts.name) if facts.is_role_ours else ""
        yield _broken("role", Cause.ROLE_NOT_FOUND, says, repair or commands.create_role(name))
        return
    yield _ok("role", f"{name} exists")
    yield from _permissions(facts, role)
    yield from _trust(facts, role)


def _permissions(facts: Facts, role: ObservedRole) -> Iterator[Check]:
    """Judge Connect on the user's ARN and the cache's: by the role's own documents, and by AWS's word on all of it."""
    for kind, arn in (("user", facts.user_arn), ("cache", facts.target.arn)):
        told = (facts.simulated or {}).get(arn, SimulatedConnect(allowed=None))
        yield _permission(facts, role, told, arn, on=f"{facts.target.service}:Connect on the {kind} {arn}")
    if role.boundary is not None and facts.simulated is None:
        yield _untold("role", f"what its permissions boundary {role.boundary} allows")


def _permission(facts: Facts, role: ObservedRole, told: SimulatedConnect, arn: str, *, on: str) -> Check:
    """Return how it is with one ARN; AWS's own word counts more than what the pages said, which may be old."""
    written = _written(facts, role, arn)
    if told.within_boundary is False:
        says = f"the permissions boundary of {role.name}, {role.boundary or 'put on lately'}, doesn't allow {on}"
        return _broken("role", Cause.BOUNDARY_DENIES, says, commands.widen(role.boundary, facts.target.service))
    if told.within_organization is False:
        says = f"a policy of the organization doesn't allow {role.name} {on}"
        return _broken("role", Cause.ORGANIZATION_DENIES, says, "ask who keeps the organization's policies")
    if told.allowed is False or (told.allowed is None and written is Verdict.NO):
        says = f"a policy of {role.name} denies {on}" if told.is_explicit else f"no policy of {role.name} allows {on}"
        repair = commands.allow_connect(
            role.name,
            user_arn=facts.user_arn,
            cache_arn=facts.target.arn,
            service=facts.target.service,
            is_ours=facts.is_role_ours,
        )
        if told.is_explicit:
            repair = commands.find_denial()
        return _broken("role", Cause.POLICY_DENIES, says, repair)
    if told.allowed:
        return _ok("role", f"AWS says that it may {on}")
    if written is Verdict.YES:
        return _ok("role", f"its inline policy allows {on}")
    return _untold("role", f"whether {role.name} may {on}: by a managed policy or a condition, perhaps")


def _written(facts: Facts, role: ObservedRole, arn: str) -> Verdict:
    """Return what the role's inline policies say of one ARN; an attached policy, which isn't read, may allow more."""
    if role.policies is None:
        return Verdict.UNKNOWN
    written = judge_connect(role.policies.values(), user_arn=arn, cache_arns=(), service=facts.target.service)
    return Verdict.UNKNOWN if written is Verdict.NO and role.managed_policies != frozenset() else written


def _trust(facts: Facts, role: ObservedRole) -> Iterator[Check]:
    match facts.trusted:
        case Verdict.YES:
            yield _ok("role", f"it admits {facts.signer}")
        case Verdict.NO:
            says = f"the trust policy of {role.name} doesn't admit {facts.signer}: no new session can be had"
            repair = commands.set_trust(role.name, facts.trust, is_ours=facts.is_role_ours)
            yield _broken("role", Cause.TRUST_MISSING, says, repair)
        case Verdict.UNKNOWN:
            yield _untold("role", f"whether it admits {facts.signer}: that has conditions that only AWS can judge")
        case None:
            pass
    if facts.lacks_audience:
        says = "the account's IAM OIDC provider doesn't list the audience of the tokens"
        yield _broken("role", Cause.AUDIENCE_MISSING, says, facts.lacks_audience)


# -- the session, and what is left ------------------------------------------------------------------------------------


def _session(facts: Facts) -> Iterator[Check]:
    token, role, renew = facts.token, facts.role, commands.refresh(facts.namespace, facts.name)
    if token is not None and token.expires_at <= facts.now:
        ended = rfc3339(token.expires_at)
        if token.expires_at - token.issued_at < token.asked:
            says = f"the session that signed the token ended at {ended}, and the token with it"
            yield _broken("session", Cause.SESSION_ENDED, says, renew)
        else:
            yield _broken("session", Cause.TOKEN_EXPIRED, f"the token ended at {ended}", renew)
    elif token is not None:
        yield _ok("session", f"the token is good until {token.expires_at:%H:%M:%S} UTC")
    if _is_proven(facts):
        return
    made_at = role.created_at if role is not None else None
    was_refused = facts.login is not None and facts.login.outcome is LoginOutcome.REFUSED
    if made_at is not None and facts.delivered_at is not None and made_at > facts.delivered_at and was_refused:
        says = f"the role was made anew at {rfc3339(made_at)}: sessions from before that are dead"
        yield _broken("session", Cause.ROLE_REPLACED, says, renew)
    changed_at = max((at for at in (made_at, facts.granted_at) if at is not None), default=None)
    if changed_at is not None and facts.now - changed_at < YOUNG:
        yield _untold("session", "the grant is younger than 2 minutes: IAM's and the cache's news may be on their way")
    yield _untold(
        "session",
        "whether a policy of the organization or of an endpoint forbids it, and whether the cache has taken in the "
        "user's newest rules",
    )


def _login(facts: Facts) -> Iterator[Check]:
    login = facts.login
    if login is None:
        yield _untold("login", "nobody has tried a token")
        return
    match login.outcome:
        case LoginOutcome.LOGGED_IN:
            yield _ok("login", f"logged in as {facts.user_id}")
        case LoginOutcome.REFUSED:
            yield _broken("login", Cause.LOGIN_REFUSED, login.detail or "WRONGPASS")
        case LoginOutcome.TLS_FAILED:
            yield _broken("login", Cause.TLS_FAILED, login.detail or "no TLS connection")
        case LoginOutcome.UNREACHABLE:
            yield _untold("login", login.detail or "no route to the cache")
