"""The chart before a real API server: it installs, upgrades, goes; and what its rights and its fence let through."""

import base64
import http.client
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.contract.chart import CHART, ROOT, VARIANTS, Helm
from tests.contract.manifests import manifest
from tests.waiting import wait_for

from elasticache_iam.api.keys import API_VERSION, DEFAULT_AUDIENCE, FINALIZER, LABEL_MANAGED_BY, MANAGED_BY
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.kube.connection import Connection, load_configuration
from elasticache_iam.kube.kube import ApiKube
from elasticache_iam.kube.lease import LEASE_NAME, ApiLease, LeaseRecord
from elasticache_iam.kube.token_kube import ApiTokenKube
from elasticache_iam_sandbox.cluster.control_plane import free_port
from elasticache_iam_sandbox.cluster.errors import ApiError

pytestmark = pytest.mark.cluster

CRDS = ("elasticacheiamusers.elasticache-iam.dev", "usergroups.elasticache-iam.dev")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
LEASES = "/apis/coordination.k8s.io/v1"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"

MERGE = "application/merge-patch+json"

THEIR_PASSWORD = base64.b64encode(b"correct horse battery staple").decode()


class Client:
    """Raw requests with a bearer token: kubectl would GET before it patches."""

    def __init__(self, control_plane, token):
        self._address = control_plane.url.removeprefix("https://")
        self._tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
        self._token = token

    def send(self, method, path, body=None, content_type="application/json", accept="application/json"):
        """Return status and text; of a watch, what has come so far."""
        connection = http.client.HTTPSConnection(self._address, context=self._tls, timeout=10)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type, "Accept": accept}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def new_namespace(control_plane, **labels):
    name = f"chart-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    return name


@pytest.fixture(scope="module")
def cli(helm, tmp_path_factory):
    """helm without a cluster."""
    return Helm(helm, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def cluster_cli(helm, control_plane, tmp_path_factory):
    """helm at the control plane."""
    return Helm(helm, tmp_path_factory.mktemp("helm"), control_plane.kubeconfig)


def install(cluster_cli, release, namespace, *arguments):
    # Other tests may have installed the CRDs by other means; there is one set in the cluster.
    command = ("install", release, CHART, "--namespace", namespace, "--take-ownership", "--set", "config.owner=demo")
    return cluster_cli(*command, *arguments)


# -- rendering ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _prometheus_operator(control_plane):
    """Prometheus Operator's kinds."""
    control_plane.kubectl("apply", "-f", Path(__file__).with_name("prometheus_operator_crds.yaml"))
    kinds = "/apis/monitoring.coreos.com/v1"
    wait_for(lambda: _is_served(control_plane, f"{kinds}/servicemonitors", f"{kinds}/podmonitors"))
    wait_for(lambda: _is_served(control_plane, f"{kinds}/prometheusrules"))


@pytest.mark.usefixtures("_prometheus_operator")
@pytest.mark.parametrize("values", VARIANTS, ids=lambda path: path.stem)
def test_the_api_server_takes_what_is_rendered(cli, control_plane, namespace, values):
    rendered = cli("template", "r", CHART, "--namespace", namespace, "-f", values).stdout

    answer = control_plane.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"),
        input=rendered,
    )

    documents = [document for document in yaml.safe_load_all(rendered) if document]
    assert len(answer.stdout.splitlines()) == len(documents)


