"""Small reads of the API server that each pass would repeat, kept for a while: an unchanged world is asked nothing.

What is missing is never kept: it is waited for.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.ports import Clock, Kube

LABELS_AGE_S: Final = 30.0
"""So old at most are a namespace's labels when an admission rule is judged by them."""
_TIDY_AT: Final = 10_000

Strings = Mapping[str, str]


class KubeReads:
    """Labels of namespaces and annotations of ServiceAccounts. It belongs to the loop of the control plane."""

    def __init__(self, config: OperatorConfig, *, kube: Kube, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock
        self._labels_age_s = min(LABELS_AGE_S, config.drift_interval / 2)
        self._accounts_age_s = config.slow_drift_interval
        self._kept: dict[Hashable, tuple[float, Strings]] = {}

    async def namespace_labels(self, namespace: str) -> Strings:
        """Return a namespace's labels, at most half a minute old. Raises NotFoundError."""

        async def read() -> Strings:
            return await self._kube.get_namespace_labels(namespace)

        return await self._get(("labels", namespace), read, self._labels_age_s) or {}

    async def service_account(self, namespace: str, name: str) -> Strings | None:
        """Return a ServiceAccount's annotations, None if it isn't there (now).

        One that was there is looked at again on the slow clock: that it has gone is told by the next request for its
        token.
        """

        async def read() -> Strings | None:
            return await self._kube.get_service_account_annotations(namespace, name)

        return await self._get(("account", namespace, name), read, self._accounts_age_s)

    def doubt_service_account(self, namespace: str, name: str) -> None:
        """Have a ServiceAccount read anew: it is written to."""
        self._kept.pop(("account", namespace, name), None)

    def doubt_service_accounts(self, namespace: str) -> None:
        """Have all ServiceAccounts of a namespace read anew: a token of one wasn't to be had."""
        for key in [key for key in self._kept if isinstance(key, tuple) and key[:2] == ("account", namespace)]:
            del self._kept[key]

    async def _get(
        self, key: Hashable, read: Callable[[], Awaitable[Strings | None]], max_age_s: float
    ) -> Strings | None:
        now_s = self._clock.monotonic()
        at_s, kept = self._kept.get(key, (float("-inf"), {}))
        if now_s - at_s < max_age_s:
            return kept
        value = await read()
        if value is None:
            self._kept.pop(key, None)
            return None
        if len(self._kept) > _TIDY_AT:
            oldest = now_s - max(self._accounts_age_s, self._labels_age_s)
            self._kept = {one: entry for one, entry in self._kept.items() if entry[0] >= oldest}
        self._kept[key] = (now_s, value)
        return value
