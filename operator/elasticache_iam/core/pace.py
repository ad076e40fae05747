"""Paces for calls: to a service whose rate isn't published, and for whoever asks for more than others."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

_BACK_OFF: Final = 0.8
_BACK_OFF_EVERY_S: Final = 1.0
"""Calls that were under way together are refused together: that is one refusal, not eight."""
_GROWTH: Final = 0.05
"""Permits a second more for each call that was taken, so 5 % a second: a limit is felt for again every 4 to 5 s, and at
5 a second one call in 20 is refused."""
RESOLUTION_S: Final = 0.001
"""What is due sooner is due now: sums of floats are never quite equal."""
_LEAST_KEPT: Final = 64

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Pace:
    """Permits at a steady rate that falls by a fifth when the service throttles and grows slowly while it doesn't.

    For one event loop. Times are seconds on a clock that never runs backwards.

    Attributes:
        per_s: Permits a second, to begin with.
        least_per_s: However much the service throttles, so often it is asked.
        most_per_s: However much it allows.
    """

    per_s: float = 10.0
    least_per_s: float = 0.5
    most_per_s: float = 50.0
    _free_at: float = field(init=False, default=float("-inf"))
    _backed_off_at: float = field(init=False, default=float("-inf"))
    _is_full: bool = field(init=False, default=False)

    def wait_s(self, now: float) -> float:
        """Return the seconds until there is a permit; less than a millisecond is none."""
        wait_s = self._free_at - now
        return wait_s if wait_s >= RESOLUTION_S else 0.0

    def take(self, now: float) -> None:
        """Use the permit that there is."""
        interval_s = 1.0 / self.per_s
        # Who doesn't use what there is learns nothing about what there could be.
        self._is_full = now - self._free_at < interval_s
        self._free_at = now + interval_s

    def succeeded(self) -> None:
        """Hear that the service took a call."""
        if self._is_full:
            self.per_s = min(self.most_per_s, self.per_s + _GROWTH)

    def throttled(self, now: float) -> None:
        """Hear that the service refused a call because there were too many."""
        if now - self._backed_off_at < _BACK_OFF_EVERY_S:
            return
        self._backed_off_at = now
        self.per_s = max(self.least_per_s, self.per_s * _BACK_OFF)
        self._free_at = max(self._free_at, now + 1.0 / self.per_s)


class Allowance(Generic[K]):
    """So many calls at once for each key, and then one each so often: nobody gets more by asking all the time.

    Times are seconds on a clock that never runs backwards.

    Args:
        at_once: Calls that need not wait.
        every_s: After so many seconds there is another one.
    """

    def __init__(self, *, at_once: int, every_s: float) -> None:
        self._every_s = every_s
        self._saved_s = (at_once - 1) * every_s
        self._whole_at: dict[K, float] = {}
        self._most_kept = _LEAST_KEPT

    def free_at(self, key: K, now: float) -> float:
        """Return when a key may make its next call; `now` if at once."""
        return max(now, self._whole_at.get(key, now) - self._saved_s)

    def take(self, key: K, now: float) -> None:
        """Note a call."""
        self._whole_at[key] = max(now, self._whole_at.get(key, now)) + self._every_s
        if len(self._whole_at) > self._most_kept:
            self._whole_at = {key: at for key, at in self._whole_at.items() if at > now}
            self._most_kept = max(_LEAST_KEPT, 2 * len(self._whole_at))

    def give_back(self, key: K) -> None:
        """Take a call back that wasn't the key's to answer for."""
        if key in self._whole_at:
            self._whole_at[key] -= self._every_s
