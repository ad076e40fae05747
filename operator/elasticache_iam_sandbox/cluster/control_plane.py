"""One Kubernetes control plane on loopback: etcd, kube-apiserver and the few controllers that tests depend on."""

import base64
import fcntl
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from elasticache_iam_sandbox.cluster.binaries import Binaries, Progress
from elasticache_iam_sandbox.cluster.errors import ApiError, ClusterError, FolderInUseError
from elasticache_iam_sandbox.cluster.pki import Authority
from elasticache_iam_sandbox.processes import Process, kill_process, start_time

_READY_TIMEOUT_S = 60.0
"""It takes 3 to 5 s; a machine that is busy with builds takes longer."""

_POLL_S = 0.05
_PORT_ATTEMPTS = 3
_HTTP_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 3.0
"""The API server waits for open watches; its data is thrown away, so there is nothing to lose by not waiting for it."""

_CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
)
"""There is no node: all others would only add load."""

_NODE_CONTROLLERS = (
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "job-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
)
"""What pods need beyond them."""

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}

_KEEP = "lock"
_OWN_ENTRIES = ("audit.log", "audit-policy.json", "etcd", "kubeconfig", "kubectl-cache", "logs", "pki", "run.json")


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """How a control plane listens where a node joins it, in a network namespace of its own.

    The API server has the first address of the Service range, at the port that pods expect, so nothing has to translate
    for them.

    Attributes:
        node_address: The machine's end of the pods' network; the kubelet's address, too.
        service_address: Of the Service `kubernetes`.
    """

    node_address: str
    service_address: str = "10.0.0.1"
    port: int = 443


def _silent(_: str) -> None:
    pass


