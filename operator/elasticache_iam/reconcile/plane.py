"""What every pass of the control plane works with, and how it ends: status, Events, when to look again."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog

from elasticache_iam.api.base import ApiModel, Condition, ConditionStatus, Metadata
from elasticache_iam.api.keys import (
    API_VERSION,
    FINALIZER,
    GROUP_KIND,
    USER_KIND,
)
from elasticache_iam.core.drift import RepairLog
from elasticache_iam.core.errors import (
    AccessDeniedError,
    ContestedError,
    InvalidSpecError,
    NotFoundError,
    OperatorError,
    ThrottledError,
    UnavailableError,
)
from elasticache_iam.core.events import event_body
from elasticache_iam.core.installation import Installation
from elasticache_iam.core.mint import Delivered, DeliveryFailed, LoginOutcome, Report, TokenReports, Verified
from elasticache_iam.core.names import is_owned, place_of_arn
from elasticache_iam.core.state import Inventory, Place
from elasticache_iam.core.status import READY, RECONCILING, STALLED, Stage, next_look_s, summarise
from elasticache_iam.ports import Aws, Clock, Kube, PodIdentity
from elasticache_iam.reconcile.guard import DELETIONS_HELD, DeletionGuard
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key, WorkQueue
from elasticache_iam.reconcile.reads import KubeReads
from elasticache_iam.reconcile.store import Store

log = structlog.get_logger("reconcile")

KINDS: Final = {USERS: USER_KIND, GROUPS: GROUP_KIND}
FIRST_POLL_S: Final = 0.5
HELD_LOOK_S: Final = 60.0
"""How often to look whether the namespace of a paused resource that is deleted ends: no event tells."""
ENDING_S: Final = 120.0
"""For so long a resource's deletion may take while its namespace ends."""
STUCK_REASONS: Final = frozenset(
    {"MembersRemain", "MembersWithoutResource", "StillAttached", DELETIONS_HELD, AccessDeniedError.reason}
)
"""What a deletion waits for that only people can end."""
PASSING_TROUBLE_S: Final = 120.0
PASSING_REASONS: Final = frozenset({UnavailableError.reason, ThrottledError.reason})
MANY_POLLS: Final = 24
"""About two minutes: what isn't done by then takes long, so look less often."""


