"""The caches of a group: looked at in every pass, attached where that is allowed, and never detached."""

from collections.abc import Mapping
from dataclasses import dataclass

from elasticache_iam.api.group import CacheSpec, GroupAdoption, GroupCacheStatus, UserGroup
from elasticache_iam.core import commands, names
from elasticache_iam.core.errors import ContestedError, OperatorError
from elasticache_iam.core.plan.attachment import (
    HELD_STATES,
    MOVING_STATES,
    STALLED_STATES,
    AttachmentState,
    Claim,
    Verdict,
    cache_ref,
    encryption_notes,
    judge_attachment,
    judge_missing,
)
from elasticache_iam.core.state import CacheRef, Inventory, ObservedCache, ObservedGroup
from elasticache_iam.core.status import CACHES_ATTACHED, Stage
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import Key

LOOK_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Attachments:
    """How it stands between a group and its caches.

    Attributes:
        caches: For the status.
        stage: What the condition says.
        polling: Whether something passes soon.
        failure: The first failure to attach, which the others didn't wait for.
    """

    caches: tuple[GroupCacheStatus, ...]
    stage: Stage
    polling: bool
    failure: OperatorError | None = None


class Attacher:
    """Attaches one group to its caches."""

    def __init__(self, plane: Plane, key: Key, group: UserGroup) -> None:
        self._plane = plane
        self._key = key
        self._group = group
        self._place = plane.installation.place_of(group)
        self._states = {(cache.name, cache.id): cache.state for cache in group.status.caches}

    async def attach(self, live: ObservedGroup, inventory: Inventory, *, is_group_ready: bool) -> Attachments:
        """Attach the group where that is allowed and say how it stands. A cache that was left open goes first.

        Args:
            live: The group in AWS.
            inventory: What else there is.
            is_group_ready: Whether it is in order; if not, it only goes back to where it was.
        """
        verdicts: list[Verdict] = []
        caches: list[GroupCacheStatus] = []
        notes: list[str] = []
        failure: OperatorError | None = None
        wanted = sorted(self._group.spec.caches, key=lambda cache: not self._was_attached(cache))
        for spec in wanted:
            ref = cache_ref(spec)
            cache = inventory.caches.get(ref)
            try:
                verdict = await self._judge(spec, cache, live, inventory, is_group_ready=is_group_ready)
                if verdict.state is AttachmentState.READY_TO_ATTACH:
                    verdict = await self._attach(spec, ref, live)
                elif verdict.state is AttachmentState.CACHE_OPEN:
                    await self._tell_open(spec, ref, contested="")
            except OperatorError as error:  # told at the end: the other caches don't wait for this one
                failure = failure or error
                verdict = self._judge_failure(spec, cache, live, error)
            verdicts.append(verdict)
            caches.append(_cache_status(spec, ref, cache, verdict.state))
            notes.extend(encryption_notes(cache) if cache is not None else ())
        order = [cache.name for cache in self._group.spec.caches]
        caches.sort(key=lambda cache: order.index(cache.name))
        left = sorted(live.cache_refs - {cache_ref(spec) for spec in self._group.spec.caches})
        stage = self._stage(live, verdicts, caches, left, notes)
        polling = any(verdict.state in MOVING_STATES for verdict in verdicts)
        return Attachments(tuple(caches), stage, polling, failure)

    def withhold(self) -> tuple[GroupCacheStatus, ...]:
        """Return the status of the caches of a group that its owner doesn't lend us (any more)."""
        state = AttachmentState.CONSENT_MISSING.value
        return tuple(cache.model_copy(update={"state": state}) for cache in self._group.status.caches)

    # -- one cache ----------------------------------------------------------------------------------------------------

    async def _judge(
        self,
        spec: CacheSpec,
        cache: ObservedCache | None,
        live: ObservedGroup,
        inventory: Inventory,
        *,
        is_group_ready: bool,
    ) -> Verdict:
        if cache is None:
            known = self._plane.known_elsewhere(self._place, self._group.metadata.namespace)
            elsewhere = {place: other.caches for place, other in known.items()}
            return judge_missing(cache_ref(spec), self._place, inventory.caches, elsewhere=elsewhere)
        is_referenced = self._group.spec.adoption is GroupAdoption.REFERENCE
        tags = inventory.tags.get(cache.arn, {})

        def judge(tags: Mapping[str, str]) -> Verdict:
            claim = Claim(
                consented=is_referenced or self._consents(cache, tags, self._group.metadata.namespace),
                consent=names.with_consent(
                    tags, owner=self._plane.installation.owner, namespace=self._group.metadata.namespace
                ),
                claimed_by=self._claimed_by(cache, tags),
                policy=self._group.spec.attachment.policy,
                was_attached=self._was_attached(spec),
                is_group_ready=is_group_ready,
                is_referenced=is_referenced,
            )
            return judge_attachment(cache, live, claim)

        verdict = judge(tags)
        rests_on_consent = {AttachmentState.READY_TO_ATTACH, AttachmentState.CONSENT_MISSING}
        if verdict.state not in rests_on_consent:
            return verdict
        # Pages of tags may be old; what is changed or withdrawn now rests on the cache's own.
        return judge(await self._plane.aws(self._place).list_tags(cache.arn))

    async def _attach(self, spec: CacheSpec, ref: CacheRef, live: ObservedGroup) -> Verdict:
        if self._was_attached(spec):
            contested = ""
            try:
                await self._plane.repair(
                    self._key, self._group.metadata, f"the group of cache {ref.id}", "the cache was left open"
                )
            except ContestedError as error:  # no reason to leave a cache open
                contested = error.message
            await self._tell_open(spec, ref, contested=contested)
        await self._plane.aws(self._place).attach_group(ref, live.group_id)
        return Verdict(AttachmentState.ATTACHING, f"AWS is attaching the group to cache {ref.id}")

    def _judge_failure(
        self, spec: CacheSpec, cache: ObservedCache | None, live: ObservedGroup, error: OperatorError
    ) -> Verdict:
        """Say how it stands with a cache that something went wrong with: as before, or left open."""
        if self._was_attached(spec) and cache is not None and live.group_id not in cache.future_group_ids:
            return Verdict(AttachmentState.CACHE_OPEN, error.message)
        before = self._states.get((spec.name, cache_ref(spec).id), AttachmentState.READY_TO_ATTACH.value)
        known = before in {state.value for state in AttachmentState}
        return Verdict(AttachmentState(before) if known else AttachmentState.READY_TO_ATTACH, error.message)

    async def _tell_open(self, spec: CacheSpec, ref: CacheRef, *, contested: str) -> None:
        """Post the alert, once for each time that a cache was left open."""
        if self._states.get((spec.name, ref.id)) == AttachmentState.CACHE_OPEN.value:
            return
        note = f"cache {ref.id} was left open: its group was detached behind our back; attaching it again"
        await self._plane.post_event(
            self._key,
            self._group.metadata,
            reason="CacheOpen",
            note="; ".join(filter(None, (note, contested))),
            warning=True,
        )

    def _was_attached(self, spec: CacheSpec) -> bool:
        # By id, too: under the same alias another cache may stand now, which was never ours to attach to.
        return self._states.get((spec.name, cache_ref(spec).id)) in {state.value for state in HELD_STATES}

    def _consents(self, cache: ObservedCache, tags: Mapping[str, str], namespace: str) -> bool:
        """Whether the cache's owner lets a namespace use it, by the cache's tags or by our configuration."""
        installation = self._plane.installation
        trusted = cache.arn in installation.config.trusted_caches
        return trusted or names.consents(tags, owner=installation.owner, namespace=namespace)

    def _claimed_by(self, cache: ObservedCache, tags: Mapping[str, str]) -> str | None:
        """Return the older UserGroup that holds a cache: one that is on it, or may be. Naming it alone is no claim."""
        installation, mine = self._plane.installation, self._group.metadata
        rank = (str(mine.creation_timestamp), mine.namespace, mine.name)
        for other in self._plane.store.groups():
            meta = other.metadata
            if meta.is_deleting or (str(meta.creation_timestamp), meta.namespace, meta.name) >= rank:
                continue
            if other.spec.adoption is GroupAdoption.REFERENCE or installation.place_of(other) != self._place:
                continue
            holds = installation.group_id(other) in cache.future_group_ids
            if (holds or self._consents(cache, tags, meta.namespace)) and any(
                cache_ref(listed) == cache.ref for listed in other.spec.caches
            ):
                return f"{meta.namespace}/{meta.name}"
        return None

    # -- all of them --------------------------------------------------------------------------------------------------

    def _stage(
        self,
        live: ObservedGroup,
        verdicts: list[Verdict],
        caches: list[GroupCacheStatus],
        left: list[CacheRef],
        notes: list[str],
    ) -> Stage:
        pending = [verdict for verdict in verdicts if verdict.state is not AttachmentState.ATTACHED]
        if pending:
            worst = next((verdict for verdict in pending if verdict.state in STALLED_STATES), pending[0])
            make = Stage.blocked if worst.state in STALLED_STATES else Stage.waiting
            message = "; ".join(verdict.message for verdict in pending)
            return make(CACHES_ATTACHED, worst.state.value, message, retry_after_s=LOOK_AGAIN_S)
        if left and self._group.spec.adoption is not GroupAdoption.REFERENCE:
            message = (
                f"cache {', '.join(ref.id for ref in left)} isn't in spec.caches any more but still uses the group; it "
                "is never detached, as that would leave the cache open: put it back, or have its owner attach another "
                f"group ({commands.exchange(left[0], self._place.region, live.group_id)})"
            )
            return Stage.waiting(CACHES_ATTACHED, "StillAttached", message, retry_after_s=300.0)
        if not caches:
            return Stage.ok(CACHES_ATTACHED, "NoCaches", "spec.caches is empty")
        message = "; ".join((f"on {', '.join(cache.id for cache in caches)}", *notes))
        return Stage.ok(CACHES_ATTACHED, "Attached", message)


def _cache_status(
    wanted: CacheSpec, ref: CacheRef, cache: ObservedCache | None, state: AttachmentState
) -> GroupCacheStatus:
    if cache is None:
        return GroupCacheStatus(name=wanted.name, id=ref.id, state=state.value)
    return GroupCacheStatus(
        name=wanted.name,
        id=ref.id,
        arn=cache.arn,
        host=cache.host,
        port=cache.port,
        reader_host=cache.reader_host,
        engine_version=cache.engine_version,
        state=state.value,
    )
