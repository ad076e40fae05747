"""The cluster tier: real control plane, real Redis, the operator as a process. Each test has a ground of its own."""

from contextlib import contextmanager

import pytest
from tests.cluster.ground import Ground, Installation


@pytest.fixture(scope="session")
def installation(control_plane, tmp_path_factory):
    """The operator's rights, its fence and the CRDs, as packaging/install.yaml makes them."""
    return Installation(control_plane, tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="session")
def new_ground(installation, sandbox, tmp_path_factory):
    """What makes a ground as a context: namespaces, an AWS account and an owner; what it starts ends with it."""

    @contextmanager
    def make():
        made = Ground(installation, sandbox, sandbox.add_account(), tmp_path_factory.mktemp("ground"))
        try:
            yield made
        finally:
            made.close()

    return make


@pytest.fixture
def ground(new_ground):
    """A ground for one test."""
    with new_ground() as made:
        yield made


def _take_to_ready(ground):
    ground.cache = ground.add_cache()
    ground.operator = ground.start_operator()
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
    ground.wait_until_ready()
    return ground


@pytest.fixture
def orders(ground):
    """The quickstart: cache, group, user, and an operator that has taken them to Ready."""
    return _take_to_ready(ground)


@pytest.fixture(scope="session")
def shared_orders(new_ground):
    """The same, for tests that change nothing of it; they may bring users and groups of their own."""
    with new_ground() as ground:
        yield _take_to_ready(ground)


@pytest.fixture(scope="session")
def attentive(new_ground):
    """An operator that looks at AWS each second, for tests that bring groups of their own.

    It doesn't hold back mass deletions: in ten minutes, tests delete more users than people do.
    """
    with new_ground() as ground:
        ground.start_operator(driftInterval=1.0, slowDriftInterval=1.0, massDeletionPercent=100)
        yield ground
