"""Every AWS duration and limit as a setting, in seconds, so that a demo or a test can watch what takes AWS minutes."""

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(slots=True)
class Fault:
    """What happens to calls of one operation. `remaining` counts down; None: until removed."""

    service: str
    operation: str
    """An operation's name or *."""
    latency_s: float = 0.0
    error_code: str = ""
    """Empty: no error, only latency. "Outage": the connection is closed without an answer and nothing is done.
    "LostAnswer": the call is carried out, then the connection is closed without an answer.
    """
    error_message: str = ""
    http_status: int = 400
    remaining: int | None = None


@dataclass(slots=True)
class WorldSettings:
    """Defaults are quick, for tests and demo; AWS's own orders of magnitude stand beside them."""

    transition_s: float = 0.0
    """creating, modifying, deleting of users, groups and caches' modifications (AWS: seconds to minutes)."""
    iam_propagation_s: float = 0.0
    """Until a new or changed role, trust or policy is seen by STS and by Connect (AWS: seconds, at times a minute)."""
    token_seconds: int = 900
    """Longest life of an auth token that the caches accept."""
    connection_seconds: float = 43200.0
    """Life of an IAM-authenticated connection without re-authentication."""
    min_session_seconds: int = 900
    """Least DurationSeconds of STS."""
    web_identity_calls_per_s: float = 5.0
    """AssumeRoleWithWebIdentity's throttle (AWS: unpublished; 4-5/s has been reported). 0: none."""
    calls_per_s: dict[str, float] = field(default_factory=dict)
    """Further throttles, by service ("elasticache") or API ("iam:GetRole"), each per account and region, with twice the
    rate, but at least one call, at once. Both apply where both are named. AWS publishes no rates.
    """
    clock_offset: timedelta = field(default_factory=timedelta)
    """AWS's and the caches' clock minus ours."""
    users_per_group: int = 100
    users: int = 1000
    groups: int = 100
    memorydb_users_per_acl: int = 100
    memorydb_users: int = 2000
    memorydb_acls: int = 200
    roles: int = 1000
    oidc_providers: int = 100
    tags_per_resource: int = 50
    managed_iam_user: bool = False
    """Whether new accounts have `default.iam-user` and `default.iam-user-group`, which AWS keeps and nobody changes."""
    faults: list[Fault] = field(default_factory=list)
