"""A stock server behind a front: a socket in a folder of its own, no port for clients, nothing saved, users pushed.

In cluster mode a server also has a bus port on loopback, and tells clients its front's address for its own.
"""

import asyncio
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from elasticache_iam_sandbox.processes import Process
from elasticache_iam_sandbox.world.call import EngineUser

ADMIN: Final = "sandbox-admin"
"""Our own user on the server. Its password is random; ACL LIST shows the name to whoever may read it."""

FORBIDDEN_COMMANDS: Final = (
    # "Restricted commands", ElastiCache user guide: they answer `ERR unknown command` there, and so they do here.
    "BGREWRITEAOF",
    "BGSAVE",
    "CONFIG",
    "DEBUG",
    "MIGRATE",
    "REPLICAOF",
    "SAVE",
    "SLAVEOF",
    "SHUTDOWN",
    "SYNC",
    # Not on that page, but a managed cache is not taken over, reconfigured or extended by its users either.
    "FAILOVER",
    "MODULE",
    "PSYNC",
    "REPLCONF",
)
FORBIDDEN_SUBCOMMANDS: Final[Mapping[bytes, frozenset[bytes]]] = {
    # Users come from AWS's API alone.
    b"ACL": frozenset({b"SETUSER", b"DELUSER", b"LOAD", b"SAVE"}),
    b"CLUSTER": frozenset(
        {
            b"ADDSLOTS",
            b"ADDSLOTSRANGE",
            b"BUMPEPOCH",
            b"DELSLOTS",
            b"DELSLOTSRANGE",
            b"FAILOVER",
            b"FLUSHSLOTS",
            b"FORGET",
            b"LINKS",
            b"MEET",
            b"REPLICATE",
            b"RESET",
            b"SAVECONFIG",
            b"SET-CONFIG-EPOCH",
            b"SETSLOT",
        }
    ),
}
"""As above. rename-command knows no subcommands, so the front sees to these."""

_START_TIMEOUT_S: Final = 10.0
_MAX_SOCKET_PATH: Final = 100
"""The kernel allows 103 (macOS) to 107 (Linux) characters."""
_NODES_FILE: Final = "nodes.conf"
_CREDENTIAL_RULES: Final = frozenset({"nopass", "resetpass", "reset"})


class FrontError(Exception):
    """A cache can't be served."""


class AccessStringError(FrontError):
    """The server doesn't take a user's access string."""


def acl_rules(user: EngineUser, password: str) -> tuple[str, ...]:
    """Return the rules of ACL SETUSER for a user.

    Args:
        user: What AWS knows of it.
        password: Lets the front in as an IAM user.

    Raises:
        AccessStringError: It sets a password, which AWS doesn't allow either.
    """
    rules = user.access_string.split()
    for rule in rules:
        if rule.lower() in _CREDENTIAL_RULES or rule[0] in "><#!":
            raise AccessStringError(f"the access string of {user.user_name} sets a password")
    match user.auth_mode:
        case "iam":
            credentials = [f"#{hashlib.sha256(password.encode()).hexdigest()}"]
        case "password":
            credentials = [f"#{digest}" for digest in user.password_sha256]
        case "no-password":
            credentials = ["nopass"]
        case mode:
            raise FrontError(f"{user.user_name} has an unknown authentication mode {mode!r}")
    return ("reset", *rules, *credentials)


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """What a server in cluster mode says of itself.

    Attributes:
        host: Of its front: clients are sent there.
        port: Of its front.
        bus_port: On loopback, for the other servers of the cluster.
    """

    host: str
    port: int
    bus_port: int


