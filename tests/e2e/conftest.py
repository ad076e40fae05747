"""An installation in a cluster with real pods, AWS beside it. Run by `make e2e`, which sets the cluster and the image.

The environment says: KUBECONFIG, of a cluster whose nodes have the images; IMAGE, the operator's; CLIENT_IMAGE, that of
the example client in Go; NODE_ADDRESS, an address of this machine that the cluster's pods reach.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster
from tests.e2e.story import Story

from elasticache_iam_sandbox.cluster.binaries import find_binaries
from elasticache_iam_sandbox.supervisor import BackgroundSandbox
from elasticache_iam_sandbox.world.settings import WorldSettings

REPORT = Path(__file__).parents[2] / ".state" / "e2e"
SETTINGS = ("KUBECONFIG", "IMAGE", "CLIENT_IMAGE", "NODE_ADDRESS")
TOKEN_SECONDS = 150
"""Of a token. At least 75 s are left when it is due. Of these a reinstallation takes 30 s, half of them to wait for the
Lease of a leader whose Role was gone before it could give it back, and the kubelet 5 s."""
CONNECTION_SECONDS = 40.0
"""From a login to the cut."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory, helm):
    """The cluster that KUBECONFIG names."""
    missing = [name for name in SETTINGS if not os.environ.get(name)]
    if missing:
        pytest.exit(f"{', '.join(missing)} not set: run `make e2e`", returncode=2)
    kubectl = Path(shutil.which("kubectl") or find_binaries(lambda _: None).kubectl)
    with Cluster(Path(os.environ["KUBECONFIG"]), kubectl, helm, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def aws(cluster, tmp_path_factory):
    """AWS and its caches, where the cluster's pods reach them."""
    settings = WorldSettings(
        transition_s=0.5, iam_propagation_s=0.5, token_seconds=TOKEN_SECONDS, connection_seconds=CONNECTION_SECONDS
    )
    with BackgroundSandbox(
        tmp_path_factory.mktemp("sandbox"), control_plane=cluster, settings=settings, host=os.environ["NODE_ADDRESS"]
    ) as running:
        yield running


@pytest.fixture(scope="session")
def story(cluster, aws, request):
    """What the tests here, in their order, do to one installation, and what was seen meanwhile."""
    told = Story(
        cluster,
        aws,
        image=os.environ["IMAGE"],
        client_image=os.environ["CLIENT_IMAGE"],
        token_seconds=TOKEN_SECONDS,
        connection_seconds=CONNECTION_SECONDS,
    )
    request.config.stash[_FACTS] = told.facts
    with told:
        yield told
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "report.json").write_text(json.dumps(told.facts, indent=2) + "\n", encoding="utf-8")


_FACTS = pytest.StashKey[dict[str, str]]()


def pytest_terminal_summary(terminalreporter, config):
    """Tell what was measured."""
    facts = config.stash.get(_FACTS, {})
    if facts:
        terminalreporter.section("measured")
    for name, value in facts.items():
        terminalreporter.line(f"{name}: {value}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Show the cluster as it was when a test failed."""
    report = yield
    if report.failed and (story := item.funcargs.get("story")) is not None:
        report.sections.append(("cluster", story.picture()))
    return report
