"""The life of an installation on a node with real pods, from `helm install` to an empty AWS, in this order.

Two applications stay connected all the while, and a watch looks at every token twice a second.
"""

import json
import time

import pytest
import yaml
from tests.e2e.cluster import RequestError, restarts, wait_for
from tests.e2e.story import EXAMPLES, GROUP, GROUPS, NAME, NAMESPACE, USERS

ROTATIONS = 3
SOON_S = 10.0
"""Within which a replica is ready on a machine that does other things, too; alone it takes 2 s."""

IMAGE_CHECK = """
import errno, importlib.util, json, os
try:
    open('/probe', 'w')
    root = 'writable'
except OSError as error:
    root = errno.errorcode[error.errno]
unwanted = ('elasticache_iam_sandbox', 'moto', 'pytest', 'hypothesis', 'pip', 'setuptools', 'ensurepip')
print(json.dumps({'uid': os.getuid(), 'gid': os.getgid(), 'root': root,
                  'found': [name for name in unwanted if importlib.util.find_spec(name)],
                  'capabilities': [line.split()[1] for line in open('/proc/1/status') if line.startswith('CapEff')]}))
"""

COUNTER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: counter, namespace: platform}
---
apiVersion: elasticache-iam.dev/v1alpha1
kind: ElastiCacheIAMUser
metadata: {name: counter, namespace: platform}
spec:
  groups: [{name: orders}]
  access: {preset: ReadWrite, keys: ["*"]}
  serviceAccounts: [counter]
