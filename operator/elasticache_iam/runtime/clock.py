"""The real clock."""

import time
from datetime import UTC, datetime
from typing import Final

_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
"""Linux has it; elsewhere only developers run."""


class SystemClock:
    """`ports.Clock`."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never run backwards, and pass while the machine sleeps.

        Python's own monotonic clock is Linux's CLOCK_MONOTONIC: it runs on through a SIGSTOP, but stands still while
        the machine is suspended. A process that woke up would believe its Lease to be young.
        """
        return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()
