"""The composition root: builds the parts, puts them on their loops, ends the process when leadership is lost.

Three loops in three threads: main = kopf and the control plane; `tokens`; `control` = Lease, health, metrics. Every
replica watches, so the standby is warm; only the leader works.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import boto3
import kopf
import structlog

from elasticache_iam.api.config import OperatorConfig, Signing
from elasticache_iam.api.keys import STS_AUDIENCE
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.places import AwsPlaces
from elasticache_iam.aws.sts import BotoSts
from elasticache_iam.cache.probe import RedisProbe
from elasticache_iam.core.errors import ConfigurationError, OperatorError, SurroundingsError
from elasticache_iam.core.installation import Installation
from elasticache_iam.core.mint import MintOrder, Report
from elasticache_iam.kube.connection import Connection, open_connection
from elasticache_iam.kube.kube import ApiKube
from elasticache_iam.kube.lease import LEASE_NAME, ApiLease
from elasticache_iam.kube.secret_watch import SecretWatch
from elasticache_iam.kube.service_account import own_namespace
from elasticache_iam.kube.token_kube import ApiTokenKube
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import Key, WorkQueue
from elasticache_iam.reconcile.reconciler import Reconciler
from elasticache_iam.reconcile.store import Store
from elasticache_iam.runtime import config as configuration
from elasticache_iam.runtime import log as logging
from elasticache_iam.runtime.clock import SystemClock
from elasticache_iam.runtime.edge import Edge, make_registry, make_settings, resync_forever
from elasticache_iam.runtime.health import Check, HealthServer, find_faults, parse_listen
from elasticache_iam.runtime.installation import resolve
from elasticache_iam.runtime.leader import Leader, LeaseTimings
from elasticache_iam.runtime.loops import LoopThread, spare_collector
from elasticache_iam.runtime.metrics import CONTENT_TYPE, Metrics
from elasticache_iam.runtime.surroundings import LOOK_AGAIN_S, ClusterCheck, Reporter, Surroundings, own_pod, unworkable
from elasticache_iam.tokens.plane import Counting, TokenPlane, TokenSettings

log = structlog.get_logger("operator")

VERSION: Final = version("elasticache-iam-operator")
RECONCILE_WORKERS: Final = 16
SAMPLE_S: Final = 5.0
LOOP_STALL_S: Final = 60.0
"""The head of the schedule has been due for so long and nothing was taken: only a restart helps."""
LOST_LEASE: Final = 3
"""Exit code after a lost Lease: the Pod is started anew, as a standby."""


def run(config_path: Path, *, namespace: str | None, listen: str, log_level: str, log_format: str) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: It can't start like this; the text says what to do.
    """
    logging.configure(log_level, logging.LogFormat(log_format))
    # A neighbour thread that parses JSON costs the token loop 100 times less latency with this than with 5 ms.
    sys.setswitchinterval(0.0005)
    config = configuration.load_config(config_path)
    where = namespace or own_namespace()
    if where is None:
        raise ConfigurationError("in which namespace do the Lease and the checkpoint live? set --namespace")
    try:
        host, port = parse_listen(listen)
    except ValueError as error:
        raise ConfigurationError(f"--listen {listen}: {error}") from error
    asyncio.run(_Operator(config, namespace=where, host=host, port=port).run())
    # Nothing is under way that must be finished; a worker thread in a slow AWS call would be waited for.
    sys.stderr.flush()
    os._exit(0)


@dataclass(slots=True)
class _Loops:
    tokens: LoopThread
    control: LoopThread

    def by_name(self) -> dict[str, asyncio.AbstractEventLoop]:
        return {"tokens": self.tokens.loop, "control": self.control.loop}

    def stop(self) -> None:
        self.tokens.stop()
        self.control.stop()