@dataclass(slots=True)
class Plane:
    """The control plane's hands.

    Attributes:
        aws: AWS in one place: made at first use, the same one after that.
        stop_minting: Ends all minting for a user (namespace, name) and returns once no write of it is under way.
        allow_minting: Takes that back, with what the store says is to be minted.
        namespace: The operator's own.
        get_ahead: Returns our clock minus AWS's, None if no answer has told it.
        pod_identity: That of the operator's cluster; None where the configuration names none.
    """

    installation: Installation
    aws: Callable[[Place], Aws]
    kube: Kube
    store: Store
    queue: WorkQueue
    clock: Clock
    stop_minting: Callable[[tuple[str, str]], Awaitable[None]]
    allow_minting: Callable[[tuple[str, str]], None]
    namespace: str = "elasticache-iam"
    get_ahead: Callable[[], timedelta | None] = lambda: None
    pod_identity: PodIdentity | None = None
    reports: dict[tuple[str, str], TokenReports] = field(default_factory=dict)
    _polls: dict[Key, int] = field(default_factory=dict)
    _troubles: dict[Key, float] = field(default_factory=dict)
    _inventories: dict[Place, Inventory] = field(default_factory=dict)
    _repairs: RepairLog = field(init=False)
    _repaired: dict[Key, int] = field(default_factory=dict)
    guard: DeletionGuard = field(init=False)
    reads: KubeReads = field(init=False)

    def __post_init__(self) -> None:
        """Set up what belongs to one plane."""
        self._repairs = RepairLog(self.installation.config.drift_interval)
        self.reads = KubeReads(self.installation.config, kube=self.kube, clock=self.clock)
        self.guard = DeletionGuard(
            self.installation.config, store=self.store, kube=self.kube, clock=self.clock, namespace=self.namespace
        )

    # -- observing --------------------------------------------------------------------------------------------------

    async def observe(self, key: Key, place: Place) -> Inventory:
        """Return what a place has: as old as the drift interval allows, newer while AWS is at work for this key."""
        config = self.installation.config
        patient = key not in self._polls
        return await self._observe(place, config.drift_interval if patient else self.poll_delay_s(key) * 0.9)

    async def observe_again(self, place: Place) -> Inventory:
        """Return what a place has now (writes of ours made it stale; what isn't stale isn't read again)."""
        return await self._observe(place, self.installation.config.drift_interval)

    async def observe_fresh(self, place: Place) -> Inventory:
        """Return what a place has, read anew: an answer of AWS contradicts what we knew."""
        return await self._observe(place, 0.0)

    async def _observe(self, place: Place, max_age_s: float) -> Inventory:
        slow_s = self.installation.config.slow_drift_interval
        inventory = await self.aws(place).get_inventory(max_age_s=max_age_s, slow_max_age_s=slow_s)
        self._inventories[place] = inventory
        return inventory

    def last_seen(self, place: Place) -> Inventory:
        """Return what a place had when it was last read; an empty one if it never was."""
        return self._inventories.get(place, Inventory())

    def known_elsewhere(self, place: Place, namespace: str) -> dict[Place, Inventory]:
        """Return what other places had when they were last read, of those that a namespace's groups may be in."""
        return {
            other: inventory
            for other, inventory in self._inventories.items()
            if other != place and self.installation.may_use_account(namespace, other.account)
        }

    def poll_delay_s(self, key: Key) -> float:
        """Return after how many seconds to look again while AWS is at work: soon first, then less often."""
        count = self._polls.get(key, 0)
        patience = 1.0 if count < MANY_POLLS else 6.0
        return min(self.installation.config.poll_interval * patience, FIRST_POLL_S * 2.0 ** min(count, 10))

    # -- what is not worked on ----------------------------------------------------------------------------------------

    def refusal(self, stage: str, *, tags: Mapping[str, str]) -> Stage | None:
        """Return why nothing at all is done for a resource as it stands, None if it can be worked on."""
        refused = sorted(set(tags) - set(self.installation.config.allowed_tag_keys))
        if refused:
            return Stage.blocked(
                stage,
                "TagNotAllowed",
                f"spec.tags: the operator's configuration doesn't allow {', '.join(refused)}; "
                "leave them out, or have them added to allowedTagKeys",
            )
        return None

    # -- failures -----------------------------------------------------------------------------------------------------

    def failed_stage(self, key: Key, stage: str, error: OperatorError) -> Stage:
        """Return an error as a stage. A short outage or throttling of AWS is no news for what was in order before."""
        if not isinstance(error, UnavailableError | ThrottledError):
            return Stage.failed(stage, error)
        since = self._troubles.setdefault(key, self.clock.monotonic())
        return Stage.failed(stage, error, is_passing=self.clock.monotonic() - since < PASSING_TROUBLE_S)

    # -- changes behind our back --------------------------------------------------------------------------------------

    async def repair(self, key: Key, meta: Metadata, what: str, was: str) -> None:
        """Say that something changed behind our back is put back now: call it right before the write.

        Args:
            key: The resource.
            meta: Its metadata.
            what: The field of the AWS object, as a reader knows it: `the access string of user demo-x`.
            was: What it had been changed to, in a few words.

        Raises:
            ContestedError: It was put back so often lately that somebody else must want it otherwise; leave it alone
                for now.
        """
        now_s, thing = self.clock.monotonic(), (key, what)
        wait_s = self._repairs.wait_s(thing, now_s)
        if wait_s > 0:
            count = self._repairs.count(thing, now_s)
            raise ContestedError(
                f"{what} was put back {count} times lately, and is changed again ({was}): somebody else manages it, "
                "too; CloudTrail tells who. It is put back less often until that ends",
                retry_after_s=wait_s,
            )
        self._repairs.note(thing, now_s)
        self._repaired[key] = self._repaired.get(key, 0) + 1
        note = f"{what} was changed behind our back ({was}); putting it back"
        await self.post_event(key, meta, reason="DriftRepaired", note=note, warning=True)

    def count_repairs(self, key: Key) -> int:
        """Return how often something of a resource was put back, since this process began to look at it."""
        return self._repaired.get(key, 0)

    # -- finalizers -------------------------------------------------------------------------------------------------

    async def add_finalizer(self, key: Key, meta: Metadata) -> None:
        """Put our finalizer on: nothing is made in AWS before it stands."""
        if FINALIZER in meta.finalizers:
            return
        body = await self.kube.set_finalizers(
            key.plural,
            key.namespace,
            key.name,
            resource_version=meta.resource_version,
            finalizers=(*meta.finalizers, FINALIZER),
        )
        self.store.observe(key, body)

    async def remove_finalizer(self, key: Key, meta: Metadata) -> None:
        """Let the resource go; one that is gone already is success."""
        try:
            # The answer isn't kept: the watch may have told already that the object is gone.
            await self.kube.set_finalizers(
                key.plural,
                key.namespace,
                key.name,
                resource_version=meta.resource_version,
                finalizers=tuple(entry for entry in meta.finalizers if entry != FINALIZER),
            )
        except NotFoundError as error:
            # The watch will tell; unless the server has only lost sight of the kind for a moment.
            self.queue.wake(key, after_s=error.retry_after_s)

    async def is_held(self, meta: Metadata) -> bool:
        """Whether annotations keep our hands off the resource; nothing holds up a namespace that ends."""
        if not meta.is_on_hold:
            return False
        return not (meta.is_deleting and await self.kube.is_namespace_ending(meta.namespace))

    async def lets_go(self, key: Key, meta: Metadata, waits_for: Stage) -> bool:
        """Let a resource go whose deletion can't be finished while its namespace ends; say whether it did.

        What is left in AWS keeps our tags: a resource of the same name takes it over.
        """
        age_s = (self.clock.now() - meta.deletion_timestamp).total_seconds() if meta.deletion_timestamp else 0.0
        if waits_for.reason not in STUCK_REASONS and not waits_for.stalled and age_s < ENDING_S:
            return False
        if not await self.kube.is_namespace_ending(meta.namespace):
            return False
        note = f"the namespace ends, so what is left in AWS stays there: {waits_for.message}"
        log.warning("orphaned", kind=KINDS[key.plural], namespace=key.namespace, name=key.name, message=note)
        await self.post_event(key, meta, reason="Orphaned", note=note, warning=True)
        await self.remove_finalizer(key, meta)
        return True

    # -- the end of a pass ------------------------------------------------------------------------------------------

    async def finish(
        self,
        key: Key,
        meta: Metadata,
        previous: ApiModel,
        status: ApiModel,
        stages: Iterable[Stage],
        *,
        order: tuple[str, ...],
        polling: bool,
        ready_message: str = "",
        plan: tuple[str, ...] = (),
    ) -> float | None:
        """Write the status if it changed, post Events on transitions, and say when to look again.

        Args:
            key: The resource.
            meta: Its metadata.
            previous: Its status before the pass.
            status: Its status after the pass, but for the conditions and observedGeneration.
            stages: What the pass found out.
            order: The kind's stages.
            polling: Whether AWS is at work on something of ours.
            ready_message: What `Ready` says when it is True.
            plan: What would be done if the resource didn't ask for a plan only.
        """
        found = tuple(stages)
        if not any(stage.reason in PASSING_REASONS for stage in found):
            self._troubles.pop(key, None)
        before: tuple[Condition, ...] = getattr(previous, "conditions", ())
        summary = summarise(
            before,
            found,
            order=order,
            generation=meta.generation,
            now=self.clock.now(),
            ready_message=ready_message,
        )
        new = status.model_copy(
            update={"conditions": summary.conditions, "observed_generation": meta.generation, "plan": plan}
        )
        if new != previous:
            try:
                await self._keep(key, meta, new)
            except InvalidSpecError:
                # Something in it is more than the API server takes. What is known of the resource is told all the
                # same, or the conditions would praise what isn't asked any more.
                bare = previous.model_copy(
                    update={"conditions": summary.conditions, "observed_generation": meta.generation}
                )
                if bare != previous:
                    await self._keep(key, meta, bare)
                    await self._tell(key, meta, _news(summary.transitions), found)
                raise
            await self._tell(key, meta, _news(summary.transitions), found)
        drift_s = self.installation.config.drift_interval
        if polling:
            delay = self.poll_delay_s(key)
            self._polls[key] = self._polls.get(key, 0) + 1
            return delay
        self._polls.pop(key, None)
        wait = next_look_s(found)
        return drift_s if wait is None else min(wait, drift_s)

    async def _keep(self, key: Key, meta: Metadata, status: ApiModel) -> None:
        document = status_document(status)
        version = await self.kube.patch_status(key.plural, key.namespace, key.name, uid=meta.uid, status=document)
        self.store.note_status(key, meta.uid, document, resource_version=version)

    async def _tell(self, key: Key, meta: Metadata, news: tuple[Condition, ...], stages: tuple[Stage, ...]) -> None:
        """Log and post what changed: one line and one Event each."""
        stalled = {stage.type for stage in stages if stage.stalled}
        for condition in news:
            log.info(
                "condition changed",
                kind=KINDS[key.plural],
                namespace=key.namespace,
                name=key.name,
                condition=condition.type,
                status=condition.status.value,
                reason=condition.reason,
                message=condition.message,
            )
            warning = condition.type in stalled and condition.status is not ConditionStatus.TRUE
            note = condition.message or f"{condition.type} is {condition.status.value}"
            await self.post_event(key, meta, reason=condition.reason, note=note, warning=warning)

    async def post_event(self, key: Key, meta: Metadata, *, reason: str, note: str, warning: bool = False) -> None:
        """Post an Event; best effort: a lost Event is no reason to fail a pass."""
        now = self.clock.now()
        body = event_body(
            {
                "apiVersion": API_VERSION,
                "kind": KINDS[key.plural],
                "namespace": key.namespace,
                "name": key.name,
                "uid": meta.uid,
            },
            name=f"{key.name}.{int(now.timestamp() * 1e6):x}",
            at=now,
            instance=self.installation.owner,
            action="Reconcile",
            reason=reason,
            note=note,
            is_warning=warning,
        )
        try:
            await self.kube.create_event(key.namespace, body)
        except OperatorError as error:
            log.debug("an Event was lost", reason=error.reason)

    # -- reports of the token plane ---------------------------------------------------------------------------------

    def receive(self, report: Report) -> None:
        """Keep a report and look at its user. One about an earlier object of that name says nothing of this one."""
        version = self.store.version(Key(USERS, *report.key))
        if version is not None and version[0] != report.uid:
            return
        known = self.reports.get(report.key)
        if known is None or known.uid != report.uid:
            known = self.reports[report.key] = TokenReports(report.uid)
        match report:
            case Delivered():
                known.delivered[report.alias] = report
                known.failed.pop(report.alias, None)
            case DeliveryFailed():
                known.failed[report.alias] = report
                self.reads.doubt_service_accounts(report.key[0])
            case Verified():
                known.verified[report.alias] = report
                if report.result.outcome is not LoginOutcome.LOGGED_IN:
                    known.failed_login_at_s = self.clock.monotonic()
        self.queue.wake(Key(USERS, *report.key))

    def forget(self, key: Key) -> None:
        """Drop what is kept about a resource that is gone."""
        self._polls.pop(key, None)
        self._troubles.pop(key, None)
        self._repairs.forget(key)
        self._repaired.pop(key, None)
        if key.plural == USERS:
            self.reports.pop((key.namespace, key.name), None)


