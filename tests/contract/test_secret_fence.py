"""What a stolen operator gets out of Secrets with the shipped rights, behind the shipped policies: tried, not argued.

Each attack is sent raw to a real API server. docs/adr/0002 tells what these tests found.
"""

import base64
import json
import secrets

import pytest
from tests.builders import user_manifest
from tests.contract.fence import RawClient, fence_in, grant_rights, shipped

from elasticache_iam.api.keys import API_VERSION, DEFAULT_AUDIENCE, LABEL_MANAGED_BY, MANAGED_BY, USER_KIND
from elasticache_iam.delivery.secret import SECRET_TYPE
from elasticache_iam.kube.errors import FENCE_WORDS
from elasticache_iam_sandbox.cluster.errors import ApiError

pytestmark = pytest.mark.cluster

THIEF = "thief"
UNFENCED = "unfenced-thief"
PATCHER = "fenced-thief-with-a-right-to-patch"
PASSWORD = base64.b64encode(b"correct horse battery staple").decode()
UID = "11111111-1111-1111-1111-111111111111"
OTHER_UID = "22222222-2222-2222-2222-222222222222"
OWNER = {"apiVersion": API_VERSION, "kind": USER_KIND, "name": "checkout", "uid": UID, "controller": True}
FINALIZERS = ["example.com/hold"]
IN_FOREGROUND = {"propagationPolicy": "Foreground"}
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


@pytest.fixture(scope="module")
def clients(control_plane, tmp_path_factory):
    """Stolen operators, by user: one behind the policies, one where they aren't installed."""
    folder = tmp_path_factory.mktemp("thieves")
    control_plane.kubectl("apply", "--server-side", "-f", "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", "crds")
    for user in (THIEF, UNFENCED):
        grant_rights(control_plane, user)
    fence_in(control_plane, THIEF)
    return {user: RawClient(control_plane, user, folder) for user in (THIEF, UNFENCED)}


@pytest.fixture(scope="module")
def patcher(control_plane, tmp_path_factory):
    """A stolen operator behind the policies, had it the right to patch."""
    control_plane.kubectl("create", "clusterrole", PATCHER, "--verb=create,patch", "--resource=secrets")
    control_plane.kubectl("create", "clusterrolebinding", PATCHER, f"--clusterrole={PATCHER}", f"--user={PATCHER}")
    control_plane.kubectl(
        *("create", "clusterrole", f"{PATCHER}-tokens", "--verb=create", "--resource=serviceaccounts/token")
    )
    control_plane.kubectl(
        *("create", "clusterrolebinding", f"{PATCHER}-tokens"),
        *(f"--clusterrole={PATCHER}-tokens", f"--user={PATCHER}"),
    )
    fence_in(control_plane, PATCHER, kinds=("secrets", "tokens"))
    return RawClient(control_plane, PATCHER, tmp_path_factory.mktemp("patcher"))


class Ground:
    """One namespace, seen by its administrator and by the thief."""

    def __init__(self, control_plane, namespace, owners, client):
        self.secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self.tokens = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
        self.admin = control_plane
        self._owners = owners
        self._thief = client

    def _owned(self, body):
        """Give owners their real uids: the garbage collector deletes what has only dead owners."""
        text = json.dumps(body)
        for uid, real in self._owners.items():
            text = text.replace(uid, real)
        return json.loads(text)

    def put(self, **changes):
        """Make a Secret as its owner would; return it."""
        metadata = {**changes.pop("metadata", {}), "name": f"theirs-{secrets.token_hex(4)}"}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"password": PASSWORD}, **changes}
        return self.admin.request("POST", self.secrets, self._owned(body))

    def get(self, name):
        return self.admin.request("GET", f"{self.secrets}/{name}")

    def attack(self, method, name="", body=None, *, query="", content_type="application/json"):
        path = f"{self.secrets}/{name}" if name else self.secrets
        return self.send(method, path + query, body, content_type=content_type)

    def send(self, method, path, body=None, *, content_type="application/json"):
        return self._thief.send(method, path, self._owned(body), content_type=content_type)


