"""Runs passes on recording ports until they find nothing left to do, and tells what that was."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

from typing_extensions import override

from elasticache_iam.api.base import Condition, ConditionStatus, Metadata, is_asked
from elasticache_iam.api.keys import ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY
from elasticache_iam.api.parse import InvalidResourceError
from elasticache_iam.api.user import DeliveryMode, ElastiCacheIAMUser
from elasticache_iam.core.mint import TokenReports
from elasticache_iam.core.names import secret_name
from elasticache_iam.core.plan.calls import Call
from elasticache_iam.core.plan.changes import (
    Held,
    KubeChange,
    Note,
    Plan,
    Resource,
    Step,
    compare_access,
    compare_connections,
    compare_roles,
)
from elasticache_iam.core.state import Place
from elasticache_iam.core.status import READY, RECONCILING, STALLED, Stage
from elasticache_iam.ports import Aws, PodIdentity
from elasticache_iam.reconcile.group.reconciler import GroupReconciler
from elasticache_iam.reconcile.plane import KINDS, Plane
from elasticache_iam.reconcile.preview.aws import PreviewAws
from elasticache_iam.reconcile.preview.kube import PreviewKube
from elasticache_iam.reconcile.preview.pod_identity import PreviewPodIdentity
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key, WorkQueue
from elasticache_iam.reconcile.store import Body
from elasticache_iam.reconcile.user.reconciler import UserReconciler

MOST_ROUNDS: Final = 12
"""A deletion takes the most: out of the group, role, user, default user, each seen to be gone by the next pass."""

_NOT_MISSING: Final = frozenset({"Signing", "Pending", "PlanOnly"})
"""Conditions that wait for a token, as none is made in a preview, or for somebody who wants it so."""


class Reconciler(Protocol):
    """Takes one resource a step further."""

    async def reconcile(self, key: Key) -> float | None:
        """Do one pass."""
        ...


class Preview:
    """One world of its own: what is written in it is seen in it, and nowhere else.

    Args:
        plane: The real plane: its store, AWS and cluster are read.
        applies: Resources whose annotation plan-only doesn't count here: what it holds back is the question.
    """

    def __init__(self, plane: Plane, *, applies: Iterable[Key]) -> None:
        self._recorder = _Recorder()
        self._store = plane.store.copy()
        self._reads = plane.aws
        self._aws: dict[Place, PreviewAws] = {}
        self._kube = PreviewKube(
            plane.kube, self._store, note=self._recorder.note_change, remark=self._recorder.note_remark
        )
        self._plane = _QuietPlane(
            installation=plane.installation,
            aws=self._aws_of,
            kube=self._kube,
            store=self._store,
            queue=WorkQueue(plane.clock),  # nobody works it off: rounds go over everything
            clock=plane.clock,
            stop_minting=_mint_nothing,
            allow_minting=lambda _key: None,
            namespace=plane.namespace,
            pod_identity=self._preview_pod_identity(plane),
            reports=_copy_reports(plane.reports),
        )
        self._reconcilers: dict[str, Reconciler] = {
            USERS: UserReconciler(self._plane),
            GROUPS: GroupReconciler(self._plane),
        }

        for key in applies:
            self.apply(key)

    def _preview_pod_identity(self, plane: Plane) -> PodIdentity | None:
        installation, real = plane.installation, plane.pod_identity
        if real is None or installation.config.cluster_name is None:
            return None
        note = partial(self._recorder.note_call, installation.home)
        return PreviewPodIdentity(real, installation.config.cluster_name, note)

    def _aws_of(self, place: Place) -> Aws:
        if place not in self._aws:
            self._aws[place] = PreviewAws(self._reads(place), place, self._recorder.note_call)
        return self._aws[place]

    def apply(self, key: Key) -> None:
        """Have a resource count as if it didn't ask for a plan."""
        body = self._store.body(key)
        if body is not None and is_plan_only_body(body):
            self._store.observe(key, _without_plan_only(body))

    async def run(self, keys: Sequence[Key]) -> None:
        """Do passes of these resources, round after round, until one writes nothing.

        Users come first: a group is then made with those who are to be in it, as it is where AWS takes its time.
        """
        ordered = sorted(keys, key=lambda key: (key.plural != USERS, key))
        for _ in range(MOST_ROUNDS):
            before = (self._recorder.count, self._kube.writes)
            for key in ordered:
                if key not in self._store or is_plan_only_body(self._store.body(key)):
                    continue
                self._recorder.resource = _resource(key)
                await self._reconcilers[key.plural].reconcile(key)
                await asyncio.sleep(0)  # a group with thousands of users must not hold the loop
            if (self._recorder.count, self._kube.writes) == before:
                return

    def start_counting(self) -> None:
        """Take what was written so far for granted: it is how things stand from here on."""
        self._recorder.clear()
        for aws in self._aws.values():
            aws.mark_baseline()

    def tell(self, keys: Iterable[Key], *, about: Iterable[Key] | None = None) -> Plan:
        """Return what was written, and what it means.

        Args:
            keys: The resources that were worked on.
            about: Those of which to tell what would still be missing; None: all.
        """
        told = sorted(keys, key=lambda key: (key.plural != GROUPS, key))
        pairs = [(aws.before, aws.after) for _, aws in sorted(self._aws.items(), key=lambda item: item[0])]
        return Plan(
            resources=tuple(_resource(key) for key in told),
            steps=tuple(self._recorder.steps),
            kube=(*self._recorder.changes, *self._secrets_to_come(told)),
            roles=tuple(
                diff for aws in self._aws.values() for diff in compare_roles(aws.roles_before, aws.roles_after)
            ),
            access=tuple(change for old, new in pairs for change in compare_access(old, new)),
            cuts=tuple(cut for old, new in pairs for cut in compare_connections(old, new)),
            held=tuple(held for key in (told if about is None else about) for held in self._held(key)),
            notes=tuple(dict.fromkeys((*self._recorder.notes, *self._paused(told)))),
        )

    def _secrets_to_come(self, keys: Iterable[Key]) -> Iterator[KubeChange]:
        """Yield the Secrets that the token plane would make: a cache in the status that has none yet."""
        for key in keys:
            user = self._user(key)
            if user is None or user.spec.delivery.mode is not DeliveryMode.SECRET or user.spec.suspend:
                continue
            if user.metadata.is_deleting:
                continue
            base = user.spec.delivery.secret.name or key.name
            for cache in user.status.caches:
                if cache.secret is None:
                    name = f"{key.namespace}/{secret_name(base, cache.name)}"
                    detail = f"a token for cache {cache.id}, kept fresh"
                    yield KubeChange(_resource(key), "+", "Secret", name, detail)

    def _paused(self, keys: Iterable[Key]) -> Iterator[Note]:
        for key in keys:
            if is_asked(_annotations(self._store.body(key)), ANNOTATION_PAUSED):
                yield Note(_resource(key), f"paused: nothing is done until the annotation {ANNOTATION_PAUSED} is gone")

    def _user(self, key: Key) -> ElastiCacheIAMUser | None:
        if key.plural != USERS:
            return None
        try:
            return self._store.user(key)
        except InvalidResourceError:
            return None

    def _held(self, key: Key) -> Iterator[Held]:
        body = self._store.body(key) or {}
        for condition in (body.get("status") or {}).get("conditions") or ():
            kind, reason = str(condition.get("type")), str(condition.get("reason"))
            is_summary = kind in {READY, RECONCILING, STALLED}
            if is_summary or condition.get("status") != ConditionStatus.FALSE or reason in _NOT_MISSING:
                continue
            yield Held(_resource(key), kind, reason, str(condition.get("message", "")))


