"""The operator's metrics. One registry of our own; labels are bounded: never an object's name, never a message."""

import platform
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_PREFIX: Final = "elasticache_iam"
_RECONCILE_BUCKETS_S: Final = (0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_LIFE_BUCKETS_S: Final = (0.0, 30.0, 60.0, 120.0, 180.0, 300.0, 420.0, 480.0, 540.0, 720.0)
_REQUEST_BUCKETS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """All metrics of one process; the planes are handed what they count."""

    def __init__(self, *, version: str) -> None:
        """Make the metrics.

        Args:
            version: The operator's, for `build_info`.
        """
        self.registry = CollectorRegistry()
        # The token plane.
        self.token_schedule_lateness_seconds = self._gauge(
            "token_schedule_lateness_seconds",
            "How far the most overdue token is behind its due time; not of those that fail by their user's own fault",
        )
        self.token_min_remaining_seconds = self._gauge(
            "token_min_remaining_seconds",
            "The shortest life left among delivered tokens, by whose fault one isn't replaced; alert below 300",
            "fault",
        )
        self.tokens = self._gauge("tokens", "Tokens by state: fresh, due, failing", "state")
        self.token_replaced_remaining_seconds = self._histogram(
            "token_replaced_remaining_seconds", "The life that a token had left when it was replaced", _LIFE_BUCKETS_S
        )
        self.token_schedule_entries = self._gauge("token_schedule_entries", "Secrets on the refresh schedule")
        self.sessions_waiting = self._gauge(
            "sessions_waiting", "Users that wait for a session of STS: how far a cold start is"
        )
        self.token_refresh_total = self._counter("token_refresh", "Tries to deliver a new token", "result")
        self.verify_total = self._counter("verify", "Test logins by outcome", "outcome")
        # The control plane.
        self.reconcile_total = self._counter("reconcile", "Passes over a resource by result", "kind", "result")
        self.reconcile_duration_seconds = self._histogram(
            "reconcile_duration_seconds", "Time of a pass", _RECONCILE_BUCKETS_S, "kind"
        )
        self.workqueue_depth = self._gauge("workqueue_depth", "Resources that are due and wait for a worker")
        self.workqueue_oldest_seconds = self._gauge(
            "workqueue_oldest_seconds", "How long the longest waiting resource has been due"
        )
        self.resync_found_total = self._counter(
            "resync_found", "Changes that only the periodic listing found: a watch has missed them", "kind"
        )
        # The other sides.
        self.aws_requests_total = self._counter(
            "aws_requests", "Calls to AWS; code is OK or AWS's error code", "service", "operation", "code"
        )
        self.aws_request_duration_seconds = self._histogram(
            "aws_request_duration_seconds", "Time of a call to AWS", _REQUEST_BUCKETS_S, "service"
        )
        self.k8s_requests_total = self._counter(
            "k8s_requests",
            "Calls to the API server; code is the HTTP status, error, or fenced (not sent)",
            "verb",
            "resource",
            "code",
        )
        # The process.
        self.leader = self._gauge("leader", "1 while this process leads, else 0")
        self.event_loop_lag_seconds = self._gauge(
            "event_loop_lag_seconds", "How late a loop's last tick was: main, tokens, control", "loop"
        )
        build_info = self._gauge("build_info", "Always 1; the labels say what runs", "version", "python")
        build_info.labels(version=version, python=platform.python_version()).set(1)

    def observe_k8s_request(self, verb: str, resource: str, code: str) -> None:
        """Count a call to the API server: a connection's `on_request`."""
        self.k8s_requests_total.labels(verb=verb, resource=resource, code=code).inc()

    def observe_aws_request(self, service: str, operation: str, code: str, duration_s: float) -> None:
        """Count a call to AWS and its time; `code` is "" for success."""
        self.aws_requests_total.labels(service=service, operation=operation, code=code or "OK").inc()
        self.aws_request_duration_seconds.labels(service=service).observe(duration_s)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        """Make a counter; the exposition adds `_total`."""
        return Counter(f"{_PREFIX}_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", help_text, labels, buckets=buckets, registry=self.registry)