@pytest.fixture(scope="module")
def tenant(control_plane, clients):
    """A namespace with two resources of ours; and the uids that their Secrets get in place of those written here."""
    name = f"secret-fence-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    path = f"/apis/{API_VERSION}/namespaces/{name}/elasticacheiamusers"
    owners = {}
    for user, uid in (("checkout", UID), ("billing", OTHER_UID)):
        made = control_plane.request("POST", path, user_manifest(user, namespace=name))
        owners[uid] = made["metadata"]["uid"]
    yield name, owners
    control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def ground(control_plane, tenant, clients):
    return Ground(control_plane, *tenant, clients[THIEF])


@pytest.fixture
def unfenced(control_plane, tenant, clients):
    return Ground(control_plane, *tenant, clients[UNFENCED])


def dry(query):
    """Return a query that asks for a dry run too."""
    return f"{query}&dryRun=All" if query else "?dryRun=All"


def ours(name, *, metadata=None, **changes):
    """Return a Secret as the operator writes it."""
    marks = {"labels": {LABEL_MANAGED_BY: MANAGED_BY}, "ownerReferences": [OWNER]}
    body = {"apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE, "data": {"password": "b3Vycw=="}}
    return {**body, "metadata": {"name": name, **marks, **(metadata or {})}, **changes}


VICTIMS = {
    "of-any-type": {"type": "Opaque"},
    "of-our-type": {"type": SECRET_TYPE},
    "immutable": {"type": SECRET_TYPE, "immutable": True},
    "held-by-a-finalizer": {"type": SECRET_TYPE, "metadata": {"finalizers": FINALIZERS}},
    "with-our-label-only": {"type": SECRET_TYPE, "metadata": {"labels": {LABEL_MANAGED_BY: MANAGED_BY}}},
    "with-our-owner-only": {"type": SECRET_TYPE, "metadata": {"ownerReferences": [OWNER]}},
}

UPDATES = {
    "plain": {},
    "without-a-type": {"type": ""},
    "of-another-type": {"type": "kubernetes.io/service-account-token"},
    "that-is-not-base64": {"data": {"password": "!!"}},
    "with-a-bad-key": {"data": {"pass word": "eA=="}},
    "without-data": {"data": None},
    "made-immutable": {"immutable": True},
    "of-no-known-field": {"bogus": 1},
    "of-another-uid": {"metadata": {"uid": OTHER_UID}},
    "of-an-old-version": {"metadata": {"resourceVersion": "1"}},
    "with-a-bad-annotation": {"metadata": {"annotations": {"bad key!": "x"}}},
    "with-a-bad-owner": {"metadata": {"ownerReferences": [{**OWNER, "kind": "", "uid": ""}]}},
    "with-bad-managed-fields": {"metadata": {"managedFields": [{"manager": "x", "operation": "Bogus"}]}},
    "with-a-deletion-time": {"metadata": {"deletionTimestamp": "2026-11-21T09:00:00Z"}},
    "with-a-finalizer": {"metadata": {"finalizers": FINALIZERS}},
    "with-a-bad-finalizer": {"metadata": {"finalizers": ["bad"]}},
    "of-another-namespace": {"metadata": {"namespace": "kube-system"}},
    "without-marks": {"metadata": {"labels": {}, "ownerReferences": []}},
}

DELETIONS = {
    "plain": (None, ""),
    "in-the-foreground": (IN_FOREGROUND, ""),
    "orphaning": ({"propagationPolicy": "Orphan"}, ""),
    "orphaning-the-old-way": ({"orphanDependents": True}, ""),
    "in-the-foreground-by-query": (None, "?propagationPolicy=Foreground"),
    "of-no-known-policy": ({"propagationPolicy": "Bogus"}, ""),
    "of-another-uid": ({"preconditions": {"uid": OTHER_UID}}, ""),
    "of-an-old-version": ({"preconditions": {"resourceVersion": "1"}}, ""),
    "with-grace": ({"gracePeriodSeconds": 3600}, ""),
    "of-what-can-not-be-decoded": ({"ignoreStoreReadErrorWithClusterBreakingPotential": True}, ""),
}


@pytest.mark.parametrize("query", ["", "?dryRun=All", "?fieldValidation=Strict"], ids=["for-real", "dry-run", "strict"])
@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
@pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
def test_no_update_shows_or_changes_a_foreign_secret(ground, victim, update, query):
    before = ground.put(**victim)
    name = before["metadata"]["name"]

    status, text = ground.attack("PUT", name, ours(name, **update), query=query)

    assert status in {400, 403, 409, 422}
    assert PASSWORD not in text
    assert ground.get(name) == before


@pytest.mark.parametrize("dry_run", [False, True], ids=["for-real", "dry-run"])
@pytest.mark.parametrize(("body", "query"), DELETIONS.values(), ids=DELETIONS)
@pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
def test_no_deletion_shows_or_takes_a_foreign_secret(ground, victim, body, query, dry_run):
    before = ground.put(**victim)
    name = before["metadata"]["name"]

    status, text = ground.attack("DELETE", name, body, query=dry(query) if dry_run else query)

    assert status in {403, 409, 422}
    assert PASSWORD not in text
    assert ground.get(name) == before


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_foreign_secret_on_its_way_out_is_not_shown(ground, method):
    name = ground.put(metadata={"finalizers": FINALIZERS})["metadata"]["name"]
    ground.admin.request("DELETE", f"{ground.secrets}/{name}")

    status, text = ground.attack(method, name, ours(name, type="") if method == "PUT" else None)

    assert status == 403
    assert PASSWORD not in text


@pytest.mark.parametrize("query", ["", "?dryRun=All"], ids=["for-real", "dry-run"])
def test_a_creation_says_no_more_of_a_taken_name_than_that_it_is_taken(ground, query):
    name = ground.put()["metadata"]["name"]

    status, text = ground.attack("POST", body=ours(name), query=query)

    assert status == 409
    assert PASSWORD not in text


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ([{"op": "add", "path": "/data/zz", "value": "!!"}], JSON_PATCH),
        ({"data": {"zz": "!!"}}, MERGE),
        ({"apiVersion": "v1", "kind": "Secret", "data": {"zz": "!!"}}, APPLY),
        ({}, MERGE),
    ],
    ids=["json", "merge", "apply", "empty"],
)
def test_there_is_no_right_to_patch(ground, body, content_type):
    name = ground.put()["metadata"]["name"]

    status, text = ground.attack("PATCH", name, body, query="?fieldManager=x", content_type=content_type)

    assert status == 403
    assert 'cannot patch resource \\"secrets\\"' in text
    assert PASSWORD not in text