def _news(transitions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Return the transitions worth telling: no waiting for earlier stages, and no summing up of what is told anyway."""
    stages = {c.reason for c in transitions if c.type not in {READY, RECONCILING, STALLED}}
    return tuple(
        condition
        for condition in transitions
        if condition.type not in {RECONCILING, STALLED}
        and condition.reason != "Pending"
        and not (condition.type == READY and condition.reason in stages)
    )


async def is_ours(
    plane: Plane, inventory: Inventory, arn: str, kind: str, meta: Metadata, *, is_to_change: bool = False
) -> bool:
    """Whether a user or group carries our tags for this resource.

    The paged tags say so where they can; where they don't, the object's own are read: they may be newer. Right before
    a change or a deletion only the object's own count.
    """

    def matches(tags: Mapping[str, str]) -> bool:
        owner = plane.installation.owner
        return is_owned(tags, owner=owner, kind=kind, namespace=meta.namespace, name=meta.name)

    if not is_to_change and matches(inventory.tags.get(arn, {})):
        return True
    try:
        return matches(await plane.aws(place_of_arn(arn) or plane.installation.home).list_tags(arn))
    except NotFoundError:
        return False


def status_document(status: ApiModel) -> Mapping[str, Any]:
    """Return a status as it stands in the API: camelCase, without what is empty."""
    dumped: dict[str, Any] = status.model_dump(by_alias=True, mode="json", exclude_none=True)
    return {name: _without_empty(value) for name, value in dumped.items() if not _is_empty(value)}


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        # A condition needs its message, also an empty one (metav1.Condition).
        return {name: _without_empty(part) for name, part in value.items() if name == "message" or not _is_empty(part)}
    if isinstance(value, list):
        return [_without_empty(part) for part in value]
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})
