"""A pace for calls: AWS throttles an account as a whole, and it isn't ours alone."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """Hands out permits at a steady rate, some of them at once after a pause. For one event loop.

    Attributes:
        per_s: Permits a second; 0 means no limit.
        burst: Permits that may be saved up.
    """

    per_s: float
    burst: float
    _saved: float = field(init=False)
    _at: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._saved = self.burst

    def reserve(self, now: float) -> float:
        """Take one permit and return the seconds to wait before using it.

        Args:
            now: Seconds on a clock that never runs backwards.
        """
        if self.per_s <= 0:
            return 0.0
        if self._at is not None:
            self._saved = min(self.burst, self._saved + (now - self._at) * self.per_s)
        self._at = now
        self._saved -= 1.0
        return max(0.0, -self._saved / self.per_s)
