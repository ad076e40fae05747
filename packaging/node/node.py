"""Runs a command beside a one-node Kubernetes cluster: this project's control plane, containerd and a kubelet.

    node.py [--image ARCHIVE …] [--] [COMMAND …]

Needs root, on Linux. The node lives in namespaces of its own (network, mounts, processes), made by `unshare`: it sees
no network but its own, its mounts and the files that it writes in /run and /var are seen by nobody else, and whatever
is still running when the command has ended ends with it, also if this program is killed. What is left of a run is one
folder and empty cgroups, which it removes, or the next run does.

Pods have addresses of 10.88.0.0/24; this side of their network is NODE_ADDRESS, which the command finds in its
environment, with KUBECONFIG and a PATH that has kubectl. The command, $SHELL unless given, runs in the same namespaces.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NoReturn

from elasticache_iam_sandbox.cluster.binaries import find_binaries, find_go, find_node_binaries
from elasticache_iam_sandbox.cluster.control_plane import ControlPlane, PodNetwork
from elasticache_iam_sandbox.cluster.errors import ApiError, ClusterError
from elasticache_iam_sandbox.processes import Process, ProcessError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from image_archive import write_image  # noqa: E402  # beside us, in packaging/

STATE = ROOT / ".state" / "node"
RUN = Path("/run/elasticache-iam-node")
"""In our own /run: a socket's path must be short."""
CGROUP = "elasticache-iam-node"
NAME = "node"
BRIDGE = "pods"
NETWORK = PodNetwork("10.88.0.1")
SUBNET = "10.88.0.0/24"
CNI_PLUGINS = Path("/usr/lib/cni")
PAUSE = "localhost/pause:1"
INSIDE = "ELASTICACHE_IAM_INSIDE_NODE"
READY_S = 120.0
POLL_S = 0.1
EXIT_CALLER = 2

KUBELET: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": NETWORK.node_address,
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},  # of those with a certificate of the cluster's authority
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{CGROUP}",
    "cgroupsPerQOS": False,
    "containerRuntimeEndpoint": f"unix://{RUN}/containerd.sock",
    "enforceNodeAllocatable": [],
    # The disk is the machine's, and others fill it.
    "evictionHard": {"imagefs.available": "0%", "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
    "failCgroupV1": False,
    "failSwapOn": False,
    "healthzPort": 0,
    "imageGCHighThresholdPercent": 100,
    "localStorageCapacityIsolation": False,
    "makeIPTablesUtilChains": False,
    "oomScoreAdj": 0,
    "shutdownGracePeriod": "0s",
    # A changed Secret is in the files of its pods within 1.5 times this; 1m by default, which is 90 s at worst.
    "syncFrequency": "3s",
}

KERNEL = {
    "kernel/keys/root_maxbytes": 25_000_000,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
}
"""What a kubelet sets at its start if it isn't so. They are the whole machine's: it sees files that say so instead."""


def say(line: str) -> None:
    print(f"==> {line}", flush=True)


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_CALLER)


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")


# -- outside: what has to be there -----------------------------------------------------------------------------------------


def check_machine() -> None:
    if sys.platform != "linux":
        fail("a node needs Linux; set KUBECONFIG to a cluster that you have")
    if os.geteuid() != 0:
        fail("a node needs root, for namespaces and containers; or set KUBECONFIG to a cluster that you have")
    missing = [name for name in ("containerd", "ctr", "runc", "ip", "setpriv", "unshare") if shutil.which(name) is None]
    missing += [] if (CNI_PLUGINS / "bridge").exists() else ["containernetworking-plugins"]
    if missing:
        fail(f"missing: {', '.join(missing)}; on Debian packaging/node/install_packages.sh gets them")


