"""What the planes may rely on at an API server: one suite for the fake one and for a real one.

At the real one the operator has only the rights that it has in production: no get, list, watch or patch of Secrets.
"""

import asyncio
import base64
import json
import secrets
import time
from datetime import UTC, datetime

import pytest
from tests.contract.fence import fence_in
from tests.fakes.kube import PLURALS, FakeKube

from elasticache_iam.api.keys import API_VERSION, FINALIZER, LABEL_MANAGED_BY, MANAGED_BY
from elasticache_iam.core.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    NotLeaderError,
    NotOwnedError,
    ResourceQuotaExceededError,
)
from elasticache_iam.core.events import LONGEST_NOTE, event_body
from elasticache_iam.kube.connection import Connection, load_configuration
from elasticache_iam.kube.kube import ApiKube
from elasticache_iam.kube.lease import ApiLease, LeaseRecord
from elasticache_iam.kube.secret_watch import SecretWatch
from elasticache_iam.kube.token_kube import ApiTokenKube
from elasticache_iam_sandbox.cluster.errors import ClusterError

OPERATOR = "contract-operator"
UNFENCED = "contract-operator-without-policy"
NO_UID = "11111111-1111-1111-1111-111111111111"
RULES = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "update", "delete"]},
    {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["serviceaccounts", "namespaces"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch", "update", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
    {
        "apiGroups": ["elasticache-iam.dev"],
        "resources": ["elasticacheiamusers", "usergroups"],
        "verbs": ["get", "list", "watch", "patch"],
    },
    {
        "apiGroups": ["elasticache-iam.dev"],
        "resources": ["elasticacheiamusers/status", "usergroups/status"],
        "verbs": ["patch"],
    },
]


class Gate:
    """A fence that the test opens and shuts."""

    def __init__(self):
        self.is_open = True

    def check(self):
        if not self.is_open:
            raise NotLeaderError("not the leader")

    def left_s(self):
        return 15.0


class FakeGround:
    """The fake, seen as a cluster."""

    def __init__(self):
        self.gate = Gate()
        self.namespace = "shop"
        self._kube = self.kube = self.token_kube = FakeKube(fence=self.gate)
        self._kube.put_namespace(self.namespace, {"team": "shop"})

    def without_policy(self):
        self._kube.has_policy = False
        return self.token_kube

    def lease(self, name):
        return self._kube.lease(name, namespace=self.namespace)

    def put(self, body):
        return self._kube.put(body)

    def get(self, plural, name):
        return self._kube.get(plural, self.namespace, name)

    def secret_names(self):
        return [name for _, name in self._kube.secret_names()]

    def delete(self, plural, name):
        self._kube.delete(plural, self.namespace, name)

    def terminate_namespace(self):
        self._kube.terminate_namespace(self.namespace)

    def calls(self):
        return [(call.verb, call.resource) for call in self._kube.calls]


class RealGround:
    """A namespace of the real control plane; the operator's calls are counted in its audit log."""

    def __init__(self, control_plane, namespace, connection, unfenced):
        self.gate = Gate()
        self._unfenced = unfenced
        self.namespace = namespace
        self._admin = control_plane
        self._connection = connection
        self.token_kube = ApiTokenKube(connection, self.gate, namespace=namespace)
        self.kube = ApiKube(connection, self.gate, namespaces=(namespace,), page_size=2)

    def without_policy(self):
        return ApiTokenKube(self._unfenced, self.gate, namespace=self.namespace)

    def lease(self, name):
        return ApiLease(self._connection, namespace=self.namespace, name=name)

    def _path(self, plural, name=""):
        group = f"/apis/{API_VERSION}" if plural in {"elasticacheiamusers", "usergroups"} else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def put(self, body):
        plural, name = PLURALS[body["kind"]], body["metadata"]["name"]
        if self.get(plural, name) is None:
            return self._admin.request("POST", self._path(plural), body)
        return self._admin.request("PUT", self._path(plural, name), body)

    def get(self, plural, name):
        try:
            return self._admin.request("GET", self._path(plural, name))
        except ClusterError as error:
            if ": 404 " in str(error):
                return None
            raise

    def secret_names(self):
        return [body["metadata"]["name"] for body in self._admin.request("GET", self._path("secrets"))["items"]]

    def delete(self, plural, name):
        self._admin.request("DELETE", self._path(plural, name))

    def terminate_namespace(self):
        # The finalizer keeps the namespace from going away while the test looks.
        self.put(_object("ConfigMap", self.namespace, "anchor", finalizers=["example.com/hold"]))
        self._admin.request("DELETE", f"/api/v1/namespaces/{self.namespace}")
        for attempt in range(100):
            try:
                self._admin.request(
                    "POST", self._path("configmaps"), _object("ConfigMap", self.namespace, f"{attempt}")
                )
            except ClusterError:
                break
            time.sleep(0.05)
        patch = '{"metadata":{"finalizers":null}}'
        self.release = lambda: self._admin.kubectl(
            "patch", "configmap", "anchor", "-n", self.namespace, "--type=merge", "-p", patch
        )

    async def fill(self):
        """Bring a ResourceQuota that is used up. What counts isn't run here, so its status is written by hand."""
        nothing = {"count/secrets": "0", "count/configmaps": "0"}
        quota = {**_object("ResourceQuota", self.namespace, "team"), "spec": {"hard": nothing}}
        self._admin.request("POST", self._path("resourcequotas"), quota)
        path, kind = self._path("resourcequotas", "team/status"), "application/merge-patch+json"
        self._admin.request("PATCH", path, {"status": {"hard": nothing, "used": nothing}}, content_type=kind)
        probe = _object("Secret", self.namespace, "probe")
        for _ in range(600):
            try:
                self._admin.request("POST", self._path("secrets") + "?dryRun=All", probe)
            except ClusterError:
                return
            await asyncio.sleep(0.05)
        pytest.fail("the quota is never in force")

    def release(self):
        """Nothing is held until a namespace is terminated."""

    def calls(self):
        found = []
        for event in self._admin.audit_events():
            reference = event.get("objectRef", {})
            if event["user"].get("username") in {OPERATOR, UNFENCED} and reference.get("namespace") == self.namespace:
                kind = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
                found.append((event["verb"], kind))
        return found


@pytest.fixture(scope="session")
def kubeconfigs(control_plane, tmp_path_factory):
    """Kubeconfigs with the operator's rights, behind the admission policy and not, on a cluster with the CRDs."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": OPERATOR},
        "rules": RULES,
    }
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(role))
    for user in (OPERATOR, UNFENCED):
        control_plane.kubectl("create", "clusterrolebinding", user, f"--clusterrole={OPERATOR}", f"--user={user}")
    control_plane.kubectl("apply", "--server-side", "-f", "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", "crds")
    fence_in(control_plane, OPERATOR)
    folder = tmp_path_factory.mktemp("operator")
    return [str(control_plane.write_kubeconfig(folder / user, user=user)) for user in (OPERATOR, UNFENCED)]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
async def ground(request):
    if request.param == "fake":
        yield FakeGround()
        return
    control_plane = request.getfixturevalue("control_plane")
    fenced, unfenced = [await load_configuration(path) for path in request.getfixturevalue("kubeconfigs")]
    namespace = f"kube-port-{secrets.token_hex(4)}"
    labels = {"team": "shop"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    async with Connection(fenced) as connection, Connection(unfenced) as other:
        real = RealGround(control_plane, namespace, connection, other)
        yield real
        real.release()
    control_plane.request("DELETE", f"/api/v1/namespaces/{namespace}")


def _object(kind, namespace, name, **metadata):
    return {"apiVersion": "v1", "kind": kind, "metadata": {"namespace": namespace, "name": name, **metadata}}


def encode(**values):
    return {key.replace("_", "-"): base64.b64encode(value.encode()).decode() for key, value in values.items()}


def foreign_secret(namespace, **changes):
    secret = {**_object("Secret", namespace, "checkout"), "type": "Opaque", "data": encode(password="theirs")}
    return {**secret, **changes}


def our_secret(*, name="checkout", owner_uid=NO_UID, **data):
    owner = {"apiVersion": API_VERSION, "kind": "ElastiCacheIAMUser", "name": "checkout", "uid": owner_uid}
    return {
        "metadata": {
            "name": name,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY},
            "annotations": {"elasticache-iam.dev/expires-at": "2026-11-21T09:00:00Z"},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "type": "servicebinding.io/redis",
        "data": encode(**data),
    }


def user(ground, name="checkout"):
    return {
        "apiVersion": API_VERSION,
        "kind": "ElastiCacheIAMUser",
        "metadata": {"namespace": ground.namespace, "name": name},
        "spec": {
            "groups": [{"name": "orders"}],
            "access": {"preset": "ReadWrite", "keys": ["orders:*"]},
            "serviceAccounts": ["checkout"],
        },
    }


async def deliver(ground, **data):
    """Create a user and its Secret; return the uids of both."""
    owner_uid = ground.put(user(ground))["metadata"]["uid"]
    return owner_uid, await ground.token_kube.create_secret(ground.namespace, our_secret(owner_uid=owner_uid, **data))


def read(ground, name="checkout"):
    secret = ground.get("secrets", name)
    return None if secret is None else {k: base64.b64decode(v).decode() for k, v in secret.get("data", {}).items()}


async def test_a_created_secret_is_the_object_whose_uid_is_returned(ground):
    _, uid = await deliver(ground, password="one")

    assert ground.get("secrets", "checkout")["metadata"]["uid"] == uid
    assert read(ground) == {"password": "one"}


async def test_a_foreign_secret_is_not_overwritten_by_creation(ground):
    ground.put(foreign_secret(ground.namespace))

    with pytest.raises(AlreadyExistsError):
        await ground.token_kube.create_secret(ground.namespace, our_secret(password="ours"))

    assert read(ground) == {"password": "theirs"}


async def test_a_secret_for_a_missing_namespace_is_not_found(ground):
    with pytest.raises(NotFoundError):
        await ground.token_kube.create_secret(f"{ground.namespace}-none", our_secret(password="ours"))


@pytest.mark.parametrize("ground", [pytest.param("real", marks=pytest.mark.cluster)], indirect=True)
async def test_a_full_namespace_is_told_by_its_quotas_name_and_what_is_there_is_kept_up_to_date(ground):
    owner_uid, uid = await deliver(ground, password="one")

    await ground.fill()

    body = our_secret(name="second", owner_uid=owner_uid, password="hunter2")
    with pytest.raises(ResourceQuotaExceededError, match="ResourceQuota team") as of_secret:
        await ground.token_kube.create_secret(ground.namespace, body)
    with pytest.raises(ResourceQuotaExceededError, match="ResourceQuota team"):
        await ground.kube.create_config_map(ground.namespace, settings(owner_uid=owner_uid))
    assert "count/secrets" not in str(of_secret.value)
    await ground.token_kube.replace_secret(
        ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="two")
    )
    assert read(ground) == {"password": "two"}


async def test_a_namespace_that_ends_or_is_gone_is_told(ground):
    before = await ground.kube.is_namespace_ending(ground.namespace)

    ground.terminate_namespace()

    assert before is False
    assert await ground.kube.is_namespace_ending(ground.namespace) is True
    assert await ground.kube.is_namespace_ending(f"{ground.namespace}-none") is True


async def test_nothing_is_created_in_a_terminating_namespace(ground):
    ground.terminate_namespace()

    with pytest.raises(NotFoundError):
        await ground.token_kube.create_secret(ground.namespace, our_secret(password="ours"))


@pytest.mark.parametrize("kind", ["Opaque", "servicebinding.io/redis"])
async def test_reclaiming_refuses_a_foreign_secret_and_leaves_it(ground, kind):
    ground.put(foreign_secret(ground.namespace, type=kind))

    with pytest.raises(NotOwnedError, match="isn't this resource's"):
        await ground.token_kube.reclaim_secret(ground.namespace, "checkout", body=our_secret(password="ours"))

    assert read(ground) == {"password": "theirs"}


async def test_reclaiming_refuses_another_resource_s_secret(ground):
    await deliver(ground, password="one")

    with pytest.raises(NotOwnedError, match="isn't this resource's"):
        await ground.token_kube.reclaim_secret(
            ground.namespace, "checkout", body=our_secret(owner_uid=NO_UID, password="two")
        )

    assert read(ground) == {"password": "one"}


async def test_reclaiming_our_own_secret_replaces_its_content_and_returns_its_uid(ground):
    owner_uid, uid = await deliver(ground, password="one", stale="key")

    reclaimed = await ground.token_kube.reclaim_secret(
        ground.namespace, "checkout", body=our_secret(owner_uid=owner_uid, password="two")
    )

    assert reclaimed == uid
    assert read(ground) == {"password": "two"}


async def test_reclaiming_a_missing_secret_is_not_found(ground):
    with pytest.raises(NotFoundError):
        await ground.token_kube.reclaim_secret(ground.namespace, "checkout", body=our_secret(password="ours"))

    assert read(ground) is None


async def test_reclaiming_in_a_missing_namespace_is_not_found(ground):
    with pytest.raises(NotFoundError):
        await ground.token_kube.reclaim_secret(f"{ground.namespace}-none", "checkout", body=our_secret(password="ours"))


@pytest.mark.parametrize("kind", ["Opaque", "servicebinding.io/redis"])
async def test_without_the_policy_a_foreign_secret_is_left(ground, kind):
    ground.put(foreign_secret(ground.namespace, type=kind))

    with pytest.raises(NotOwnedError, match="can't be told safely"):
        await ground.without_policy().reclaim_secret(ground.namespace, "checkout", body=our_secret(password="ours"))

    assert read(ground) == {"password": "theirs"}


async def test_without_the_policy_our_own_secret_is_left_too_and_nothing_new_appears(ground):
    owner_uid, _ = await deliver(ground, password="one")

    with pytest.raises(NotOwnedError, match="can't be told safely"):
        await ground.without_policy().reclaim_secret(
            ground.namespace, "checkout", body=our_secret(owner_uid=owner_uid, password="two")
        )

    assert read(ground) == {"password": "one"}
    assert ground.secret_names() == ["checkout"]


async def test_reclaiming_probes_the_policy_and_writes_once(ground):
    owner_uid, _ = await deliver(ground, password="one")
    before = len(ground.calls())

    await ground.token_kube.reclaim_secret(
        ground.namespace, "checkout", body=our_secret(owner_uid=owner_uid, password="two")
    )

    assert ground.calls()[before:] == [("create", "secrets"), ("update", "secrets")]
    assert ground.secret_names() == ["checkout"]


async def test_a_replacement_brings_the_token_and_the_annotation(ground):
    owner_uid, uid = await deliver(ground, password="one")
    body = our_secret(owner_uid=owner_uid, password="two")
    body["metadata"]["annotations"]["elasticache-iam.dev/expires-at"] = "2026-11-21T09:15:00Z"

    await ground.token_kube.replace_secret(ground.namespace, "checkout", uid=uid, body=body)

    secret = ground.get("secrets", "checkout")
    assert read(ground) == {"password": "two"}
    assert secret["metadata"]["uid"] == uid
    assert secret["metadata"]["annotations"]["elasticache-iam.dev/expires-at"] == "2026-11-21T09:15:00Z"


async def test_a_replacement_takes_away_what_others_added(ground):
    owner_uid, uid = await deliver(ground, password="one")
    secret = ground.get("secrets", "checkout")
    secret["metadata"]["labels"]["theirs"] = "gone"
    secret["data"]["theirs"] = "Z29uZQ=="
    ground.put(secret)

    await ground.token_kube.replace_secret(
        ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="two")
    )

    assert ground.get("secrets", "checkout")["metadata"]["labels"] == {LABEL_MANAGED_BY: MANAGED_BY}
    assert read(ground) == {"password": "two"}


async def test_a_replacement_repairs_what_others_changed(ground):
    owner_uid, uid = await deliver(ground, password="one")
    secret = ground.get("secrets", "checkout")
    secret["data"] = encode(password="broken")
    ground.put(secret)

    await ground.token_kube.replace_secret(
        ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="one")
    )

    assert read(ground) == {"password": "one"}


async def test_a_key_that_the_next_body_lacks_goes(ground):
    owner_uid, uid = await deliver(ground, password="one", host="example.com")

    await ground.token_kube.replace_secret(
        ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="two")
    )

    assert read(ground) == {"password": "two"}


async def test_replacing_a_deleted_secret_creates_nothing(ground):
    owner_uid, uid = await deliver(ground, password="one")
    ground.delete("secrets", "checkout")

    with pytest.raises(NotFoundError):
        await ground.token_kube.replace_secret(
            ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="two")
        )

    assert read(ground) is None


@pytest.mark.parametrize("has_policy", [True, False], ids=["with-the-policy", "without-the-policy"])
@pytest.mark.parametrize("kind", ["Opaque", "servicebinding.io/redis"])
async def test_replacing_leaves_another_secret_of_that_name(ground, kind, has_policy):
    owner_uid, uid = await deliver(ground, password="one")
    ground.delete("secrets", "checkout")
    ground.put(foreign_secret(ground.namespace, type=kind))
    token_kube = ground.token_kube if has_policy else ground.without_policy()

    with pytest.raises(NotFoundError):
        await token_kube.replace_secret(
            ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="two")
        )

    assert read(ground) == {"password": "theirs"}


async def test_a_secret_that_lost_our_label_is_neither_replaced_nor_deleted(ground):
    owner_uid, uid = await deliver(ground, password="one")
    secret = ground.get("secrets", "checkout")
    secret["metadata"]["labels"] = {}
    ground.put(secret)

    with pytest.raises(NotOwnedError, match="lost our label"):
        await ground.token_kube.replace_secret(
            ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="two")
        )
    await ground.token_kube.delete_secret(ground.namespace, "checkout", uid=uid)

    assert read(ground) == {"password": "one"}


async def test_a_secret_that_somebody_made_immutable_waits_for_an_edit(ground):
    owner_uid, uid = await deliver(ground, password="one")
    ground.put({**ground.get("secrets", "checkout"), "immutable": True})

    with pytest.raises(InvalidSpecError):
        await ground.token_kube.replace_secret(
            ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="two")
        )

    assert read(ground) == {"password": "one"}


async def test_a_refresh_is_one_write_and_no_read(ground):
    owner_uid, uid = await deliver(ground, password="one")
    before = len(ground.calls())

    await ground.token_kube.replace_secret(
        ground.namespace, "checkout", uid=uid, body=our_secret(owner_uid=owner_uid, password="two")
    )

    assert ground.calls()[before:] == [("update", "secrets")]


async def test_deleting_takes_that_very_secret(ground):
    _, uid = await deliver(ground, password="one")

    await ground.kube.delete_secret(ground.namespace, "checkout", uid=uid)

    assert read(ground) is None


async def test_deleting_a_missing_secret_is_success(ground):
    await ground.token_kube.delete_secret(ground.namespace, "checkout", uid=NO_UID)

    assert read(ground) is None


async def test_deleting_leaves_another_secret_of_that_name(ground):
    ground.put(foreign_secret(ground.namespace))

    await ground.token_kube.delete_secret(ground.namespace, "checkout", uid=NO_UID)

    assert read(ground) == {"password": "theirs"}


async def test_a_shut_fence_stops_every_write(ground):
    owner_uid, uid = await deliver(ground, password="one")
    ground.gate.is_open = False
    body = our_secret(owner_uid=owner_uid, password="two")
    calls = len(ground.calls())
    where = (ground.namespace, "checkout")

    for write in (
        ground.token_kube.create_secret(ground.namespace, body),
        ground.token_kube.reclaim_secret(*where, body=body),
        ground.token_kube.replace_secret(*where, uid=uid, body=body),
        ground.token_kube.delete_secret(*where, uid=uid),
        ground.token_kube.request_token(*where, audience="elasticache-iam.dev/sign", expires_s=600),
        ground.token_kube.save_checkpoint(b""),
        ground.kube.patch_status("elasticacheiamusers", *where, uid=owner_uid, status={}),
        ground.kube.set_finalizers("elasticacheiamusers", *where, resource_version="1", finalizers=()),
        ground.kube.create_event(ground.namespace, {}),
    ):
        with pytest.raises(NotLeaderError):
            await write

    assert len(ground.calls()) == calls


async def test_a_requested_token_has_a_future_end_and_stays_out_of_repr(ground):
    ground.put(_object("ServiceAccount", ground.namespace, "checkout"))

    token = await ground.token_kube.request_token(
        ground.namespace, "checkout", audience="elasticache-iam.dev/sign", expires_s=600
    )

    assert 0 < (token.expires_at - datetime.now(UTC)).total_seconds() <= 600
    assert token.text not in repr(token)


async def test_a_token_of_a_missing_service_account_is_not_found(ground):
    with pytest.raises(NotFoundError):
        await ground.token_kube.request_token(
            ground.namespace, "nobody", audience="elasticache-iam.dev/sign", expires_s=600
        )


async def test_a_checkpoint_comes_back_as_it_was_saved(ground):
    assert await ground.token_kube.load_checkpoint() is None
    await ground.token_kube.save_checkpoint(b"first")
    await ground.token_kube.save_checkpoint(b"\x1f\x8bsecond\x00")

    assert await ground.token_kube.load_checkpoint() == b"\x1f\x8bsecond\x00"


async def test_a_new_resource_has_not_been_observed(ground):
    assert ground.put(user(ground))["status"] == {"observedGeneration": -1}


async def test_a_status_is_replaced_whole_and_nothing_else_changes(ground):
    before = ground.put(user(ground))
    where = ("elasticacheiamusers", ground.namespace, "checkout")
    uid = before["metadata"]["uid"]
    await ground.kube.patch_status(*where, uid=uid, status={"observedGeneration": 1, "id": "demo-checkout"})

    await ground.kube.patch_status(*where, uid=uid, status={"observedGeneration": 1, "refresh": "now"})

    after = ground.get("elasticacheiamusers", "checkout")
    assert after["status"] == {"observedGeneration": 1, "refresh": "now"}
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


async def test_a_status_is_one_write_and_no_read(ground):
    uid = ground.put(user(ground))["metadata"]["uid"]

    await ground.kube.patch_status(
        "elasticacheiamusers", ground.namespace, "checkout", uid=uid, status={"observedGeneration": 1}
    )

    assert ground.calls() == [("patch", "elasticacheiamusers/status")]


async def test_the_status_of_another_object_of_that_name_is_left(ground):
    ground.put(user(ground))

    with pytest.raises(ConflictError):
        await ground.kube.patch_status(
            "elasticacheiamusers", ground.namespace, "checkout", uid=NO_UID, status={"observedGeneration": 7}
        )

    assert ground.get("elasticacheiamusers", "checkout")["status"] == {"observedGeneration": -1}


async def test_the_status_of_a_missing_resource_is_not_found(ground):
    with pytest.raises(NotFoundError):
        await ground.kube.patch_status("elasticacheiamusers", ground.namespace, "nobody", uid=NO_UID, status={})


async def test_finalizers_are_set_and_the_object_is_returned(ground):
    version = ground.put(user(ground))["metadata"]["resourceVersion"]

    body = await ground.kube.set_finalizers(
        "elasticacheiamusers", ground.namespace, "checkout", resource_version=version, finalizers=(FINALIZER,)
    )

    assert body["metadata"]["finalizers"] == [FINALIZER]
    assert body == ground.get("elasticacheiamusers", "checkout")


async def test_finalizers_of_a_changed_resource_are_a_conflict(ground):
    body = ground.put(user(ground))
    version = body["metadata"]["resourceVersion"]
    body["spec"]["suspend"] = True
    ground.put(body)

    with pytest.raises(ConflictError):
        await ground.kube.set_finalizers(
            "elasticacheiamusers", ground.namespace, "checkout", resource_version=version, finalizers=(FINALIZER,)
        )

    assert "finalizers" not in ground.get("elasticacheiamusers", "checkout")["metadata"]


async def test_a_deleted_resource_goes_with_its_last_finalizer(ground):
    where = ("elasticacheiamusers", ground.namespace, "checkout")
    version = ground.put(user(ground))["metadata"]["resourceVersion"]
    await ground.kube.set_finalizers(*where, resource_version=version, finalizers=(FINALIZER,))
    ground.delete("elasticacheiamusers", "checkout")
    deleting = ground.get("elasticacheiamusers", "checkout")

    await ground.kube.set_finalizers(*where, resource_version=deleting["metadata"]["resourceVersion"], finalizers=())

    assert "deletionTimestamp" in deleting["metadata"]
    assert ground.get("elasticacheiamusers", "checkout") is None


async def test_all_resources_are_listed_whatever_the_page(ground):
    for number in range(5):
        ground.put(user(ground, f"user-{number}"))

    names = [body["metadata"]["name"] async for body in ground.kube.list_resources("elasticacheiamusers")]

    assert sorted(names) == [f"user-{number}" for number in range(5)]


async def test_a_service_account_is_there_or_not(ground):
    ground.put(_object("ServiceAccount", ground.namespace, "checkout"))

    assert await ground.kube.get_service_account_annotations(ground.namespace, "checkout") == {}
    assert await ground.kube.get_service_account_annotations(ground.namespace, "nobody") is None


async def test_a_namespace_shows_its_labels(ground):
    labels = await ground.kube.get_namespace_labels(ground.namespace)

    assert labels["team"] == "shop"


async def test_a_missing_namespace_has_no_labels(ground):
    with pytest.raises(NotFoundError):
        await ground.kube.get_namespace_labels(f"{ground.namespace}-none")


async def test_events_of_both_kinds_are_taken(ground):
    about = {"kind": "ElastiCacheIAMUser", "apiVersion": API_VERSION, "namespace": ground.namespace, "name": "checkout"}
    core = {"involvedObject": about, "reason": "SecretWritten", "message": "first token", "type": "Normal"}
    newer = {
        "apiVersion": "events.k8s.io/v1",
        "regarding": about,
        "reason": "SecretWritten",
        "note": "first token",
        "type": "Normal",
        "action": "Deliver",
        "eventTime": "2026-11-21T09:00:00.000000Z",
        "reportingController": "elasticache-iam.dev/operator",
        "reportingInstance": "operator-0",
    }

    for body in (core, newer):
        await ground.kube.create_event(ground.namespace, body)

    assert ground.calls() == [("create", "events")] * 2


async def test_an_event_with_a_long_note_is_taken(ground):
    about = {"kind": "ElastiCacheIAMUser", "apiVersion": API_VERSION, "namespace": ground.namespace, "name": "checkout"}
    body = event_body(
        about,
        name="checkout.1",
        at=datetime.now(UTC),
        instance="demo",
        action="Reconcile",
        reason="InvalidSpec",
        note="…" * LONGEST_NOTE,
        is_warning=True,
    )

    await ground.kube.create_event(ground.namespace, body)

    with pytest.raises(InvalidSpecError):
        await ground.kube.create_event(ground.namespace, {**body, "note": "…" * 342})


async def test_a_lease_is_created_read_and_replaced(ground):
    lease = ground.lease("operator")
    record = LeaseRecord("first", 15, 0, datetime(2026, 11, 21, 9, tzinfo=UTC), datetime(2026, 11, 21, 9, tzinfo=UTC))
    assert await lease.get() is None

    created = await lease.create(record)
    replaced = await lease.replace(LeaseRecord("", 1, 0, resource_version=created.resource_version))

    assert created.is_same_as(record)
    assert replaced.holder == ""
    assert await lease.get() == replaced


async def test_of_two_creations_of_a_lease_one_wins(ground):
    results = await asyncio.gather(
        ground.lease("operator").create(LeaseRecord("a", 15)),
        ground.lease("operator").create(LeaseRecord("b", 15)),
        return_exceptions=True,
    )

    assert sorted(type(result).__name__ for result in results) == ["AlreadyExistsError", "LeaseRecord"]


async def test_of_two_replacements_of_a_lease_one_wins(ground):
    seen = await ground.lease("operator").create(LeaseRecord("", 15))

    results = await asyncio.gather(
        ground.lease("operator").replace(LeaseRecord("a", 15, resource_version=seen.resource_version)),
        ground.lease("operator").replace(LeaseRecord("b", 15, resource_version=seen.resource_version)),
        return_exceptions=True,
    )

    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "LeaseRecord"]


# -- ConfigMaps --------------------------------------------------------------------------------------------------------


def settings(*, owner_uid=NO_UID, **data):
    owner = {"apiVersion": API_VERSION, "kind": "ElastiCacheIAMUser", "name": "checkout", "uid": owner_uid}
    metadata = {
        "name": "settings",
        "labels": {LABEL_MANAGED_BY: MANAGED_BY},
        "ownerReferences": [{**owner, "controller": True}],
    }
    return {"metadata": metadata, "data": data}


def foreign_settings(namespace, **changes):
    return {**_object("ConfigMap", namespace, "settings"), "data": {"host": "theirs"}, **changes}


def settings_of(ground):
    found = ground.get("configmaps", "settings")
    return None if found is None else found["data"]


async def put_settings(ground, **data):
    """Create a user and its ConfigMap; return the uids of both."""
    owner_uid = ground.put(user(ground))["metadata"]["uid"]
    return owner_uid, await ground.kube.create_config_map(ground.namespace, settings(owner_uid=owner_uid, **data))


async def test_a_created_config_map_is_the_object_whose_uid_is_returned(ground):
    _, uid = await put_settings(ground, host="one")

    assert ground.get("configmaps", "settings")["metadata"]["uid"] == uid
    assert settings_of(ground) == {"host": "one"}


async def test_a_config_map_of_ours_is_replaced_whole(ground):
    owner_uid, uid = await put_settings(ground, host="one", stale="1")

    await ground.kube.replace_config_map(
        ground.namespace, "settings", uid=uid, body=settings(owner_uid=owner_uid, host="two")
    )

    assert settings_of(ground) == {"host": "two"}


async def test_writing_what_is_there_already_changes_nothing(ground):
    owner_uid, uid = await put_settings(ground, host="one")
    before = ground.get("configmaps", "settings")["metadata"]["resourceVersion"]

    await ground.kube.replace_config_map(
        ground.namespace, "settings", uid=uid, body=settings(owner_uid=owner_uid, host="one")
    )

    assert ground.get("configmaps", "settings")["metadata"]["resourceVersion"] == before


async def test_a_foreign_config_map_is_neither_created_over_nor_reclaimed(ground):
    ground.put(foreign_settings(ground.namespace))

    with pytest.raises(AlreadyExistsError):
        await ground.kube.create_config_map(ground.namespace, settings(host="ours"))
    with pytest.raises(NotOwnedError, match="isn't this resource's"):
        await ground.kube.reclaim_config_map(ground.namespace, "settings", body=settings(host="ours"))

    assert settings_of(ground) == {"host": "theirs"}


async def test_another_resource_s_config_map_is_not_reclaimed(ground):
    await put_settings(ground, host="one")

    with pytest.raises(NotOwnedError, match="isn't this resource's"):
        await ground.kube.reclaim_config_map(ground.namespace, "settings", body=settings(host="two"))

    assert settings_of(ground) == {"host": "one"}


async def test_our_own_config_map_of_unknown_uid_is_reclaimed(ground):
    owner_uid, uid = await put_settings(ground, host="one")

    reclaimed = await ground.kube.reclaim_config_map(
        ground.namespace, "settings", body=settings(owner_uid=owner_uid, host="two")
    )

    assert reclaimed == uid
    assert settings_of(ground) == {"host": "two"}


async def test_a_config_map_is_gone_once_another_object_has_its_name(ground):
    with pytest.raises(NotFoundError):
        await ground.kube.replace_config_map(ground.namespace, "settings", uid=NO_UID, body=settings(host="ours"))
    ground.put(foreign_settings(ground.namespace))
    with pytest.raises(NotFoundError):
        await ground.kube.replace_config_map(ground.namespace, "settings", uid=NO_UID, body=settings(host="ours"))

    assert settings_of(ground) == {"host": "theirs"}


async def test_a_config_map_that_lost_our_label_is_not_ours_any_more(ground):
    owner_uid, uid = await put_settings(ground, host="one")
    found = ground.get("configmaps", "settings")
    ground.put({**found, "kind": "ConfigMap", "metadata": {**found["metadata"], "labels": {}}})

    with pytest.raises(NotOwnedError, match="lost our label"):
        await ground.kube.replace_config_map(
            ground.namespace, "settings", uid=uid, body=settings(owner_uid=owner_uid, host="two")
        )
    await ground.kube.delete_config_map(ground.namespace, "settings", uid=uid)

    assert settings_of(ground) == {"host": "one"}


async def test_only_that_very_config_map_is_deleted(ground):
    _, uid = await put_settings(ground, host="one")

    await ground.kube.delete_config_map(ground.namespace, "settings", uid=NO_UID)
    assert settings_of(ground) == {"host": "one"}
    await ground.kube.delete_config_map(ground.namespace, "settings", uid=uid)
    await ground.kube.delete_config_map(ground.namespace, "settings", uid=uid)

    assert settings_of(ground) is None


async def test_a_config_map_that_was_made_immutable_says_what_to_do(ground):
    owner_uid, uid = await put_settings(ground, host="one")
    ground.put({**ground.get("configmaps", "settings"), "kind": "ConfigMap", "immutable": True})
    body = settings(owner_uid=owner_uid, host="two")

    with pytest.raises(InvalidSpecError, match="immutable") as replacing:
        await ground.kube.replace_config_map(ground.namespace, "settings", uid=uid, body=body)
    with pytest.raises(InvalidSpecError, match="immutable") as reclaiming:
        await ground.kube.reclaim_config_map(ground.namespace, "settings", body=body)

    assert {replacing.value.reason, reclaiming.value.reason} == {"MadeImmutable"}
    assert settings_of(ground) == {"host": "one"}


async def test_a_secret_that_was_made_immutable_says_what_to_do(ground):
    owner_uid, uid = await deliver(ground, password="one")
    ground.put({**ground.get("secrets", "checkout"), "kind": "Secret", "immutable": True})
    body = our_secret(owner_uid=owner_uid, password="two")

    with pytest.raises(InvalidSpecError, match="immutable") as replacing:
        await ground.token_kube.replace_secret(ground.namespace, "checkout", uid=uid, body=body)
    with pytest.raises(InvalidSpecError, match="immutable") as reclaiming:
        await ground.token_kube.reclaim_secret(ground.namespace, "checkout", body=body)

    assert {replacing.value.reason, reclaiming.value.reason} == {"MadeImmutable"}
    assert read(ground) == {"password": "one"}


# -- Pods --------------------------------------------------------------------------------------------------------------


async def test_pods_of_a_namespace_are_listed(ground):
    containers = [{"name": "app", "image": "app"}]
    for name in ("one", "two"):
        ground.put({**_object("Pod", ground.namespace, name), "spec": {"containers": containers}})

    found = [body["metadata"]["name"] async for body in ground.kube.list_pods(ground.namespace)]

    assert found == ["one", "two"]


# -- the watch of Secrets ----------------------------------------------------------------------------------------------


class Watching:
    """A watch of a real cluster's Secrets with the right to it, and what it wants restored."""

    def __init__(self, connection, ground, delivered):
        self.restored = []
        self._changed = asyncio.Event()
        self._watch = SecretWatch(
            connection, namespaces=(ground.namespace,), delivered=lambda: delivered, restore=self._restore
        )

    def _restore(self, key, uid):
        self.restored.append((key, uid))
        self._changed.set()

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch.run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, expected):
        async with asyncio.timeout(30):
            while self.restored != expected:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def secret_reader(control_plane, ground, tmp_path):
    """A connection with the right that the chart gives with config.secretRepair."""
    name = f"secret-reader-{secrets.token_hex(4)}"
    control_plane.kubectl(*("create", "role", name, "-n", ground.namespace, "--verb=list,watch", "--resource=secrets"))
    control_plane.kubectl("create", "rolebinding", name, "-n", ground.namespace, f"--role={name}", f"--user={name}")
    configuration = await load_configuration(str(control_plane.write_kubeconfig(tmp_path / name, user=name)))
    async with Connection(configuration) as connection:
        yield connection


