"""When to replace a token or a session, and how soon to try again. Times are aware, in UTC."""

import hashlib
import math
from datetime import datetime, timedelta
from typing import Final

REFRESH_EARLIEST: Final = 0.4
REFRESH_LATEST: Final = 0.5
"""Share of a token's life after which it is replaced. At the shares of 60-80 % that others use, an outage of 5 minutes
would leave 8 % of the users with an expired token."""

MIN_RETRY_S: Final = 1.0

_MAX_BACKOFF_S: Final = 20.0
"""Before jitter, which adds up to a half: together never more than 30 s."""

_DAY_S: Final = 86400.0

_SESSION_MARGIN_S: Final = 300.0
"""How long STS may be away at the end of a session's window without shortening a token."""

_SESSION_LATEST: Final = 0.9
"""A long session leaves a tenth of its life (72 minutes of 12 hours) for a longer outage of STS, or a queue for it."""

_SESSION_WINDOW: Final = 0.75
"""Where the window begins, as a share of its end: a quarter of it spreads the calls of a cold start."""


def spread_of(key: tuple[str, ...]) -> float:
    """Return a key's place in every window, 0 <= spread < 1: the same after a restart, even over many keys."""
    digest = hashlib.sha256("\0".join(key).encode()).digest()
    # 53 bits: what a float holds exactly, so the result can't round up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def proof_day(now: datetime, *, spread: float) -> int:
    """Return which day it is by a key's own midnight: each key's next day begins at another time, and at no restart."""
    _check_spread(spread)
    return math.floor(now.timestamp() / _DAY_S - spread)


def next_refresh(issued_at: datetime, expires_at: datetime, *, spread: float) -> datetime:
    """Return when to replace a token: between 40 % and 50 % of its effective life.

    What remains must cover a 5-minute outage (the operator's restart on another node, say) and the kubelet's delay in
    updating a mounted Secret (150 s at worst).

    Args:
        issued_at: When the token was signed.
        expires_at: When it ends, by its own life or its session's.
        spread: This user's place in the window, see `spread_of`.

    Returns:
        The due time. It may lie in the past: refresh at once.

    Raises:
        ValueError: `spread` is out of range.

    Source: ElastiCache user guide, "Authenticating with IAM": a token is valid for 15 minutes.
    """
    _check_spread(spread)
    share = REFRESH_EARLIEST + (REFRESH_LATEST - REFRESH_EARLIEST) * spread
    return issued_at + max(timedelta(0), expires_at - issued_at) * share


def retry_delay_s(attempt: int, *, spread: float, remaining_s: float) -> float:
    """Return how many seconds to wait after a failed refresh.

    One second at first, then doubling, plus up to a half by `spread` so that a fleet that failed together doesn't come
    back together. The less life the old token has left, the sooner: never more than a tenth of it.

    Args:
        attempt: How many attempts in a row have failed, from 1.
        spread: The key's place, see `spread_of`.
        remaining_s: What the token in the Secret has left; zero or less when there is none or it has expired.

    Returns:
        Between 1 and 30 seconds.

    Raises:
        ValueError: `spread` is out of range.
    """
    _check_spread(spread)
    doublings = min(max(attempt, 1) - 1, 10)
    delay_s = min(_MAX_BACKOFF_S, MIN_RETRY_S * 2.0**doublings) * (1 + spread / 2)
    if remaining_s > 0:
        delay_s = min(delay_s, remaining_s / 10)
    return max(MIN_RETRY_S, delay_s)


def session_renew_at(start: datetime, end: datetime, *, spread: float, token_s: float) -> datetime:
    """Return from when on a token is no longer signed with this STS session but with a new one.

    A token ends with its session, so the session is renewed while it still outlives a token by a margin: for 12 hours,
    between 68 % and 90 % of it. Where it is too short for that (a role with one hour, tokens of a quarter), it is
    renewed at 40 %, where the earliest token refresh lies: each token then gets a session of its own, and never a life
    cut below what a fresh session gives.

    Args:
        start: When the session was granted.
        end: When it expires.
        spread: The key's place in the window, see `spread_of`.
        token_s: A token's full life in seconds.

    Raises:
        ValueError: `spread` is out of range.
    """
    _check_spread(spread)
    life_s = max(0.0, (end - start).total_seconds())
    earliest_s = REFRESH_EARLIEST * life_s
    latest_s = max(earliest_s, min(_SESSION_LATEST * life_s, life_s - token_s - _SESSION_MARGIN_S))
    opens_s = max(earliest_s, _SESSION_WINDOW * latest_s)
    return start + timedelta(seconds=opens_s + (latest_s - opens_s) * spread)


def _check_spread(spread: float) -> None:
    if not 0 <= spread < 1:
        raise ValueError(f"spread is not in [0, 1): {spread}")