class _Operator:
    """One process."""

    def __init__(self, config: OperatorConfig, *, namespace: str, host: str, port: int) -> None:
        self._config = config
        self._namespace = namespace
        self._host = host
        self._port = port
        self._clock = SystemClock()
        self._metrics = Metrics(version=VERSION)
        self._elected = asyncio.Event()
        self._stop = asyncio.Event()
        self._beats: dict[str, float] = {}
        self._started_at = self._clock.monotonic()
        self._surroundings = Surroundings(self._clock)
        self._is_started = False
        # Checks and gauges join as the parts that they ask come to be.
        self._live: dict[str, Check] = {
            "main loop": partial(self._silent, "main"),
            "token loop": partial(self._silent, "tokens"),
        }
        self._needs: dict[str, Check] = {"main loop": partial(self._silent, "main"), **self._surroundings.checks()}
        self._publish: dict[str, Callable[[], None]] = {}

    async def run(self) -> None:
        loops = _Loops(LoopThread("tokens"), LoopThread("control"))
        bridge = Bridge()
        main = asyncio.get_running_loop()
        # The first process of a container is deaf to signals without a handler.
        for number in (signal.SIGINT, signal.SIGTERM):
            main.add_signal_handler(number, self._stop.set)
        health = HealthServer(
            live=self._live,
            ready=ChainMap(self._needs, {"start": self._is_starting}),
            render_metrics=self._metrics.render,
            metrics_content_type=CONTENT_TYPE,
        )
        try:
            port = await self._listen(health, loops)
            connection = await loops.control.run(open_connection(on_request=self._metrics.observe_k8s_request))
            loops.control.start(self._sample({"main": main, **loops.by_name()}))
            check = ClusterCheck(connection, self._config, namespace=self._namespace, clock=self._clock)
            reporter = Reporter(self._needs, pod=own_pod(self._namespace), connection=connection, clock=self._clock)
            found = await self._find_installation(check, reporter, bridge, loops)
            if found is not None:
                installation, session = found
                loops.control.start(self._surroundings.watch_cluster(check))
                loops.control.start(self._surroundings.watch_aws(session, region=installation.region, bridge=bridge))
                await self._run(installation, session, bridge, loops, connection=connection, port=port)
            await loops.control.run(connection.close())
            log.info("stopped")
        finally:
            await loops.control.run(health.stop())
            bridge.close()
            loops.stop()

    async def _listen(self, health: HealthServer, loops: _Loops) -> int:
        try:
            port = await loops.control.run(health.start(self._host, self._port))
        except OSError as error:
            raise ConfigurationError(f"can't listen on {self._host}:{self._port}: {error.strerror}") from error
        log.info("listening", version=VERSION, listen=f"{self._host}:{port}")
        return port

    async def _find_installation(
        self, check: ClusterCheck, reporter: Reporter, bridge: Bridge, loops: _Loops
    ) -> tuple[Installation, boto3.session.Session] | None:
        """Return what is found out once AWS and the cluster have what is needed; None when told to stop before.

        Raises:
            ConfigurationError: Waiting won't help.
        """
        around = self._surroundings
        reporting: Future[None] | None = None
        while not self._stop.is_set():
            session = boto3.session.Session()  # a new one each time: it keeps the credentials that it found first
            installation = None
            try:
                installation = await resolve(self._config, session, bridge)
                around.aws_fault = None
            except SurroundingsError as error:
                around.aws_fault = error.message
            around.cluster_fault = await loops.control.run(check.find_fault())
            reporting = reporting or loops.control.start(reporter.run())
            if installation is not None and around.cluster_fault is None:
                return installation, session
            await self._pause()
        return None

    async def _pause(self) -> None:
        """Wait before the next look; not for longer than until the stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._stop.wait()

    def _observe_aws(self, service: str, operation: str, code: str, duration_s: float, region: str) -> None:
        self._metrics.observe_aws_request(service, operation, code, duration_s)
        self._surroundings.reach.observe(service, operation, code, duration_s, region)

    async def _run(
        self,
        installation: Installation,
        session: boto3.session.Session,
        bridge: Bridge,
        loops: _Loops,
        *,
        connection: Connection,
        port: int,
    ) -> None:
        clock, metrics, config = self._clock, self._metrics, installation.config
        main = asyncio.get_running_loop()
        observe_k8s = metrics.observe_k8s_request

        def on_elected() -> None:
            main.call_soon_threadsafe(self._elected.set)

        identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
        leader = Leader(
            ApiLease(connection, namespace=self._namespace, name=LEASE_NAME),
            identity=identity,
            clock=clock,
            on_elected=on_elected,
            on_lost=_die,
            timings=LeaseTimings(config.lease_seconds, config.lease_renew_deadline, config.lease_retry),
        )
        main_connection = await open_connection(on_request=observe_k8s)
        kube = ApiKube(main_connection, leader.fence, namespaces=config.namespaces)
        token_connection = await loops.tokens.run(open_connection(on_request=observe_k8s))
        plane: Plane

        def report(news: Report) -> None:
            main.call_soon_threadsafe(plane.receive, news)

        async def make_tokens() -> TokenPlane:
            return TokenPlane(
                TokenSettings(
                    owner=installation.owner,
                    audience=config.audience,
                    token_s=config.token_seconds,
                    ca_pem=config.cache_ca,
                    verify_logins=config.verify_logins,
                    signing=config.signing,
                ),
                kube=ApiTokenKube(token_connection, leader.fence, namespace=self._namespace),
                sts=BotoSts(session, region=installation.region, bridge=bridge, observe_call=self._observe_aws),
                probe=RedisProbe(config.cache_ca),
                clock=clock,
                fence=leader.fence,
                report=report,
                counting=Counting(
                    refresh=lambda result: metrics.token_refresh_total.labels(result=result).inc(),
                    login=lambda outcome: metrics.verify_total.labels(outcome=outcome).inc(),
                    replaced=metrics.token_replaced_remaining_seconds.observe,
                    waiting=metrics.sessions_waiting.set,
                ),
            )

        tokens = await loops.tokens.run(make_tokens())

        async def stop_minting(key: tuple[str, str]) -> None:
            await loops.tokens.run(tokens.stop(key))

        places = AwsPlaces(
            session,
            installation=installation,
            bridge=bridge,
            fence=leader.fence,
            clock=clock,
            observe_call=self._observe_aws,
        )
        plane = Plane(
            installation=installation,
            aws=places,
            kube=kube,
            store=Store(),
            queue=WorkQueue(clock),
            clock=clock,
            stop_minting=stop_minting,
            namespace=self._namespace,
            allow_minting=lambda key: loops.tokens.call(tokens.allow, key, edge.order(key)),
            get_ahead=lambda: places.ahead,
            pod_identity=places.pod_identity(),
        )

        def mint(key: tuple[str, str], order: MintOrder | None) -> None:
            loops.tokens.call(tokens.observe, key, order)

        edge = Edge(plane, mint)
        try:
            await self._serve(plane, edge, tokens, leader, loops, port=port)
        finally:
            await main_connection.close()
            await loops.tokens.run(token_connection.close())

    async def _serve(
        self, plane: Plane, edge: Edge, tokens: TokenPlane, leader: Leader, loops: _Loops, *, port: int
    ) -> None:
        """Watch until told to stop; work while leading."""
        installation = plane.installation
        await self._warm_up(edge)
        spare_collector()
        stop_leading = asyncio.Event()
        self._live["token schedule"] = lambda: _stalled(tokens) if leader.is_leader else None
        self._needs["leader"] = leader.find_fault
        self._publish |= {
            "main": partial(self._publish_queue, plane.queue),
            "tokens": partial(self._publish_tokens, tokens, leader),
            "control": partial(self._publish_leadership, leader),
        }
        for name, loop in {"main": asyncio.get_running_loop(), **loops.by_name()}.items():
            loop.call_soon_threadsafe(self._publish[name])
        candidacy = loops.control.start(leader.run(stop_leading))
        log.info(
            "started",
            version=VERSION,
            owner=installation.owner,
            account=installation.account,
            region=installation.region,
            issuer=installation.issuer,
            listen=f"{self._host}:{port}",
        )
        if self._config.permissions_boundary is None:
            log.warning("no permissionsBoundary: whoever steals this process can make roles with any rights")
        if self._config.signing is Signing.ASSUME_ROLE:
            log.warning("signing AssumeRole: roles trust the operator, no ServiceAccount", role=installation.principal)
        elif self._config.audience == STS_AUDIENCE:
            log.warning("audience sts.amazonaws.com: whoever steals this process is every IRSA role of the cluster")
        self._is_started = True
        work = asyncio.create_task(self._work_when_elected(plane, edge, tokens, loops))
        watch = asyncio.create_task(self._watch(edge))
        stop = asyncio.create_task(self._stop.wait())
        lead = asyncio.wrap_future(candidacy)  # ends by a failure only: without it nobody would lead for ever
        parts: set[asyncio.Future[Any]] = {work, watch, stop, lead}
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                failure = task.exception()
                if failure is not None:
                    log.error("a part of the operator failed", exc_info=failure)
                    raise OperatorError(f"a part of the operator failed: {type(failure).__name__}") from failure
        finally:
            log.info("stopping")
            stop.cancel()
            work.cancel()
            await asyncio.wait([work], timeout=2.0)
            loops.control.call(stop_leading.set)
            await asyncio.wait([lead], timeout=2.0)
            watch.cancel()

    async def _watch(self, edge: Edge) -> None:
        """Run kopf, with signal handlers of our own: kopf would wait 5 s for tasks that aren't its own."""
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        pump = asyncio.create_task(
            kopf.operator(
                registry=make_registry(edge),
                settings=make_settings(clusterwide=not self._config.namespaces),
                standalone=True,
                clusterwide=not self._config.namespaces,
                namespaces=self._config.namespaces,
                ready_flag=ready,
            )
        )
        try:
            await asyncio.wait({pump, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop.set)
            await pump
            self._stop.set()  # a signal before ours was in place
        finally:
            pump.cancel()

    async def _warm_up(self, edge: Edge) -> None:
        """Fill the store before anybody asks it."""
        while not self._stop.is_set():
            try:
                await edge.resync()
            except OperatorError as error:
                self._surroundings.cluster_fault = unworkable(error)
                await self._pause()
            else:
                self._surroundings.cluster_fault = None
                return

    async def _work_when_elected(self, plane: Plane, edge: Edge, tokens: TokenPlane, loops: _Loops) -> None:
        await self._elected.wait()
        await loops.tokens.run(tokens.load_checkpoint())
        minting = loops.tokens.start(tokens.run())
        repairing = loops.tokens.start(self._repair_secrets(tokens)) if self._config.secret_repair else None
        reconciler = Reconciler(plane)

        async def work(key: Key) -> float | None:
            started = self._clock.monotonic()
            result = "error"
            try:
                again_s = await reconciler.reconcile(key)
                result = "ok"
            finally:
                self._metrics.reconcile_total.labels(kind=key.plural, result=result).inc()
                self._metrics.reconcile_duration_seconds.labels(kind=key.plural).observe(
                    self._clock.monotonic() - started
                )
            return again_s

        def found(plural: str, count: int) -> None:
            self._metrics.resync_found_total.labels(kind=plural).inc(count)

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(plane.queue.run(work, workers=RECONCILE_WORKERS))
                tasks.create_task(_outcome(minting))
                tasks.create_task(resync_forever(edge, interval_s=self._config.resync_interval, report=found))
        finally:
            minting.cancel()
            if repairing is not None:
                repairing.cancel()
            await loops.tokens.run(tokens.save_checkpoint())

    async def _repair_secrets(self, tokens: TokenPlane) -> None:
        """Have Secrets that somebody deletes or changes made anew at once, on the token loop."""
        connection = await open_connection(on_request=self._metrics.observe_k8s_request)
        async with connection:
            await SecretWatch(
                connection,
                namespaces=self._config.namespaces,
                delivered=tokens.delivered,
                restore=tokens.restore,
            ).run()

    # -- health -------------------------------------------------------------------------------------------------------

    def _is_starting(self) -> str | None:
        return None if self._is_started or find_faults(self._needs) else "not done yet"

    async def _sample(self, loops: Mapping[str, asyncio.AbstractEventLoop]) -> None:
        """Ask each loop for a sign of life and for its gauges; each fills its own, as their sources aren't shared."""
        while True:
            for name, loop in loops.items():
                loop.call_soon_threadsafe(self._beat, name, self._clock.monotonic())
                if (publish := self._publish.get(name)) is not None:
                    loop.call_soon_threadsafe(publish)
            await asyncio.sleep(SAMPLE_S)

    def _publish_tokens(self, tokens: TokenPlane, leader: Leader) -> None:
        metrics = self._metrics
        metrics.token_schedule_lateness_seconds.set(tokens.lateness_s() if leader.is_leader else 0.0)
        for fault, remaining in tokens.min_remaining_s().items():
            least = metrics.token_min_remaining_seconds.labels(fault=fault.value)
            least.set(float("nan") if remaining is None else remaining)
        metrics.token_schedule_entries.set(len(tokens))
        for state, count in tokens.count_by_state().items():
            metrics.tokens.labels(state=state).set(count)

    def _publish_leadership(self, leader: Leader) -> None:
        self._metrics.leader.set(1 if leader.is_leader else 0)

    def _publish_queue(self, queue: WorkQueue) -> None:
        self._metrics.workqueue_depth.set(queue.depth())
        self._metrics.workqueue_oldest_seconds.set(queue.lateness_s())

    def _beat(self, name: str, asked_at: float) -> None:
        """Note, on a loop, when it came to this."""
        now = self._clock.monotonic()
        self._beats[name] = now
        self._metrics.event_loop_lag_seconds.labels(loop=name).set(now - asked_at)

    def _silent(self, name: str) -> str | None:
        """Return since when a loop gives no sign of life, if that is too long."""
        silence_s = self._clock.monotonic() - self._beats.get(name, self._started_at)
        return f"no sign of life for {silence_s:.0f} s" if silence_s > LOOP_STALL_S else None


async def _outcome(work: Future[None]) -> None:
    """Await what runs on another loop: its failure is the operator's."""
    await asyncio.wrap_future(work)


def _stalled(tokens: TokenPlane) -> str | None:
    stalled_s = tokens.stalled_s()
    return f"due for {stalled_s:.0f} s and nothing was taken" if stalled_s > LOOP_STALL_S else None


def _die(reason: str) -> None:
    """End the process at once: whatever it would still write is the next leader's to write."""
    log.error("leadership lost; ending", reason=reason)
    os._exit(LOST_LEASE)
