"""Tags of one service's users, groups and caches: AWS's index of them, an object's own, and what we sent.

The index (Resource Groups Tagging) has all objects in pages, but is filled a while after a change. Reading an object's
own tags is exact, and costs a call.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from elasticache_iam.aws.api import PAGINATION_TOKEN, Api
from elasticache_iam.aws.observe import read_tags, write_tags
from elasticache_iam.aws.part import Merged, Part, Sequence
from elasticache_iam.core.errors import BusyError
from elasticache_iam.ports import Clock

INDEX_PAGE_SIZE: Final = 100
"""Resource Groups Tagging's largest page."""
INDEX_DELAY_S: Final = 600.0
"""How long tags that we sent are believed although the index doesn't show them."""


@dataclass(frozen=True, slots=True)
class TagCalls:
    """A service's words for the three calls about an object's own tags. Each answers with all of them, as TagList.

    Attributes:
        service: botocore's name of the service.
        arn: The parameter that names the object.
        read: Lists tags.
        add: Adds or replaces some (Tags).
        remove: Takes some off (TagKeys); refuses the call for one that is missing.
        indexed: The kinds of objects that the index is asked for.
    """

    service: str
    arn: str
    read: str
    add: str
    remove: str
    indexed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _KnownTags:
    """Tags that we sent, or read of one object alone; {} after its deletion."""

    stamp: int
    at: float
    tags: Mapping[str, str]
    is_sent: bool


class Tags:
    """All tags of one service in one account and region.

    Args:
        api: Calls in that region.
        calls: The service's words.
        clock: Its monotonic side tells the age of readings.
        sequence: Shared with the parts of the same place.
        on_busy: Called when AWS says that an object is busy or gone, which it does in the same words.
    """

    def __init__(
        self, api: Api, calls: TagCalls, *, clock: Clock, sequence: Sequence, on_busy: Callable[[], None]
    ) -> None:
        self._api = api
        self._calls = calls
        self._clock = clock
        self._sequence = sequence
        self._on_busy = on_busy
        self._index: Part[dict[str, Mapping[str, str]]] = Part(self._read_index, clock=clock, sequence=sequence)
        self._lock = threading.Lock()  # guards the next two: creations are noted in worker threads
        self._known: dict[str, _KnownTags] = {}
        self._version = 0
        self._merged: Merged[Mapping[str, Mapping[str, str]]] = Merged((), {})
        self._merge_again_at = 0.0

    async def refresh(self, max_age_s: float) -> None:
        """Read the index if it is older than asked."""
        await self._index.get(max_age_s)

    def latest(self) -> Mapping[str, Mapping[str, str]]:
        """Return the tags by ARN, of objects that have any: the index's, but what we know better."""
        indexed, now = self._index.latest, self._clock.monotonic()
        with self._lock:
            key = (indexed.stamp, self._version)
            if self._merged.key != key or now >= self._merge_again_at:
                self._merge_again_at = float("inf")
                for arn, known in list(self._known.items()):
                    if known.stamp > indexed.stamp:
                        continue
                    believed_until = known.at + INDEX_DELAY_S
                    if self._has_caught_up(indexed.value.get(arn, {}), known) or now >= believed_until:
                        del self._known[arn]
                    else:
                        self._merge_again_at = min(self._merge_again_at, believed_until)
                tags = {**indexed.value, **{arn: known.tags for arn, known in self._known.items()}}
                self._merged = Merged(key, {arn: tags_of for arn, tags_of in tags.items() if tags_of})
            return self._merged.value

    async def read(self, arn: str) -> Mapping[str, str]:
        """Return an object's tags, read now. Raises NotFoundError, BusyError (it may also be gone)."""
        return await self._call(self._calls.read, arn, {})

    async def add(self, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags to an object, or replace their values. Raises NotFoundError, BusyError."""
        await self._call(self._calls.add, arn, {"Tags": write_tags(tags)}, is_sent=True)

    async def remove(self, arn: str, keys: frozenset[str]) -> None:
        """Take tags off an object; missing ones are success. Raises NotFoundError, BusyError, ConflictError."""
        there = keys & (await self.read(arn)).keys()
        if there:
            await self._call(self._calls.remove, arn, {"TagKeys": sorted(there)}, is_sent=True)

    def note(self, arn: str, tags: Mapping[str, str]) -> None:
        """Remember the tags that we sent with a creation; {} for a deletion."""
        self._start(is_sent=True)(arn, tags)

    async def _call(
        self, operation: str, arn: str, parameters: Mapping[str, Any], *, is_sent: bool = False
    ) -> Mapping[str, str]:
        remember = self._start(is_sent=is_sent)
        try:
            answer = await self._api.call(self._calls.service, operation, {self._calls.arn: arn, **parameters})
        except BusyError:
            self._on_busy()
            raise
        tags = read_tags(answer.get("TagList", ()))
        remember(arn, tags)
        return tags

    def _start(self, *, is_sent: bool) -> Callable[[str, Mapping[str, str]], None]:
        """Return what to call with an object's own tags once they are told: they count from now."""
        stamp, at = self._sequence.next(), self._clock.monotonic()

        def remember(arn: str, tags: Mapping[str, str]) -> None:
            with self._lock:
                before = self._known.get(arn)
                if before is None or before.stamp < stamp:
                    self._known[arn] = _KnownTags(stamp, at, dict(tags), is_sent)
                    self._version += 1

        return remember

    @staticmethod
    def _has_caught_up(indexed: Mapping[str, str], known: _KnownTags) -> bool:
        """Whether the index, read later than what we know, knows it too.

        What we only read may have been changed by others since: there any entry in the index counts.
        """
        return indexed == known.tags if known.is_sent else bool(indexed) or not known.tags

    async def _read_index(self) -> dict[str, Mapping[str, str]]:
        pages = self._api.pages(
            "resourcegroupstaggingapi",
            "GetResources",
            {"ResourceTypeFilters": list(self._calls.indexed), "ResourcesPerPage": INDEX_PAGE_SIZE},
            cursor=PAGINATION_TOKEN,
        )
        return {
            resource["ResourceARN"]: tags
            async for page in pages
            for resource in page["ResourceTagMappingList"]
            if (tags := read_tags(resource.get("Tags", ())))
        }
