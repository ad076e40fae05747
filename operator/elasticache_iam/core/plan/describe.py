"""A plan for people and for programs: lines, grouped by resource, and a document. It decides nothing."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from elasticache_iam.api.keys import GROUP
from elasticache_iam.core.access import explain
from elasticache_iam.core.plan.changes import (
    AccessChange,
    KubeChange,
    Plan,
    Resource,
    RoleDiff,
    Step,
    tell_difference,
)

NOTHING: Final = "Nothing to do: AWS is as the resources ask."
STATUS_LINES: Final = 256
"""The CRD's limit of status.plan, as is the next."""
STATUS_LINE_LENGTH: Final = 4096

_TEXT_WIDTH: Final = 92
_PREFIX: Final = f"{GROUP}/"
_TOLD_ELSEWHERE: Final = frozenset({"AssumeRolePolicyDocument", "PolicyDocument"})
"""Parameters that the role's diff shows better."""
_SUBJECTS: Final = (
    "ReplicationGroupId",
    "ServerlessCacheName",
    "ClusterName",
    "UserGroupId",
    "ACLName",
    "UserId",
    "RoleName",
    "UserName",
    "ResourceName",
    "ResourceArn",
    "serviceAccount",
    "associationId",
)
"""Parameters that name what a call is about; the first that is there does."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        text: Without its mark.
        mark: `+`, `-`, `~`, `!` (read this), `#` (a heading) or "".
        depth: How deep it is indented.
    """

    text: str
    mark: str = ""
    depth: int = 0

    @property
    def plain(self) -> str:
        """The line without colours."""
        if not self.text:
            return ""
        mark = self.mark if self.mark in {"+", "-", "~", "!"} else ""
        return f"{'  ' * self.depth}{mark} {self.text}" if mark else f"{'  ' * self.depth}{self.text}"


def status_lines(plan: Plan) -> tuple[str, ...]:
    """Return a plan as it fits into a status; what doesn't is counted."""
    lines = [_cut(line.plain) for line in render_plan(plan)]
    if len(lines) <= STATUS_LINES:
        return tuple(lines)
    kept = lines[: STATUS_LINES - 1]
    return (*kept, f"… {len(lines) - len(kept)} more lines: run elasticache-iam plan")


def _cut(text: str) -> str:
    return text if len(text) <= STATUS_LINE_LENGTH else text[: STATUS_LINE_LENGTH - 1] + "…"


def summarise_plan(plan: Plan) -> str:
    """Return a plan in one sentence."""
    if plan.is_empty:
        return f"Nothing can be done: {plan.held[0].message}" if plan.held else NOTHING
    parts = [_count(len(plan.steps), "call to AWS", "calls to AWS")] if plan.steps else []
    if plan.kube:
        parts.append(_count(len(plan.kube), "change in Kubernetes", "changes in Kubernetes"))
    for mark, verb in (("+", "gains access"), ("-", "loses access"), ("~", "gets other access")):
        users = {change.user_id for change in plan.access if change.mark == mark}
        if users:
            parts.append(_count(len(users), f"user {verb}", f"users {verb.replace('s ', ' ', 1)}"))
    if plan.cuts:
        caches = {cut.cache for cut in plan.cuts}
        parts.append(f"live clients of {_count(len(caches), 'cache', 'caches')} cut off")
    return f"Plan: {', '.join(parts)}."


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def render_plan(plan: Plan) -> tuple[Line, ...]:
    """Return a plan in lines: the sum, what each resource would do, and what comes of it."""
    lines = [Line(summarise_plan(plan), "#")]
    for section in (_writes(plan), _roles(plan.roles), _access(plan.access), _cuts(plan), _held(plan)):
        lines += section
    return tuple(lines)


def _writes(plan: Plan) -> Iterator[Line]:
    by_whom: dict[Resource, list[Line]] = {}
    for number, step in enumerate(plan.steps, start=1):
        by_whom.setdefault(step.resource, []).extend(_step(number, step))
    for change in plan.kube:
        by_whom.setdefault(change.resource, []).append(_kube_change(change))
    for note in plan.notes:
        by_whom.setdefault(note.resource, []).append(Line(note.text, "!", 1))
    order = {resource: position for position, resource in enumerate(plan.resources)}
    for resource in sorted(by_whom, key=lambda one: (order.get(one, len(order)), one)):
        yield Line("")
        yield Line(f"{resource.kind} {resource.where}", "#")
        yield from by_whom[resource]


def _step(number: int, step: Step) -> Iterator[Line]:
    call = step.call
    subject = next(name for name in _SUBJECTS if name in call.parameters)
    yield Line(f"{call.service} {call.operation} {call.parameters[subject]}  ({number})", call.mark, 1)
    about = call.parameters[subject]
    rest = {name: value for name, value in call.parameters.items() if value != about and name not in _TOLD_ELSEWHERE}
    width = max(map(len, rest), default=0) + 2
    for name, value in rest.items():
        yield from _wrapped(_value(value), label=name.ljust(width))