def test_the_rendering_for_kubectl_is_up_to_date(helm):
    rendered = subprocess.run(  # noqa: S603  # our own script
        (sys.executable, ROOT / "packaging" / "render_install.py", "-"),
        env=os.environ | {"PATH": f"{helm.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert rendered == (ROOT / "packaging" / "install.yaml").read_text()  # run `make install-yaml`


def test_the_api_server_takes_the_rendering_for_kubectl(control_plane):
    text = (ROOT / "packaging" / "install.yaml").read_text()
    operators = next(document for document in yaml.safe_load_all(text) if document["kind"] == "Namespace")
    control_plane.request("POST", "/api/v1/namespaces", operators)

    answer = control_plane.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"), input=text
    )

    control_plane.request("DELETE", f"/api/v1/namespaces/{operators['metadata']['name']}")
    assert len(answer.stdout.splitlines()) == len(list(yaml.safe_load_all(text)))
    assert answer.stderr == ""  # the namespace enforces restricted Pods: a Deployment of others would be warned of


UNINSTALLING = ROOT / "docs" / "operations" / "uninstall.md"


def test_removed_by_kubectl_as_documented_the_resources_stay(control_plane, namespace, tmp_path):
    # Under names of its own: what other tests have installed is to stay, too.
    name = f"removed-{namespace}"
    text = (ROOT / "packaging" / "install.yaml").read_text().replace("elasticache-iam-operator", name)
    file = tmp_path / "install.yaml"
    file.write_text(re.sub(r"(name|namespace): elasticache-iam\n", rf"\1: {namespace}\n", text))
    (tmp_path / "kustomization.yaml").write_text("resources: [install.yaml]")
    installed = {identity(document) for document in yaml.safe_load_all(file.read_text())}
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file))
    wait_for(lambda: _is_served(control_plane))
    paths = []
    for kind, plural in (("user", "elasticacheiamusers"), ("group", "usergroups")):
        resource = manifest(kind, {"metadata.namespace": namespace, "metadata.finalizers": [FINALIZER]})
        path = f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}"
        control_plane.request("POST", path, resource)
        paths.append(f"{path}/{resource['metadata']['name']}")
    commands = re.findall(r"(?m)^kubectl (delete (?:-f install.yaml|-k FOLDER) -l \S+)", UNINSTALLING.read_text())
    by_file, by_kustomize = (command.replace("elasticache-iam-operator", name).split() for command in commands)
    by_file[2], by_kustomize[2] = str(file), str(tmp_path)

    told = control_plane.kubectl(*by_kustomize, "--dry-run=server", "-o", "name").stdout
    control_plane.kubectl(*by_file)

    kept = {("CustomResourceDefinition", crd) for crd in CRDS} | {("Namespace", namespace)}
    left = control_plane.kubectl("get", "-f", str(file), "--ignore-not-found", "-o", "json").stdout
    resources = [control_plane.request("GET", path) for path in paths]
    remaining = json.loads(left)["items"] + resources
    assert kept < installed
    assert len(told.splitlines()) == len(installed - kept)
    assert {identity(document) for document in json.loads(left)["items"]} == kept
    assert len(remaining) == len(kept) + 2
    assert not any("deletionTimestamp" in document["metadata"] for document in remaining)

    for path in paths:
        control_plane.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE)


def identity(document):
    return document["kind"], document["metadata"]["name"]


# -- a release's life --------------------------------------------------------------------------------------------------


def test_a_namespace_that_is_not_there_is_named_before_anything_is_made(cluster_cli, namespace):
    command = ("install", "typo", CHART, "--namespace", namespace, "--set", "config.owner=demo", "--take-ownership")

    answer = cluster_cli(*command, "--set", f"config.namespaces={{{namespace},shopp}}", check=False)

    assert (
        'config.namespaces[1]: there is no namespace "shopp", and the operator\'s rights are made in it'
        in answer.stderr
    )
    assert "config.namespaces[0]" not in answer.stderr
    assert "typo" not in cluster_cli("list", "--namespace", namespace).stdout


def test_the_namespace_that_the_installation_makes_need_not_be_there(cluster_cli):
    command = ("install", "own", CHART, "--namespace", "to-be-made", "--create-namespace", "--dry-run=server")

    answer = cluster_cli(
        *command, "--set", "config.owner=demo,config.namespaces={to-be-made}", "--take-ownership", check=False
    )

    assert "config.namespaces" not in answer.stderr


def test_crds_that_are_there_are_taken_over_as_documented(cluster_cli, control_plane, namespace):
    older = [path.read_text().replace("Why it is or is not ready.", "Why.") for path in (ROOT / "crds").glob("*.yaml")]
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input="---\n".join(older))
    for name in CRDS:
        nobodys = {"annotations": {f"meta.helm.sh/release-{what}": None for what in ("name", "namespace")}}
        path = f"{DEFINITIONS}/{name}"
        control_plane.request("PATCH", path, {"metadata": {**nobodys, "labels": None}}, content_type=MERGE)
    page = (ROOT / "docs" / "install.md").read_text()
    (options,) = re.findall(r"(?m)^helm install .* … (--take-ownership.*)$", page)
    command = ("install", "late", CHART, "--namespace", namespace, "--set", "config.owner=demo")

    refused = cluster_cli(*command, check=False)
    cluster_cli("uninstall", "late", "--namespace", namespace, check=False)
    installed = cluster_cli(*command, *options.split())

    shown = control_plane.request("GET", f"{DEFINITIONS}/{CRDS[0]}")
    cluster_cli("uninstall", "late", "--namespace", namespace)
    assert "invalid ownership metadata" in refused.stderr
    assert "STATUS: deployed" in installed.stdout
    assert shown["metadata"]["annotations"]["meta.helm.sh/release-name"] == "late"
    assert "Why it is or is not ready." in json.dumps(shown["spec"])


