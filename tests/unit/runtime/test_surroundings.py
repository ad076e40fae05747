from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.aws.errors import is_out_of_reach
from elasticache_iam.core.errors import AccessDeniedError, NotFoundError, UnavailableError
from elasticache_iam.runtime.surroundings import (
    FORGET_S,
    LONGEST_PAUSE_S,
    LOOK_AGAIN_S,
    PATIENCE_S,
    AwsReach,
    ClusterCheck,
    Reporter,
    own_pod,
)


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


def call(reach, code, service="sts", region="eu-central-1"):
    reach.observe(service, "GetCallerIdentity", code, 0.1, region)


def test_a_service_that_has_not_answered_for_long_is_named(reach, clock):
    call(reach, "EndpointConnectionError")
    clock.seconds = PATIENCE_S + 1
    call(reach, "ConnectTimeoutError")

    assert reach.find_fault() == "sts in eu-central-1 is out of reach for more than 60 s (ConnectTimeoutError)"


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

    assert reach.find_fault() == "elasticache in eu-central-1 is out of reach for more than 60 s (SSLError)"


def test_a_region_that_answers_hides_none_that_does_not(reach, clock):
    call(reach, "ConnectTimeoutError", region="eu-west-1")
    call(reach, "", region="eu-central-1")
    clock.seconds = PATIENCE_S + 1

    assert reach.find_fault() == "sts in eu-west-1 is out of reach for more than 60 s (ConnectTimeoutError)"


def test_a_service_that_nobody_calls_any_more_is_forgotten(reach, clock):
    call(reach, "ConnectTimeoutError", service="memorydb")
    clock.seconds = FORGET_S + 1

    assert reach.find_fault() is None
    assert not reach.is_in_doubt


def test_a_trouble_that_is_renewed_is_not_forgotten(reach, clock):
    call(reach, "ConnectTimeoutError")
    clock.seconds = FORGET_S - 1
    call(reach, "ConnectTimeoutError")
    clock.seconds = FORGET_S + 1

    assert reach.find_fault() is not None
    assert reach.is_in_doubt


def test_a_trouble_after_a_forgotten_one_is_a_new_one(reach, clock):
    call(reach, "ConnectTimeoutError")
    clock.seconds = FORGET_S + 1
    call(reach, "ConnectTimeoutError")

    assert reach.find_fault() is None
    assert reach.is_in_doubt


@pytest.mark.parametrize("code", ["", "Error", "AccessDenied", "ParamValidationError", "exceptions", "__doc__"])
def test_what_is_no_lost_connection_is_within_reach(code):
    assert not is_out_of_reach(code)


# -- the cluster -------------------------------------------------------------------------------------------------------

FORBIDDEN = AccessDeniedError("create selfsubjectaccessreviews: forbidden", code="Forbidden")
BROKEN = UnavailableError("create selfsubjectaccessreviews: Internal error", code="InternalError")
AWAY = UnavailableError("the API server doesn't answer: TimeoutError", code="TimeoutError")


class Cluster:
    """An API server that gives all rights but some, `(verb, resource)`; it may be away, its reviews may fail."""

    def __init__(self):
        self.missing = set()
        self.away = None
        self.refused_review = None
        self.reviews = 0

    async def send(self, _request):
        if self.away is not None:
            raise self.away

    async def call(self, request):
        self.reviews += 1
        if self.refused_review is not None:
            raise self.refused_review
        asked = request.body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked["subresource"])))
        return {"status": {"allowed": (asked["verb"], resource) not in self.missing}}


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def check(cluster, clock):
    config = OperatorConfig.model_validate({"owner": "demo", "region": "eu-central-1"})
    return ClusterCheck(cluster, config, namespace="operators", clock=clock)


async def look(check):
    """Return what has to be waited for, and the warnings."""
    with capture_logs() as logs:
        fault = await check.find_fault()
    return fault, [entry["why"] for entry in logs if entry["log_level"] == "warning"]


async def test_with_all_rights_nothing_is_missing(check):
    assert await look(check) == (None, [])


@pytest.mark.parametrize(
    "right",
    [
        ("list", "usergroups"),
        ("watch", "elasticacheiamusers"),
        ("patch", "elasticacheiamusers/status"),
        ("create", "secrets"),
        ("update", "secrets"),
        ("create", "serviceaccounts/token"),
        ("update", "leases"),
    ],
    ids=" ".join,
)
async def test_a_right_that_tokens_need_is_waited_for(check, cluster, right):
    cluster.missing = {right, ("create", "events")}

    fault, _ = await look(check)

    assert " ".join(right) in fault
    assert "create events" in fault  # whoever mends it wants to do so once


@pytest.mark.parametrize(
    "right", [("create", "events"), ("get", "configmaps"), ("get", "namespaces"), ("delete", "secrets")], ids=" ".join
)
async def test_another_right_is_warned_of_once_and_not_waited_for(check, cluster, right):
    cluster.missing = {right}

    fault, (warning,) = await look(check)

    assert fault is None
    assert " ".join(right) in warning
    assert await look(check) == (None, [])


@pytest.mark.parametrize("refusal", [FORBIDDEN, BROKEN, NotFoundError("no reviews")], ids=["403", "500", "404"])
async def test_rights_that_cannot_be_reviewed_are_not_waited_for(check, cluster, refusal):
    cluster.refused_review = refusal

    fault, (warning,) = await look(check)

    assert fault is None
    assert warning.startswith("can't tell whether the operator's ServiceAccount has its rights: ")
    assert await look(check) == (None, [])


async def test_an_api_server_that_does_not_answer_is_waited_for(check, cluster):
    cluster.away = AWAY

    fault, warnings = await look(check)

    assert "doesn't answer" in fault
    assert warnings == []


async def test_an_api_server_that_goes_away_before_the_review_is_waited_for(check, cluster):
    async def call(_request):
        cluster.away = AWAY
        raise AWAY

    cluster.call = call

    fault, warnings = await look(check)

    assert "doesn't answer" in fault
    assert warnings == []


async def test_missing_rights_are_reviewed_less_and_less_often(check, cluster, clock):
    cluster.missing = {("create", "secrets")}
    reviewed_at = []
    for _ in range(60):
        before = cluster.reviews
        assert "create secrets" in await check.find_fault()
        if cluster.reviews > before:
            reviewed_at.append(clock.seconds)
        clock.seconds += LOOK_AGAIN_S

    pauses = [later - earlier for earlier, later in pairwise(reviewed_at)]
    assert pauses[:5] == [5.0, 10.0, 20.0, 40.0, LONGEST_PAUSE_S]
    assert set(pauses[5:]) == {LONGEST_PAUSE_S}


async def test_rights_that_were_given_are_seen_at_the_next_review(check, cluster, clock):
    cluster.missing = {("create", "secrets")}
    await look(check)
    cluster.missing = set()
    clock.seconds = LOOK_AGAIN_S

    assert await look(check) == (None, [])


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
