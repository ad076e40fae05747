"""One service out of the parts: the world, its HTTPS endpoint, the caches' fronts, and what makes time pass.

Everything runs on one event loop, so that the world needs no lock. `Sandbox` is for those who have a loop,
`BackgroundSandbox` for those who don't: it brings its own, in a thread.
"""

import asyncio
import fcntl
import json
import logging
import os
import ssl
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import boto3
import trustme
from typing_extensions import override

from elasticache_iam_sandbox.cache_kinds import CacheSpec, ServedKind, specify_cache
from elasticache_iam_sandbox.cache_programs import find_missing, find_programs
from elasticache_iam_sandbox.front.fronts import HOST, CacheFronts
from elasticache_iam_sandbox.front.login import CacheKey
from elasticache_iam_sandbox.front.server import FrontError
from elasticache_iam_sandbox.processes import start_time
from elasticache_iam_sandbox.state import CREDENTIALS_FILE, RUN_FILE
from elasticache_iam_sandbox.wire.admin import AdminApi
from elasticache_iam_sandbox.wire.endpoint import AwsEndpoint
from elasticache_iam_sandbox.world.call import AwsError, Call
from elasticache_iam_sandbox.world.settings import WorldSettings
from elasticache_iam_sandbox.world.world import World

_log = logging.getLogger(__name__)

ACCOUNT = "111122223333"
REGION = "eu-central-1"
AUDIENCES = ("sts.amazonaws.com", "elasticache-iam.dev/sign")
"""Client ids of the OIDC provider that each account starts with: IRSA's own, and the operator's."""
CLUSTER = "sandbox"
"""EKS' name of the control plane, in each account."""
MIN_TICK_S = 0.01
"""A transition that stays due must not keep a core busy."""

_ENGINE_VERSIONS: Mapping[str, str] = {"valkey": "8.0", "redis": "7.1"}
_OPERATOR_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": ["elasticache:Connect", "memorydb:Connect"], "Resource": "*"},
    ],
}
"""Of the seeded user `operator`: all but logging in to caches. A test of least privilege brings its own policy."""

_T = TypeVar("_T")


class SandboxError(Exception):
    """The sandbox cannot start, or cannot do what was asked."""


class FolderInUseError(SandboxError):
    """Another sandbox uses the state folder."""


class Issuer(Protocol):
    """What the sandbox needs of a Kubernetes control plane."""

    @property
    def issuer(self) -> str:
        """The `iss` of its ServiceAccount tokens."""
        ...

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator."""
        ...

    def jwks(self) -> Mapping[str, Any]:
        """Return the keys that verify its tokens."""
        ...


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A long-lived access key of an IAM user."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """An AWS account and the access key of its administrator."""

    account_id: str
    region: str
    admin: AccessKey


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache with a live front.

    Attributes:
        shards: Number of servers that share the slots; None: cluster mode off.
        host: Of the endpoint for all: in cluster mode the configuration endpoint.
    """

    account: str
    region: str
    id: str
    arn: str
    kind: ServedKind
    engine: str
    shards: int | None
    host: str
    port: int
    ca_file: str
    tls: bool = True


