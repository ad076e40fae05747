"""What the caches' fronts see, built anew only when something changed."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from elasticache_iam_sandbox.world.call import CacheKind, CacheView, EngineUser

OPEN_DEFAULT_USER: Final = EngineUser("default", "default", "on ~* &* +@all", "no-password")
"""A cache without a user group and without an AUTH token: everybody is in."""
CLOSED_DEFAULT_USER: Final = EngineUser("default", "default", "off ~* -@all", "password")
"""A cache whose group or ACL has no user named default: AWS switches the default user off. No password fits."""


class Views:
    """The views of one service's caches in one account and region.

    Attributes:
        revision: Counts every change; a view is built anew only when it moved.
    """

    def __init__(self, account_id: str, region: str, service: str) -> None:
        self.revision = 0
        self._account_id = account_id
        self._region = region
        self._service = service
        self._views: dict[tuple[CacheKind, str], tuple[int, CacheView]] = {}

    def touch(self) -> None:
        """Say that something changed that a cache's front may have to know."""
        self.revision += 1

    def forget(self, kind: CacheKind, cache_id: str) -> None:
        """Drop the view of a cache that is gone."""
        self._views.pop((kind, cache_id), None)

    def get(
        self, kind: CacheKind, cache_id: str, *, arn: str, status: str, users: Callable[[], dict[str, EngineUser]]
    ) -> CacheView:
        """Return the view of a cache; the very same object as long as nothing in it changed."""
        revision, view = self._views.get((kind, cache_id), (-1, None))
        if view is not None and revision == self.revision:
            return view
        fresh = CacheView(
            account_id=self._account_id,
            region=self._region,
            service=self._service,
            cache_id=cache_id,
            arn=arn,
            serverless=kind == "serverlesscache",
            status=status,
            users=MappingProxyType(users()),
        )
        view = view if view == fresh else fresh
        self._views[kind, cache_id] = (self.revision, view)
        return view
