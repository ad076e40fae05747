"""pytest fixtures of the test ground. Activate: `pytest_plugins = ["elasticache_iam_sandbox.pytest_plugin"]`."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elasticache_iam_sandbox.cluster.binaries import find_binaries, find_helm
from elasticache_iam_sandbox.cluster.control_plane import ControlPlane
from elasticache_iam_sandbox.cluster.errors import ApiError

if TYPE_CHECKING:
    from elasticache_iam_sandbox.supervisor import Account, BackgroundSandbox


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real control plane, started by the first test that asks for it: one for each test process."""
    binaries = find_binaries(_terminal_line(request.config))
    with ControlPlane(tmp_path_factory.mktemp("control-plane"), binaries=binaries) as running:
        yield running


@pytest.fixture(scope="session")
def helm(request: pytest.FixtureRequest) -> Path:
    """The program helm, of version 4; where there is none it is built, once."""
    return find_helm(_terminal_line(request.config))


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A new, empty namespace; at the end its deletion is asked for, not awaited."""
    name = f"test-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    yield name
    with suppress(ApiError):  # the test may have deleted it
        control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def sandbox(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[BackgroundSandbox]":
    """AWS and its caches beside the control plane, whose ServiceAccounts may assume roles; one for each process."""
    from elasticache_iam_sandbox.supervisor import BackgroundSandbox  # noqa: PLC0415  # 0.5 s that only its users pay

    with BackgroundSandbox(tmp_path_factory.mktemp("sandbox"), control_plane=control_plane) as running:
        yield running


@pytest.fixture
def aws_account(sandbox: "BackgroundSandbox") -> "Account":
    """A new, empty AWS account, so that tests don't see each other's users."""
    return sandbox.add_account()


def _terminal_line(config: pytest.Config) -> Callable[[str], None]:
    """Return what shows a line in spite of pytest's capture: a first run builds for minutes."""

    def show(line: str) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        capture = config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or capture is None:
            return  # a worker of pytest-xdist has no terminal
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"\n{line}")

    return show
