from datetime import UTC, datetime, timedelta

from elasticache_iam.kube.lease import LeaseRecord, parse_lease, render_lease

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
RECORD = LeaseRecord("me", 15, 3, NOW, NOW, "42")


def test_a_lease_is_read_as_it_was_written():
    assert parse_lease(render_lease(RECORD, namespace="ops", name="operator")) == RECORD


def test_times_have_six_digits_even_on_a_full_second():
    record = LeaseRecord("me", 15, renewed_at=NOW.replace(microsecond=0))

    assert render_lease(record, namespace="ops", name="operator")["spec"]["renewTime"] == "2026-11-21T09:00:00.000000Z"


def test_a_new_lease_names_no_version():
    body = render_lease(LeaseRecord("me", 15), namespace="ops", name="operator")

    assert body["metadata"] == {"name": "operator", "namespace": "ops"}


def test_an_emptied_lease_has_no_holder():
    assert parse_lease({"metadata": {"resourceVersion": "1"}}) == LeaseRecord("", 0, resource_version="1")


def test_a_label_on_the_lease_is_no_renewal():
    assert RECORD.is_same_as(LeaseRecord("me", 15, 3, NOW, NOW, "43"))


def test_a_renewal_is_a_change():
    assert not RECORD.is_same_as(LeaseRecord("me", 15, 3, NOW, NOW + timedelta(seconds=2), "43"))