def test_a_release_is_installed_upgraded_and_uninstalled(cluster_cli, control_plane, namespace):
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/life-elasticache-iam-operator"
    user = manifest("user")
    user["metadata"]["namespace"] = namespace

    installed = install(cluster_cli, "life", namespace)
    assert "STATUS: deployed" in installed.stdout
    assert "Before `helm uninstall life`" in installed.stdout
    before = control_plane.request("GET", deployment)["spec"]["template"]

    cluster_cli("upgrade", "life", CHART, "--namespace", namespace, "--set", "config.owner=demo,config.tokenSeconds=60")
    after = control_plane.request("GET", deployment)["spec"]["template"]
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]  # so that new Pods read it

    wait_for(lambda: _is_served(control_plane))
    control_plane.request("POST", f"/apis/{API_VERSION}/namespaces/{namespace}/elasticacheiamusers", user)
    cluster_cli("uninstall", "life", "--namespace", namespace)
    with pytest.raises(ApiError, match="404"):
        control_plane.request("GET", deployment)
    with pytest.raises(ApiError, match="404"):
        control_plane.request("GET", f"{POLICIES}/life-elasticache-iam-operator-secrets")
    for name in CRDS:
        assert "deletionTimestamp" not in control_plane.request("GET", f"{DEFINITIONS}/{name}")["metadata"]
    left = control_plane.request("GET", f"/apis/{API_VERSION}/namespaces/{namespace}/elasticacheiamusers")["items"]
    assert [entry["metadata"]["name"] for entry in left] == [user["metadata"]["name"]]


def _is_served(control_plane, *paths):
    try:
        for path in paths or (f"/apis/{API_VERSION}/elasticacheiamusers",):
            control_plane.request("GET", path)
    except ApiError:
        return False
    return True


# -- an installed release ----------------------------------------------------------------------------------------------


class Release:
    """The chart, installed; and a client with the operator's own ServiceAccount's token."""

    def __init__(self, control_plane, name, namespace, tenant, kubeconfig):
        self.name = f"{name}-elasticache-iam-operator"
        self.namespace = namespace
        self.tenant = tenant
        self.secrets = f"/api/v1/namespaces/{tenant}/secrets"
        self.admin = control_plane
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/{self.name}"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
        token = control_plane.request("POST", f"{account}/token", request)["status"]["token"]
        self.operator = Client(control_plane, token)
        self.kubeconfig = control_plane.write_kubeconfig(kubeconfig, token=token)
        self._uids = {}

    def add_owner(self, path, body):
        """Make an object that Secrets may refer to as owner."""
        self._uids[body["kind"]] = self.admin.request("POST", path, body)["metadata"]["uid"]

    def owned(self, secret):
        """Return the Secret with its owners' real uids: the garbage collector deletes what has only dead owners."""
        metadata = secret["metadata"]
        owners = [{**owner, "uid": self._uids[owner["kind"]]} for owner in metadata.get("ownerReferences", ())]
        return {**secret, "metadata": {**metadata, **({"ownerReferences": owners} if owners else {})}}

    def request_token(self, spec, *, account="checkout", namespace=None):
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{namespace or self.tenant}/serviceaccounts/{account}/token"
        return self.operator.send("POST", path, body)

    def change_spec(self, **fields):
        """Try to change the tenant's ElastiCacheIAMUser, as a dry run."""
        path = f"/apis/{API_VERSION}/namespaces/{self.tenant}/elasticacheiamusers/checkout?dryRun=All"
        return self.operator.send("PATCH", path, {"spec": fields}, MERGE)

    def put(self, secret):
        return self.admin.request("POST", self.secrets, self.owned(secret))

    def get(self, name):
        return self.admin.request("GET", f"{self.secrets}/{name}")