def test_another_resources_secret_can_not_be_taken_over(ground):
    theirs = ours("any", metadata={"ownerReferences": [{**OWNER, "name": "billing", "uid": OTHER_UID}]})
    before = ground.put(**theirs | {"data": {"password": PASSWORD}})
    name = before["metadata"]["name"]

    status, text = ground.attack("PUT", name, ours(name))

    assert status == 403
    assert f"{FENCE_WORDS}: this one belongs to another" in text
    assert PASSWORD not in text
    assert ground.get(name) == before


def test_a_service_account_s_token_can_not_be_had_by_a_secret(ground):
    body = ours(
        "token",
        type="kubernetes.io/service-account-token",
        metadata={"annotations": {"kubernetes.io/service-account.name": "default"}},
    )

    status, text = ground.attack("POST", body=body)

    assert status == 403
    assert FENCE_WORDS in text


@pytest.mark.parametrize("dry_run", [False, True], ids=["for-real", "dry-run"])
@pytest.mark.parametrize("deletion", [key for key in DELETIONS if "foreground" in key or "orphaning" in key])
def test_what_others_put_into_one_of_its_own_is_not_shown(ground, deletion, dry_run):
    """A decoy, laid out in the hope that another controller fills it."""
    name = ground.put(**ours("any") | {"data": {"password": PASSWORD}})["metadata"]["name"]
    body, query = DELETIONS[deletion]

    status, text = ground.attack("DELETE", name, body, query=dry(query) if dry_run else query)

    assert status == 403
    assert f"{FENCE_WORDS}: they are deleted at once" in text
    assert PASSWORD not in text


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_one_of_its_own_gets_no_finalizer(ground, method):
    name = ground.put(**ours("any"))["metadata"]["name"] if method == "PUT" else ""

    status, text = ground.attack(method, name, ours(name or "decoy", metadata={"finalizers": FINALIZERS}))

    assert status == 403
    assert f"{FENCE_WORDS}: they have no finalizers" in text