@pytest.mark.cluster
@pytest.mark.parametrize("ground", ["real"], indirect=True)
async def test_a_changed_and_a_deleted_secret_are_seen_and_our_own_writes_are_not(ground, secret_reader):
    owner_uid, uid = await deliver(ground, password="one")
    body = our_secret(name="other", owner_uid=owner_uid, password="one")
    other = await ground.token_kube.create_secret(ground.namespace, body)
    key = (ground.namespace, "checkout")
    async with Watching(secret_reader, ground, {uid: key, other: key}) as watching:
        for password in ("two", "three"):
            body = our_secret(owner_uid=owner_uid, password=password)
            await ground.token_kube.replace_secret(ground.namespace, "checkout", uid=uid, body=body)
        await asyncio.sleep(1.1)  # managed fields are dated in whole seconds; an edit in the same one is in doubt
        ground.put({**ground.get("secrets", "checkout"), "kind": "Secret", "data": encode(password="theirs")})
        await watching.until([(key, uid)])

        ground.delete("secrets", "other")
        await watching.until([(key, uid), (key, other)])


@pytest.mark.cluster
@pytest.mark.parametrize("ground", ["real"], indirect=True)
async def test_what_was_deleted_before_the_watch_began_is_missed(ground, secret_reader):
    _, uid = await deliver(ground, password="one")
    ground.delete("secrets", "checkout")
    key = (ground.namespace, "checkout")

    async with Watching(secret_reader, ground, {uid: key}) as watching:
        await watching.until([(key, uid)])