@pytest.fixture(scope="module")
def release(cluster_cli, control_plane, tmp_path_factory):
    """The chart installed in a namespace for restricted Pods, its fence at work, and a tenant with a ServiceAccount."""
    namespace = new_namespace(control_plane, **{"pod-security.kubernetes.io/enforce": "restricted"})
    tenant = new_namespace(control_plane, team="shop")
    install(cluster_cli, "fenced", namespace)
    kubeconfig = tmp_path_factory.mktemp("operator") / "kubeconfig"
    installed = Release(control_plane, "fenced", namespace, tenant, kubeconfig)
    wait_for(lambda: _is_served(control_plane))
    user = manifest("user")
    user["metadata"] = {"name": "checkout", "namespace": tenant}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "checkout"}}
    installed.add_owner(f"/apis/{API_VERSION}/namespaces/{tenant}/elasticacheiamusers", user)
    installed.add_owner(f"/api/v1/namespaces/{tenant}/serviceaccounts", account)
    installed.put(foreign_secret("theirs"))
    wait_for(lambda: installed.operator.send("POST", f"{installed.secrets}?dryRun=All", foreign_secret())[0] == 403)
    wait_for(lambda: installed.request_token({"audiences": ["sts.amazonaws.com"]})[0] == 403)
    wait_for(lambda: installed.change_spec(suspend=True)[0] == 403)
    yield installed
    cluster_cli("uninstall", "fenced", "--namespace", namespace)
    for name in (namespace, tenant):
        control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


def foreign_secret(name="new", **changes):
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "Opaque",
        "data": {"password": THEIR_PASSWORD},
        **changes,
    }


def our_secret(name="new", **metadata):
    owner = {"apiVersion": API_VERSION, "kind": "ElastiCacheIAMUser", "name": "checkout", "uid": "1"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY},
            "ownerReferences": [{**owner, "controller": True}],
            **metadata,
        },
        "type": "servicebinding.io/redis",
        "data": {"password": base64.b64encode(b"token").decode()},
    }


OURS = our_secret()["metadata"]
OTHER_OWNER = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "checkout", "uid": "1"}
NAMESAKE = {"apiVersion": "example.com/v1", "kind": "ElastiCacheIAMUser", "name": "checkout", "uid": "1"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/theirs"),
        ("GET", ""),
        ("GET", "?watch=true&timeoutSeconds=1"),
        ("DELETE", ""),
        ("PATCH", "/theirs"),
    ],
    ids=["get", "list", "watch", "delete-all", "patch"],
)
def test_the_operator_has_no_right_to(release, method, path):
    status, text = release.operator.send(method, release.secrets + path, foreign_secret("theirs"))

    assert status == 403
    assert "cannot" in text
    assert THEIR_PASSWORD not in text


def test_the_operator_can_not_list_metadata_of_secrets_either(release):
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

    status, _ = release.operator.send("GET", "/api/v1/secrets", accept=accept)

    assert status == 403


@pytest.mark.parametrize(
    ("method", "body"), [("PUT", foreign_secret("theirs")), ("DELETE", None)], ids=["put", "delete"]
)
def test_a_foreign_secret_is_fenced_off_against(release, method, body):
    before = release.get("theirs")

    status, text = release.operator.send(method, f"{release.secrets}/theirs", body)

    assert status == 403
    assert "ValidatingAdmissionPolicy" in text
    assert THEIR_PASSWORD not in text
    assert release.get("theirs") == before


