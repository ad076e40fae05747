"""Argo CD's and Flux' own code."""

import pytest
from tests.gitops.asking import Engine


@pytest.fixture(scope="session")
def engine():
    with Engine() as engine:
        yield engine
