"""What a stolen operator can do to ConfigMaps, with the shipped rights and behind the shipped policy: its job."""

import secrets

import pytest
from tests.builders import user_manifest
from tests.contract.fence import RawClient, fence_in, grant_rights
from tests.contract.test_annotation_fence import render

from elasticache_iam.api.keys import API_VERSION, LABEL_MANAGED_BY, MANAGED_BY, USER_KIND
from elasticache_iam.kube.errors import CONFIG_MAP_FENCE_WORDS

pytestmark = pytest.mark.cluster

THIEF = "config-map-thief"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def thief(control_plane, tmp_path_factory):
    """A stolen operator behind the policies."""
    control_plane.kubectl("apply", "--server-side", "-f", "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", "crds")
    grant_rights(control_plane, THIEF)
    fence_in(control_plane, THIEF, kinds=("configmaps",))
    return RawClient(control_plane, THIEF, tmp_path_factory.mktemp("thief"))


@pytest.fixture(scope="module")
def namespace(control_plane):
    name = f"config-map-fence-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    yield name
    control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def owners(control_plane, namespace):
    """The uids of two resources: garbage collection takes what has only dead owners."""
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/elasticacheiamusers"
    users = [control_plane.request("POST", path, user_manifest(name, namespace)) for name in ("one", "two")]
    return [user["metadata"]["uid"] for user in users]


@pytest.fixture
def path(namespace):
    return f"/api/v1/namespaces/{namespace}/configmaps"


def theirs(control_plane, path, **metadata):
    name = f"aws-auth-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"mapRoles": "[]"}}
    control_plane.request("POST", path, body)
    return name


def ours(name, uid, **metadata):
    owner = {"apiVersion": API_VERSION, "kind": USER_KIND, "name": "one", "uid": uid, "controller": True}
    marks = {"labels": {LABEL_MANAGED_BY: MANAGED_BY}, "ownerReferences": [owner]}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **marks, **metadata},
        "data": {"a": "b"},
    }


def test_its_own_is_written_and_deleted(thief, path, owners):
    name = f"ours-{secrets.token_hex(4)}"

    statuses = [
        thief.send("POST", path, ours(name, owners[0]))[0],
        thief.send("PUT", f"{path}/{name}", {**ours(name, owners[0]), "data": {"a": "c"}})[0],
        thief.send("DELETE", f"{path}/{name}")[0],
    ]

    assert statuses == [201, 200, 200]


@pytest.mark.parametrize("query", ["", "?dryRun=All"], ids=["real", "dry-run"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_nobody_elses_is_written_deleted_or_shown(thief, control_plane, path, owners, method, query):  # noqa: PLR0917  # fixtures
    name = theirs(control_plane, path, finalizers=["example.com/hold"])
    body = ours(name, owners[0]) if method == "PUT" else None

    status, text = thief.send(method, f"{path}/{name}{query}", body)

    assert status == 403
    assert f"{CONFIG_MAP_FENCE_WORDS}: it hasn't made this one" in text
    assert "mapRoles" not in text
    assert control_plane.request("GET", f"{path}/{name}")["data"] == {"mapRoles": "[]"}
    control_plane.request("PATCH", f"{path}/{name}", {"metadata": {"finalizers": None}}, content_type=MERGE)


def test_one_of_another_resource_is_not_taken_over(thief, path, owners):
    name = f"ours-{secrets.token_hex(4)}"
    thief.send("POST", path, ours(name, owners[0]))

    status, text = thief.send("PUT", f"{path}/{name}", ours(name, owners[1]))

    assert status == 403
    assert f"{CONFIG_MAP_FENCE_WORDS}: this one belongs to another" in text


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {}},
        {"ownerReferences": []},
        {"finalizers": ["example.com/hold"]},
    ],
    ids=["no-label", "no-owner", "a-finalizer"],
)
def test_none_is_made_that_would_not_be_its_own(thief, path, owners, metadata):
    status, text = thief.send("POST", path, ours(f"ours-{secrets.token_hex(4)}", owners[0], **metadata))

    assert status == 403
    assert CONFIG_MAP_FENCE_WORDS in text


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_none_is_read(thief, control_plane, path, method):
    name = theirs(control_plane, path)

    status, text = thief.send(method, f"{path}/{name}", {} if method == "PATCH" else None, content_type=MERGE)

    assert status == 403
    assert "mapRoles" not in text


# -- the chart's values ------------------------------------------------------------------------------------------------


def rights(helm, folder, *settings):
    """Return the verbs that the chart gives the operator everywhere on a resource, by resource."""
    rendered, _ = render(helm, folder, *settings)
    (role,) = [e for e in rendered if e["kind"] == "ClusterRole" and e["metadata"]["name"].endswith("-operator")]
    return {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}


def test_by_default_config_maps_are_written_pods_listed_and_secrets_not_read(helm, tmp_path):
    found = rights(helm, tmp_path)

    assert found["configmaps"] == {"create", "update", "delete"}
    assert found["pods"] == {"list"}
    assert found["secrets"] == {"create", "update", "delete"}


@pytest.mark.parametrize("setting", ["fence.enabled=false", "rbac.configMaps=false"])
def test_without_the_fence_or_the_value_there_is_no_right_to_config_maps(helm, tmp_path, setting):
    assert "configmaps" not in rights(helm, tmp_path, setting)


def test_the_right_to_list_pods_can_be_left_out(helm, tmp_path):
    assert "pods" not in rights(helm, tmp_path, "rbac.podWarnings=false")


def test_secret_repair_brings_the_right_to_watch_secrets(helm, tmp_path):
    assert rights(helm, tmp_path, "config.secretRepair=true")["secrets"] == {
        *("create", "update", "delete"),
        *("list", "watch"),
    }