class Sandbox:
    """The sandbox, on the running event loop. All methods belong to that loop's thread.

    Args:
        state_dir: For the CA file, credentials and the caches' servers; one sandbox at a time.
        control_plane: A running one. Its tokens are then accepted by AssumeRoleWithWebIdentity.
        settings: Durations and limits; may be changed while it runs.
        programs: Behind the caches, by engine; None: redis-server and valkey-server of PATH.
        port: Of the AWS endpoint; 0 picks a free one.
        host: The address that the AWS endpoint and the caches listen on. Nothing protects them: another than loopback
            is for a network of tests alone, whose pods can't reach loopback.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        control_plane: Issuer | None = None,
        settings: WorldSettings | None = None,
        programs: Mapping[str, Path] | None = None,
        port: int = 0,
        host: str = HOST,
    ) -> None:
        self.state_dir = state_dir.absolute()
        self.ca_file = self.state_dir / "ca.crt"
        self.settings = settings if settings is not None else WorldSettings()
        self._unserved: list[tuple[str, str, CacheSpec]] = []
        self._opening: dict[CacheKey, asyncio.Task[None]] = {}
        self.world: World = _WatchedWorld(
            self.settings, now=lambda: datetime.now(UTC), get_jwks=self._get_jwks, on_cache=self._unserved.append
        )
        self.aws_url = ""
        self.account = Account(ACCOUNT, REGION, AccessKey("", ""))
        self.operator_key = AccessKey("", "")
        self._control_plane = control_plane
        self._programs = programs if programs is not None else find_programs()
        self._port = port
        self._host = host
        self._issuers: dict[str, Mapping[str, Any]] = {}
        self._caches: dict[CacheKey, Cache] = {}
        self._changed = asyncio.Event()
        self._settling = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._next_account = int(ACCOUNT)
        self._fronts: CacheFronts | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything but the control plane.

        Raises:
            FolderInUseError: Another sandbox uses the state folder.
            OSError: The port is taken.
        """
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stack.callback(_lock_folder(self.state_dir))
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        authority = trustme.CA(organization_name="elasticache-iam sandbox")
        self.ca_file.write_bytes(authority.cert_pem.bytes())
        if self._control_plane is not None:
            # Once: the keys don't change while it runs, and its API server may be down when STS asks.
            self.add_issuer(self._control_plane.issuer, await asyncio.to_thread(self._control_plane.jwks))
        self.account = self._seed_account(ACCOUNT)
        self.operator_key = self.add_access_key("operator", policy=_OPERATOR_POLICY)

        self._fronts = CacheFronts(
            self.world,
            authority=authority,
            state_dir=self.state_dir / "caches",
            programs=self._programs,
            host=self._host,
        )
        self._stack.push_async_callback(self._fronts.close)
        self._stack.push_async_callback(self._stop_opening)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(self._host, "localhost").configure_cert(context)
        admin = AdminApi(self.world, settings=self.settings, ground=_Ground(self), on_change=self._changed.set)
        endpoint = AwsEndpoint(
            self.world,
            ssl_context=context,
            on_change=self._changed.set,
            default_region=REGION,
            admin=admin.routes(),
            port=self._port,
            host=self._host,
        )
        self.aws_url = await endpoint.start()
        self._stack.push_async_callback(endpoint.close)
        self._write_credentials()
        ticker = asyncio.create_task(self._tick_for_ever(), name="sandbox-ticker")
        self._stack.push_async_callback(_cancel, ticker)
        self.world.reset_call_counts()

    async def close(self) -> None:
        """Stop everything that `start` started; fine to call twice."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def announce(self) -> None:
        """Write the file by which other processes find this sandbox, once all is there that they should find."""
        run_file = self.state_dir / RUN_FILE
        run = {
            "pid": os.getpid(),
            "started": start_time(os.getpid()),
            "aws_url": self.aws_url,
            "account": ACCOUNT,
            "region": REGION,
            "ca_file": str(self.ca_file),
            "kubeconfig": str(self._control_plane.kubeconfig) if self._control_plane is not None else None,
        }
        partial = run_file.with_suffix(".part")
        partial.write_text(json.dumps(run, indent=2), encoding="utf-8")
        partial.replace(run_file)
        self._stack.callback(run_file.unlink, missing_ok=True)

    # -- what there is --------------------------------------------------------------------------------------------

    def env(self, key: AccessKey | None = None) -> dict[str, str]:
        """Return the environment that points kubectl, the AWS CLI, Terraform and boto3 at the sandbox."""
        key = key or self.account.admin
        cluster = {"KUBECONFIG": str(self._control_plane.kubeconfig)} if self._control_plane is not None else {}
        return cluster | {
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CA_BUNDLE": str(self.ca_file),
            "AWS_ACCESS_KEY_ID": key.access_key_id,
            "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        }

    def session(self, key: AccessKey | None = None) -> boto3.session.Session:
        """Return a boto3 session whose clients talk to the sandbox, as the administrator or as another."""
        key = key or self.account.admin
        return _Session(
            self.aws_url,
            self.ca_file,
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret_access_key,
            region_name=REGION,
        )

    def caches(self) -> tuple[Cache, ...]:
        """Return all caches with a live front."""
        return tuple(self._caches.values())

    def refusals(self) -> Sequence[Any]:
        """Return the true reason of each refused login, newest last."""
        return [] if self._fronts is None else list(self._fronts.refusals())

    # -- making things --------------------------------------------------------------------------------------------

    def add_account(self) -> Account:
        """Create an account with an administrator and the cluster's OIDC provider: for a test of its own."""
        self._next_account += 1
        return self._seed_account(str(self._next_account))

    def add_access_key(
        self, user_name: str, *, account_id: str = ACCOUNT, policy: Mapping[str, Any] | None = None
    ) -> AccessKey:
        """Create an IAM user with one inline policy; None: all is allowed."""
        return AccessKey(*self.world.add_access_key(account_id, user_name=user_name, policy=policy))

    def add_issuer(self, url: str, jwks: Mapping[str, Any]) -> None:
        """Make an OIDC issuer's keys known, besides the control plane's."""
        self._issuers[url] = jwks

    async def add_cache(
        self,
        cache_id: str,
        *,
        account_id: str = ACCOUNT,
        region: str = REGION,
        engine: str = "valkey",
        kind: str = ServedKind.REPLICATION_GROUP,
        shards: int | None = None,
        engine_version: str | None = None,
        tags: Mapping[str, str] | None = None,
        auth_token: str | None = None,
    ) -> Cache:
        """Create a cache with a live front that requires TLS. In cluster mode it takes two seconds.

        Args:
            cache_id: Replication group id, serverless cache name or MemoryDB cluster name.
            account_id: Of the cache.
            region: Of the cache.
            engine: redis or valkey.
            kind: replication-group, cluster, serverless or memorydb.
            shards: For cluster (2 unless given) and memorydb (1): how many servers share the slots.
            engine_version: As AWS has it; None: one of this engine and kind.
            tags: In AWS.
            auth_token: Of a replication group.

        Raises:
            ValueError: The id is taken, or an option is wrong.
            SandboxError: There is no server program to put behind it, or it doesn't start.
        """
        fronts = self._need_fronts()
        spec = specify_cache(cache_id, engine, kind, shards)
        if (missing := find_missing((engine,), self._programs)) is not None:
            raise SandboxError(missing)
        if auth_token is not None and spec.kind.resource != "replicationgroup":
            raise ValueError(f"a cache of kind {spec.kind} has no AUTH token")
        place = (account_id, region, cache_id)
        unserved: Mapping[str, Any] = {"engine": engine, "host": "127.0.0.1", "port": 0, "tags": tags}
        try:
            match spec.kind:
                case ServedKind.SERVERLESS:
                    self.world.add_serverless_cache(*place, full_engine_version=engine_version, **unserved)
                case ServedKind.MEMORYDB:
                    self.world.add_memorydb_cluster(
                        *place, engine_version=engine_version, shards=spec.shards or 1, **unserved
                    )
                case ServedKind.REPLICATION_GROUP | ServedKind.CLUSTER:
                    version = engine_version or _ENGINE_VERSIONS[engine]
                    self.world.add_replication_group(
                        *place, engine_version=version, auth_token=auth_token, shards=spec.shards, **unserved
                    )
        except AwsError as error:
            raise ValueError(str(error)) from error
        try:
            cache = await self._open_front(fronts, account_id, region, spec)
        except FrontError as error:
            raise SandboxError(str(error)) from error
        if cache is None:
            raise SandboxError(f"{cache_id} was deleted while it started")
        return cache

    async def settle(self) -> None:
        """Carry out what is due and bring the fronts up to date now, instead of at the next tick.

        Waits for the fronts of new caches, too.
        """
        await self._catch_up()
        if self._opening:
            await asyncio.wait(self._opening.values())

    # -- inside ---------------------------------------------------------------------------------------------------

    def _seed_account(self, account_id: str) -> Account:
        self.world.add_account(account_id)
        admin = self.add_access_key("admin", account_id=account_id)
        if self._control_plane is not None:
            self.world.add_cluster(account_id, REGION, CLUSTER, self._control_plane.issuer)
            self.world.dispatch(
                Call(
                    service="iam",
                    operation="CreateOpenIDConnectProvider",
                    parameters={"Url": self._control_plane.issuer, "ClientIDList": list(AUDIENCES)},
                    region=REGION,
                    access_key_id=admin.access_key_id,
                )
            )
        return Account(account_id, REGION, admin)

    def _get_jwks(self, issuer: str) -> Mapping[str, Any]:
        try:
            return self._issuers[issuer]
        except KeyError:
            raise LookupError(f"no keys are known of the issuer {issuer}") from None

    def _need_fronts(self) -> CacheFronts:
        if self._fronts is None:
            raise SandboxError("the sandbox was not started")
        return self._fronts

    async def _catch_up(self) -> None:
        """Bring the fronts up to date; new ones start meanwhile, so that nobody's revocation waits for them."""
        async with self._settling:
            self.world.advance()
            if self._fronts is None:
                return
            while self._unserved:
                self._begin_to_serve(self._fronts, *self._unserved.pop())
            for key in [key for key in self._caches if key.view(self.world) is None]:
                del self._caches[key]
                await self._fronts.remove(key.account_id, key.region, key.cache_id, kind=key.kind)
            await self._fronts.sync()

    def _begin_to_serve(self, fronts: CacheFronts, account_id: str, region: str, spec: CacheSpec) -> None:
        key = CacheKey(account_id, region, spec.cache_id, spec.kind.resource)
        if key in self._caches or key in self._opening or key.view(self.world) is None:
            return

        async def serve() -> None:
            try:
                await self._open_front(fronts, account_id, region, spec)
            except Exception:  # noqa: BLE001  # one cache that fails must not stop the others
                _log.exception("the cache %s has no front", spec.cache_id)

        task = asyncio.create_task(serve(), name=f"sandbox-cache-{spec.cache_id}")
        self._opening[key] = task
        task.add_done_callback(lambda _: self._opening.pop(key, None))

    async def _stop_opening(self) -> None:
        for task in tuple(self._opening.values()):
            await _cancel(task)

    async def _open_front(self, fronts: CacheFronts, account_id: str, region: str, spec: CacheSpec) -> Cache | None:
        """Start servers and front of a cache of the world; None if it was deleted meanwhile."""
        place, kind = (account_id, region, spec.cache_id), spec.kind.resource
        endpoint = await fronts.add(*place, engine=spec.engine, kind=kind, shards=spec.shards)
        view = self.world.cache_view(*place, kind=kind)
        if view is None:
            await fronts.remove(*place, kind=kind)
            return None
        self.world.set_endpoint(*place, host=endpoint.host, port=endpoint.port, kind=kind, nodes=endpoint.nodes)
        cache = Cache(
            account=account_id,
            region=region,
            id=spec.cache_id,
            arn=view.arn,
            kind=spec.kind,
            engine=spec.engine,
            shards=spec.shards,
            host=endpoint.host,
            port=endpoint.port,
            ca_file=str(self.ca_file),
        )
        self._caches[CacheKey(*place, kind)] = cache
        return cache

    async def _tick_for_ever(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._catch_up()
            except Exception:  # noqa: BLE001  # one cache that fails must not stop time for all
                _log.exception("the caches' fronts could not follow the world")
            next_at = self.world.next_transition_at()
            wait_s = None if next_at is None else max(MIN_TICK_S, (next_at - self.world.now()).total_seconds())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)

    def _write_credentials(self) -> None:
        _write_private(
            self.state_dir / CREDENTIALS_FILE,
            json.dumps(
                {
                    "account": ACCOUNT,
                    "admin": {
                        "access_key_id": self.account.admin.access_key_id,
                        "secret_access_key": self.account.admin.secret_access_key,
                    },
                    "operator": {
                        "access_key_id": self.operator_key.access_key_id,
                        "secret_access_key": self.operator_key.secret_access_key,
                    },
                }
            ),
        )


