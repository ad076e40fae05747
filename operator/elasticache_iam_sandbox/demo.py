"""The demo: the main job from nothing to nothing on real parts, each step proven. `make demo` runs it.

It stands in for a platform team and an application team, so it does only what they can do: kubectl, the AWS CLI, a
Redis client. The operator runs as it does in a cluster: its own ServiceAccount, its own AWS user, the RBAC and
admission policies of packaging/install.yaml.
"""

import fcntl
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rich.console import Console

from elasticache_iam_sandbox.cache_programs import PROGRAMS, find_missing, find_programs
from elasticache_iam_sandbox.cluster.binaries import find_binaries
from elasticache_iam_sandbox.cluster.errors import ClusterError
from elasticache_iam_sandbox.processes import Process, ProcessError
from elasticache_iam_sandbox.state import CREDENTIALS_FILE, read_run

CACHE: Final = "orders-prod"
NAMESPACE: Final = "elasticache-iam"
TOKEN_SECONDS: Final = 20
"""AWS's tokens live 900 s; nobody wants to watch that."""
AWS_SECONDS: Final = 0.5
"""What takes AWS seconds to minutes."""
READY_S: Final = 30.0
POLL_S: Final = 0.2
LOCK_FILE: Final = "demo.lock"
EXIT_FAILED: Final = 1
EXIT_CALLER: Final = 2

JsonObject = dict[str, Any]
Secret = dict[str, str]


class DemoError(Exception):
    """A step did not hold."""


@dataclass(slots=True)
class Story:
    """Tells what happens: colours on a terminal, plain lines elsewhere."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    started: float = field(default_factory=time.monotonic)
    chapter: int = 0
    proofs: int = 0

    def begin(self, title: str) -> None:
        """Open a chapter."""
        self.chapter += 1
        self.console.print(f"\n[bold cyan]{self.chapter}. {title}[/]  [dim]{time.monotonic() - self.started:.0f} s[/]")

    def say(self, line: str) -> None:
        """Tell something that proves nothing."""
        self.console.print(f"   [dim]{line}[/]", markup=True)

    def command(self, *words: str) -> None:
        """Show a command that is being run."""
        self.console.print("   $ " + " ".join(words), style="bold", markup=False)

    def prove(self, claim: str, *, holds: bool, otherwise: str = "") -> None:
        """Tell a claim and whether it holds; end the demo if it doesn't."""
        if not holds:
            raise DemoError(f"{claim}: this does not hold. {otherwise}".strip())
        self.proofs += 1
        self.console.print(f"   [green]✔[/] {claim}")


