import pytest

from elasticache_iam.aws.errors import is_out_of_reach
from elasticache_iam.core.errors import AccessDeniedError
from elasticache_iam.runtime.surroundings import PATIENCE_S, AwsReach, Reporter, own_pod


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reach(clock):
    return AwsReach(clock)


# -- AWS ---------------------------------------------------------------------------------------------------------------


def call(reach, code, service="sts"):
    reach.observe(service, "GetCallerIdentity", code, 0.1)


def test_a_service_that_has_not_answered_for_long_is_named(reach, clock):
    call(reach, "EndpointConnectionError")
    clock.seconds = PATIENCE_S + 1
    call(reach, "ConnectTimeoutError")

    assert reach.find_fault() == "sts is out of reach for more than 60 s (ConnectTimeoutError)"


def test_a_short_trouble_is_not_told(reach, clock):
    call(reach, "EndpointConnectionError")
    clock.seconds = PATIENCE_S - 1

    assert reach.find_fault() is None
    assert reach.is_in_doubt


@pytest.mark.parametrize("code", ["", "AccessDenied", "Throttling"], ids=["success", "refusal", "throttling"])
def test_an_answer_ends_the_trouble(reach, clock, code):
    call(reach, "NoCredentialsError")
    call(reach, code)
    clock.seconds = PATIENCE_S + 1

    assert reach.find_fault() is None
    assert not reach.is_in_doubt


def test_each_service_is_judged_on_its_own(reach, clock):
    call(reach, "SSLError", service="elasticache")
    call(reach, "", service="sts")
    clock.seconds = PATIENCE_S + 1

    assert reach.find_fault() == "elasticache is out of reach for more than 60 s (SSLError)"


@pytest.mark.parametrize("code", ["", "Error", "AccessDenied", "ParamValidationError", "exceptions", "__doc__"])
def test_what_is_no_lost_connection_is_within_reach(code):
    assert not is_out_of_reach(code)


# -- reports -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def faults():
    return {"cluster": None, "AWS": None}


class Pod:
    """Keeps the Events about it; `refusal` is what the API server says to the next."""

    def __init__(self):
        self.events = []
        self.refusal = None

    async def post_event(self, _connection, _clock, *, reason, note, is_warning):
        if self.refusal is not None:
            raise self.refusal
        self.events.append((reason, note, is_warning))


@pytest.fixture
def pod():
    return Pod()


@pytest.fixture
def reporter(faults, pod, clock):
    checks = {name: lambda name=name: faults[name] for name in faults}
    return Reporter(checks, pod=pod, connection=None, clock=clock)


async def test_a_fault_is_told_once(reporter, faults, pod):
    faults["cluster"] = "no kinds"

    await reporter.look()
    await reporter.look()

    assert pod.events == [("ClusterNotReady", "cluster: no kinds", True)]


async def test_another_fault_of_the_same_kind_is_told_too(reporter, faults, pod):
    faults["AWS"] = "no credentials"
    await reporter.look()
    faults["AWS"] = "no answer"
    await reporter.look()

    assert [note for _, note, _ in pod.events] == ["AWS: no credentials", "AWS: no answer"]


async def test_a_fault_that_only_lasts_is_no_news(reporter, faults, pod):
    faults["cluster"] = "no sign of life for 61 s"
    await reporter.look()
    faults["cluster"] = "no sign of life for 63 s"
    await reporter.look()

    assert len(pod.events) == 1


async def test_it_is_told_when_all_is_there_again(reporter, faults, pod):
    faults |= {"cluster": "a", "AWS": "b"}
    await reporter.look()
    faults["AWS"] = None
    await reporter.look()
    faults["cluster"] = None
    await reporter.look()
    await reporter.look()

    assert pod.events[2:] == [("Ready", "there again: cluster", False)]


async def test_nothing_is_told_while_nothing_is_missing(reporter, pod):
    await reporter.look()

    assert pod.events == []


async def test_a_missing_right_to_post_events_stops_no_report(reporter, faults, pod):
    faults["cluster"] = "no rights"
    pod.refusal = AccessDeniedError("forbidden")
    await reporter.look()
    pod.refusal = None
    faults["AWS"] = "no credentials"

    await reporter.look()

    assert pod.events == [("AwsNotReady", "AWS: no credentials", True)]


# -- the Pod -----------------------------------------------------------------------------------------------------------


def test_outside_of_a_pod_there_is_none_to_tell_of():
    assert own_pod("operators", {"POD_NAME": "a"}) is None


def test_the_pod_is_what_the_chart_says():
    pod = own_pod("operators", {"POD_NAME": "a", "POD_UID": "u"})

    assert (pod.namespace, pod.name, pod.uid) == ("operators", "a", "u")
