"""Nothing secret in any place that people read: log, Events, statuses, metrics, the audit log's objects."""

import base64
import gzip
import json
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.builders import user_manifest
from tests.cluster.ground import GROUPS, USERS, wait_for

pytestmark = pytest.mark.cluster


def parts_of(secret):
    """Return the token, its signature and its session's token, in each form in which they could leak."""
    query = parse_qs(urlsplit(f"https://{secret['password']}").query)
    session, signature = query["X-Amz-Security-Token"][0], query["X-Amz-Signature"][0]
    return {secret["password"], secret["uri"], session, signature}


@pytest.fixture(scope="module")
def talkative(new_ground):
    """An operator that logs all it can, through a refresh and refused logins; and the secrets it has made."""
    with new_ground() as ground:
        ground.add_cache()
        operator = ground.start_operator("--log-level", "debug")
        ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
        ground.wait_until_ready()
        first = ground.secret()
        ground.apply(user_manifest("refused", access={"preset": "Admin"}))
        ground.wait_for_condition(USERS, "refused", "Ready", reason="NotAdmitted")
        # A role without its policy: the new token is refused.
        role = ground.get(USERS, "checkout")["status"]["role"]["arn"].rpartition("/")[2]
        ground.iam.delete_role_policy(RoleName=role, PolicyName="elasticache-iam-connect")
        ground.patch(USERS, "checkout", {"spec": {"access": {"keys": ["orders:1:*"]}}})
        time.sleep(1.0)  # within one second the signature is the same
        ground.annotate("checkout", refresh="again")
        wait_for(lambda: ground.secret() != first, what="a new token")
        wait_for(lambda: "Refused" in operator.probe("/metrics")[1], what="a refused login")
        ground.known = parts_of(first) | parts_of(ground.secret())
        ground.known |= {ground.operator_key.secret_access_key, ground.installation.token}
        ground.talkative = operator
        yield ground


def leaks(text, ground):
    return [secret[:12] + "…" for secret in ground.known if secret in text]


def test_there_is_something_to_leak(talkative):
    assert len(talkative.known) >= 8  # two tokens: each with its URI and signature, of one session
    assert all(len(secret) >= 20 for secret in talkative.known)
    assert len(talkative.talkative.text()) > 1000


def test_the_log_shows_no_secret_even_at_debug(talkative):
    text = talkative.talkative.text()

    assert leaks(text, talkative) == []
    assert "X-Amz-Security-Token" not in text
    assert "Bearer " not in text


def test_events_show_no_secret(talkative):
    events = [
        event
        for name in ("shop", "platform")
        for event in talkative.control_plane.request(
            "GET", f"/apis/events.k8s.io/v1/namespaces/{talkative.namespaces[name]}/events"
        )["items"]
    ]

    assert events
    assert leaks(json.dumps(events), talkative) == []


def test_statuses_and_metadata_show_no_secret(talkative):
    secret = talkative.get("secrets", "checkout")
    shown = [
        talkative.get(USERS, "checkout"),
        talkative.get(USERS, "refused"),
        talkative.get(GROUPS, "orders", "platform"),
        {**secret, "data": sorted(secret["data"])},
    ]

    assert leaks(json.dumps(shown), talkative) == []


def test_metrics_show_no_secret_and_no_name(talkative):
    _, text = talkative.talkative.probe("/metrics")

    assert leaks(text, talkative) == []
    assert "checkout" not in text


def test_the_schedules_checkpoint_shows_no_secret(talkative):
    talkative.talkative.stop()
    path = f"/api/v1/namespaces/{talkative.namespaces['operators']}/configmaps/elasticache-iam-operator-checkpoint"
    content = talkative.control_plane.request("GET", path)["binaryData"]["checkpoint"]

    assert leaks(gzip.decompress(base64.b64decode(content)).decode(), talkative) == []
