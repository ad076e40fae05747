"""What the operator needs around it: the kinds and rights in the cluster, AWS within reach, a Lease to be had.

Where something is missing the process doesn't end. It says so in its log, at /readyz and by an Event of its Pod, once
and when it changes, and goes on looking: others put it right, and no restart helps.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from boto3.session import Session

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.keys import GROUP, VERSION
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.errors import is_out_of_reach
from elasticache_iam.aws.identity import get_account
from elasticache_iam.core.errors import AccessDeniedError, NotFoundError, OperatorError
from elasticache_iam.kube.connection import Connection, Request
from elasticache_iam.kube.own_pod import OwnPod
from elasticache_iam.kube.rights import in_words, list_missing, needed_rights
from elasticache_iam.ports import Clock
from elasticache_iam.runtime.health import Check, find_faults

log = structlog.get_logger("surroundings")

PATIENCE_S: Final = 60.0
"""A service of AWS that hasn't answered for so long is told of: shorter troubles pass by themselves."""
REPORT_S: Final = 2.0
LOOK_AGAIN_S: Final = 5.0
"""Between two looks at what is missing."""
LONGEST_PAUSE_S: Final = 60.0
"""Between two reviews of rights while some are missing: a review is dozens of requests, so they grow rarer."""
RECHECK_S: Final = 60.0
"""Between two looks at whether the cluster still has it."""
FORGET_S: Final = 600.0
"""A service that failed and wasn't called for so long is nobody's concern any more: who needs it asks more often."""
REASONS: Final[Mapping[str, str]] = {"cluster": "ClusterNotReady", "AWS": "AwsNotReady", "leader": "NoLeader"}
"""Reasons of Events by the check that fails; of others it is NotReady."""


def own_pod(namespace: str, environment: Mapping[str, str] = os.environ) -> OwnPod | None:
    """Return the Pod that this process runs in; None outside of one."""
    name, uid = environment.get("POD_NAME"), environment.get("POD_UID")
    return OwnPod(namespace, name, uid) if name and uid else None


def unworkable(error: OperatorError) -> str:
    """Return in a line why the cluster can't be worked with."""
    return f"can't work with the cluster: {error.message}"


class ClusterCheck:
    """Whether the cluster knows our kinds and gives us our rights. It belongs to its connection's loop."""

    def __init__(self, connection: Connection, config: OperatorConfig, *, namespace: str, clock: Clock) -> None:
        self._connection = connection
        self._config = config
        self._namespace = namespace
        self._clock = clock
        self._warned = ""
        self._missing_rights = ""
        self._pause_s = LOOK_AGAIN_S
        self._review_at = 0.0

    async def find_fault(self) -> str | None:
        """Return what has to be waited for, in a line for people; None if nothing has.

        What tokens can be made without is only warned of: else replicas started anew, as when nodes are drained,
        would let all tokens end for want of an Event.
        """
        faults = []
        for look in (self.find_missing_kinds, self._find_missing_rights):
            try:
                faults.append(await look())
            except OperatorError as error:
                faults.append(unworkable(error))
                break
        return "; ".join(fault for fault in faults if fault) or None

    async def find_missing_kinds(self) -> str | None:
        """Return what to do about kinds that the cluster doesn't know; None if it knows them. Raises core.errors."""
        namespace = next(iter(self._config.namespaces), "")
        for plural in ("usergroups", "elasticacheiamusers"):
            try:
                await self._connection.send(
                    Request("list", f"/apis/{GROUP}/{VERSION}", plural, namespace, query={"limit": "1"})
                )
            except NotFoundError:
                return "the cluster doesn't know UserGroup and ElastiCacheIAMUser: kubectl apply --server-side -f crds/"
            except AccessDeniedError as error:
                if error.code == "Unauthorized":
                    raise
                # The rights are looked at on their own.
        return None

    async def _find_missing_rights(self) -> str | None:
        """Return which rights are missing, if one is vital. Raises core.errors: nothing at all can be asked."""
        if self._missing_rights and self._clock.monotonic() < self._review_at:
            return self._missing_rights
        self._missing_rights = ""
        try:
            missing = await list_missing(self._connection, needed_rights(self._config, namespace=self._namespace))
        except OperatorError as error:
            await self.find_missing_kinds()  # raises if it isn't the review alone that fails
            self._warn(f"can't tell whether the operator's ServiceAccount has its rights: {error.message}")
            return None
        if not missing:
            return None
        fault = (
            f"the operator's ServiceAccount may not {in_words(missing)}: these calls are forbidden; install the chart "
            "with rbac.create=true, or bind the roles of packaging/install.yaml to it"
        )
        if not any(right.is_vital for right in missing):
            self._warn(fault)
            return None
        self._missing_rights = fault
        self._review_at = self._clock.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return fault

    def _warn(self, why: str) -> None:
        """Say once that we work with less than all rights."""
        if why != self._warned:
            log.warning("starting all the same", why=why)
        self._warned = why


