import re

import pytest
from prometheus_client import REGISTRY

from elasticache_iam.runtime.metrics import Metrics

NAMES = [
    "aws_request_duration_seconds",
    "aws_requests_total",
    "build_info",
    "event_loop_lag_seconds",
    "k8s_requests_total",
    "leader",
    "reconcile_duration_seconds",
    "reconcile_total",
    "resync_found_total",
    "sessions_waiting",
    "token_min_remaining_seconds",
    "token_refresh_total",
    "token_replaced_remaining_seconds",
    "token_schedule_entries",
    "token_schedule_lateness_seconds",
    "tokens",
    "verify_total",
    "workqueue_depth",
    "workqueue_oldest_seconds",
]


@pytest.fixture
def metrics():
    return Metrics(version="1.2.3")


def test_the_documented_names_are_exposed(metrics):
    helps = re.findall(r"^# HELP elasticache_iam_(\w+)", metrics.render().decode(), re.MULTILINE)

    assert sorted(name for name in helps if not name.endswith("_created")) == NAMES


def test_the_global_registry_stays_clean(metrics):
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("elasticache_iam")]


def test_two_operators_in_one_process_count_apart(metrics):
    other = Metrics(version="1.2.3")
    metrics.token_refresh_total.labels(result="ok").inc()

    assert other.registry.get_sample_value("elasticache_iam_token_refresh_total", {"result": "ok"}) is None


def test_no_label_could_name_an_object(metrics):
    labels = {label for family in metrics.registry.collect() for sample in family.samples for label in sample.labels}

    assert labels <= {"version", "python", "le"}
    assert not {"name", "namespace", "uid", "message"} & {
        label for collector in vars(metrics).values() for label in getattr(collector, "_labelnames", ())
    }


def test_a_call_to_the_api_server_is_counted(metrics):
    metrics.observe_k8s_request("patch", "secrets", "200")

    labels = {"verb": "patch", "resource": "secrets", "code": "200"}
    assert metrics.registry.get_sample_value("elasticache_iam_k8s_requests_total", labels) == 1.0


def test_a_call_to_aws_is_counted_and_timed(metrics):
    metrics.observe_aws_request("elasticache", "DescribeUsers", "", 0.2)

    labels = {"service": "elasticache", "operation": "DescribeUsers", "code": "OK"}
    assert metrics.registry.get_sample_value("elasticache_iam_aws_requests_total", labels) == 1.0
    total = "elasticache_iam_aws_request_duration_seconds_sum"
    assert metrics.registry.get_sample_value(total, {"service": "elasticache"}) == pytest.approx(0.2)


def test_build_info_says_what_runs(metrics):
    assert b'elasticache_iam_build_info{python="3.' in metrics.render()
    assert b'version="1.2.3"' in metrics.render()