@pytest.mark.parametrize(
    "nearly_ours",
    [
        our_secret("near-label", labels={}),
        our_secret("near-label-of-others", labels={LABEL_MANAGED_BY: "Helm"}),
        our_secret("near-type") | {"type": "Opaque"},
        our_secret("near-owner", ownerReferences=[]),
        our_secret("near-owner-in-control", ownerReferences=[{**OURS["ownerReferences"][0], "controller": False}]),
        our_secret("near-owner-of-others", ownerReferences=[OTHER_OWNER]),
        our_secret("near-owner-of-another-group", ownerReferences=[NAMESAKE]),
    ],
    ids=lambda secret: secret["metadata"]["name"],
)
def test_a_secret_that_lacks_one_mark_is_foreign(release, nearly_ours):
    name = nearly_ours["metadata"]["name"]
    refused_to_create, _ = release.operator.send("POST", release.secrets, nearly_ours)
    release.put(nearly_ours)

    ours = release.owned(our_secret(name) | {"type": nearly_ours["type"]})
    refused_to_replace, text = release.operator.send("PUT", f"{release.secrets}/{name}", ours)

    assert (refused_to_create, refused_to_replace) == (403, 403)
    assert nearly_ours["data"]["password"] not in text


def test_a_serviceaccounts_secret_can_not_be_had(release):
    """The API server would put a token without an end into it."""
    secret = our_secret(annotations={"kubernetes.io/service-account.name": "checkout"})
    secret |= {"type": "kubernetes.io/service-account-token"}

    status, text = release.operator.send("POST", release.secrets, secret)

    assert status == 403
    assert "ValidatingAdmissionPolicy" in text


@pytest.mark.parametrize(
    "change",
    [{"labels": {}}, {"labels": {LABEL_MANAGED_BY: "Helm"}}, {"ownerReferences": []}],
    ids=["no-label", "another-label", "no-owner"],
)
def test_one_of_its_own_can_not_be_made_foreign(release, change):
    name = f"ours-{secrets.token_hex(4)}"
    release.put(our_secret(name))

    status, text = release.operator.send("PUT", f"{release.secrets}/{name}", release.owned(our_secret(name, **change)))

    assert status == 403
    assert "ValidatingAdmissionPolicy" in text


@pytest.mark.parametrize(
    "spec",
    [
        {"audiences": ["sts.amazonaws.com"]},
        {"audiences": [DEFAULT_AUDIENCE, "sts.amazonaws.com"]},
        {"audiences": []},
        {},
        {"audiences": [DEFAULT_AUDIENCE], "expirationSeconds": 7200},
        {
            "audiences": [DEFAULT_AUDIENCE],
            "expirationSeconds": 600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "theirs"},
        },
    ],
    ids=["of-aws", "of-two-audiences", "of-the-api-server", "of-nothing-in-particular", "of-two-hours", "bound"],
)
def test_no_token_is_given(release, spec):
    status, text = release.request_token(spec)

    assert status == 403
    assert "ValidatingAdmissionPolicy" in text


def test_the_operator_can_not_renew_its_own_token(release):
    status, text = release.request_token({"audiences": []}, account=release.name, namespace=release.namespace)

    assert status == 403
    assert "ValidatingAdmissionPolicy" in text


def test_the_operator_can_not_widen_a_users_spec(release):
    status, text = release.change_spec(access={"preset": "Admin", "keys": None})

    assert status == 403
    assert "the operator changes no spec" in text


def test_the_fence_can_not_be_taken_down(release):
    for plural in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
        for what in ("secrets", "tokens", "specs"):
            path = f"/apis/admissionregistration.k8s.io/v1/{plural}/{release.name}-{what}"

            status, _ = release.operator.send("DELETE", path)

            assert status == 403


def test_the_fence_is_for_the_operator_alone(release):
    name = f"admins-{secrets.token_hex(4)}"

    created = release.put(foreign_secret(name))

    assert created["metadata"]["name"] == name


def test_the_fences_expressions_are_sound(release):
    for what in ("secrets", "tokens", "specs"):
        path = f"{POLICIES}/{release.name}-{what}"
        wait_for(lambda path=path: "observedGeneration" in release.admin.request("GET", path).get("status", {}))

        status = release.admin.request("GET", path)["status"]

        assert status.get("typeChecking", {}).get("expressionWarnings", []) == []


# -- what the operator does --------------------------------------------------------------------------------------------


class Leader:
    """A fence that is open: the port's, not the chart's."""

    def check(self):
        """Nothing to object."""

    def left_s(self):
        """Long enough."""
        return 15.0


@pytest.fixture
async def connection(release):
    async with Connection(await load_configuration(str(release.kubeconfig))) as opened:
        yield opened


@pytest.fixture
def token_kube(release, connection):
    return ApiTokenKube(connection, Leader(), namespace=release.namespace)


