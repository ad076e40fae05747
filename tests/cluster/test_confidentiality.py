"""Nothing secret in any place that people read: log, Events, statuses, metrics, audit log, processes, files.

The markers are the secrets themselves, as AWS, the API server and the operator made them while all sorts of things went
wrong; AWS even quotes them in its errors, as its validation errors quote what they refuse.
"""

import base64
import gzip
import json
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from tests.builders import user_manifest
from tests.cluster.ground import GROUPS, USERS, pass_second
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster


def parts_of(secret):
    """Return the token, its signature and its session's token, in each form in which they could leak."""
    query = parse_qs(urlsplit(f"https://{secret['password']}").query)
    session, signature = query["X-Amz-Security-Token"][0], query["X-Amz-Signature"][0]
    return {secret["password"], secret["uri"], session, quote(session, safe=""), signature}


class Overheard(list):
    """The secrets in the calls and answers of one account's AWS, by where they stand in it."""

    def of(self, kind):
        return {text for found, text in self if found == kind}

    def hear(self, call, answer):
        for name in ("WebIdentityToken",):
            if name in call.parameters:
                self.append((name, call.parameters[name]))
        mode = call.parameters.get("AuthenticationMode", {})
        self.extend(("Password", each) for each in (*call.parameters.get("Passwords", ()), *mode.get("Passwords", ())))
        credentials = answer.get("Credentials", {})
        self.extend((name, credentials[name]) for name in ("SecretAccessKey", "SessionToken") if name in credentials)


@contextmanager
def overheard(sandbox):
    """Listen to all calls to AWS."""
    heard = Overheard()

    def begin(world):
        dispatch = type(world).dispatch

        def listen(call):
            heard.hear(call, {})
            answer = dispatch(world, call)
            heard.hear(call, answer)
            return answer

        world.dispatch = listen

    def end(world):
        del world.dispatch

    sandbox.run(begin)
    try:
        yield heard
    finally:
        sandbox.run(end)


class Quoting:
    """A fault: AWS refuses the call once, and quotes the newest secret of a kind."""

    latency_s = 0.0
    http_status = 400

    def __init__(self, heard, kind, service, operation, error_code):
        self.service, self.operation, self.error_code = service, operation, error_code
        self.remaining = 1
        self._heard, self._kind = heard, kind

    @property
    def error_message(self):
        newest = [text for found, text in self._heard if found == self._kind][-1]
        return f"1 validation error detected: Value '{newest}' failed to satisfy constraint: too good to be true"


@pytest.fixture(scope="module")
def talkative(new_ground):
    """An operator that logs all it can, through a refresh, refused calls and logins; and the secrets it came by."""
    with new_ground() as ground, overheard(ground.sandbox) as heard:
        ground.add_cache()
        faults = ground.sandbox.settings.faults
        temporary = ground.folder / "temporary"
        temporary.mkdir()
        operator = ground.start_operator("--log-level", "debug", environment=ground.environment(TMPDIR=str(temporary)))
        faults.append(Quoting(heard, "Password", "elasticache", "CreateUser", "InvalidParameterValue"))
        ground.apply_example("quickstart/usergroup.yaml")
        wait_for(lambda: not faults[0].remaining, what="the password to be quoted")
        faults.clear()
        ground.annotate("orders", plural=GROUPS, namespace="platform", touched="again")
        ground.wait_until_ready("orders", plural=GROUPS, namespace="platform")
        faults.append(Quoting(heard, "WebIdentityToken", "sts", "AssumeRoleWithWebIdentity", "InvalidIdentityToken"))
        ground.apply_example("quickstart/user.yaml")
        wait_for(lambda: not faults[0].remaining, what="the ServiceAccount's token to be quoted")
        faults.clear()
        ground.quoted_status = ground.get(USERS, "checkout")
        ground.wait_until_ready(timeout_s=90)
        first = ground.secret()
        ground.apply(user_manifest("refused", access={"preset": "Admin"}))
        ground.wait_for_condition(USERS, "refused", "Ready", reason="NotAdmitted")
        # A role without its policy: the new token is refused.
        role = ground.get(USERS, "checkout")["status"]["role"]["arn"].rpartition("/")[2]
        ground.iam.delete_role_policy(RoleName=role, PolicyName="elasticache-iam-connect")
        ground.patch(USERS, "checkout", {"spec": {"access": {"keys": ["orders:1:*"]}}})
        pass_second()
        ground.annotate("checkout", refresh="again")
        wait_for(lambda: ground.secret() != first, what="a new token")
        wait_for(lambda: "Refused" in operator.probe("/metrics")[1], what="a refused login")
        ground.heard = heard
        ground.minted = parts_of(first) | parts_of(ground.secret()) | {text for _, text in heard}
        ground.known = ground.minted | {ground.operator_key.secret_access_key, ground.installation.token}
        ground.talkative = operator
        yield ground