def build_pause() -> Path:
    """Return the archive of the image that each pod's namespaces are held by."""
    archive = ROOT / ".state" / "images" / "pause.tar"
    source = HERE / "pause" / "main.go"
    if not archive.exists() or archive.stat().st_mtime < source.stat().st_mtime:
        program = archive.with_name("pause")
        program.parent.mkdir(parents=True, exist_ok=True)
        go = find_go("1.26.0", say, hint="name another cluster with KUBECONFIG")
        done = subprocess.run(
            [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "."],
            cwd=source.parent,
            env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            fail(f"building the pause program: {done.stderr.strip()}")
        write_image(archive, PAUSE, {"/pause": program}, entrypoint=["/pause"])
        program.unlink()
    return archive


def remove_leftovers() -> None:
    """Remove what a run leaves: its folder, and its cgroups, which are empty when its processes are gone."""
    shutil.rmtree(STATE, ignore_errors=True)
    for parent in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        for folder, _, _ in os.walk(parent / CGROUP, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError as error:
                say(f"left behind: {folder} ({error.strerror})")


def lock() -> IO[str]:
    """Hold the one place for a node that this machine has: its cgroups have a name."""
    held = Path("/run/elasticache-iam-node.lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another node on this machine to end")
        fcntl.flock(held, fcntl.LOCK_EX)
    return held


def outside(arguments: Sequence[str]) -> int:
    """Get everything ready, then run ourselves again in namespaces of our own."""
    check_machine()
    began = time.monotonic()
    try:
        find_binaries(say)
        find_node_binaries(say)
    except ClusterError as error:
        fail(str(error))
    build_pause()
    say(f"the node's programs are there ({time.monotonic() - began:.1f} s)")
    with lock():
        remove_leftovers()
        inner = subprocess.Popen(
            # All of it ends when we do, however that is.
            ["setpriv", "--pdeathsig", "KILL",
             "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
             sys.executable, Path(__file__), *arguments],
            env=os.environ | {INSIDE: "1"},
        )  # fmt: skip
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the inner one, too, which then stops in order
        signal.signal(signal.SIGTERM, lambda *_: inner.terminate())
        try:
            return inner.wait()
        finally:
            remove_leftovers()


# -- inside: namespaces of our own -----------------------------------------------------------------------------------------


def prepare_mounts() -> None:
    """Make /run and /var our own, and show the kubelet the settings that it wants of the kernel."""
    for name in ("var", "var-work"):
        (STATE / name).mkdir(parents=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/var,upperdir={STATE}/var,workdir={STATE}/var-work", "/var")
    RUN.mkdir()
    for name, value in KERNEL.items():
        shown = RUN / name.replace("/", ".")
        shown.write_text(f"{value}\n")
        run("mount", "--bind", shown, Path("/proc/sys") / name)


def prepare_network() -> None:
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{NETWORK.node_address}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    # The Service `kubernetes`, without anything that translates addresses.
    run("ip", "address", "add", f"{NETWORK.service_address}/32", "dev", "lo")
    network = {
        "cniVersion": "0.4.0",
        "name": BRIDGE,
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isDefaultGateway": True,
                "hairpinMode": True,
                "ipam": {"type": "host-local", "dataDir": str(RUN / "addresses"), "ranges": [[{"subnet": SUBNET}]]},
            },
        ],
    }
    (STATE / "cni").mkdir()
    (STATE / "cni" / "10-pods.conflist").write_text(json.dumps(network))


def containerd_config() -> str:
    overlay = subprocess.run(["stat", "-f", "-c", "%T", STATE], capture_output=True, text=True, check=True).stdout.strip()
    snapshotter = "native" if overlay == "overlayfs" else "overlayfs"
    return f"""\
version = 2
root = "{STATE}/containerd"
state = "{RUN}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{RUN}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{STATE}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def ctr(*words: str | Path) -> None:
    run("ctr", "--address", RUN / "containerd.sock", "--namespace", "k8s.io", *words)


def wait_for(what: str, look: Callable[[], bool], *needed: Process) -> None:
    deadline = time.monotonic() + READY_S
    while not look():
        for process in needed:
            if not process.is_running:
                raise ClusterError(f"{process.name} ended; its log ends with:\n{process.tail()}")
        if time.monotonic() > deadline:
            logs = "\n".join(f"the log of {process.name} ends with:\n{process.tail()}" for process in needed)
            raise ClusterError(f"waited {READY_S:.0f} s for {what}. {logs}")
        time.sleep(POLL_S)


def start_containerd(stack: ExitStack, images: Sequence[Path]) -> Process:
    config = STATE / "containerd.toml"
    config.write_text(containerd_config())
    containerd = start(stack, "containerd", "containerd", "--config", config)

    def answers() -> bool:
        probe = ["ctr", "--address", RUN / "containerd.sock", "--connect-timeout", "1s", "version"]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    wait_for("containerd", answers, containerd)
    for image in images:
        ctr("images", "import", "--digests", image)
    return containerd


def start(stack: ExitStack, name: str, *argv: str | Path) -> Process:
    process = Process(name, argv, log=STATE / "logs" / f"{name}.log")
    process.start()
    stack.callback(process.stop)
    return process


def start_node(stack: ExitStack, plane: ControlPlane, containerd: Process) -> None:
    programs = find_node_binaries(say)
    config = STATE / "kubelet.json"
    authentication = KUBELET["authentication"] | {"x509": {"clientCAFile": str(plane.ca_file)}}
    config.write_text(json.dumps(KUBELET | {"authentication": authentication}))
    login = plane.write_kubeconfig(STATE / "kubelet.kubeconfig", user=f"system:node:{NAME}", groups=["system:nodes"])
    kubelet = start(
        stack, "kubelet", programs.kubelet,
        f"--config={config}", f"--kubeconfig={login}", f"--hostname-override={NAME}",
        f"--node-ip={NETWORK.node_address}", f"--root-dir={STATE / 'kubelet'}", f"--cert-dir={STATE / 'kubelet-pki'}",
    )  # fmt: skip
    login = plane.write_kubeconfig(STATE / "scheduler.kubeconfig", user="system:kube-scheduler", groups=[])
    scheduler = start(
        stack, "kube-scheduler", programs.kube_scheduler, f"--kubeconfig={login}", "--leader-elect=false", "--secure-port=0"
    )

    def is_ready() -> bool:
        try:
            node = plane.request("GET", f"/api/v1/nodes/{NAME}")
        except ApiError:
            return False
        conditions = {entry["type"]: entry["status"] for entry in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    wait_for("the node to be ready", is_ready, containerd, kubelet, scheduler)


def stop_on_signal(number: int, _: object) -> None:
    sys.exit(128 + number)


def inside(images: Sequence[Path], command: Sequence[str]) -> int:
    """Start everything, run the command, stop everything."""
    signal.signal(signal.SIGTERM, stop_on_signal)
    began = time.monotonic()
    STATE.mkdir(parents=True)
    with ExitStack() as stack:
        try:
            binaries = find_binaries(say)
            prepare_mounts()
            prepare_network()
            plane = ControlPlane(STATE / "control-plane", binaries=binaries, network=NETWORK)
            stack.callback(plane.stop)
            plane.start(say)
            containerd = start_containerd(stack, [ROOT / ".state" / "images" / "pause.tar", *images])
            say(f"containerd has {len(images) + 1} images ({time.monotonic() - began:.1f} s)")
            start_node(stack, plane, containerd)
            say(f"the node is ready ({time.monotonic() - began:.1f} s); KUBECONFIG={plane.kubeconfig}")
            environment = os.environ | {
                "KUBECONFIG": str(plane.kubeconfig),
                "NODE_ADDRESS": NETWORK.node_address,
                "PATH": f"{binaries.kubectl.parent}:{os.environ['PATH']}",
            }
            environment.pop(INSIDE)
            code = subprocess.run(command, env=environment, check=False).returncode
        except (ClusterError, ProcessError) as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        stopping = time.monotonic()
        if code != 0 and (kept := os.environ.get("NODE_LOGS")):
            shutil.copytree(STATE / "logs", kept, dirs_exist_ok=True)
            shutil.copytree(STATE / "control-plane" / "logs", kept, dirs_exist_ok=True)
    say(f"the node is stopped ({time.monotonic() - stopping:.1f} s)")
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command beside a one-node cluster.")
    parser.add_argument("--image", type=Path, action="append", default=[], help="an archive whose image the node has")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="default: $SHELL")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        command = [os.environ.get("SHELL", "/bin/bash")] if sys.stdin.isatty() else ["kubectl", "get", "nodes", "-o", "wide"]
    if os.environ.get(INSIDE):
        return inside(options.image, command)
    images = [str(image.resolve()) for image in options.image]
    return outside([*(word for image in images for word in ("--image", image)), "--", *command])


if __name__ == "__main__":
    sys.exit(main())