@pytest.fixture
def kube(connection):
    return ApiKube(connection, Leader())


async def test_the_operators_own_secret_goes_through_its_whole_life(release, token_kube):
    name = f"life-{secrets.token_hex(4)}"
    body = release.owned(our_secret(name))

    uid = await token_kube.create_secret(release.tenant, body)
    body["data"]["password"] = base64.b64encode(b"second").decode()
    await token_kube.replace_secret(release.tenant, name, uid=uid, body=body)
    assert release.get(name)["data"] == body["data"]
    assert await token_kube.reclaim_secret(release.tenant, name, body=body) == uid
    await token_kube.delete_secret(release.tenant, name, uid=uid)

    with pytest.raises(ApiError, match="404"):
        release.get(name)


async def test_a_replaced_secret_is_still_told_from_a_missing_right(release, token_kube):
    """The API server compares uids before it asks the fence."""
    name = f"replaced-{secrets.token_hex(4)}"
    release.put(foreign_secret(name))
    no_uid = "22222222-2222-2222-2222-222222222222"

    with pytest.raises(NotFoundError):
        await token_kube.replace_secret(release.tenant, name, uid=no_uid, body=our_secret(name))
    await token_kube.delete_secret(release.tenant, name, uid=no_uid)

    assert release.get(name)["data"] == {"password": THEIR_PASSWORD}


async def test_a_token_of_the_operators_audience_is_given(release, token_kube):
    token = await token_kube.request_token(release.tenant, "checkout", audience=DEFAULT_AUDIENCE, expires_s=3600)

    assert (token.expires_at - datetime.now(UTC)).total_seconds() == pytest.approx(3600, abs=30)


async def test_the_checkpoint_is_saved_and_loaded(token_kube):
    await token_kube.save_checkpoint(b"first")
    await token_kube.save_checkpoint(b"second")

    assert await token_kube.load_checkpoint() == b"second"


def test_another_configmap_is_out_of_reach(release):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}
    path = f"/api/v1/namespaces/{release.namespace}/configmaps"

    assert release.operator.send("POST", path, body)[0] == 403
    assert release.operator.send("GET", f"{path}/{release.name}-config")[0] == 403
    assert release.operator.send("PATCH", f"{path}/{release.name}-config", {}, MERGE)[0] == 403


async def test_the_lease_is_taken_and_renewed(release, connection):
    lease = ApiLease(connection, namespace=release.namespace, name=LEASE_NAME)

    assert await lease.get() is None
    taken = await lease.create(LeaseRecord("a", 15, renewed_at=datetime.now(UTC)))
    renewed = await lease.replace(taken)

    assert renewed.holder == "a"
    release.admin.request("DELETE", f"{LEASES}/namespaces/{release.namespace}/leases/{LEASE_NAME}")


def test_the_lease_of_another_program_is_out_of_reach(release):
    path = f"{LEASES}/namespaces/{release.namespace}/leases"
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "theirs"}, "spec": {}}
    release.admin.request("POST", path, body)

    assert release.operator.send("GET", f"{path}/theirs")[0] == 403
    assert release.operator.send("PUT", f"{path}/theirs", body)[0] == 403


async def test_a_resource_is_listed_and_its_status_and_finalizers_written(release, kube):
    path = f"/apis/{API_VERSION}/namespaces/{release.tenant}/elasticacheiamusers"
    body = manifest("user")
    body["metadata"] = {"name": f"user-{secrets.token_hex(4)}", "namespace": release.tenant}
    made = release.admin.request("POST", path, body)["metadata"]
    where = ("elasticacheiamusers", release.tenant, made["name"])

    listed = [entry["metadata"]["uid"] async for entry in kube.list_resources("elasticacheiamusers")]
    await kube.set_finalizers(*where, resource_version=made["resourceVersion"], finalizers=(FINALIZER,))
    await kube.patch_status(*where, uid=made["uid"], status={"observedGeneration": 1})
    seen = release.admin.request("GET", f"{path}/{made['name']}")
    await kube.set_finalizers(*where, resource_version=seen["metadata"]["resourceVersion"], finalizers=())

    assert made["uid"] in listed
    assert seen["metadata"]["finalizers"] == [FINALIZER]
    assert seen["status"]["observedGeneration"] == 1


