"""The CRDs before a real API server: what it accepts, fills in, merges, shows, and what it refuses with which words."""

import base64
import contextlib
import http.client
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contract.manifests import ABSENT, ACCEPTED, REFUSED, ROLE_ARN, ids, manifest
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

CRDS = Path(__file__).parents[2] / "crds"
PLURALS = {"ElastiCacheIAMUser": "elasticacheiamusers", "UserGroup": "usergroups"}
APPLY = "application/apply-patch+yaml"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class ApiServer:
    """One connection, as the administrator: a request takes milliseconds where kubectl takes a tenth of a second."""

    def __init__(self, kubeconfig: Path, pem: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        pem.touch(mode=0o600)
        pem.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        context.load_cert_chain(pem)
        self._connection = http.client.HTTPSConnection(
            cluster["server"].removeprefix("https://"), context=context, timeout=30
        )

    def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        content = None if body is None else json.dumps(body)
        self._connection.request(method, path, content, {"Content-Type": content_type})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def create(self, document: dict[str, Any], query: str = "") -> tuple[int, dict[str, Any]]:
        return self.send("POST", collection(document) + query, document)

    def update(self, document: dict[str, Any], query: str = "") -> tuple[int, dict[str, Any]]:
        return self.send("PUT", item(document) + query, document)

    def apply(self, document: dict[str, Any], manager: str, sub: str = "") -> tuple[int, dict[str, Any]]:
        return self.send("PATCH", f"{item(document)}{sub}?fieldManager={manager}", document, APPLY)

    def close(self) -> None:
        self._connection.close()


def collection(document):
    namespace = document["metadata"]["namespace"]
    return f"/apis/elasticache-iam.dev/v1alpha1/namespaces/{namespace}/{PLURALS[document['kind']]}"


def item(document):
    return f"{collection(document)}/{document['metadata']['name']}"


def is_established(definition):
    conditions = {entry["type"]: entry["status"] for entry in definition["status"]["conditions"] or ()}
    return conditions.get("Established") == "True" and conditions.get("NamesAccepted") == "True"


@pytest.fixture(scope="module")
def api(control_plane, tmp_path_factory):
    """The API server with the CRDs installed."""
    with contextlib.closing(
        ApiServer(control_plane.kubeconfig, tmp_path_factory.mktemp("crds") / "admin.pem")
    ) as server:
        install(server)
        yield server


def install(server):
    definitions = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CRDS.glob("*.yaml"))]
    for definition in definitions:
        path = f"{DEFINITIONS}/{definition['metadata']['name']}"
        status, answer = server.send("PATCH", f"{path}?fieldManager=test&force=true", definition, APPLY)
        assert status in {200, 201}, answer
        wait_for(lambda path=path: is_established(server.send("GET", path)[1]), what=path)
    for plural in PLURALS.values():
        served = f"/apis/elasticache-iam.dev/v1alpha1/{plural}"
        wait_for(lambda served=served: server.send("GET", served)[0] == 200, what=served)


