"""A cluster as its kubeconfig makes it reachable, whosoever it is."""

import http.client
import json
import re
import subprocess
import time
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tests import waiting

from elasticache_iam_sandbox.processes import Process

PATIENCE_S = 180.0
"""What takes seconds alone takes a minute on a busy machine."""
wait_for = partial(waiting.wait_for, timeout_s=PATIENCE_S, poll_s=0.25)


class RequestError(Exception):
    """The API server's answer is an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text[:500]}")
        self.status = status


class Cluster:
    """kubectl, helm, and plain requests by way of `kubectl proxy`, as whoever the kubeconfig says.

    To the sandbox it is the issuer of the pods' tokens.
    """

    def __init__(self, kubeconfig: Path, kubectl: Path, helm: Path, folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self._kubectl = kubectl
        self._helm = helm
        self._folder = folder
        self._proxy = Process(
            "kubectl proxy",
            (kubectl, f"--kubeconfig={kubeconfig}", "proxy", "--address=127.0.0.1", "--port=0"),
            log=folder / "proxy.log",
        )
        self._port = 0

    def __enter__(self):
        self._proxy.start()
        said = wait_for(lambda: re.search(r"Starting to serve on \S+:(\d+)", self._proxy.tail()), what="kubectl proxy")
        self._port = int(said[1])
        return self

    def __exit__(self, *_):
        self._proxy.stop()

    @property
    def issuer(self) -> str:
        """The `iss` of its ServiceAccount tokens."""
        return self.request("GET", "/.well-known/openid-configuration")["issuer"]

    def jwks(self) -> dict[str, Any]:
        """Return the keys that verify its tokens."""
        return self.request("GET", "/openid/v1/jwks")

    def request(self, method, path, body=None, *, content_type="application/json") -> Any:
        """Send one request and return the answer, parsed."""
        return json.loads(self.fetch(method, path, body, content_type=content_type))

    def fetch(self, method, path, body=None, *, content_type="application/json") -> str:
        """Send one request and return the answer's text."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": content_type})
            answer = connection.getresponse()
            found = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise RequestError(answer.status, found)
        return found

    def get(self, path) -> Any:
        """Return an object or a list; None if there is none."""
        try:
            return self.request("GET", path)
        except RequestError as error:
            if error.status == 404:
                return None
            raise

    def kubectl(self, *words, check=True, **options) -> str:
        """Run kubectl and return what it says."""
        return self._run(self._kubectl, *words, check=check, **options)

    def helm(self, *words) -> str:
        """Run helm, with settings and plugins of nobody, and return what it says."""
        homes = {f"HELM_{name}_HOME": str(self._folder / "helm" / name) for name in ("CACHE", "CONFIG", "DATA")}
        return self._run(self._helm, *words, env=homes)

    def _run(self, program, *words, check=True, env=None, **options):
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._folder),
            "KUBECONFIG": str(self.kubeconfig),
            **(env or {}),
        }
        done = subprocess.run(  # noqa: S603  # our own commands
            (program, *words), env=environment, capture_output=True, text=True, check=False, timeout=600, **options
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, (program.name, *words)))}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, *documents) -> None:
        """Apply manifests: their text, or as values."""
        text = "\n---\n".join(
            document if isinstance(document, str) else yaml.safe_dump(document) for document in documents
        )
        self.kubectl("apply", "-f", "-", input=text)

    def pods(self, namespace, selector="") -> list[dict[str, Any]]:
        """Return a namespace's pods."""
        return self.request("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")["items"]

    def logs(self, namespace, pod, **options) -> str:
        """Return what a pod's container has said."""
        query = "&".join(f"{key}={value}" for key, value in options.items())
        with suppress(RequestError):
            return self.fetch("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{query}")
        return ""


def is_ready(pod) -> bool:
    """Whether a pod is ready and not about to go."""
    conditions = {entry["type"]: entry["status"] for entry in pod.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def restarts(pod) -> int:
    """How often a pod's containers were started again."""
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))


def process_of(pod) -> int | None:
    """Return the id of a container's first process; None while there is none, or where it is another machine's."""
    statuses = pod["status"].get("containerStatuses") or [{}]
    container = statuses[0].get("containerID", "").rpartition("/")[2]
    if not container:
        return None
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError):
            if container in (folder / "cgroup").read_text() and "runc" not in (folder / "comm").read_text():
                return int(folder.name)
    return None


def started_at(pod) -> float | None:
    """Return when a pod's container started, in seconds since 1970; None if it doesn't run yet.

    To a hundredth where its process is this machine's, otherwise to the second, as the kubelet says it.
    """
    statuses = pod["status"].get("containerStatuses") or [{}]
    running = statuses[0].get("state", {}).get("running")
    if running is None:
        return None
    process = process_of(pod)
    if process is None:
        return datetime.fromisoformat(running["startedAt"]).timestamp()
    ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - float(Path("/proc/uptime").read_text().split()[0]) + ticks / 100