async def test_what_surrounds_a_user_is_read(release, kube):
    labels = await kube.get_namespace_labels(release.tenant)

    assert labels["team"] == "shop"
    assert await kube.get_service_account_annotations(release.tenant, "checkout") is not None


async def test_an_event_is_posted(release, kube):
    name = f"event-{secrets.token_hex(4)}"
    body = {
        "apiVersion": "events.k8s.io/v1",
        "metadata": {"name": name},
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": "elasticache-iam.dev/operator",
        "reportingInstance": "demo",
        "action": "Reconcile",
        "reason": "Ready",
        "type": "Normal",
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "ElastiCacheIAMUser",
            "namespace": release.tenant,
            "name": "a",
        },
    }

    await kube.create_event(release.tenant, body)

    posted = release.admin.request("GET", f"/apis/events.k8s.io/v1/namespaces/{release.tenant}/events/{name}")
    assert posted["reason"] == "Ready"


@pytest.mark.parametrize(
    "path",
    [
        f"/apis/{API_VERSION}/usergroups",
        f"/apis/{API_VERSION}/elasticacheiamusers",
        "/api/v1/namespaces",
        DEFINITIONS,
    ],
    ids=["groups", "users", "namespaces", "definitions"],
)
def test_the_watch_may_list_and_watch(release, path):
    listed, text = release.operator.send("GET", path)
    version = json.loads(text)["metadata"]["resourceVersion"]
    watched, _ = release.operator.send("GET", f"{path}?watch=true&timeoutSeconds=1&resourceVersion={version}")

    assert (listed, watched) == (200, 200)


def run_operator(release, folder, watched):
    """Run the operator with the release's rights until it watches; return its calls.

    It keeps to namespaces without resources, so that it needs no AWS and leaves the other tests' alone.
    """
    settings = {"owner": "demo", "region": "eu-central-1", "account": "111122223333", "namespaces": [watched]}
    config = folder / "config.yaml"
    config.write_text(json.dumps({**settings, "oidcIssuer": "https://oidc.example.com"}))
    port = free_port()
    command = ("operator", "--config", config, "--namespace", release.namespace, "--listen", f"127.0.0.1:{port}")
    started = datetime.now(UTC)
    aws = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": "https://127.0.0.1:1"}
    environment = os.environ | aws | {"KUBECONFIG": str(release.kubeconfig), "PYTHONPATH": "operator"}
    with subprocess.Popen(  # noqa: S603  # our own program
        (sys.executable, "-m", "elasticache_iam", *command), env=environment, cwd=ROOT
    ) as process:
        try:
            wait_for(lambda: process.poll() is not None or _answers(port, "/readyz"), timeout_s=60)
            wait_for(lambda: process.poll() is not None or ("watch", "usergroups", 200) in _calls(release, started))
        finally:
            process.terminate()
    assert process.returncode == 0
    return _calls(release, started)


def test_the_operator_starts_with_these_rights_and_misses_none(release, tmp_path):
    calls = run_operator(release, tmp_path, release.namespace)

    assert {("list", "elasticacheiamusers", 200), ("list", "usergroups", 200), ("create", "leases", 201)} <= calls
    assert {call for call in calls if call[2] in {401, 403}} == set()