"""

WALKTHROUGHS = {
    "redis-node-based": [f"redis-node-based/{name}.yaml" for name in ("namespaces", "usergroup", "users")],
    "terraform-enterprise": ["terraform-enterprise/usergroup.yaml", "terraform-enterprise/user.yaml"],
    "three-roles": ["three-roles/users.yaml"],
    "valkey": ["valkey/usergroup.yaml", "valkey/user.yaml"],
    "serverless": ["serverless/usergroup.yaml", "serverless/user.yaml"],
    "memorydb": ["memorydb/usergroup.yaml", "memorydb/user.yaml"],
}
CACHES = {
    "sessions-prod": ("redis", "replication-group"),
    "tfe-prod": ("redis", "replication-group"),
    "catalog-prod": ("valkey", "replication-group"),
    "carts-prod": ("valkey", "serverless"),
    "ledger-prod": ("valkey", "memorydb"),
}


def test_the_chart_installs_two_ready_replicas_where_only_restricted_pods_may_run(story):
    story.prepare()

    began = time.monotonic()
    story.helm("install")

    story.facts["helm install until both replicas are ready"] = f"{time.monotonic() - began:.1f} s"
    assert not any(map(restarts, story.ready_operators()))


def test_the_image_runs_as_nobody_on_a_read_only_root_and_holds_nothing_for_tests(story):
    pod = story.operators()[0]["metadata"]["name"]

    said = story.cluster.kubectl("exec", pod, f"--namespace={NAMESPACE}", "--", "python", "-c", IMAGE_CHECK)

    nothing = "0" * 16
    assert json.loads(said) == {"uid": 65532, "gid": 65532, "root": "EROFS", "found": [], "capabilities": [nothing]}


def test_a_replica_starts_in_seconds_on_half_a_core(story):
    story.wait_for_leader()

    took = story.measure_start()

    story.facts["from a replica's start until it is ready, with 500m of CPU"] = f"{took:.1f} s"
    assert took < SOON_S
    story.ready_operators()


def test_the_operator_may_not_read_secrets(story):
    account = f"system:serviceaccount:{NAMESPACE}:{NAME}"

    for verb in ("get", "list", "watch"):
        said = story.cluster.kubectl(
            "auth", "can-i", verb, "secrets", "--all-namespaces", f"--as={account}", check=False
        )
        assert said.strip() == "no", verb


def test_the_quickstart_is_ready_and_its_login_proven(story):
    story.add_cache("orders-prod", "redis")

    began = time.monotonic()
    story.apply_example("quickstart/namespaces.yaml", "quickstart/usergroup.yaml", "quickstart/user.yaml")
    story.wait_until_ready()

    story.facts["the quickstart, from kubectl apply to a proven login"] = f"{time.monotonic() - began:.1f} s"
    user = story.cluster.request("GET", f"{GROUP}/namespaces/shop/{USERS}/checkout")
    assert {entry["type"]: entry["status"] for entry in user["status"]["conditions"]}["Verified"] == "True"


def test_applications_in_python_and_go_log_in_with_their_mounted_secrets(story):
    story.watch.start()
    story.cluster.apply(COUNTER)
    story.wait_until_ready()

    story.start_clients()

    story.wait_for_progress()
    assert story.complaints() == []


@pytest.mark.parametrize("name", WALKTHROUGHS)
def test_a_walkthroughs_examples_become_ready(story, name):
    for path in WALKTHROUGHS[name]:
        for document in yaml.safe_load_all((EXAMPLES / path).read_text(encoding="utf-8")):
            for cache in document.get("spec", {}).get("caches", ()):
                story.add_cache(*((cache_id := next(iter(cache.values()))), *CACHES[cache_id]))

    story.apply_example(*WALKTHROUGHS[name])

    story.wait_until_ready()


def test_tokens_change_under_the_applications_which_stay_connected(story):
    seen = len(story.tokens_seen())

    def look():
        now = story.tokens_seen()
        assert len(now) >= seen + ROTATIONS, f"seen so far: {now}"
        return now

    wait_for(look, what=f"{ROTATIONS} more tokens in the mounted file", timeout_s=ROTATIONS * story.token_seconds + 60)

    story.wait_for_progress()
    assert story.complaints() == []
    assert story.watch.least() > story.token_seconds * 0.4


def test_when_the_leader_crashes_every_token_is_renewed_in_time(story):
    lease = story.wait_for_leader()
    leader = wait_for(story.leader, what="the leader's pod")
    story.watch.restart()

    began = time.monotonic()
    made = story.crash(leader)
    wait_for(lambda: story.wait_for_leader(but=lease), what="another leader")

    story.facts["another leader after a crash"] = f"{time.monotonic() - began:.1f} s"
    before = {name: body["metadata"]["resourceVersion"] for name, body in story.secrets().items()}

    def look():
        now = {name: body["metadata"]["resourceVersion"] for name, body in story.secrets().items()}
        same = [name for name in before if now[name] == before[name]]
        assert not same, f"not renewed since: {same}"
        return True

    wait_for(look, what="every token to be renewed by the new leader")
    assert sum(map(restarts, story.ready_operators())) == made
    story.wait_for_progress()
    story.facts["least life left of any token over the crash"] = f"{story.watch.least():.0f} of {story.token_seconds} s"
    assert story.complaints() == []
    assert story.watch.least() > 0


def test_an_upgrade_leaves_no_gap(story):
    before = {pod["metadata"]["name"] for pod in story.operators()}
    story.watch.restart()

    began = time.monotonic()
    story.helm("upgrade", podAnnotations={"example.org/upgrade": "1"}, logLevel="debug")

    story.facts["helm upgrade until both new replicas are ready"] = f"{time.monotonic() - began:.1f} s"
    after = wait_for(lambda: (found := story.ready_operators()) and found, what="the new replicas")
    assert not before & {pod["metadata"]["name"] for pod in after}
    lease = story.wait_for_leader()
    assert any(lease.startswith(pod["metadata"]["name"]) for pod in after)
    story.wait_until_ready()
    story.wait_for_progress()
    story.facts["least life left of any token over the upgrade"] = (
        f"{story.watch.least():.0f} of {story.token_seconds} s"
    )
    assert story.complaints() == []
    assert story.watch.least() > story.token_seconds * 0.4


def test_after_helm_uninstall_resources_secrets_and_aws_stay_as_they_are(story):
    aws, secrets = story.aws_objects(), set(story.secrets())
    resources = {plural: {body["metadata"]["uid"] for body in story.resources(plural)} for plural in (GROUPS, USERS)}
    story.watch.restart()

    story.uninstall()

    assert {plural: {body["metadata"]["uid"] for body in story.resources(plural)} for plural in resources} == resources
    assert set(story.secrets()) == secrets
    assert story.aws_objects() == aws
    story.wait_for_progress()  # on the tokens that are there
    assert story.complaints() == []


def test_installed_again_it_goes_on_where_it_stopped(story):
    uids = {name: body["metadata"]["uid"] for name, body in story.secrets().items()}
    ends = {name: body["metadata"]["annotations"] for name, body in story.secrets().items()}
    aws = story.aws_objects()

    story.helm("install")

    def look():
        same = [name for name, body in story.secrets().items() if body["metadata"]["annotations"] == ends[name]]
        assert not same, f"not renewed since: {same}"
        return True

    wait_for(look, what="every token to be renewed")
    story.wait_until_ready()
    assert {name: body["metadata"]["uid"] for name, body in story.secrets().items()} == uids
    assert story.aws_objects() == aws
    story.wait_for_progress()
    story.facts["least life left of any token while there was no operator"] = (
        f"{story.watch.least():.0f} of {story.token_seconds} s"
    )
    assert story.complaints() == []
    assert story.watch.least() > 0


def test_through_all_of_it_no_application_was_restarted(story):
    assert story.interruptions() == []


def test_through_all_of_it_no_login_was_refused(story):
    assert story.refusals() == []


def test_through_all_of_it_no_command_failed(story):
    story.facts["tokens that the application in Python has seen in its file"] = str(len(story.tokens_seen()))
    story.facts["looks at every Secret"] = str(story.watch.looks)
    story.facts["longest that the application in Python waited for two commands"] = (
        f"{story.slowest_commands_s():.2f} s"
    )
    story.facts["what its libraries warned of"] = "; ".join(story.warnings()) or "nothing"
    for user in story.clients:
        story.facts[f"commands of {user}, each a proof of its connection"] = str(story.count(user))

    assert story.failures() == []
    story.watch.stop()


def test_deleted_resources_leave_nothing_in_aws_and_the_chart_leaves_its_crds(story):
    for deployment, namespace in (("client-checkout", "shop"), ("client-counter", "platform")):
        story.cluster.kubectl("delete", "deployment", deployment, f"--namespace={namespace}", "--wait")
    story.cluster.kubectl("delete", "elasticacheiamuser", "--all", "--all-namespaces", "--timeout=180s")
    story.cluster.kubectl("delete", "usergroup", "--all", "--all-namespaces", "--wait=false")
    for cache in ("orders-prod", "sessions-prod", "tfe-prod", "catalog-prod"):
        story.elasticache.delete_replication_group(ReplicationGroupId=cache)
    story.elasticache.delete_serverless_cache(ServerlessCacheName="carts-prod")
    story.memorydb.delete_cluster(ClusterName="ledger-prod")

    wait_for(lambda: not story.resources(GROUPS), what="the groups to be gone")
    story.uninstall()

    assert story.aws_objects() == {}
    assert story.secrets() == {}
    assert story.resources(USERS) == []
    assert "usergroups.elasticache-iam.dev" in story.cluster.kubectl("get", "crd", "--output=name")
    with pytest.raises(RequestError, match="404"):
        story.cluster.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}")