class ControlPlane:
    """A control plane with all its state in one folder, fresh at every start.

    Many may run side by side, each in a folder of its own. However our process ends, the programs end with it; what a
    killed run leaves in the folder is cleared by the next start. Usable as a context manager.

    Args:
        state_dir: Made if it isn't there. Entries that aren't ours are left alone.
        binaries: From `find_binaries`.
        issuer: The `iss` of ServiceAccount tokens; an https URL that nobody needs to reach. None: the API server's own.
        network: Where a node joins: it listens there, too, and runs the controllers that pods need.

    Attributes:
        kubeconfig: Of the administrator (group system:masters), mode 0600.
        ca_file: The authority that signed the API server's certificate, PEM.
        audit_log: One JSON event a line for each request answered (level Metadata), written before the answer
            is sent; `audit_events` reads it.
        api_server: Stop and start it to play an outage; port and data stay.
    """

    api_server: Process

    def __init__(
        self, state_dir: Path, *, binaries: Binaries, issuer: str | None = None, network: PodNetwork | None = None
    ) -> None:
        self.state_dir = state_dir.absolute()
        self.kubeconfig = self.state_dir / "kubeconfig"
        self.ca_file = self.state_dir / "pki" / "ca.crt"
        self.audit_log = self.state_dir / "audit.log"
        self._binaries = binaries
        self._given_issuer = issuer
        self._network = network
        self._port = 0
        self._lock: IO[str] | None = None
        self._authority: Authority | None = None
        self._processes: list[Process] = []
        self._tls: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The API server's address, without a slash at the end."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def issuer(self) -> str:
        """The issuer (`iss`) of ServiceAccount tokens; the audience that the API server itself takes is the same."""
        return self._given_issuer or self.url

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the programs that run."""
        return tuple(process.pid for process in self._processes if process.is_running)

    def start(self, progress: Progress = _silent) -> None:
        """Start everything; return once the API server is ready and the first ServiceAccount is there.

        Raises:
            FolderInUseError: Another run uses the folder.
            ClusterError: A program failed (its last words are in the message).
        """
        if self._lock is not None:
            raise ClusterError(f"the control plane in {self.state_dir} runs already")
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock_folder(self.state_dir)
        started_at = time.monotonic()
        progress("starting the control plane")
        try:
            self._clear_earlier_run()
            names = () if self._network is None else (self._network.node_address, self._network.service_address)
            self._authority = Authority(self.state_dir / "pki", names)
            self._start_etcd()
            self._start_api_server()
            self._start_controllers()
        except BaseException:
            self.stop()
            raise
        progress(f"control plane ready after {time.monotonic() - started_at:.1f} s: {self.url}")

    def stop(self) -> None:
        """Stop everything in reverse order; logs and the audit log stay. Fine to call twice."""
        for process in reversed(self._processes):
            process.stop(_STOP_TIMEOUT_S)
        self._processes.clear()
        if self._lock is None:
            return
        _remove(self.state_dir, ("etcd", "kubeconfig", "kubectl-cache", "pki", "run.json"))
        self._lock.close()
        self._lock = None

    def wait_until_ready(self) -> None:
        """Return once the API server is ready: after `api_server.start()`, say.

        Raises:
            ClusterError: A program ended, or a minute has passed.
        """
        self._wait_for("/readyz", self._processes)

    def jwks(self) -> dict[str, Any]:
        """Return the keys that verify ServiceAccount tokens (RFC 7517)."""
        document: dict[str, Any] = self.request("GET", "/openid/v1/jwks")
        return document

    def audit_events(self) -> Iterator[dict[str, Any]]:
        """Yield the audit log's events (audit.k8s.io/v1) so far, oldest first; a line half written is left out."""
        with self.audit_log.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:  # noqa: A002  # as subprocess.run
        """Run kubectl as the administrator.

        Raises:
            ClusterError: `check` is set and kubectl failed.
        """
        ours = (
            self._binaries.kubectl,
            "--kubeconfig",
            self.kubeconfig,
            "--cache-dir",
            self.state_dir / "kubectl-cache",
        )
        answer = subprocess.run(  # noqa: S603  # our own kubectl, no shell
            (*ours, *args), input=input, env=os.environ | {"KUBERC": "off"}, capture_output=True, text=True, check=False
        )
        if check and answer.returncode != 0:
            raise ClusterError(f"kubectl {args[0]} failed: {answer.stderr.strip()}")
        return answer

    def write_kubeconfig(
        self, path: Path, *, token: str | None = None, user: str | None = None, groups: Sequence[str] = ()
    ) -> Path:
        """Write a kubeconfig, mode 0600, for somebody: the bearer of a token, or a user with a new client certificate.

        Args:
            path: Where to.
            token: Of a ServiceAccount, say.
            user: Instead of `token`: a user's name.
            groups: The user's groups, besides system:authenticated.

        Returns:
            `path`.

        Raises:
            ValueError: Not exactly one of `token` and `user` is given.
            ClusterError: The control plane doesn't run.
        """
        authority = self._issuing_authority()
        if (token is None) == (user is None):
            raise ValueError("give either a token or a user")
        if user is not None:
            client = authority.issue_client(user, groups)
            credentials = {
                "client-certificate-data": _base64(client.certificate),
                "client-key-data": _base64(client.key),
            }
        else:
            credentials = {"token": token or ""}
        cluster = {"server": self.url, "certificate-authority-data": _base64(authority.ca_certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": "user", "user": credentials}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "user"}}],
            "current-context": "sandbox",
        }
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")  # JSON is YAML
        return path

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, content_type: str = "application/json"
    ) -> Any:
        """Send one request as the administrator and return the answer, parsed: quicker than kubectl by 0.1 s of CPU.

        Args:
            method: As in HTTP.
            path: With a slash in front.
            body: Sent as JSON.
            content_type: For PATCH: application/merge-patch+json, say.

        Raises:
            ApiError: The answer's status is not one of success.
            OSError: There is no answer.
            http.client.HTTPException: It breaks off.
        """
        return json.loads(self._send(method, path, body, content_type))

    def _issuing_authority(self) -> Authority:
        if self._authority is None:
            raise ClusterError("the control plane was not started")
        return self._authority

    # -- the programs ---------------------------------------------------------------------------------------------

    def _start_etcd(self) -> None:
        """On a Unix socket in a folder of mode 0700, so that no other user of the machine gets at it.

        A socket's path is limited to about 100 bytes, so etcd and its client run in the folder and use the bare name,
        `client:0`: etcd wants what looks like host and port.
        """
        folder = self.state_dir / "etcd"
        folder.mkdir(mode=0o700)
        self._run(
            "etcd",
            (
                self._binaries.etcd,
                "--data-dir=data",
                "--listen-client-urls=unix://client:0",
                "--advertise-client-urls=unix://client:0",
                "--listen-peer-urls=unix://peer:0",
                "--initial-advertise-peer-urls=unix://peer:0",
                "--initial-cluster=default=unix://peer:0",
                "--unsafe-no-fsync",  # the data dies with us anyway
                "--log-level=warn",
            ),
        )

    def _start_api_server(self) -> None:
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._port = free_port() if self._network is None else self._network.port
            self._tls = self._admin_tls()
            self.api_server = self._run("kube-apiserver", self._api_server_argv())
            try:
                self.wait_until_ready()
            except ClusterError:
                # Somebody took the port between our look and the API server's.
                if "address already in use" not in self.api_server.tail() or attempt == _PORT_ATTEMPTS:
                    raise
                self.api_server.stop()
                self._processes.remove(self.api_server)
            else:
                return

    def _api_server_argv(self) -> tuple[str | Path, ...]:
        authority = self._issuing_authority()
        policy = self.state_dir / "audit-policy.json"
        policy.write_text(json.dumps(_AUDIT_POLICY), encoding="utf-8")
        return (
            self._binaries.kube_apiserver,
            "--etcd-servers=unix://client:0",
            # With a node: also where pods look, in a network namespace that has no other machines in it.
            f"--bind-address={'127.0.0.1' if self._network is None else '0.0.0.0'}",  # noqa: S104  # as above
            f"--secure-port={self._port}",
            f"--tls-cert-file={authority.server_certificate_file}",
            f"--tls-private-key-file={authority.server_key_file}",
            f"--client-ca-file={authority.ca_file}",
            f"--service-account-issuer={self.issuer}",
            f"--service-account-signing-key-file={authority.token_key_file}",
            f"--service-account-key-file={authority.token_key_file}",
            f"--service-account-jwks-uri={self.url}/openid/v1/jwks",
            # Only its own: a token for signing opens no API.
            f"--api-audiences={self.issuer}",
            "--authorization-mode=Node,RBAC",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--profiling=false",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=10000",  # MB: never rotated, so that a count is complete
            *self._node_arguments(),
        )

    def _node_arguments(self) -> tuple[str, ...]:
        """Return what the API server needs to reach a kubelet: for logs, exec and port-forward."""
        if self._network is None:
            return ()
        client = self._issuing_authority().issue_client("kube-apiserver", ["system:masters"])
        certificate = self.state_dir / "pki" / "kubelet-client.pem"
        certificate.touch(mode=0o600)
        certificate.write_bytes(client.certificate + client.key)
        return (
            f"--advertise-address={self._network.node_address}",
            f"--kubelet-client-certificate={certificate}",
            f"--kubelet-client-key={certificate}",
            "--kubelet-preferred-address-types=InternalIP",
        )

    def _start_controllers(self) -> None:
        authority = self._issuing_authority()
        controllers = _CONTROLLERS if self._network is None else _CONTROLLERS + _NODE_CONTROLLERS
        kubeconfig = self.write_kubeconfig(
            self.state_dir / "pki" / "controllers.kubeconfig",
            user="system:kube-controller-manager",
            groups=["system:masters"],  # the garbage collector must delete objects of any kind
        )
        self._run(
            "kube-controller-manager",
            (
                self._binaries.kube_controller_manager,
                f"--kubeconfig={kubeconfig}",
                "--leader-elect=false",
                "--secure-port=0",
                f"--controllers={','.join(controllers)}",
                f"--root-ca-file={authority.ca_file}",
                f"--service-account-private-key-file={authority.token_key_file}",
                "--profiling=false",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ),
        )
        self._wait_for("/api/v1/namespaces/default/serviceaccounts/default", self._processes)

    def _run(self, name: str, argv: Iterable[str | Path]) -> Process:
        process = Process(name, tuple(argv), log=self.state_dir / "logs" / f"{name}.log", cwd=self.state_dir / "etcd")
        process.start()
        self._processes.append(process)
        running = [(child.pid, start_time(child.pid)) for child in self._processes]
        (self.state_dir / "run.json").write_text(json.dumps(running), encoding="utf-8")
        return process

    # -- waiting and cleaning ---------------------------------------------------------------------------------------

    def _admin_tls(self) -> ssl.SSLContext:
        """Write the administrator's kubeconfig for the current port and return what a request of ours needs."""
        authority = self._issuing_authority()
        self.write_kubeconfig(self.kubeconfig, user="sandbox-admin", groups=["system:masters"])
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        client = authority.issue_client("sandbox-admin", ["system:masters"])
        pem = self.state_dir / "pki" / "admin.pem"  # the ssl module reads certificates from files alone
        pem.touch(mode=0o600)
        pem.write_bytes(client.certificate + client.key)
        context.load_cert_chain(pem)
        return context

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str = "application/json"
    ) -> bytes:
        """Do as `request` does, and return the answer as it came: /readyz says a plain "ok"."""
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._tls, timeout=_HTTP_TIMEOUT_S)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": content_type})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if not http.client.OK <= answer.status < http.client.MULTIPLE_CHOICES:
            raise ApiError(f"{method} {path}: {answer.status} {_status_message(text) or answer.reason}", answer.status)
        return text

    def _wait_for(self, path: str, needed: Sequence[Process]) -> None:
        """Poll until a GET succeeds; give up when one of the programs it needs ends."""
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while True:
            try:
                self._send("GET", path)
            except (OSError, http.client.HTTPException, ClusterError) as error:
                for process in needed:
                    if not process.is_running:
                        raise ClusterError(
                            f"{process.name} ended with code {process.exit_code}; its log ends with:\n{process.tail()}"
                        ) from error
                if time.monotonic() > deadline:
                    last = needed[-1]
                    raise ClusterError(
                        f"no answer to {path} within {_READY_TIMEOUT_S:.0f} s ({error}); "
                        f"the log of {last.name} ends with:\n{last.tail()}"
                    ) from error
                time.sleep(_POLL_S)
            else:
                return

    def _clear_earlier_run(self) -> None:
        """Kill what an earlier run of this folder left running, if anything, and remove its files."""
        try:
            left = json.loads((self.state_dir / "run.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            left = []
        for pid, started in left:
            if started is not None and kill_process(pid, started):
                while start_time(pid) == started:
                    time.sleep(_POLL_S)
        _remove(self.state_dir, _OWN_ENTRIES)


def _lock_folder(folder: Path) -> IO[str]:
    """Lock a folder against other runs; the kernel unlocks it if we are killed."""
    lock = (folder / _KEEP).open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise FolderInUseError(f"another run uses {folder}: stop it, or choose another folder") from None
    return lock


def _remove(folder: Path, entries: Iterable[str]) -> None:
    for name in entries:
        entry = folder / name
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _status_message(answer: bytes) -> str:
    """Return the message of a metav1.Status; empty if it is none."""
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
