"""A rotation is no news to GitOps: nothing gets out of sync, no pod is replaced. By Argo CD's own engine."""

import json

import pytest
import yaml
from tests.cluster.ground import EXAMPLES, GROUPS, USERS, pass_second
from tests.gitops.asking import Engine, argocd_data
from tests.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.cluster

ORDERS = EXAMPLES / "gitops" / "orders"
LIFE_S = 10
TRACKING = "argocd.argoproj.io/tracking-id"
FLUX = "kustomize-controller"


@pytest.fixture(scope="module")
def engine():
    with Engine() as engine:
        yield engine


class Application:
    """examples/gitops/orders in a cluster, applied as Argo CD does it."""

    def __init__(self, ground):
        self.ground = ground
        files = yaml.safe_load((ORDERS / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
        texts = [(ORDERS / name).read_text(encoding="utf-8") for name in files]
        documents = [document for text in texts for document in yaml.safe_load_all(text)]
        self.desired = [ground.localise(document) for document in documents if document["kind"] != "Namespace"]
        for document in self.desired:
            metadata = document["metadata"]
            group = document["apiVersion"].rpartition("/")[0]
            place = f"{group}/{document['kind']}:{metadata['namespace']}/{metadata['name']}"
            metadata["annotations"][TRACKING] = f"orders:{place}"

    def waves(self):
        """Return the objects of each sync wave, in order."""
        found = {}
        for document in self.desired:
            found.setdefault(int(document["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]), []).append(
                document
            )
        return [found[wave] for wave in sorted(found)]

    def sync(self, engine):
        """Apply one wave after the other, each when the one before is healthy, as Argo CD sees it."""
        for wave in self.waves():
            self.ground.control_plane.kubectl(
                "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": wave})
            )
            for document in wave:
                if document["kind"] in {"UserGroup", "ElastiCacheIAMUser"}:
                    self.wait_until_healthy(document, engine)

    def wait_until_healthy(self, document, engine):
        def look():
            shown = engine.health(self.live(document))
            assert shown[0] == "Healthy", f"{shown}; {self.ground.complaints()}"
            return True

        wait_for(look, timeout_s=2 * PATIENCE_S, what=f"{document['kind']} to be healthy")

    def live(self, document):
        metadata = document["metadata"]
        name = {"ElastiCacheIAMUser": USERS, "UserGroup": GROUPS}.get(document["kind"], document["kind"])
        return json.loads(
            self.ground.control_plane.kubectl(
                "-n", metadata["namespace"], "get", name, metadata["name"], "-o", "json", "--show-managed-fields"
            ).stdout
        )

    def lives(self):
        return [self.live(document) for document in self.desired]

    def secret(self):
        return self.ground.get("secrets", "checkout")


class Rotation:
    """What stood in the cluster before two rotations of the token, and after."""

    def __init__(self, application):
        self.application = application
        self._wait_for_rotations(1)  # the last of the first status writes is done by then
        self.before, self.secret_before = application.lives(), application.secret()
        self._wait_for_rotations(2)
        self.after, self.secret_after = application.lives(), application.secret()

    def _wait_for_rotations(self, number):
        tokens = set()

        def has_rotated():
            tokens.add(self.application.ground.secret()["password"])
            return len(tokens) > number

        wait_for(has_rotated, what=f"{number} rotations")


@pytest.fixture(scope="module")
def rotation(new_ground, engine):
    with new_ground() as ground:
        ground.add_cache()
        ground.start_operator(tokenSeconds=LIFE_S)
        application = Application(ground)
        application.sync(engine)
        yield Rotation(application)


def test_a_rotation_makes_nothing_out_of_sync(rotation, engine):
    for desired, live in zip(rotation.application.desired, rotation.after, strict=True):
        assert not engine.is_out_of_sync(live, desired), desired["kind"]


def test_an_edit_does(rotation, engine):
    """The claim above means something."""
    (user,) = (document for document in rotation.application.desired if document["kind"] == "ElastiCacheIAMUser")
    edited = {**user, "spec": {**user["spec"], "access": {"preset": "ReadOnly", "keys": ["orders:*"]}}}

    assert engine.is_out_of_sync(rotation.application.live(user), edited)


def test_a_rotation_touches_none_of_the_applications_objects(rotation):
    versions = [
        {(live["kind"], live["metadata"]["resourceVersion"]) for live in lives}
        for lives in (rotation.before, rotation.after)
    ]

    assert versions[0] == versions[1]
    assert rotation.secret_before["metadata"]["uid"] == rotation.secret_after["metadata"]["uid"]
    assert rotation.secret_before["data"] != rotation.secret_after["data"]


def test_a_rotation_gives_the_deployment_no_cause_to_replace_pods(rotation):
    """Pods are replaced when the template differs: the Deployment is the only one who may say so."""
    before, after = (
        next(live for live in lives if live["kind"] == "Deployment") for lives in (rotation.before, rotation.after)
    )

    assert after["spec"]["template"] == before["spec"]["template"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1


def test_the_secret_says_that_nobody_need_restart_pods_for_it(rotation):
    assert rotation.secret_after["metadata"]["annotations"]["reloader.stakater.com/ignore"] == "true"


def test_the_secret_belongs_to_the_user_and_to_no_application(rotation):
    metadata = rotation.secret_after["metadata"]

    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("ElastiCacheIAMUser", "checkout")
    assert TRACKING not in metadata["annotations"]
    assert "app.kubernetes.io/instance" not in metadata["labels"]


def test_a_rotation_is_no_change_to_argo_cd(rotation, engine):
    """It looks again only when what is left after its normalisation differs, and only untracked objects say so."""
    assert rotation.secret_after["metadata"]["annotations"]["argocd.argoproj.io/ignore-resource-updates"] == "true"

    seen = [engine.ask("watched", object=secret) for secret in (rotation.secret_before, rotation.secret_after)]

    assert seen[0] == seen[1]


def test_without_our_part_of_its_configuration_argo_cd_looks_at_each_rotation(rotation):
    ours = "resource.customizations.ignoreResourceUpdates.Secret"
    with Engine() as engine:
        engine.configure({key: value for key, value in argocd_data().items() if key != ours})
        seen = [engine.ask("watched", object=secret) for secret in (rotation.secret_before, rotation.secret_after)]

    assert seen[0] != seen[1]


def test_argo_cd_still_sees_changes_of_other_secrets(rotation, engine):
    foreign = [json.loads(json.dumps(secret)) for secret in (rotation.secret_before, rotation.secret_after)]
    for secret in foreign:
        secret["metadata"]["labels"] = {"app": "theirs"}

    seen = [engine.ask("watched", object=secret) for secret in foreign]

    assert seen[0] != seen[1]


def test_everything_is_current_by_kstatus(rotation, engine):
    ours = [live for live in rotation.after if live["apiVersion"].startswith("elasticache-iam.dev/")]

    assert [engine.ask("kstatus", object=live)["status"] for live in ours] == ["Current", "Current"]


def test_the_operator_owns_no_field_of_a_spec(rotation):
    """What drift detection compares: fields of others in the spec would be put back for ever."""
    for live in rotation.after:
        for entry in live["metadata"]["managedFields"]:
            if entry["manager"].startswith("elasticache-iam"):
                fields = entry["fieldsV1"]
                assert entry.get("subresource") == "status" or set(fields) == {"f:metadata"}, entry
                assert set(fields.get("f:metadata", {})) <= {"f:finalizers"}, entry


def test_flux_finds_no_drift(rotation):
    """It compares the live object with what a server-side apply would make of it."""
    application = rotation.application
    ours = [document for document in application.desired if document["apiVersion"].startswith("elasticache-iam.dev/")]
    for document in ours:
        arguments = ("--server-side", "--force-conflicts", "--dry-run=server", f"--field-manager={FLUX}")
        answer = application.ground.control_plane.kubectl(
            "apply", *arguments, "-f", "-", "-o", "json", input=json.dumps(document)
        )
        would_be, live = json.loads(answer.stdout), application.live(document)
        for body in (would_be, live):
            for key in ("managedFields", "resourceVersion"):
                body["metadata"].pop(key, None)
        assert would_be == live


def test_the_applications_waves_are_in_the_order_of_the_work(rotation):
    kinds = [[document["kind"] for document in wave] for wave in rotation.application.waves()]

    assert kinds == [["ServiceAccount"], ["UserGroup"], ["ElastiCacheIAMUser"], ["Deployment"]]


# -- actions -----------------------------------------------------------------------------------------------------------


def test_argo_cds_actions_do_what_they_say(attentive, engine):
    group = attentive.add_group()
    name = attentive.add_user(group=group)
    first = attentive.secret(name)["password"]
    pass_second()

    def act(action):
        attentive.patch(USERS, name, engine.ask("act", object=attentive.get(USERS, name), action=action))

    def wait_for_health(wanted):
        def look():
            shown = engine.health(attentive.get(USERS, name))
            assert shown[0] == wanted, shown
            return True

        wait_for(look, what=wanted)

    act("refresh")
    wait_for(lambda: attentive.secret(name)["password"] != first, what="a new token")
    wait_for_health("Healthy")

    act("suspend")
    wait_for_health("Suspended")
    wait_for(lambda: attentive.secret(name) is None, what="the Secret to go")

    act("resume")
    wait_for(lambda: attentive.secret(name) is not None, what="a Secret")
    wait_for_health("Healthy")

    act("pause")
    wait_for_health("Suspended")
