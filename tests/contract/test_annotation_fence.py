"""What the operator may do to ServiceAccounts, with the right to annotate them: its own annotation, and that is all."""

import json
import os
import secrets
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from tests.contract.fence import RawClient

from elasticache_iam.api.keys import ANNOTATION_ANNOTATED_FOR, ANNOTATION_ROLE_ARN

pytestmark = pytest.mark.cluster

CHART = Path(__file__).parents[2] / "charts" / "elasticache-iam-operator"
USER = "annotator"
OPERATOR = "system:serviceaccount:default:r-elasticache-iam-operator"
ROLE, MARK = ANNOTATION_ROLE_ARN, ANNOTATION_ANNOTATED_FOR
OURS = "arn:aws:iam::111122223333:role/elasticache-iam/demo/demo-checkout-1"
THEIRS = "arn:aws:iam::111122223333:role/theirs"
MERGE = "application/merge-patch+json"


def render(helm, folder, *settings):
    """Return the chart's objects, and what helm says."""
    environment = os.environ | {f"HELM_{name}_HOME": str(folder) for name in ("CACHE", "CONFIG", "DATA")}
    command = [str(helm), "template", "r", str(CHART), "--set", "config.owner=demo"]
    for setting in settings:
        command += ["--set", setting]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return [entry for entry in yaml.safe_load_all(answer.stdout) if entry], answer.stderr


@pytest.fixture(scope="module")
def client(control_plane, helm, tmp_path_factory):
    """A stolen operator with the right to annotate, behind the policy."""
    rendered, _ = render(helm, tmp_path_factory.mktemp("helm"), "rbac.annotateServiceAccounts=true")
    (role,) = [e for e in rendered if e["kind"] == "ClusterRole" and e["metadata"]["name"].endswith("-operator")]
    role["metadata"] = {"name": USER}
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(role))
    control_plane.kubectl("create", "clusterrolebinding", USER, f"--clusterrole={USER}", f"--user={USER}")
    for entry in rendered:
        if entry["metadata"]["name"].endswith("-serviceaccounts"):
            entry["metadata"] = {"name": f"{USER}-serviceaccounts"}
            if "policyName" in entry["spec"]:
                entry["spec"]["policyName"] = f"{USER}-serviceaccounts"
            else:
                (condition,) = entry["spec"]["matchConditions"]
                assert OPERATOR in condition["expression"]
                condition["expression"] = condition["expression"].replace(OPERATOR, USER)
            control_plane.kubectl("apply", "-f", "-", input=json.dumps(entry))
    made = RawClient(control_plane, USER, tmp_path_factory.mktemp("annotator"))
    account = new_account(control_plane)
    deadline = time.monotonic() + 20
    while (
        made.send("PATCH", f"{account}?dryRun=All", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)[0] != 403
    ):
        assert time.monotonic() < deadline, "the policy doesn't come into force"
        time.sleep(0.1)
    return made


def new_account(control_plane, annotations=None, **fields):
    name = f"account-{secrets.token_hex(4)}"
    metadata = {"name": name, "annotations": annotations or {}}
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, **fields}
    control_plane.request("POST", "/api/v1/namespaces/default/serviceaccounts", body)
    return f"/api/v1/namespaces/default/serviceaccounts/{name}"


def patch(client, account, body):
    status, text = client.send("PATCH", account, body, content_type=MERGE)
    return status, text


def annotate(client, account, **annotations):
    return patch(client, account, {"metadata": {"annotations": annotations}})


def annotations_of(control_plane, account):
    return control_plane.request("GET", account)["metadata"].get("annotations", {})


def test_a_role_is_given_and_taken_off_again(client, control_plane):
    account = new_account(control_plane, {"theirs": "1"})

    given, _ = annotate(client, account, **{ROLE: OURS, MARK: "checkout"})
    assert annotations_of(control_plane, account) == {"theirs": "1", ROLE: OURS, MARK: "checkout"}
    taken, _ = annotate(client, account, **{ROLE: None, MARK: None})

    assert (given, taken) == (200, 200)
    assert annotations_of(control_plane, account) == {"theirs": "1"}


def test_a_role_of_ours_becomes_another_one_of_ours(client, control_plane):
    account = new_account(control_plane, {ROLE: OURS, MARK: "checkout"})

    status, _ = annotate(client, account, **{ROLE: f"{OURS}0", MARK: "checkout"})

    assert status == 200


def test_only_the_mark_goes_where_somebody_has_replaced_the_role(client, control_plane):
    account = new_account(control_plane, {ROLE: THEIRS, MARK: "checkout"})

    status, _ = annotate(client, account, **{MARK: None})

    assert status == 200
    assert annotations_of(control_plane, account) == {ROLE: THEIRS}


@pytest.mark.parametrize(
    ("before", "change"),
    [
        pytest.param({ROLE: THEIRS}, {ROLE: OURS, MARK: "checkout"}, id="replaced"),
        pytest.param({ROLE: THEIRS}, {ROLE: OURS}, id="replaced-without-a-mark"),
        pytest.param({ROLE: THEIRS}, {ROLE: None}, id="taken-off"),
        pytest.param({ROLE: THEIRS}, {MARK: "checkout"}, id="marked-first"),
        pytest.param({}, {ROLE: OURS}, id="given-without-a-mark"),
        pytest.param({}, {"eks.amazonaws.com/audience": "x"}, id="another-annotation"),
        pytest.param({"theirs": "1"}, {"theirs": "2", ROLE: OURS, MARK: "x"}, id="another-annotation-beside-it"),
        pytest.param({"theirs": "1"}, {"theirs": None}, id="another-annotation-taken-off"),
    ],
)
def test_no_role_of_others_and_nothing_else_is_annotated(client, control_plane, before, change):
    account = new_account(control_plane, before)

    status, text = annotate(client, account, **change)

    assert status == 403
    assert "ValidatingAdmissionPolicy" in text
    assert annotations_of(control_plane, account) == before


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"finalizers": ["example.com/hold"]}},
        {"secrets": [{"name": "theirs"}]},
        {"imagePullSecrets": [{"name": "theirs"}]},
        {"automountServiceAccountToken": False},
    ],
    ids=["labels", "finalizers", "secrets", "image-pull-secrets", "automount"],
)
def test_nothing_but_annotations_is_changed(client, control_plane, change):
    account = new_account(control_plane)

    status, text = patch(client, account, change)

    assert status == 403
    assert "ValidatingAdmissionPolicy" in text


def test_without_the_value_there_is_no_right(helm, tmp_path):
    rendered, _ = render(helm, tmp_path)
    rules = [rule for entry in rendered if entry["kind"] == "ClusterRole" for rule in entry["rules"]]

    assert [rule["verbs"] for rule in rules if rule["resources"] == ["serviceaccounts"]] == [["get"]]
    assert not [entry for entry in rendered if entry["metadata"]["name"].endswith("-serviceaccounts")]


def test_there_is_no_such_right_without_the_fence(helm, tmp_path):
    rendered, says = render(helm, tmp_path, "rbac.annotateServiceAccounts=true", "fence.enabled=false")

    assert rendered == []
    assert "rbac.annotateServiceAccounts needs fence.enabled" in says
