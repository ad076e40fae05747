"""The schedule as bytes: gzip JSON in a ConfigMap, so that a restart refreshes nothing that doesn't need it.

It holds lives, no tokens. Whatever is wrong with it is survived: what can't be read is due now.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

VERSION: Final = 1
MAX_BYTES: Final = 4 * 1024 * 1024
"""Decompressed. 10,000 users are about 1 MB; a forged one must not fill the memory: parsed it takes 20 times that."""
MAX_AHEAD: Final = timedelta(minutes=3)
"""Two nodes' clocks may differ by so much. A token from further in the future was signed by a clock that was wrong."""


@dataclass(frozen=True, slots=True)
class Life:
    """From when to when a delivered token lives; aware, in UTC."""

    issued_at: datetime
    expires_at: datetime


Lives = Mapping[tuple[str, str], Life]
"""By the resource's uid and the cache's alias."""


def encode(lives: Lives, *, now: datetime) -> bytes:
    """Return the checkpoint's bytes."""
    users: dict[str, dict[str, list[int]]] = {}
    for (uid, alias), life in sorted(lives.items()):
        users.setdefault(uid, {})[alias] = [int(life.issued_at.timestamp()), int(life.expires_at.timestamp())]
    document = {"version": VERSION, "writtenAt": int(now.timestamp()), "users": users}
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), mtime=0)


def decode(content: bytes, *, token_s: float, now: datetime) -> dict[tuple[str, str], Life]:
    """Return the lives of a checkpoint; {} for anything that isn't one, or is of another version.

    No checkpoint, however forged, can put off a refresh beyond what an honest one could: an expiry is clamped to the
    time of writing plus a token's life, and what was issued in the future counts from now, or not at all.
    """
    try:
        document = json.loads(_decompress(content))
        if document["version"] != VERSION:
            return {}
        written_at, life = _time(document["writtenAt"]), timedelta(seconds=token_s)
        lives: dict[tuple[str, str], Life] = {}
        for uid, aliases in document["users"].items():
            for alias, (issued, expires) in aliases.items():
                issued_at = min(_time(issued), written_at)
                expires_at = min(_time(expires), min(written_at, now) + life)
                if issued_at < expires_at and issued_at <= now + MAX_AHEAD:
                    lives[str(uid), str(alias)] = Life(min(issued_at, now), expires_at)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, OverflowError, EOFError, zlib.error):
        return {}
    except RecursionError:  # lists in lists in lists
        return {}
    return lives


def _decompress(content: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    plain = stream.decompress(content, MAX_BYTES)
    if not stream.eof:
        raise ValueError("truncated, or larger than any honest checkpoint")
    return plain


def _time(seconds: Any) -> datetime:
    return datetime.fromtimestamp(int(seconds), tz=UTC)