def test_the_definitions_are_sound(api):
    for plural in PLURALS.values():
        _, definition = api.send("GET", f"{DEFINITIONS}/{plural}.elasticache-iam.dev")

        conditions = {entry["type"]: entry["status"] for entry in definition["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"


def test_the_minimal_user_gets_the_documented_defaults(api):
    status, created = api.create(manifest("user"), "?dryRun=All&fieldValidation=Strict")

    assert status == 201
    assert created["status"] == {"observedGeneration": -1}
    assert created["spec"] == {
        "groups": [{"name": "orders", "namespace": "platform"}],
        "access": {"preset": "ReadWrite", "keys": ["orders:*"], "channels": []},
        "serviceAccounts": ["checkout"],
        "role": {"mode": "Managed", "binding": "IRSA"},
        "annotateServiceAccounts": False,
        "delivery": {"mode": "Secret", "secret": {"labels": {}, "annotations": {}}},
        "suspend": False,
        "adoption": "Never",
        "deletionPolicy": "Delete",
        "tags": {},
    }


def test_the_minimal_group_gets_the_documented_defaults(api):
    status, created = api.create(manifest("group"), "?dryRun=All&fieldValidation=Strict")

    assert status == 201
    assert created["status"] == {"observedGeneration": -1}
    assert created["spec"] == {
        "service": "ElastiCache",
        "engine": "valkey",
        "adoption": "Never",
        "caches": [{"name": "main", "replicationGroup": "orders-prod"}],
        "attachment": {"policy": "Refuse"},
        "defaultUser": "Disabled",
        "membership": "Additive",
        "admission": [
            {
                "namespaces": {"names": ["shop"]},
                "limit": {"preset": "ReadWrite", "keys": ["orders:*"], "channels": []},
            }
        ],
        "deletionPolicy": "Retain",
    }


def test_defaults_reach_into_objects_that_are_given_in_part(api):
    changes = {"spec.role": {"binding": "IRSA"}, "spec.delivery": {"secret": {"name": "a"}}}

    _, created = api.create(manifest("user", changes), "?dryRun=All")

    assert created["spec"]["role"] == {"mode": "Managed", "binding": "IRSA"}
    assert created["spec"]["delivery"] == {"mode": "Secret", "secret": {"name": "a", "labels": {}, "annotations": {}}}


@pytest.mark.parametrize("case", ACCEPTED, ids=ids(ACCEPTED))
def test_is_accepted(api, case):
    status, answer = api.create(manifest(case.base, case.changes), "?dryRun=All&fieldValidation=Strict")

    assert status == 201, answer["message"]


@pytest.mark.parametrize("case", REFUSED, ids=ids(REFUSED))
def test_is_refused_with_the_field_and_the_remedy(api, case):
    status, answer = api.create(manifest(case.base, case.changes), "?dryRun=All")

    said = [cause["message"] for cause in answer["details"]["causes"] if cause["field"] == case.field]
    assert status == 422
    assert any(case.says in message for message in said), answer["message"]


def test_a_password_in_an_access_string_is_not_repeated(api):
    changes = {"spec.access": {"accessString": "on ~* +@all >hunter2"}}

    _, answer = api.create(manifest("user", changes), "?dryRun=All")

    assert "hunter2" not in json.dumps(answer)


@pytest.mark.parametrize("base", ["user", "group"])
def test_an_unknown_field_is_named_by_strict_validation(api, base):
    status, answer = api.create(manifest(base, {"spec.delteionPolicy": "Delete"}), "?dryRun=All&fieldValidation=Strict")

    assert status == 400
    assert 'unknown field "spec.delteionPolicy"' in answer["message"]


def named(secret):
    return {"spec.delivery": {"secret": {"name": secret}}}


MEMORYDB = {"spec.service": "MemoryDB", "spec.caches": [{"memoryDBCluster": "a"}]}
IMMUTABLE = [
    ("user", {"spec.id": "a"}, {"spec.id": "b"}, "spec.id"),
    ("user", {}, {"spec.id": "b"}, "spec.id"),
    ("user", {"spec.id": "a"}, {}, "spec.id"),
    ("user", named("a"), named("b"), "spec.delivery.secret.name"),
    ("user", {}, named("b"), "spec.delivery.secret.name"),
    ("user", named("a"), {}, "spec.delivery.secret.name"),
    ("user", named("a"), {"spec.delivery": {"mode": "Secret"}}, "spec.delivery.secret.name"),
    ("group", {"spec.id": "a"}, {"spec.id": "b"}, "spec.id"),
    ("group", {}, {"spec.id": "b"}, "spec.id"),
    ("group", {"spec.id": "a"}, {}, "spec.id"),
    ("group", {}, MEMORYDB, "spec.service"),
    ("group", MEMORYDB, {}, "spec.service"),
    ("group", {"spec.engine": "valkey"}, {"spec.engine": "redis"}, "spec.engine"),
    ("group", {"spec.region": "eu-central-1"}, {"spec.region": "eu-west-1"}, "spec.region"),
    ("group", {}, {"spec.region": "eu-west-1"}, "spec.region"),
    ("group", {"spec.region": "eu-central-1"}, {}, "spec.region"),
    ("group", {"spec.account": "111122223333"}, {"spec.account": "444455556666"}, "spec.account"),
    ("group", {}, {"spec.account": "444455556666"}, "spec.account"),
    ("group", {"spec.account": "111122223333"}, {}, "spec.account"),
]


@pytest.mark.parametrize("case", IMMUTABLE)
def test_what_is_immutable_can_neither_change_nor_come_nor_go(api, namespace, case):
    base, before, after, field = case
    place = {"metadata.namespace": namespace}
    _, created = api.create(manifest(base, {**place, **before}))
    version = {"metadata.resourceVersion": created["metadata"]["resourceVersion"]}

    status, answer = api.update(manifest(base, {**place, **version, **after}), "?dryRun=All")

    assert status == 422
    causes = [cause for cause in answer["details"]["causes"] if cause["field"] == field]
    assert [cause["reason"] for cause in causes] == ["FieldValueForbidden"]
    assert "immutable" in causes[0]["message"]


@pytest.mark.parametrize(
    ("base", "before", "after"),
    [
        ("group", {"spec.engine": "redis"}, {"spec.engine": "valkey"}),
        ("group", {}, {"spec.adoption": "Never", "spec.caches": []}),
        ("group", {"spec.id": "a"}, {"spec.id": "a", "spec.deletionPolicy": "Delete"}),
        ("user", {}, {"spec.suspend": True, "spec.access": {"preset": "Admin"}}),
        ("user", {}, {"spec.groups": [{"name": "other"}], "spec.serviceAccounts": ["other"]}),
        ("user", {}, {"spec.role": {"mode": "Existing", "arn": ROLE_ARN}}),
        ("user", named("a"), {"spec.delivery": {"mode": "None", "secret": {"name": "a"}}}),
    ],
)
def test_the_rest_may_change(api, namespace, base, before, after):
    place = {"metadata.namespace": namespace}
    _, created = api.create(manifest(base, {**place, **before}))
    version = {"metadata.resourceVersion": created["metadata"]["resourceVersion"]}

    status, answer = api.update(manifest(base, {**place, **version, **after}), "?dryRun=All")

    assert status == 200, answer["message"]


def cache_only(namespace, **cache):
    return manifest("group", {"metadata.namespace": namespace, "spec.caches": [cache], "spec.admission": ABSENT})


def test_two_appliers_each_keep_their_cache(api, namespace):
    api.apply(cache_only(namespace, replicationGroup="a"), "one")

    status, merged = api.apply(cache_only(namespace, name="replica", replicationGroup="b"), "two")

    assert status == 200
    assert [cache["name"] for cache in merged["spec"]["caches"]] == ["main", "replica"]


def condition(kind, **more):
    return {
        "type": kind,
        "status": "True",
        "reason": "Synced",
        "message": "all is well",
        "lastTransitionTime": "2026-11-21T09:00:00Z",
        "observedGeneration": 1,
        **more,
    }


def status_only(namespace, *conditions, **fields):
    document = manifest("user", {"metadata.namespace": namespace, "status": {"conditions": list(conditions), **fields}})
    del document["spec"]
    return document


def test_two_appliers_each_keep_their_condition(api, namespace):
    api.create(manifest("user", {"metadata.namespace": namespace}))
    api.apply(status_only(namespace, condition("UserSynced")), "one", "/status")

    status, merged = api.apply(status_only(namespace, condition("Verified")), "two", "/status")

    assert status == 200
    assert [entry["type"] for entry in merged["status"]["conditions"]] == ["UserSynced", "Verified"]


FULL_STATUS = {
    "observedGeneration": 1,
    "conditions": [condition("Ready")],
    "id": "demo-checkout-9f8e7d6c",
    "arn": "arn:aws:elasticache:eu-central-1:111122223333:user:demo-checkout-9f8e7d6c",
    "role": {
        "arn": ROLE_ARN,
        "maxSessionSeconds": 43200,
        "trust": [{"Effect": "Allow", "Condition": {"StringEquals": {"a:sub": ["b"]}}}],
        "policy": [{"Effect": "Allow", "Action": "elasticache:Connect", "Resource": ["*"]}],
    },
    "accessString": {"sent": "on ~* +@read", "returned": "on ~* -@all +@read"},
    "refresh": "2026-11-21T09:00Z",
    "caches": [
        {
            "name": "main",
            "id": "orders-prod",
            "arn": "arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders-prod",
            "service": "elasticache",
            "serverless": False,
            "region": "eu-central-1",
            "host": "orders.example",
            "port": 6379,
            "readerHost": "orders-ro.example",
            "secret": {"name": "checkout", "uid": "5f0a"},
        }
    ],
    "binding": {"name": "checkout"},
    "plan": ["create the user"],
}


def test_a_full_status_is_kept_as_it_is(api, namespace):
    _, created = api.create(manifest("user", {"metadata.namespace": namespace}))

    status, updated = api.send(
        "PUT", f"{item(created)}/status?fieldValidation=Strict", {**created, "status": FULL_STATUS}
    )

    assert status == 200, updated
    assert updated["status"] == FULL_STATUS


def test_a_status_does_not_come_with_the_spec(api, namespace):
    _, created = api.create(manifest("user", {"metadata.namespace": namespace, "status": {"id": "forged"}}))

    assert created["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize(
    "path",
    [
        "elasticacheiamuser",
        "elasticacheiamuser.spec",
        "elasticacheiamuser.spec.delivery.secret",
        "elasticacheiamuser.status",
        "usergroup.spec",
        "usergroup.spec.admission.namespaces",
    ],
)
def test_kubectl_explains_each_field(api, control_plane, path):
    answer = control_plane.kubectl("explain", "--api-version=elasticache-iam.dev/v1alpha1", path)

    assert "DESCRIPTION:" in answer.stdout
    assert "<no description>" not in answer.stdout
    assert "<empty>" not in answer.stdout


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("eciu", "NAME READY REASON USER GROUP AGE ROLE CACHE"),
        ("ecug", "NAME READY REASON GROUP MEMBERS AGE ENGINE CACHE"),
    ],
)
def test_kubectl_get_shows_the_columns(api, control_plane, namespace, name, columns):
    base = {"eciu": "user", "ecug": "group"}[name]
    api.create(manifest(base, {"metadata.namespace": namespace}))

    answer = control_plane.kubectl("get", name, "--namespace", namespace, "--output=wide")

    assert answer.stdout.splitlines()[0].split() == columns.split()


def test_kubectl_get_shows_why_a_user_is_ready(api, control_plane, namespace):
    _, created = api.create(manifest("user", {"metadata.namespace": namespace}))
    api.send("PUT", f"{item(created)}/status", {**created, "status": FULL_STATUS})

    answer = control_plane.kubectl("get", "eciu", "--namespace", namespace, "--output=wide", "--no-headers")

    name, ready, reason, user, group, _, role, cache = answer.stdout.split()
    assert (name, ready, reason, user) == ("checkout", "True", "Synced", "demo-checkout-9f8e7d6c")
    assert (group, role, cache) == ("orders", ROLE_ARN, "orders-prod")


def test_the_category_lists_both_kinds(api, control_plane, namespace):
    api.create(manifest("user", {"metadata.namespace": namespace}))
    api.create(manifest("group", {"metadata.namespace": namespace}))

    answer = control_plane.kubectl("get", "elasticache-iam", "--namespace", namespace, "--output=name")

    assert answer.stdout.split() == [
        "elasticacheiamuser.elasticache-iam.dev/checkout",
        "usergroup.elasticache-iam.dev/orders",
    ]