class CacheServer:
    """A redis-server or valkey-server under guard.

    Args:
        name: For messages and file names.
        folder: For its configuration, log and socket; made if need be.
        program: The server's binary.
        address: Of a server in cluster mode; None: cluster mode off.

    Attributes:
        socket: Where it listens, once started.
    """

    def __init__(self, name: str, *, folder: Path, program: Path, address: ClusterAddress | None = None) -> None:
        self.name = name
        self.address = address
        self.socket = folder / "s"
        self._folder = folder
        self._program = program
        self._short_folder: Path | None = None
        self._process: Process | None = None
        self._password = secrets.token_hex(32)
        self._client: redis.asyncio.Redis | None = None

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            FrontError: It is not installed, or doesn't come up.
        """
        if shutil.which(self._program) is None:
            raise FrontError(f"{self.name}: no program {self._program}")
        self._folder.mkdir(parents=True, exist_ok=True)
        if len(str(self.socket.absolute())) > _MAX_SOCKET_PATH:
            self._short_folder = Path(tempfile.mkdtemp(prefix="cache-"))
            self.socket = self._short_folder / "s"
        self.socket = self.socket.absolute()
        self.socket.unlink(missing_ok=True)
        (self._folder / _NODES_FILE).unlink(missing_ok=True)
        configuration = self._folder / "server.conf"
        configuration.write_text(self._render_configuration())
        configuration.chmod(0o600)
        self._process = Process(
            self.name, [self._program, configuration.absolute()], log=self._folder / "server.log", cwd=self._folder
        )
        self._process.start()
        self._client = redis.asyncio.Redis(
            unix_socket_path=str(self.socket),
            username=ADMIN,
            password=self._password,
            decode_responses=True,
        )
        await self._wait_until_ready()

    def _render_configuration(self) -> str:
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        return "\n".join(
            [
                "port 0",
                f'unixsocket "{self.socket}"',
                "unixsocketperm 700",
                'save ""',
                "appendonly no",
                "databases 16",
                "daemonize no",
                f"user {ADMIN} on #{digest} ~* &* +@all",
                "user default reset off",
                *(f'rename-command {command} ""' for command in FORBIDDEN_COMMANDS),
                *self._render_cluster_mode(),
                "",
            ]
        )

    def _render_cluster_mode(self) -> tuple[str, ...]:
        if self.address is None:
            return ()
        return (
            "cluster-enabled yes",
            f"cluster-config-file {_NODES_FILE}",
            # The others of the cluster find its bus where its front is announced.
            f"bind {' '.join(dict.fromkeys(('127.0.0.1', self.address.host)))}",
            f"cluster-port {self.address.bus_port}",
            f"cluster-announce-bus-port {self.address.bus_port}",
            f"cluster-announce-ip {self.address.host}",
            f"cluster-announce-port {self.address.port}",
            f"cluster-announce-tls-port {self.address.port}",
        )

    async def _wait_until_ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while True:
            try:
                await self.execute("PING")
            except (RedisError, FrontError) as error:
                if not self.is_running or asyncio.get_running_loop().time() > deadline:
                    log = self._process.tail() if self._process else ""
                    await self.stop()
                    raise FrontError(f"{self.name} did not start: {log}") from error
                await asyncio.sleep(0.01)
            else:
                return

    @property
    def is_running(self) -> bool:
        """Whether the server's process lives."""
        return self._process is not None and self._process.is_running

    async def stop(self) -> None:
        """Stop the server; what it held is gone."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)
        if self._short_folder is not None:
            shutil.rmtree(self._short_folder, ignore_errors=True)

    async def set_user(self, user: EngineUser, password: str) -> None:
        """Create a user or replace its rules; its connections stay and are held to the new rules.

        Raises:
            AccessStringError: The server doesn't understand it; nothing has changed.
        """
        try:
            await self.execute("ACL", "SETUSER", user.user_name, *acl_rules(user, password))
        except ResponseError as error:
            raise AccessStringError(f"the server refuses the access string of {user.user_name}: {error}") from error

    async def delete_user(self, user_name: str) -> None:
        """Take a user away and cut its connections; `default` can't be deleted and is switched off instead."""
        if user_name == "default":
            await self.execute("ACL", "SETUSER", "default", "reset", "off")
            await self.cut_user("default")
        else:
            await self.execute("ACL", "DELUSER", user_name)

    async def cut_user(self, user_name: str) -> None:
        """Cut the connections of a user that stays."""
        await self.execute("CLIENT", "KILL", "USER", user_name)

    async def may_run(self, user_name: str, command: str) -> bool:
        """Whether the server would let a user run a command without arguments."""
        return bool(await self.execute("ACL", "DRYRUN", user_name, command) == "OK")

    async def execute(self, *command: str) -> Any:
        """Run a command as admin. A user with +@all may have killed our connection: try once more on a new one."""
        if self._client is None or not self.is_running:
            log = self._process.tail() if self._process else ""
            raise FrontError(f"{self.name} is not running. {log}".rstrip())
        try:
            return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py
        except RedisConnectionError:
            return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py
