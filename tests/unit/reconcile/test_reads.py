"""Small reads: asked once while they are young, always anew for what is missing."""

import pytest
from tests.fakes.kube import FakeKube

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.reconcile.reads import KubeReads


class Clock:
    seconds = 0.0

    def monotonic(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def kube():
    kube = FakeKube()
    kube.put_namespace("shop", {"team": "a"})
    kube.put_service_account("shop", "checkout")
    kube.calls.clear()
    return kube


@pytest.fixture
def reads(kube, clock):
    config = OperatorConfig.model_validate({"owner": "demo", "driftInterval": 300, "slowDriftInterval": 3600})
    return KubeReads(config, kube=kube, clock=clock)


async def test_labels_are_asked_for_twice_a_minute_at_most(reads, kube, clock):
    for _ in range(10):
        assert await reads.namespace_labels("shop") == {"team": "a"}
    assert len(kube.calls) == 1
    kube.put_namespace("shop", {"team": "b"})
    clock.seconds += 30.0

    assert await reads.namespace_labels("shop") == {"team": "b"}


async def test_a_service_account_is_asked_for_on_the_slow_clock(reads, kube, clock):
    for _ in range(10):
        assert await reads.service_account("shop", "checkout") is not None
        clock.seconds += 300.0
    assert len(kube.calls) == 1


async def test_one_that_is_missing_is_waited_for(reads, kube):
    assert await reads.service_account("shop", "late") is None
    kube.put_service_account("shop", "late")

    assert await reads.service_account("shop", "late") is not None


async def test_one_that_is_written_to_is_read_anew(reads, kube):
    await reads.service_account("shop", "checkout")
    await kube.annotate_service_account("shop", "checkout", {"a": "b"})

    reads.doubt_service_account("shop", "checkout")

    assert await reads.service_account("shop", "checkout") == {"a": "b"}


async def test_a_token_that_is_not_to_be_had_casts_doubt_on_its_namespace_alone(reads, kube):
    kube.put_service_account("other", "checkout")
    for namespace in ("shop", "other"):
        await reads.service_account(namespace, "checkout")
    kube.calls.clear()

    reads.doubt_service_accounts("shop")
    for namespace in ("shop", "other"):
        await reads.service_account(namespace, "checkout")

    assert [call.namespace for call in kube.calls] == ["shop"]