class BackgroundSandbox:
    """A sandbox with an event loop and thread of its own: for synchronous code and for tests.

    Args:
        state_dir: As of `Sandbox`, and so are the options.
    """

    def __init__(self, state_dir: Path, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)
        self._state_dir = state_dir
        self._options = options
        self._sandbox: Sandbox | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._sandbox = self._await(self._make())
        except BaseException:
            self._stop_loop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._await(self._running.close())
        finally:
            self._stop_loop()

    @property
    def aws_url(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return self._running.aws_url

    @property
    def ca_file(self) -> Path:
        """The authority of the AWS endpoint and of the caches, PEM."""
        return self._running.ca_file

    @property
    def settings(self) -> WorldSettings:
        """Durations and limits; single ones may be set from any thread."""
        return self._running.settings

    @property
    def account(self) -> Account:
        """The first account."""
        return self._running.account

    @property
    def operator_key(self) -> AccessKey:
        """Of a user that may do all but log in to caches."""
        return self._running.operator_key

    def run(self, act: Callable[[World], _T]) -> _T:
        """Do something with the world, on its own thread, and return what comes of it."""

        async def on_loop() -> _T:
            result = act(self._running.world)
            await self._running.settle()
            return result

        return self._await(on_loop())

    def env(self, key: AccessKey | None = None) -> dict[str, str]:
        """As `Sandbox.env`."""
        return self._running.env(key)

    def admin_session(self, account: Account | None = None) -> boto3.session.Session:
        """Return a boto3 session of an account's administrator."""
        return self._running.session(account.admin if account is not None else None)

    def session(self, key: AccessKey) -> boto3.session.Session:
        """Return a boto3 session of somebody."""
        return self._running.session(key)

    def add_account(self) -> Account:
        """As `Sandbox.add_account`."""
        return self._on_loop(self._running.add_account)

    def add_access_key(
        self, user_name: str, *, account_id: str = ACCOUNT, policy: Mapping[str, Any] | None = None
    ) -> AccessKey:
        """As `Sandbox.add_access_key`."""
        return self._on_loop(lambda: self._running.add_access_key(user_name, account_id=account_id, policy=policy))

    def add_cache(self, cache_id: str, **options: Any) -> Cache:
        """As `Sandbox.add_cache`."""
        return self._await(self._running.add_cache(cache_id, **options))

    def add_issuer(self, url: str, jwks: Mapping[str, Any]) -> None:
        """As `Sandbox.add_issuer`."""
        self._on_loop(lambda: self._running.add_issuer(url, jwks))

    def caches(self) -> tuple[Cache, ...]:
        """Return all caches with a live front."""
        return self._on_loop(self._running.caches)

    def refusals(self) -> Sequence[Any]:
        """Return the true reason of each refused login, newest last."""
        return self._on_loop(self._running.refusals)

    def settle(self) -> None:
        """As `Sandbox.settle`."""
        self._await(self._running.settle())

    @property
    def _running(self) -> Sandbox:
        if self._sandbox is None:
            raise SandboxError("the sandbox was not started")
        return self._sandbox

    async def _make(self) -> Sandbox:
        sandbox = Sandbox(self._state_dir, **self._options)
        await sandbox.start()
        return sandbox

    def _on_loop(self, act: Callable[[], _T]) -> _T:
        async def call() -> _T:
            return act()

        return self._await(call())

    def _await(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _stop_loop(self) -> None:
        # A turn of the loop for transports that were just aborted to say goodbye in.
        self._await(asyncio.sleep(0.01))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(frozen=True, slots=True)
class _Create:
    """How a call that creates a cache says what is wanted."""

    kind: ServedKind
    id_parameter: str
    default_engine: str = "redis"


_CREATES: Mapping[tuple[str, str], _Create] = {
    ("elasticache", "CreateReplicationGroup"): _Create(ServedKind.REPLICATION_GROUP, "ReplicationGroupId"),
    ("elasticache", "CreateServerlessCache"): _Create(ServedKind.SERVERLESS, "ServerlessCacheName"),
    ("memorydb", "CreateCluster"): _Create(ServedKind.MEMORYDB, "ClusterName"),
}


class _WatchedWorld(World):
    """The world, telling of each cache that a client creates: it needs a front, which the world knows nothing of."""

    def __init__(
        self,
        settings: WorldSettings,
        *,
        now: Callable[[], datetime],
        get_jwks: Callable[[str], Mapping[str, Any]],
        on_cache: Callable[[tuple[str, str, CacheSpec]], None],
    ) -> None:
        super().__init__(settings, now=now, get_jwks=get_jwks)
        self._on_cache = on_cache

    @override
    def dispatch(self, call: Call) -> dict[str, Any]:
        try:
            return super().dispatch(call)
        finally:
            # Also after an error: the answer may be lost and the cache there all the same. `_catch_up` looks.
            identity = self.signing_identity(call.access_key_id or "")
            create = _CREATES.get((call.service, call.operation))
            if create is not None and identity is not None:
                self._on_cache((identity.account_id, call.region, _asked_for(create, call.parameters)))


def _asked_for(create: _Create, parameters: Mapping[str, Any]) -> CacheSpec:
    return CacheSpec(
        cache_id=str(parameters.get(create.id_parameter, "")).lower(),
        engine=str(parameters.get("Engine", create.default_engine)).lower(),
        kind=create.kind,
        shards=parameters.get("NumShards", create.kind.default_shards),
    )


class _Session(boto3.session.Session):
    """A session for one sandbox, whatever AWS_ENDPOINT_URL and AWS_CA_BUNDLE of the environment say."""

    def __init__(self, aws_url: str, ca_file: Path, **options: Any) -> None:
        super().__init__(**options)
        self._sandbox_defaults = {"endpoint_url": aws_url, "verify": str(ca_file)}

    @override
    def client(self, *args: Any, **options: Any) -> Any:
        return super().client(*args, **self._sandbox_defaults | options)


class _Ground:
    """The sandbox as the admin API sees it: plain JSON values."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def add_cache(self, cache_id: str, **options: Any) -> Mapping[str, Any]:
        try:
            return _document(await self._sandbox.add_cache(cache_id, **options))
        except SandboxError as error:
            raise ValueError(str(error)) from error

    def caches(self) -> Sequence[Mapping[str, Any]]:
        return [_document(cache) for cache in self._sandbox.caches()]

    def refusals(self) -> Sequence[Mapping[str, Any]]:
        return [_document(refusal) for refusal in self._sandbox.refusals()]


def _document(value: Any) -> dict[str, Any]:
    return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in asdict(value).items()}


def _lock_folder(folder: Path) -> Callable[[], None]:
    """Lock a folder against other runs and return what unlocks it; the kernel does if we are killed."""
    lock = (folder / "sandbox.lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise FolderInUseError(f"another sandbox uses {folder}: stop it, or choose another folder") from None
    return lock.close


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
