"""What a stolen operator can do to the resources it serves: write what it has to, and not what their authors wish."""

import json
import secrets
import time

import pytest
from tests.builders import group_manifest, user_manifest
from tests.contract.fence import NAME, RawClient, fence_in, grant_rights, shipped

from elasticache_iam.api.keys import API_VERSION, FINALIZER
from elasticache_iam_sandbox.cluster.errors import ApiError

pytestmark = pytest.mark.cluster

THIEF, UNFENCED = "spec-thief", "spec-thief-unfenced"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
APPLIED = "?fieldManager=thief&force=true"
REFUSAL = "the operator changes no spec of an ElastiCacheIAMUser or UserGroup"
MANIFESTS = {"elasticacheiamusers": user_manifest, "usergroups": group_manifest}

ADMIN = {"preset": "Admin", "keys": None}
EVERYBODY = [{"namespaces": {"names": ["thief"]}, "limit": {"preset": "Admin"}}]


@pytest.fixture(scope="module")
def clients(control_plane, tmp_path_factory):
    """Stolen operators, by user: one behind the policy, one where it isn't installed."""
    folder = tmp_path_factory.mktemp("thieves")
    control_plane.kubectl("apply", "--server-side", "-f", "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", "crds")
    for user in (THIEF, UNFENCED):
        grant_rights(control_plane, user)
    fence_in(control_plane, THIEF, kinds=("specs",))
    return {user: RawClient(control_plane, user, folder) for user in (THIEF, UNFENCED)}


@pytest.fixture(scope="module")
def namespace(control_plane, clients):
    """A namespace; the policy is in force for both kinds."""
    name = f"spec-fence-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    for plural in MANIFESTS:
        path = new_resource(control_plane, plural, name)
        change = {"spec": {"suspend": True} if plural == "elasticacheiamusers" else {"engine": "valkey"}}
        await_refusal(clients[THIEF], f"{path}?dryRun=All", change)
    yield name
    control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


def await_refusal(client, path, change):
    deadline = time.monotonic() + 20
    while client.send("PATCH", path, change, content_type=MERGE)[0] != 403:
        assert time.monotonic() < deadline, "the policy doesn't come into force"
        time.sleep(0.1)


def new_resource(control_plane, plural, namespace, **metadata):
    """Return the path of a new resource."""
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}"
    body = MANIFESTS[plural](f"some-{secrets.token_hex(4)}", namespace)
    body["metadata"] |= metadata
    return f"{path}/{control_plane.request('POST', path, body)['metadata']['name']}"


def applied(path, plural, namespace, **fields):
    """Return what server-side apply takes."""
    made = MANIFESTS[plural](path.rpartition("/")[2], namespace)
    return {key: made[key] for key in ("apiVersion", "kind", "metadata")} | fields


CHANGES = {
    "user-merge": ("elasticacheiamusers", MERGE, {"spec": {"access": ADMIN}}),
    "user-json": ("elasticacheiamusers", JSON, [{"op": "replace", "path": "/spec/access/keys", "value": ["*"]}]),
    "user-json-beside-a-finalizer": (
        "elasticacheiamusers",
        JSON,
        [
            {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]},
            {"op": "add", "path": "/spec/serviceAccounts/-", "value": "thief"},
        ],
    ),
    "user-json-in-another-order": (
        "elasticacheiamusers",
        JSON,
        [{"op": "add", "path": "/spec/access/keys/0", "value": "all:*"}],
    ),
    "user-apply": ("elasticacheiamusers", APPLY, {"spec": {"suspend": True}}),
    "group-merge": ("usergroups", MERGE, {"spec": {"admission": EVERYBODY}}),
    "group-merge-taken-off": ("usergroups", MERGE, {"spec": {"admission": None}}),
    "group-json": ("usergroups", JSON, [{"op": "remove", "path": "/spec/admission"}]),
    "group-apply": ("usergroups", APPLY, {"spec": {"admission": EVERYBODY}}),
}