@dataclass(frozen=True, slots=True)
class _Silence:
    """A service that doesn't answer: its first and its last failure, on the monotonic clock, and the last's code."""

    since: float
    last: float
    code: str


class AwsReach:
    """Which services of AWS don't answer, as the operator's own calls show. Told by worker threads, asked by others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failing: dict[tuple[str, str], _Silence] = {}  # by service and region

    def observe(self, service: str, _operation: str, code: str, _duration_s: float, region: str) -> None:
        """Take a call's outcome: `aws.api.ObserveApiCall`. Whatever AWS itself says, a refusal too, is an answer."""
        where = (service, region)
        if is_out_of_reach(code):
            now = self._clock.monotonic()
            before = self._remembered().get(where)
            self._failing[where] = _Silence(now if before is None else before.since, now, code)
        else:
            self._failing.pop(where, None)

    @property
    def is_in_doubt(self) -> bool:
        """Whether a service didn't answer when it was called last, not too long ago."""
        return bool(self._remembered())

    def find_fault(self) -> str | None:
        """Return which services haven't answered for a while; None if all have."""
        now = self._clock.monotonic()
        faults = [
            f"{service} in {region} is out of reach for more than {PATIENCE_S:.0f} s ({silence.code})"
            for (service, region), silence in sorted(self._remembered().items())
            if now - silence.since > PATIENCE_S
        ]
        return "; ".join(faults) or None

    def _remembered(self) -> dict[tuple[str, str], _Silence]:
        """Return what failed lately: a service that nobody calls any more would fail us for ever."""
        now = self._clock.monotonic()
        return {where: silence for where, silence in self._failing.copy().items() if now - silence.last <= FORGET_S}


class Surroundings:
    """What is known to be missing. `cluster_fault` and `aws_fault` are set by whoever looks, from any thread."""

    def __init__(self, clock: Clock) -> None:
        self.reach = AwsReach(clock)
        self.cluster_fault: str | None = None
        self.aws_fault: str | None = None

    def checks(self) -> dict[str, Check]:
        """Return the checks for /readyz."""
        return {"cluster": lambda: self.cluster_fault, "AWS": lambda: self.aws_fault or self.reach.find_fault()}

    async def watch_cluster(self, check: ClusterCheck) -> None:
        """See now and then that the cluster still knows our kinds. It runs on the loop of the check."""
        while True:
            await asyncio.sleep(RECHECK_S)
            try:
                self.cluster_fault = await check.find_missing_kinds()
            except OperatorError as error:
                self.cluster_fault = unworkable(error)

    async def watch_aws(self, session: Session, *, region: str, bridge: Bridge) -> None:
        """Ask AWS who we are, once, and again while it doesn't answer: a standby makes no other calls."""
        is_due = True
        while True:
            if is_due:
                code = ""
                try:
                    await get_account(session, region=region, bridge=bridge)
                except OperatorError as error:
                    code = error.code
                self.reach.observe("sts", "GetCallerIdentity", code, 0.0, region)
            await asyncio.sleep(LOOK_AGAIN_S)
            is_due = self.reach.is_in_doubt


class Reporter:
    """Says in the log and by Events what is missing, and when it is there again. Its connection's loop is its own."""

    def __init__(
        self, checks: Mapping[str, Check], *, pod: OwnPod | None, connection: Connection, clock: Clock
    ) -> None:
        """Prepare the reporter.

        Args:
            checks: /readyz's own, by name; looked at anew each time.
            pod: Whom Events are about; None outside of a Pod: there are none.
            connection: Posts them.
            clock: Dates them.
        """
        self._checks = checks
        self._pod = pod
        self._connection = connection
        self._clock = clock
        self._told: Mapping[str, str] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(REPORT_S)

    async def look(self) -> None:
        """Tell what has come, changed or gone since the last look."""
        failing = find_faults(self._checks)
        told, self._told = self._told, failing
        for name, fault in failing.items():
            if _timeless(told.get(name, "")) != _timeless(fault):
                log.warning("not ready", missing=name, why=fault)
                await self._post(REASONS.get(name, "NotReady"), f"{name}: {fault}", is_warning=True)
        if told and not failing:
            log.info("ready again", was_missing=sorted(told))
            await self._post("Ready", f"there again: {', '.join(sorted(told))}", is_warning=False)

    async def _post(self, reason: str, note: str, *, is_warning: bool) -> None:
        """Post an Event; best effort: the right to may be what is missing."""
        if self._pod is None:
            return
        try:
            await self._pod.post_event(self._connection, self._clock, reason=reason, note=note, is_warning=is_warning)
        except OperatorError as error:
            log.debug("an Event was lost", reason=error.reason)


def _timeless(fault: str) -> str:
    """Return a fault without its numbers: one that only lasts is no news."""
    return re.sub(r"\d+", "", fault)
