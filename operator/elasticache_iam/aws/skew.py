"""How far our clock and AWS's are apart, as any answer of AWS tells beside what was asked."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from elasticache_iam.ports import Clock


class Skew:
    """Keeps what the newest answer told. Answers come from worker threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead: timedelta | None = None

    @property
    def ahead(self) -> timedelta | None:
        """Our clock minus AWS's, to a second or two; None before the first answer."""
        return self._ahead

    def note_answer(self, http_response: Any = None, **_: Any) -> None:
        """Take the time from an answer's Date header: also a refusal has one. For botocore's `after-call`."""
        header = getattr(http_response, "headers", {}).get("Date")
        if not header:
            return
        try:
            said = parsedate_to_datetime(header)
        except ValueError:
            return
        if said.utcoffset() is not None:
            self._ahead = self._clock.now() - _middle(said)


def _middle(said: datetime) -> datetime:
    """Return the middle of the second that a header names."""
    return said.astimezone(UTC) + timedelta(seconds=0.5)