@pytest.mark.parametrize("query", ["", "dryRun=All"], ids=["real", "dry-run"])
@pytest.mark.parametrize(("plural", "content_type", "body"), CHANGES.values(), ids=CHANGES.keys())
def test_no_spec_is_changed(clients, control_plane, namespace, plural, content_type, body, query):  # noqa: PLR0917  # fixtures
    path = new_resource(control_plane, plural, namespace)
    before = control_plane.request("GET", path)
    sent = applied(path, plural, namespace, **body) if content_type == APPLY else body
    asked = f"{path}{APPLIED}&{query}" if content_type == APPLY else f"{path}?{query}"

    status, text = clients[THIEF].send("PATCH", asked, sent, content_type=content_type)

    assert (status, REFUSAL in text) == (403, True), text
    assert control_plane.request("GET", path) == before


@pytest.mark.parametrize(("plural", "content_type", "body"), CHANGES.values(), ids=CHANGES.keys())
def test_without_the_policy_it_is(clients, control_plane, namespace, plural, content_type, body):  # noqa: PLR0917  # fixtures
    """So what is refused above is refused by the policy."""
    path = new_resource(control_plane, plural, namespace)
    sent = applied(path, plural, namespace, **body) if content_type == APPLY else body
    asked = f"{path}{APPLIED}&dryRun=All" if content_type == APPLY else f"{path}?dryRun=All"

    status, text = clients[UNFENCED].send("PATCH", asked, sent, content_type=content_type)

    assert status == 200, text


@pytest.mark.parametrize("plural", MANIFESTS)
def test_finalizers_annotations_and_status_are_written(clients, control_plane, namespace, plural):
    path = new_resource(control_plane, plural, namespace)
    spec = control_plane.request("GET", path)["spec"]
    finalizers = [{"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}]
    note = {"metadata": {"annotations": {"note": "a"}}}
    status = [{"op": "add", "path": "/status", "value": {"observedGeneration": 1}}]
    applied_note = applied(path, plural, namespace)
    applied_note["metadata"]["annotations"] = {"other": "b"}

    answers = [
        clients[THIEF].send("PATCH", path, finalizers, content_type=JSON),
        clients[THIEF].send("PATCH", path, note, content_type=MERGE),
        clients[THIEF].send("PATCH", f"{path}{APPLIED}", applied_note, content_type=APPLY),
        clients[THIEF].send("PATCH", f"{path}/status", status, content_type=JSON),
    ]

    assert [status for status, _ in answers] == [200] * 4, answers
    seen = control_plane.request("GET", path)
    assert seen["metadata"]["finalizers"] == [FINALIZER]
    assert seen["metadata"]["annotations"] == {"note": "a", "other": "b"}
    assert seen["status"]["observedGeneration"] == 1
    assert seen["spec"] == spec
    let_go = [{"op": "add", "path": "/metadata/finalizers", "value": []}]
    control_plane.request("DELETE", path)
    assert clients[THIEF].send("PATCH", path, let_go, content_type=JSON)[0] == 200
    with pytest.raises(ApiError, match="404"):
        control_plane.request("GET", path)


@pytest.mark.parametrize("plural", MANIFESTS)
def test_a_status_carries_no_spec_along(clients, control_plane, namespace, plural):
    path = new_resource(control_plane, plural, namespace)
    before = control_plane.request("GET", path)["spec"]
    body = {"spec": {"access": ADMIN, "admission": EVERYBODY}, "status": {"observedGeneration": 1}}

    clients[THIEF].send("PATCH", f"{path}/status", body, content_type=MERGE)

    assert control_plane.request("GET", path)["spec"] == before


@pytest.mark.parametrize("plural", MANIFESTS)
def test_none_is_made_replaced_or_deleted(clients, control_plane, namespace, plural):
    path = new_resource(control_plane, plural, namespace)
    folder, _, name = path.rpartition("/")
    made = MANIFESTS[plural]("new", namespace)

    answers = [
        clients[THIEF].send("POST", folder, made),
        clients[THIEF].send("PATCH", f"{folder}/new{APPLIED}", made, content_type=APPLY),
        clients[THIEF].send("PUT", path, MANIFESTS[plural](name, namespace)),
        clients[THIEF].send("DELETE", path),
    ]

    assert [(status, "cannot" in text) for status, text in answers] == [(403, True)] * 4, answers


# -- what the API server makes of objects that are older than their definition -----------------------------------------


GROUP = "spec-fence.example.com"
DEFINITION = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{GROUP}"
FREE = {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
STRICT = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "kept": {"type": "string", "nullable": True},
                "new": {"type": "string", "default": "a"},
            },
        }
    },
}