def leaks(text, ground):
    return [secret[:12] + "…" for secret in ground.known if secret in text]


def test_there_is_something_to_leak(talkative):
    kinds = ("WebIdentityToken", "Password", "SecretAccessKey", "SessionToken")
    assert [kind for kind in kinds if not talkative.heard.of(kind)] == []
    assert len(talkative.known) >= 12  # two tokens: each with its URI and signature, of one session
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


def test_not_even_a_status_that_tells_of_a_quoted_secret_shows_it(talkative):
    assert leaks(json.dumps(talkative.quoted_status), talkative) == []


def test_the_audit_log_shows_no_secret_at_its_level_metadata(talkative):
    text = talkative.control_plane.audit_log.read_text(encoding="utf-8")

    assert talkative.namespaces["shop"] in text
    assert leaks(text, talkative) == []


def processes():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read_process(pid, name):
    """Return a file of a process, as text; empty if it is gone or not ours."""
    try:
        return (Path("/proc") / str(pid) / name).read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_no_process_is_given_a_secret_in_its_arguments_or_environment(talkative):
    arguments = {pid: read_process(pid, "cmdline") for pid in processes()}
    environments = {pid: read_process(pid, "environ") for pid in processes()}

    assert talkative.talkative.process.pid in arguments
    assert {pid: found for pid, text in arguments.items() if (found := leaks(text, talkative))} == {}
    assert {pid: text for pid, text in environments.items() if any(secret in text for secret in talkative.minted)} == {}


def test_the_operator_has_no_child_that_could_inherit_its_environment(talkative):
    parents = {pid: read_process(pid, "stat").rpartition(")")[2].split()[1:2] for pid in processes()}

    assert [pid for pid, parent in parents.items() if parent == [str(talkative.talkative.process.pid)]] == []


def test_what_was_minted_is_in_no_file_of_the_operators(talkative):
    files = [path for path in talkative.folder.rglob("*") if path.is_file()]
    open_ones = [path.readlink() for path in Path(f"/proc/{talkative.talkative.process.pid}/fd").glob("*")]
    texts = {path: path.read_bytes().decode(errors="replace") for path in {*files, *open_ones} if path.is_file()}

    assert talkative.talkative.log in texts
    assert [path for path, text in texts.items() if any(secret in text for secret in talkative.minted)] == []


def test_metrics_show_no_secret_and_no_name(talkative):
    _, text = talkative.talkative.probe("/metrics")

    assert leaks(text, talkative) == []
    assert "checkout" not in text


def test_the_schedules_checkpoint_shows_no_secret(talkative):
    talkative.talkative.stop()
    path = f"/api/v1/namespaces/{talkative.namespaces['operators']}/configmaps/elasticache-iam-operator-checkpoint"
    content = talkative.control_plane.request("GET", path)["binaryData"]["checkpoint"]

    assert leaks(gzip.decompress(base64.b64decode(content)).decode(), talkative) == []


JSON_PATCH, MERGE_PATCH, APPLY = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)
QUOTE_IT = [{"op": "add", "path": "/data/zz", "value": "!!"}]
"""Leaves the Secret invalid: whoever may patch is answered with all of it."""
IN_FOREGROUND = {"propagationPolicy": "Foreground"}


@pytest.mark.parametrize(
    ("method", "query", "body", "content_type"),
    [
        pytest.param("GET", "", None, "application/json", id="get"),
        pytest.param("PATCH", "", QUOTE_IT, JSON_PATCH, id="a-patch-that-is-quoted"),
        pytest.param("PATCH", "?dryRun=All", {}, MERGE_PATCH, id="a-patch-that-changes-nothing"),
        pytest.param("PATCH", "?dryRun=All&fieldManager=x&force=true", {}, APPLY, id="an-apply-that-changes-nothing"),
        pytest.param("DELETE", "?dryRun=All", IN_FOREGROUND, "application/json", id="a-deletion-that-stays"),
    ],
)
def test_the_operators_own_token_reads_no_secret_not_even_one_it_wrote(talkative, method, query, body, content_type):
    path = talkative.path("secrets", "checkout", "shop")

    status, answer = talkative.installation.as_operator(method, path + query, body, content_type)

    assert status == 403
    assert leaks(answer, talkative) == []


@pytest.mark.parametrize(
    "query", ["", "?watch=true&timeoutSeconds=1", "?resourceVersion=0&fieldSelector=metadata.name%3Dcheckout"]
)
@pytest.mark.parametrize("namespace", ["", "shop"])
def test_the_operators_own_token_lists_and_watches_no_secrets(talkative, namespace, query):
    where = f"/namespaces/{talkative.namespaces[namespace]}" if namespace else ""

    status, answer = talkative.installation.as_operator("GET", f"/api/v1{where}/secrets{query}")

    assert status == 403
    assert leaks(answer, talkative) == []
