"""A diagnosis as people and programs read it: a tree with a mark and a repair at each link, and a document."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from elasticache_iam.core.diagnosis import Check, Diagnosis, Mark

_WORDS: Final = {Mark.WHOLE: "ok", Mark.BROKEN: "broken", Mark.UNTOLD: "unknown"}
_LINK_WIDTH: Final = 9
"""The longest name of a link, so that what they say stands in a column."""


@dataclass(frozen=True, slots=True)
class Branch:
    """What was found about one cache."""

    title: str
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Tree:
    """What was found about one user.

    Attributes:
        namespace: Of the resource.
        name: Of the resource.
        user_id: The user's id in AWS.
        operator: What the operator says in the resource's conditions.
        branches: One for each cache.
    """

    namespace: str
    name: str
    user_id: str
    operator: tuple[Check, ...]
    branches: tuple[Branch, ...]

    @property
    def broken(self) -> tuple[Check, ...]:
        """All broken links: the first of each cache is its cause."""
        checks = [check for branch in self.branches for check in branch.diagnosis.checks]
        return tuple(check for check in (*checks, *self.operator) if check.mark is Mark.BROKEN)

    @property
    def is_proven(self) -> bool:
        """Whether a login to every cache was just seen to work."""
        return all(
            any(check.link == "login" and check.mark is Mark.WHOLE for check in branch.diagnosis.checks)
            for branch in self.branches
        )

    @property
    def summary(self) -> str:
        """One line."""
        who = f"{self.namespace}/{self.name}"
        causes = [(branch, found) for branch in self.branches if (found := branch.diagnosis.broken) is not None]
        if causes:
            told = "; ".join(f"{branch.diagnosis.alias}: {_reason(check)}{check.says}" for branch, check in causes)
            return f"{Mark.BROKEN} {who} can't log in: {told}"
        if self.broken:
            return f"{Mark.BROKEN} {who}: no link is broken as far as can be seen, but {self.broken[0].says}"
        untold = sum(len(branch.diagnosis.untold) for branch in self.branches)
        rest = f"; {untold} things can't be told from outside" if untold else ""
        return f"{Mark.WHOLE} {who}: no link is broken{rest}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the tree; `mark` is None but for a check's first."""

    text: str
    mark: Mark | None = None


def render_tree(tree: Tree) -> Iterator[Line]:
    """Yield the tree, and its summary at the end."""
    yield Line(f"{tree.namespace}/{tree.name}, in AWS {tree.user_id or 'without a user yet'}")
    groups = [*((branch.title, branch.diagnosis.checks) for branch in tree.branches), ("the operator", tree.operator)]
    for number, (title, checks) in enumerate(groups, start=1):
        is_last = number == len(groups)
        yield Line(f"{'└─' if is_last else '├─'} {title}")
        yield from _render_checks(checks, "   " if is_last else "│  ")
    yield Line(tree.summary, Mark.BROKEN if tree.broken else Mark.WHOLE)


def _render_checks(checks: tuple[Check, ...], indent: str) -> Iterator[Line]:
    for number, check in enumerate(checks, start=1):
        is_last = number == len(checks)
        said = f"{check.mark.value} {check.link:<{_LINK_WIDTH}} {_reason(check)}{check.says}"
        yield Line(f"{indent}{'└─' if is_last else '├─'} {said}", check.mark)
        if check.repair:
            yield Line(f"{indent}{'  ' if is_last else '│ '}              $ {check.repair}")


def _reason(check: Check) -> str:
    return f"{check.cause}: " if check.cause is not None else ""


def tree_document(tree: Tree) -> Mapping[str, Any]:
    """Return the tree as a JSON document."""
    return {
        "resource": {"kind": "ElastiCacheIAMUser", "namespace": tree.namespace, "name": tree.name},
        "user": tree.user_id,
        "result": "broken" if tree.broken else "ok",
        "summary": tree.summary,
        "caches": [
            {
                "name": branch.diagnosis.alias,
                "cause": _cause(branch.diagnosis.broken),
                "checks": [_check_document(check) for check in branch.diagnosis.checks],
            }
            for branch in tree.branches
        ],
        "operator": [_check_document(check) for check in tree.operator],
    }


def _cause(check: Check | None) -> str | None:
    return check.cause.value if check is not None and check.cause is not None else None


def _check_document(check: Check) -> Mapping[str, Any]:
    return {
        "link": check.link,
        "state": _WORDS[check.mark],
        "says": check.says,
        "cause": _cause(check),
        "repair": check.repair or None,
    }