def definition(schema):
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"plural": "things", "kind": "Thing"},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }


@pytest.fixture(scope="module")
def things(control_plane, namespace, tmp_path_factory):
    """A kind whose definition changes after objects of it were made, behind the policy: a client, and two objects."""
    user = "thing-thief"
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(definition(FREE)))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", f"things.{GROUP}")
    rights = ("--verb=get,patch", f"--resource=things.{GROUP}")
    control_plane.kubectl("create", "clusterrole", user, *rights)
    control_plane.kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}", f"--user={user}")
    fence_in(control_plane, user, kinds=("specs",), rule={"apiGroups": [GROUP], "resources": ["things"]})
    client = RawClient(control_plane, user, tmp_path_factory.mktemp("thief"))
    folder = f"/apis/{GROUP}/v1/namespaces/{namespace}/things"
    paths = []
    for name, fields in (("full", {"spec": {"kept": None, "gone": {"a": [1]}}}), ("bare", {})):
        control_plane.request(
            "POST", folder, {"apiVersion": f"{GROUP}/v1", "kind": "Thing", "metadata": {"name": name}, **fields}
        )
        paths.append(f"{folder}/{name}")
    await_refusal(client, f"{paths[0]}?dryRun=All", {"spec": {"kept": "b"}})
    yield client, *paths
    control_plane.request("DELETE", DEFINITION)


def test_a_finalizer_goes_onto_what_an_older_definition_let_through(things, control_plane):
    """Fields that are defaults or unknown since, and no spec at all, must hold up no deletion."""
    client, full, bare = things
    finalizers = [{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/hold"]}]
    none = [{"op": "add", "path": "/metadata/finalizers", "value": []}]

    before = [client.send("PATCH", path, finalizers, content_type=JSON)[0] for path in (full, bare)]
    spec_given = client.send("PATCH", bare, {"spec": {}}, content_type=MERGE)[0]
    spec_taken = client.send("PATCH", full, {"spec": None}, content_type=MERGE)[0]
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(definition(STRICT)))
    deadline = time.monotonic() + 20
    while "gone" in control_plane.request("GET", full)["spec"]:
        assert time.monotonic() < deadline, "the new definition isn't served"
        time.sleep(0.1)
    after = [client.send("PATCH", path, none, content_type=JSON)[0] for path in (full, bare)]

    assert (before, spec_given, spec_taken, after) == ([200, 200], 403, 403, [200, 200])
    assert control_plane.request("GET", full)["spec"] == {"kept": None, "new": "a"}


def test_the_expression_is_sound(control_plane, clients):
    """For both kinds, by the API server's own check of types."""
    path = f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{THIEF}-specs"
    deadline = time.monotonic() + 20
    while "observedGeneration" not in (status := control_plane.request("GET", path).get("status", {})):
        assert time.monotonic() < deadline, "the policy isn't checked"
        time.sleep(0.1)

    assert status.get("typeChecking", {}).get("expressionWarnings", []) == []
    (validation,) = shipped("ValidatingAdmissionPolicy", f"{NAME}-specs")["spec"]["validations"]
    assert validation["message"] == REFUSAL