class Demo:
    """The parts of one run and what the two teams do with them."""

    def __init__(self, root: Path, state: Path, story: Story, stack: ExitStack) -> None:
        self.root = root
        self.state = state
        self.story = story
        self._stack = stack
        self._environment = dict(os.environ)
        self._operator: Process | None = None

    # -- the world ----------------------------------------------------------------------------------------------------

    def bring_up(self) -> None:
        """Start control plane, AWS, the cache; install the operator as packaging/install.yaml does; start it."""
        story = self.story
        story.begin("A Kubernetes API, AWS and a Redis cache, on this machine")
        binaries = find_binaries(story.say)
        sandbox = Process(
            "sandbox",
            self._python("elasticache_iam_sandbox.cli", "--state", str(self.state), "up"),
            log=self._log("sandbox"),
        )
        self._start(sandbox)
        run = self._wait("the sandbox is ready", lambda: self._run_of(sandbox), process=sandbox, timeout_s=120.0)
        self._environment |= {
            "PATH": f"{binaries.kubectl.parent}:{Path(sys.executable).parent}:{self._environment.get('PATH', '')}",
            "KUBECONFIG": run["kubeconfig"],
            "AWS_ENDPOINT_URL": run["aws_url"],
            "AWS_CA_BUNDLE": run["ca_file"],
            "AWS_REGION": run["region"],
            "AWS_DEFAULT_REGION": run["region"],
            "AWS_PAGER": "",
            **self._aws_key("admin"),
        }
        self._environment.pop("AWS_SESSION_TOKEN", None)
        self._environment.pop("AWS_PROFILE", None)
        self._ask("PATCH", "settings", {"transition_s": AWS_SECONDS, "iam_propagation_s": AWS_SECONDS})
        cache = self._ask("POST", "caches", {"id": CACHE, "engine": "redis"})
        story.prove(f"etcd, kube-apiserver and controllers run; kubeconfig {_short(run['kubeconfig'])}", holds=True)
        story.prove(f"AWS answers at {run['aws_url']}", holds=True)
        story.prove(f"cache {CACHE} listens at {cache['host']}:{cache['port']}, TLS only", holds=True)
        with self._client(cache, run["ca_file"]) as anonymous:
            anonymous.set("orders:before", "anybody can write this")
            story.prove("today the cache is open: an anonymous client reads and writes", holds=bool(anonymous.ping()))
        self.cache, self.ca_file = cache, run["ca_file"]

    def install(self) -> None:
        """Install CRDs, RBAC and admission policies; start the operator with its own identities."""
        story = self.story
        story.begin("The operator is installed")
        self._kubectl("apply", "--server-side", "-f", "packaging/install.yaml", show=True)
        self._kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        kubeconfig = self._operator_kubeconfig()
        config = self.state / "operator.yaml"
        config.write_text(
            json.dumps(
                {
                    "owner": "demo",
                    "clusterName": "sandbox",
                    "cacheCA": self.ca_file,
                    "tokenSeconds": TOKEN_SECONDS,
                    "pollInterval": 1,
                }
            ),
            encoding="utf-8",
        )
        port = _free_port()
        environment = self._environment | self._aws_key("operator") | {"KUBECONFIG": str(kubeconfig)}
        arguments = ("operator", "--config", str(config), "--namespace", NAMESPACE, "--listen", f"127.0.0.1:{port}")
        self._operator = Process(
            "operator", self._python("elasticache_iam", *arguments), log=self._log("operator"), env=environment
        )
        self._start(self._operator)
        began = time.monotonic()
        self._wait("the operator is ready", lambda: _http_ok(f"http://127.0.0.1:{port}/readyz"), process=self._operator)
        story.prove(f"the operator is ready after {time.monotonic() - began:.1f} s", holds=True)
        can_read = self._kubectl(
            "auth", "can-i", "get", "secrets", "--all-namespaces", f"--kubeconfig={kubeconfig}", check=False
        )
        story.prove("it may not read Secrets (kubectl auth can-i get secrets: no)", holds=can_read.strip() == "no")

    # -- the main job -------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Apply the quickstart and watch the conditions turn."""
        story = self.story
        story.begin("Two resources, applied with kubectl")
        arn = str(self.cache["arn"])
        self._aws(
            "elasticache", "add-tags-to-resource", "--resource-name", arn,
            "--tags", "Key=elasticache-iam.dev/allow,Value=demo/platform",
        )  # fmt: skip
        story.say("the cache's owner has consented: UserGroups of namespace platform may attach to it")
        self._kubectl("apply", "-f", "examples/quickstart/", show=True)
        self._watch_conditions("usergroup", "platform", "orders")
        took = self._watch_conditions("elasticacheiamuser", "shop", "checkout")
        story.prove(f"from kubectl apply to a proven login: {took:.1f} s", holds=True)

    def use(self) -> None:
        """Log in as the application does; be refused what it may not."""
        story = self.story
        story.begin("What the application finds, and what it may do")
        secret = self._secret("checkout")
        story.say(f"Secret shop/checkout holds: {', '.join(sorted(secret))}")
        story.prove("the Secret is a Service Binding of type redis", holds=secret["type"] == "redis")
        with self._login(secret) as client:
            client.set("orders:1", "paid")
            story.prove(f"{secret['username']} logs in over verified TLS; SET and GET orders:1 work",
                        holds=client.get("orders:1") == b"paid")  # fmt: skip
            for words in (("GET", "customers:1"), ("FLUSHALL",), ("CONFIG", "GET", "*")):
                story.prove(f"{' '.join(words)} is refused: {_refusal(client, *words)}", holds=True)
        with self._client(self.cache, self.ca_file) as anonymous:
            story.prove(f"the anonymous client of before is refused: {_refusal(anonymous, 'PING')}", holds=True)

    def three_roles(self) -> None:
        """Put an administrator and a reader beside the service."""
        story = self.story
        story.begin("Three roles on one cache")
        self._kubectl("apply", "-f", "examples/three-roles/users.yaml", show=True)
        for namespace, name in (("platform", "dba"), ("shop", "reports")):
            self._wait_ready("elasticacheiamuser", namespace, name)
        expected = {
            ("platform", "dba"): "yyyn",
            ("shop", "checkout"): "yynn",
            ("shop", "reports"): "ynnn",
        }
        tries = (("GET", "orders:1"), ("SET", "orders:1", "x"), ("FLUSHDB",), ("CONFIG", "GET", "*"))
        story.say(f"{'':<12}" + "".join(f"{' '.join(words[:2]):<14}" for words in tries))
        for (namespace, name), pattern in expected.items():
            with self._login(self._secret(name, namespace)) as client:
                found = "".join("y" if _is_allowed(client, *words) else "n" for words in tries)
            row = "".join(f"{'yes' if mark == 'y' else 'refused':<14}" for mark in found)
            story.prove(f"{name:<10}{row}", holds=found == pattern, otherwise=f"expected {pattern}, found {found}")

    def rotate(self) -> None:
        """Wait for the next token; see the old one end."""
        story = self.story
        story.begin(f"The token is replaced before it ends (tokens live {TOKEN_SECONDS} s here, 900 s in AWS)")
        old = self._secret("checkout")
        new = self._wait("the Secret holds the next token", lambda: self._changed_secret(old), timeout_s=TOKEN_SECONDS)
        left = (_time(old["expires-at"]) - datetime.now().astimezone()).total_seconds()
        story.prove(
            f"a new token is in the Secret while the old one has {left:.0f} s left", holds=left > TOKEN_SECONDS / 3
        )
        with self._login(new) as client:
            story.prove("the new one logs in", holds=bool(client.ping()))
        with self._login(old) as client:
            story.prove("the old one still does", holds=bool(client.ping()))
        time.sleep(max(0.0, (_time(old["expires-at"]) - datetime.now().astimezone()).total_seconds()) + 1.0)
        with self._login(old) as client:
            story.prove(f"after its end the old one is refused: {_refusal(client, 'PING')}", holds=True)
        refusals = self._ask("GET", "refusals", None)
        story.say(f"the cache says WRONGPASS; the sandbox knows why: {refusals[-1]['reason']}")

    def delete(self) -> None:
        """Delete everything; be cut off; find nothing left."""
        story = self.story
        story.begin("Deleting takes everything away")
        with self._login(self._secret("checkout")) as client:
            live = client.connection_pool.get_connection()
            story.command("kubectl", "delete", "elasticacheiamuser", "--all", "-A")
            self._kubectl("delete", "elasticacheiamuser", "--all", "-n", "shop", "--timeout=60s")
            self._kubectl("delete", "elasticacheiamuser", "--all", "-n", "platform", "--timeout=60s")
            story.prove("the live connection was cut", holds=_is_cut(live))
            story.prove(f"its token opens nothing any more: {_refusal(client, 'PING')}", holds=True)
        self._kubectl("delete", "usergroup", "orders", "-n", "platform", "--wait=false", show=True)
        self._wait("the group waits", lambda: "StillAttached" in self._reasons("usergroup", "platform", "orders"))
        story.say("the group waits: its cache must never be left open. The owner deletes the cache (a demo may)")
        self._aws("elasticache", "delete-replication-group", "--replication-group-id", CACHE)
        self._kubectl("wait", "--for=delete", "usergroup/orders", "-n", "platform", "--timeout=60s")
        users = self._aws("elasticache", "describe-users")["Users"]
        groups = self._aws("elasticache", "describe-user-groups", quiet=True)["UserGroups"]
        roles = self._aws("iam", "list-roles", quiet=True)["Roles"]
        secrets = json.loads(self._kubectl("get", "secrets", "-n", "shop", "-o", "json"))["items"]
        left = [user["UserId"] for user in users]
        story.prove(
            "AWS has no user but its own `default`, no group, no role",
            holds=(left, groups, roles) == (["default"], [], []),
            otherwise=f"left: {left} {groups} {roles}",
        )
        story.prove("no Secret is left", holds=not secrets)

    # -- hands --------------------------------------------------------------------------------------------------------

    def _python(self, module: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", module, *arguments)

    def _log(self, name: str) -> Path:
        return self.state / f"{name}.log"

    def _start(self, process: Process) -> None:
        process.start()
        self._stack.callback(process.stop)

    def _run_of(self, sandbox: Process) -> JsonObject | None:
        """Return what our sandbox wrote about itself once it is ready, and nothing that another one wrote."""
        run = read_run(self.state)
        return run if run is not None and run["pid"] == sandbox.pid else None

    def _aws_key(self, who: str) -> dict[str, str]:
        key = json.loads((self.state / CREDENTIALS_FILE).read_text(encoding="utf-8"))[who]
        return {"AWS_ACCESS_KEY_ID": key["access_key_id"], "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}

    def _run(self, argv: Sequence[str], *, check: bool = True) -> str:
        done = subprocess.run(  # noqa: S603  # our own commands
            argv, env=self._environment, cwd=self.root, capture_output=True, text=True, check=False, timeout=120
        )
        if check and done.returncode != 0:
            raise DemoError(f"{' '.join(argv[:6])} …: {done.stderr.strip()}")
        return done.stdout

    def _kubectl(self, *words: str, show: bool = False, check: bool = True) -> str:
        if show:
            self.story.command("kubectl", *words)
        return self._run(("kubectl", *words), check=check)

    def _aws(self, *words: str, quiet: bool = False) -> Any:
        if not quiet:
            shown = [word if len(word) < 60 else "…" + word[-30:] for word in words]  # noqa: PLR2004  # a line's width
            self.story.command("aws", *shown)
        answer = self._run(("aws", *words, "--output", "json"))
        return json.loads(answer) if answer.strip() else {}

    def _ask(self, method: str, path: str, body: JsonObject | None) -> Any:
        """Ask the sandbox's admin API."""
        request = urllib.request.Request(  # noqa: S310  # https, ours
            f"{self._environment['AWS_ENDPOINT_URL']}/_sandbox/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        context = ssl.create_default_context(cafile=self._environment["AWS_CA_BUNDLE"])
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def _operator_kubeconfig(self) -> Path:
        """Write the kubeconfig of the operator's own ServiceAccount."""
        token = self._kubectl("create", "token", "elasticache-iam-operator", "-n", NAMESPACE, "--duration=2h").strip()
        admin = json.loads(self._kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        admin["users"] = [{"name": entry["name"], "user": {"token": token}} for entry in admin["users"]]
        path = self.state / "operator.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(admin), encoding="utf-8")
        return path

    def _get(self, kind: str, namespace: str, name: str) -> JsonObject:
        document: JsonObject = json.loads(self._kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return document

    def _conditions(self, kind: str, namespace: str, name: str) -> dict[str, JsonObject]:
        status = self._get(kind, namespace, name).get("status", {})
        return {condition["type"]: condition for condition in status.get("conditions", [])}

    def _reasons(self, kind: str, namespace: str, name: str) -> set[str]:
        return {condition["reason"] for condition in self._conditions(kind, namespace, name).values()}

    def _watch_conditions(self, kind: str, namespace: str, name: str) -> float:
        """Show each condition as it turns true; return how long it took from the resource's creation to Ready."""
        began = time.monotonic()
        told: set[str] = set()
        while time.monotonic() - began < READY_S:
            conditions = self._conditions(kind, namespace, name)
            for condition in conditions.values():
                if condition["status"] == "True" and condition["type"] not in told | {"Reconciling"}:
                    told.add(condition["type"])
                    self.story.prove(f"{name}: {condition['type']}: {condition['message']}", holds=True)
            if "Ready" in told:
                turned = _time(conditions["Ready"]["lastTransitionTime"])
                created = _time(self._get(kind, namespace, name)["metadata"]["creationTimestamp"])
                return (turned - created).total_seconds()
            time.sleep(POLL_S)
        unready = {kind: f"{c['reason']}: {c['message']}" for kind, c in conditions.items() if c["status"] != "True"}
        raise DemoError(f"{kind} {namespace}/{name} isn't ready after {READY_S:.0f} s: {unready}")

    def _wait_ready(self, kind: str, namespace: str, name: str) -> None:
        self._kubectl("wait", "--for=condition=Ready", f"{kind}/{name}", "-n", namespace, f"--timeout={READY_S:.0f}s")

    def _secret(self, name: str, namespace: str = "shop") -> Secret:
        data = self._get("secret", namespace, name)["data"]
        return {key: b64decode(value).decode() for key, value in data.items()}

    def _changed_secret(self, old: Secret) -> Secret | None:
        now = self._secret("checkout")
        return now if now["expires-at"] != old["expires-at"] else None

    @contextmanager
    def _login(self, secret: Secret) -> Iterator[redis.Redis]:
        """Connect as the application does: all it needs is in the Secret, TLS verification is on."""
        client = redis.Redis(
            host=secret["host"],
            port=int(secret["port"]),
            username=secret["username"],
            password=secret["password"],
            ssl=True,
            ssl_ca_data=secret["ca.crt"],
            retry=Retry(NoBackoff(), 0),
        )
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def _client(self, cache: JsonObject, ca_file: str) -> Iterator[redis.Redis]:
        """Connect without a user."""
        client = redis.Redis(
            host=cache["host"],
            port=cache["port"],
            protocol=2,
            ssl=True,
            ssl_ca_certs=ca_file,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            yield client
        finally:
            client.close()

    def _wait(
        self, what: str, look: Callable[[], Any], *, process: Process | None = None, timeout_s: float = READY_S
    ) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := look():
                return found
            if process is not None and not process.is_running:
                raise DemoError(f"{process.name} ended:\n{process.tail(15)}")
            time.sleep(POLL_S)
        raise DemoError(f"waited {timeout_s:.0f} s in vain: {what}")

    def operator_log(self) -> str:
        """Return the end of the operator's log, for a failure."""
        return self._operator.tail(15) if self._operator is not None else ""


def main() -> None:
    """Run the demo; exit code 0 only if every step proved itself, 2 for what the caller must put right."""
    root = Path.cwd()
    story = Story()
    if not (root / "examples" / "quickstart").is_dir():
        _fail(story, "run this from the repository's root: make demo", EXIT_CALLER)
    if (missing := find_missing(PROGRAMS, find_programs())) is not None:
        _fail(story, missing, EXIT_CALLER)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state = root / ".state" / "demo"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        if not stack.enter_context(_only_demo(state)):
            _fail(story, "another demo runs in this folder (.state/demo)", EXIT_CALLER)
        if (run := read_run(state)) is not None:
            _fail(story, f"a sandbox runs in this folder (.state/demo), process {run['pid']}: stop it", EXIT_CALLER)
        demo = Demo(root, state, story, stack)
        try:
            demo.bring_up()
            demo.install()
            demo.apply()
            demo.use()
            demo.three_roles()
            demo.rotate()
            demo.delete()
        except (DemoError, ClusterError, ProcessError, redis.RedisError, OSError) as error:
            if log := demo.operator_log():
                story.console.print(f"\nThe operator's last lines:\n{log}", markup=False)
            stack.close()
            _fail(story, str(error))
        except KeyboardInterrupt:
            stack.close()
            _fail(story, "interrupted")
    took = time.monotonic() - story.started
    story.console.print(f"\n[bold green]All {story.proofs} steps held, in {took:.0f} s. Nothing is left running.[/]")


def _fail(story: Story, why: str, code: int = EXIT_FAILED) -> NoReturn:
    story.console.print(f"\n✘ {why}", style="bold red", markup=False)
    sys.exit(code)


@contextmanager
def _only_demo(state: Path) -> Iterator[bool]:
    """Lock the folder against other demos; tell whether that worked. The kernel unlocks it if we are killed."""
    with (state / LOCK_FILE).open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _refusal(client: redis.Redis, *words: str) -> str:
    """Return how a command is refused; DemoError if it isn't."""
    try:
        answer = client.execute_command(*words)  # type: ignore[no-untyped-call]
    except redis.RedisError as error:
        text = str(error)
        return text if len(text) <= 90 else text[:89] + "…"  # noqa: PLR2004  # a line's width
    raise DemoError(f"{' '.join(words)} was allowed: {answer!r}")


def _is_cut(connection: Any) -> bool:
    """Whether a connection that was logged in is closed, without trying to log in again."""
    try:
        connection.send_command("PING", check_health=False)
        connection.read_response()
    except redis.ConnectionError:
        return True
    return False


def _is_allowed(client: redis.Redis, *words: str) -> bool:
    try:
        client.execute_command(*words)  # type: ignore[no-untyped-call]
    except redis.ResponseError:
        return False
    return True


def _http_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # http on loopback, ours
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _time(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)


def _short(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


if __name__ == "__main__":
    main()