@pytest.mark.parametrize("reference", ["there", "missing"])
def test_a_token_request_does_not_even_tell_which_secrets_there_are(ground, reference):
    name = ground.put()["metadata"]["name"] if reference == "there" else "missing"
    bound = {"apiVersion": "v1", "kind": "Secret", "name": name, "uid": OTHER_UID}
    spec = {"audiences": [DEFAULT_AUDIENCE], "expirationSeconds": 600, "boundObjectRef": bound}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}

    status, text = ground.send("POST", ground.tokens, body)

    assert status == 403
    assert "asks for no tokens bound to a Pod or Secret" in text


# -- what remains ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("guess", "status"), [(PASSWORD, 403), ("d3Jvbmc=", 422)], ids=["right", "wrong"])
def test_remains_a_guess_at_all_of_an_immutable_secret_is_told_right_from_wrong(ground, guess, status):
    """Its immutability is checked before the policy. The guess must hold every key and every value."""
    name = ground.put(immutable=True)["metadata"]["name"]

    answer, text = ground.attack("PUT", name, ours(name, type="", immutable=True, data={"password": guess}))

    assert answer == status
    assert PASSWORD not in text


def test_remains_name_uid_version_and_type_of_any_secret_can_be_found_out(ground):
    before = ground.put(type="Opaque")
    name = before["metadata"]["name"]

    of_missing, _ = ground.attack("DELETE", "missing")
    of_uid, uid = ground.attack("DELETE", name, {"preconditions": {"uid": OTHER_UID}})
    of_version, version = ground.attack("DELETE", name, {"preconditions": {"resourceVersion": "1"}})
    of_type, kind = ground.attack("PUT", name, ours(name))

    assert (of_missing, of_uid, of_version, of_type) == (404, 409, 409, 422)
    assert before["metadata"]["uid"] in uid
    assert f"({before['metadata']['resourceVersion']})" in version
    assert "field is immutable" in kind


def test_remains_a_free_name_can_be_taken(ground):
    status, _ = ground.attack("POST", body=ours("free"))

    assert status == 201
    assert ground.get("free")["type"] == SECRET_TYPE


# -- why the policy is no option ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "finalizers"), [(IN_FOREGROUND, []), (None, FINALIZERS)], ids=["in-the-foreground", "held-up"]
)
def test_without_the_policy_a_deletion_shows_a_foreign_secret(unfenced, body, finalizers):
    name = unfenced.put(metadata={"finalizers": finalizers})["metadata"]["name"]

    status, text = unfenced.attack("DELETE", name, body, query="?dryRun=All")

    assert status == 200
    assert PASSWORD in text


def test_without_the_policy_an_update_shows_only_what_it_brings(unfenced):
    name = unfenced.put(type=SECRET_TYPE)["metadata"]["name"]

    status, text = unfenced.attack("PUT", name, ours(name))

    assert status == 200
    assert PASSWORD not in text


# -- why there is no right to patch ------------------------------------------------------------------------------------


def test_the_policy_refuses_a_patch_of_a_foreign_secret(ground, patcher):
    name = ground.put()["metadata"]["name"]

    status, text = patcher.send("PATCH", f"{ground.secrets}/{name}", {}, content_type=MERGE)

    assert status == 403
    assert PASSWORD not in text


def test_an_invalid_patch_shows_a_foreign_secret_before_the_policy_is_asked(ground, patcher):
    name = ground.put()["metadata"]["name"]
    patch = [{"op": "add", "path": "/data/zz", "value": "!!"}]

    status, text = patcher.send("PATCH", f"{ground.secrets}/{name}", patch, content_type=JSON_PATCH)

    assert status == 422
    assert PASSWORD in text


# -- the rights to patch that it has -----------------------------------------------------------------------------------


def test_whatever_it_may_patch_it_may_read():
    rights = [*shipped("ClusterRole")["rules"], *shipped("Role")["rules"]]

    def having(verb):
        return {
            (group, resource.partition("/")[0])  # a status is part of its resource
            for rule in rights
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            if verb in rule["verbs"]
        }

    assert having("patch") <= having("get")
    assert ("", "secrets") not in having("patch")
    assert "secrets" not in json.dumps(sorted(having("get")))


def test_the_administrator_is_not_fenced_in(ground):
    name = ground.put()["metadata"]["name"]

    ground.admin.request("DELETE", f"{ground.secrets}/{name}")

    with pytest.raises(ApiError, match="404"):
        ground.get(name)