def _wrapped(text: str, *, label: str = "") -> Iterator[Line]:
    """Yield a text in lines that are easy to read, one under the other behind its label."""
    for number, part in enumerate(textwrap.wrap(text, _TEXT_WIDTH, break_long_words=False, break_on_hyphens=False)):
        yield Line(f"{label if number == 0 else ' ' * len(label)}{part}", depth=3)


def _value(value: Any) -> str:
    """Return a parameter's value for people: tags as key=value, lists without brackets, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(part)}" for name, part in value.items())
    if not isinstance(value, list):
        return json.dumps(value)
    if all(isinstance(item, Mapping) and {*item} == {"Key", "Value"} for item in value):
        return _tags({str(item["Key"]): str(item["Value"]) for item in value})
    return ", ".join(_value(item) for item in value)


def _tags(tags: Mapping[str, str]) -> str:
    """Return tags with the prefix that ours share written once."""
    ours = [f"{key.removeprefix(_PREFIX)}={value}" for key, value in tags.items() if key.startswith(_PREFIX)]
    others = [f"{key}={value}" for key, value in tags.items() if not key.startswith(_PREFIX)]
    return ", ".join([f"{_PREFIX}{{{', '.join(ours)}}}"] * bool(ours) + others)


def _kube_change(change: KubeChange) -> Line:
    return Line(f"{change.kind} {change.name}: {change.detail}", change.mark, 1)


def _roles(diffs: Iterable[RoleDiff]) -> Iterator[Line]:
    heading = ""
    for diff in diffs:
        if not heading:
            yield Line("")
            yield Line("IAM", "#")
        if heading != diff.role_name:
            heading = diff.role_name
            yield Line(f"role {diff.role_name}", depth=1)
        yield Line(diff.document, depth=2)
        for text in diff.lines:
            mark = text[0].strip()
            yield Line(text[1:], mark, 3 if mark else 4)  # a mark takes as much room as one step of indentation


def _access(changes: Iterable[AccessChange]) -> Iterator[Line]:
    heading = [Line(""), Line("Access", "#")]
    for change in changes:
        yield from heading
        heading = []
        who = f"{change.user_id} ({change.who})" if change.who else change.user_id
        verb = {"+": "gains access to", "-": "loses all access to", "~": "gets other access to"}[change.mark]
        yield Line(f"{who} {verb} cache {change.cache.id}", change.mark, 1)
        for text in access_words(change):
            yield from _wrapped(text)


def access_words(change: AccessChange) -> tuple[str, ...]:
    """Return in words what a user gains, loses, or has in place of what it had."""
    if change.before is None:
        return explain(change.after or "")
    if change.after is None:
        return (f"it had: {change.before}",)
    return tuple(tell_difference(change.before, change.after)) or (f"from {change.before}", f"to   {change.after}")


def _cuts(plan: Plan) -> Iterator[Line]:
    if plan.cuts:
        yield Line("")
        yield Line("Live clients that are cut off", "#")
    for cut in plan.cuts:
        yield Line(f"cache {cut.cache.id}: {cut.clients}: {cut.why}", "!", 1)


def _held(plan: Plan) -> Iterator[Line]:
    if plan.held:
        yield Line("")
        yield Line("What would still be missing", "#")
    for held in plan.held:
        yield Line(f"{held.resource.kind} {held.resource.where}: {held.reason}: {held.message}", "!", 1)


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as a JSON document, for programs."""
    return {
        "summary": summarise_plan(plan),
        "resources": [_resource_document(resource) for resource in plan.resources],
        "calls": [
            {
                "resource": _resource_document(step.resource),
                "account": step.place.account,
                "region": step.place.region,
                "service": step.call.service,
                "operation": step.call.operation,
                "parameters": dict(step.call.parameters),
            }
            for step in plan.steps
        ],
        "kubernetes": [
            {
                "resource": _resource_document(change.resource),
                "action": {"+": "create", "-": "delete", "~": "change"}[change.mark],
                "kind": change.kind,
                "name": change.name,
                "detail": change.detail,
            }
            for change in plan.kube
        ],
        "roles": [{"role": diff.role_name, "document": diff.document, "diff": list(diff.lines)} for diff in plan.roles],
        "access": [
            {
                "user": change.user_id,
                "resource": change.who or None,
                "cache": change.cache.id,
                "cacheKind": change.cache.kind.value,
                "change": {"+": "gains", "-": "loses", "~": "changes"}[change.mark],
                "before": change.before,
                "after": change.after,
                "words": list(access_words(change)),
            }
            for change in plan.access
        ],
        "cutOff": [{"cache": cut.cache.id, "clients": cut.clients, "why": cut.why} for cut in plan.cuts],
        "missing": [
            {
                "resource": _resource_document(held.resource),
                "condition": held.condition,
                "reason": held.reason,
                "message": held.message,
            }
            for held in plan.held
        ],
        "notes": [{"resource": _resource_document(note.resource), "text": note.text} for note in plan.notes],
    }


def _resource_document(resource: Resource) -> dict[str, str]:
    return {"kind": resource.kind, "namespace": resource.namespace, "name": resource.name}
