"""The world: accounts full of AWS objects, changed by calls and by the passing of time.

This is the interface that the wire, the fronts and the tests stand on.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from elasticache_iam_sandbox.world.call import CacheView, Call, ConnectDecision, SigningIdentity
from elasticache_iam_sandbox.world.settings import WorldSettings


class World:
    """All of AWS that the sandbox knows. Not thread-safe: whoever shares it holds a lock.

    Args:
        settings: Read at each call, so a test may change them in flight.
        now: The wall clock, aware, in UTC; the world adds `settings.clock_offset`.
        get_jwks: Answers an OIDC issuer's URL with its JWKS document (RFC 7517), or raises LookupError.
    """

    def __init__(
        self,
        settings: WorldSettings,
        *,
        now: Callable[[], datetime],
        get_jwks: Callable[[str], Mapping[str, Any]],
    ) -> None:
        raise NotImplementedError

    # -- for the wire ---------------------------------------------------------------------------------------------

    def dispatch(self, call: Call) -> dict[str, Any]:
        """Carry out one call and return botocore's output shape. Raises AwsError.

        Advances time first, counts the call, applies faults (an "Outage" raises ConnectionError; latency is the
        carrier's business: see `fault_latency_s`), then checks the caller's identity policies, then acts.
        """
        raise NotImplementedError

    def fault_latency_s(self, service: str, operation: str) -> float:
        """Return how long the carrier must hold this call."""
        raise NotImplementedError

    def signing_identity(self, access_key_id: str) -> SigningIdentity | None:
        """Return what verifies a signature; None for an unknown key (the wire then says InvalidClientTokenId)."""
        raise NotImplementedError

    # -- for the fronts -------------------------------------------------------------------------------------------

    def cache_view(self, account_id: str, region: str, cache_id: str) -> CacheView | None:
        """Return what the cache's front needs to know now; None if there is no such cache."""
        raise NotImplementedError

    def decide_connect(
        self, identity: SigningIdentity, view: CacheView, user_id: str, *, source_ip: str
    ) -> ConnectDecision:
        """Evaluate Connect on the cache's and the user's ARN: role policies, session policy, boundary."""
        raise NotImplementedError

    # -- time -----------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return AWS's clock: ours plus the offset."""
        raise NotImplementedError

    def advance(self) -> bool:
        """Carry out all transitions that are due; say whether anything changed."""
        raise NotImplementedError

    def next_transition_at(self) -> datetime | None:
        """Return when `advance` has something to do next, on AWS's clock."""
        raise NotImplementedError

    # -- for the test ground (the admin API and fixtures) -----------------------------------------------------------

    def add_account(self, account_id: str) -> None:
        """Create an empty account."""
        raise NotImplementedError

    def add_access_key(
        self, account_id: str, *, user_name: str, policy: Mapping[str, Any] | None = None
    ) -> tuple[str, str]:
        """Create an IAM user with one inline policy (None: all is allowed); return access key id and secret."""
        raise NotImplementedError

    def add_replication_group(
        self,
        account_id: str,
        region: str,
        cache_id: str,
        *,
        engine: str,
        engine_version: str,
        host: str,
        port: int,
        reader_host: str = "",
        tls: bool = True,
        at_rest_encryption: bool = True,
        auth_token: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Put a replication group there, available at once, with a member cluster that tells the engine version.

        CreateReplicationGroup through the wire does the same; its endpoint then comes from `settings`-less defaults
        (host 127.0.0.1, port 0) until the supervisor calls `set_endpoint`.
        """
        raise NotImplementedError

    def set_endpoint(self, account_id: str, region: str, cache_id: str, *, host: str, port: int) -> None:
        """Tell where a cache's front listens."""
        raise NotImplementedError

    def call_counts(self) -> Mapping[tuple[str, str], int]:
        """Return the number of calls so far by (service, operation)."""
        raise NotImplementedError

    def reset_call_counts(self) -> None:
        """Start counting anew."""
        raise NotImplementedError