def _answers(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _calls(release, since):
    """The operator's (verb, resource, HTTP status) since a moment."""
    user = f"system:serviceaccount:{release.namespace}:{release.name}"
    return {
        (event["verb"], event["objectRef"].get("resource"), event["responseStatus"]["code"])
        for event in release.admin.audit_events()
        if event["user"].get("username") == user
        and "objectRef" in event
        and datetime.fromisoformat(event["requestReceivedTimestamp"]) >= since
    }


def test_the_pod_passes_where_pods_are_restricted(release):
    path = f"/apis/apps/v1/namespaces/{release.namespace}/deployments/{release.name}"
    template = release.admin.request("GET", path)["spec"]["template"]
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-", **template["metadata"]}}
    pods = f"/api/v1/namespaces/{release.namespace}/pods?dryRun=All"

    admitted = release.admin.request("POST", pods, {**body, "spec": template["spec"]})

    assert admitted["spec"]["serviceAccountName"] == release.name
    with pytest.raises(ApiError, match="violates PodSecurity"):  # the check is on
        release.admin.request("POST", pods, {**body, "spec": {**template["spec"], "hostNetwork": True}})


def test_application_teams_may_edit_users_and_no_groups(release):
    def granted():
        edit = release.admin.request("GET", f"{ROLES}/edit")["rules"] or []
        return {name for rule in edit if "elasticache-iam.dev" in rule["apiGroups"] for name in rule["resources"]}

    wait_for(granted)

    assert granted() == {"elasticacheiamusers"}


# -- a release for a list of namespaces --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scoped(release, cluster_cli, control_plane, tmp_path_factory):
    """The chart with rights in one namespace; the CRDs are there."""
    namespace, tenant = new_namespace(control_plane), new_namespace(control_plane)
    install(cluster_cli, "scoped", namespace, "--set", f"config.namespaces={{{tenant}}},crds.enabled=false")
    kubeconfig = tmp_path_factory.mktemp("scoped") / "kubeconfig"
    yield Release(control_plane, "scoped", namespace, tenant, kubeconfig)
    cluster_cli("uninstall", "scoped", "--namespace", namespace)
    for name in (namespace, tenant):
        control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


def test_with_rights_in_one_namespace_the_operator_starts_and_misses_none(scoped, tmp_path):
    calls = run_operator(scoped, tmp_path, scoped.tenant)

    assert {("list", "elasticacheiamusers", 200), ("list", "usergroups", 200), ("create", "leases", 201)} <= calls
    assert {call for call in calls if call[2] in {401, 403}} == set()


def test_with_rights_in_one_namespace_the_others_are_out_of_reach(scoped, release):
    others = f"/api/v1/namespaces/{release.tenant}"
    users = f"/apis/{API_VERSION}"
    refused = [
        scoped.operator.send("POST", f"{others}/secrets", our_secret()),
        scoped.operator.send("DELETE", f"{others}/secrets/theirs"),
        scoped.operator.send("GET", f"{others}/serviceaccounts/checkout"),
        scoped.operator.send("GET", others),
        scoped.operator.send("GET", "/api/v1/namespaces"),
        scoped.operator.send("GET", f"{users}/elasticacheiamusers"),
        scoped.operator.send("GET", f"{users}/namespaces/{release.tenant}/elasticacheiamusers"),
    ]

    assert [status for status, _ in refused] == [403] * len(refused)
    assert all("cannot" in text for _, text in refused)  # RBAC's own word, not the fence's
    assert scoped.operator.send("GET", f"{users}/namespaces/{scoped.tenant}/elasticacheiamusers")[0] == 200
    assert scoped.operator.send("GET", f"/api/v1/namespaces/{scoped.tenant}")[0] == 200


# -- upgrades ----------------------------------------------------------------------------------------------------------


def columns(control_plane, name):
    (version,) = control_plane.request("GET", f"{DEFINITIONS}/{name}")["spec"]["versions"]
    return [column["name"] for column in version["additionalPrinterColumns"]]


def test_an_upgrade_brings_newer_crds_and_a_rollback_the_older(cluster_cli, control_plane, namespace, tmp_path):
    newer = tmp_path / "chart"
    shutil.copytree(CHART, newer)
    crd = newer / "files" / "crds" / "usergroups.yaml"
    document = yaml.safe_load(crd.read_text(encoding="utf-8"))
    column = {"name": "Later", "type": "string", "jsonPath": ".spec.id"}
    document["spec"]["versions"][0]["additionalPrinterColumns"].append(column)
    crd.write_text("# newer\n" + yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    install(cluster_cli, "older", namespace)
    before = columns(control_plane, CRDS[1])

    # Other tests share the control plane and have applied the same CRDs with kubectl.
    options = ("--namespace", namespace, "--reset-then-reuse-values", "--force-conflicts")
    upgraded = cluster_cli("upgrade", "older", newer, *options)
    after = columns(control_plane, CRDS[1])
    cluster_cli("rollback", "older", "1", "--namespace", namespace)
    rolled_back = columns(control_plane, CRDS[1])
    cluster_cli("uninstall", "older", "--namespace", namespace)

    assert "kubectl get elasticache-iam --all-namespaces" in upgraded.stdout
    assert after == [*before, "Later"]
    assert rolled_back == before
    assert columns(control_plane, CRDS[1]) == before
