"""Objects by id, in order, answered in pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Catalogue(Generic[T]):
    """A dict whose keys are kept sorted, so that a page is found by its marker without sorting anything again."""

    def __init__(self) -> None:
        self._items: dict[str, T] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __getitem__(self, key: str) -> T:
        return self._items[key]

    def get(self, key: str) -> T | None:
        """Return the item, or None."""
        return self._items.get(key)

    def add(self, key: str, item: T) -> None:
        """Put a new item in; replacing one is an error of the caller."""
        if key in self._items:
            raise ValueError(f"{key} is there already")
        self._items[key] = item
        insort(self._keys, key)

    def remove(self, key: str) -> T:
        """Take an item out and return it."""
        del self._keys[bisect_right(self._keys, key) - 1]
        return self._items.pop(key)

    def values(self) -> Iterator[T]:
        """Iterate over the items in the order of their keys."""
        return (self._items[key] for key in self._keys)

    def page(self, marker: str | None, size: int) -> tuple[list[T], str | None]:
        """Return the items after the marker, at most `size`, and the next marker if more follow."""
        keys, next_marker = page_of(self._keys, marker, size)
        return [self._items[key] for key in keys], next_marker


def page_of(keys: Sequence[str], marker: str | None, size: int) -> tuple[Sequence[str], str | None]:
    """Return a page of sorted keys and the marker of the next one, or None.

    A marker holds the last key seen, so objects that come and go between two pages shift nobody.

    Raises:
        ValueError: The marker is none of ours.
    """
    start = bisect_right(keys, _read_marker(marker)) if marker else 0
    page = keys[start : start + size]
    more = start + size < len(keys)
    return page, _write_marker(page[-1]) if more else None


def _write_marker(key: str) -> str:
    return urlsafe_b64encode(f"after:{key}".encode()).decode()


def _read_marker(marker: str) -> str:
    text = urlsafe_b64decode(marker.encode()).decode()
    if not text.startswith("after:"):
        raise ValueError("not a marker")
    return text.removeprefix("after:")