class _QuietPlane(Plane):
    """A plane whose transitions are nobody's news."""

    @override
    async def _tell(self, key: Key, meta: Metadata, news: tuple[Condition, ...], stages: tuple[Stage, ...]) -> None:
        pass


class _Recorder:
    """What passes would write, in order."""

    def __init__(self) -> None:
        self.resource = Resource("", "", "")
        self.clear()

    def clear(self) -> None:
        self.steps: list[Step] = []
        self.changes: list[KubeChange] = []
        self.notes: list[Note] = []

    @property
    def count(self) -> int:
        return len(self.steps) + len(self.changes)

    def note_call(self, place: Place, call: Call) -> None:
        self.steps.append(Step(self.resource, place, call))

    def note_change(self, mark: str, kind: str, name: str, detail: str) -> None:
        self.changes.append(KubeChange(self.resource, mark, kind, name, detail))

    def note_remark(self, text: str) -> None:
        self.notes.append(Note(self.resource, text))


def is_plan_only_body(body: Body | None) -> bool:
    """Whether a resource asks for a plan instead of the deed, also if it can't be read."""
    return is_asked(_annotations(body), ANNOTATION_PLAN_ONLY)


def _annotations(body: Body | None) -> Mapping[str, Any]:
    return ((body or {}).get("metadata") or {}).get("annotations") or {}


def _resource(key: Key) -> Resource:
    return Resource(KINDS[key.plural], key.namespace, key.name)


def _without_plan_only(body: Body) -> Body:
    metadata: Mapping[str, Any] = body["metadata"]
    kept = {name: value for name, value in metadata["annotations"].items() if name != ANNOTATION_PLAN_ONLY}
    return {**body, "metadata": {**metadata, "annotations": kept}}


def _copy_reports(reports: Mapping[tuple[str, str], TokenReports]) -> dict[tuple[str, str], TokenReports]:
    """Return reports that passes may take from."""
    return {
        key: replace(known, delivered=dict(known.delivered), failed=dict(known.failed), verified=dict(known.verified))
        for key, known in reports.items()
    }


async def _mint_nothing(_key: tuple[str, str]) -> None:
    """Do what ending the minting comes to where none is done."""
