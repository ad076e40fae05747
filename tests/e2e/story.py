"""What platform team, application team and accidents do to one installation, and what is seen all the while."""

import base64
import json
import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import redis
import yaml
from tests.e2e.cluster import RequestError, is_ready, process_of, restarts, started_at, wait_for

from elasticache_iam.core.policy.operator import operator_policy
from elasticache_iam.core.policy.trust import trust_policy
from elasticache_iam_sandbox.supervisor import ACCOUNT, CLUSTER, REGION

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "elasticache-iam-operator"
EXAMPLES = ROOT / "examples"
CLIENT = Path(__file__).with_name("python_client.py")
NAME = "elasticache-iam-operator"
NAMESPACE = "elasticache-iam"
OWNER = "e2e"
NAMESPACES = ("platform", "shop", "web")
OURS = "app.kubernetes.io/managed-by=elasticache-iam-operator"
GROUP = "/apis/elasticache-iam.dev/v1alpha1"
USERS, GROUPS = "elasticacheiamusers", "usergroups"
EXPIRES = "elasticache-iam.dev/expires-at"
ROLE = "elasticache-iam-operator"
TOKEN = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
CPU_LIMIT = "500m"

CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


class Story:
    """One installation of the chart, AWS beside it, and a watch on every token there is.

    Attributes:
        facts: What was measured, in words.
    """

    def __init__(self, cluster, aws, *, image, client_image, token_seconds, connection_seconds):
        self.cluster = cluster
        self.aws = aws
        self.image = image
        self.client_image = client_image
        self.token_seconds = token_seconds
        self.connection_seconds = connection_seconds
        self.facts = {}
        self.clients = {}
        session = aws.admin_session()
        self.elasticache, self.memorydb, self.iam = (
            session.client(name) for name in ("elasticache", "memorydb", "iam")
        )
        self.watch = TokenWatch(cluster)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watch.stop()

    # -- the platform -------------------------------------------------------------------------------------------------

    def prepare(self):
        """Make what must be there before the chart: namespaces, the operator's role in AWS, the CA of this AWS."""
        for name in (NAMESPACE, *NAMESPACES):
            self.cluster.apply(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
            )
        provider = self.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"][0]["Arn"]
        trust = trust_policy(
            provider_arn=provider,
            issuer=self.cluster.issuer,
            audience="sts.amazonaws.com",
            subjects=((NAMESPACE, NAME),),
        )
        policy = operator_policy(owner=OWNER, partition="aws", account=ACCOUNT, region=REGION)
        self.iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(trust))
        self.iam.put_role_policy(RoleName=ROLE, PolicyName="operator", PolicyDocument=json.dumps(policy))
        ca = self.aws.ca_file.read_text()
        name = {"name": "aws-ca", "namespace": NAMESPACE}
        self.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"ca.crt": ca}})

    def values(self, **more):
        """Return the chart's values: as on EKS, with what its webhook for roles adds, and this AWS's address."""
        repository, _, tag = self.image.rpartition(":")
        role = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
        environment = {
            "AWS_ENDPOINT_URL": self.aws.aws_url,
            "AWS_CA_BUNDLE": "/etc/aws-ca/ca.crt",
            "AWS_REGION": REGION,
            "AWS_ROLE_ARN": role,
            "AWS_WEB_IDENTITY_TOKEN_FILE": f"{TOKEN}/token",
        }
        token = {"serviceAccountToken": {"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}}
        return {
            "config": {
                "owner": OWNER,
                "clusterName": CLUSTER,
                "cacheCA": self.aws.ca_file.read_text(),
                "tokenSeconds": self.token_seconds,
                "pollInterval": 1,
                "massDeletionMinimum": 100,  # all users go at the end, on purpose
            },
            "image": {"repository": repository, "tag": tag},
            "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": role}},
            "extraEnv": [{"name": key, "value": value} for key, value in environment.items()],
            "extraVolumes": [
                {"name": "aws-ca", "configMap": {"name": "aws-ca"}},
                {"name": "aws-iam-token", "projected": {"sources": [token]}},
            ],
            "extraVolumeMounts": [
                {"name": "aws-ca", "mountPath": "/etc/aws-ca", "readOnly": True},
                {"name": "aws-iam-token", "mountPath": TOKEN, "readOnly": True},
            ],
            "resources": {"limits": {"cpu": CPU_LIMIT}},
            **more,
        }

    def helm(self, command, *words, **values):
        """Install or upgrade the release, and wait until helm takes it for ready."""
        file = Path(self.cluster.kubeconfig).with_name("values.yaml")
        file.write_text(yaml.safe_dump(self.values(**values)), encoding="utf-8")
        self.cluster.helm(
            command, NAME, str(CHART), f"--namespace={NAMESPACE}", f"--values={file}", "--wait", "--timeout=5m", *words
        )

    def uninstall(self):
        """Uninstall the release, and wait until its pods are gone."""
        self.cluster.helm("uninstall", NAME, f"--namespace={NAMESPACE}", "--wait", "--timeout=3m")
        wait_for(lambda: not self.operators(), what="the operator's pods to be gone")

    def operators(self):
        """Return the operator's pods."""
        return self.cluster.pods(NAMESPACE, f"app.kubernetes.io/name={NAME}")

    def ready_operators(self, count=2):
        """Wait for so many ready replicas, and no others."""

        def look():
            found = self.operators()
            assert len(found) == count, [pod["metadata"]["name"] for pod in found]
            return found if all(map(is_ready, found)) else None

        return wait_for(look, what=f"{count} ready replicas")

    def leader(self):
        """Return the name of the pod that holds the Lease; None if nobody does."""
        lease = self.cluster.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}")
        holder = ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
        return next((pod for pod in self.operators() if holder.startswith(pod["metadata"]["name"])), None)

    def wait_for_leader(self, but=None):
        """Wait for a leader whose container isn't the one given."""

        def look():
            lease = self.cluster.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}")
            holder = ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
            return holder if holder and holder != but else None

        return wait_for(look, what="a leader")

    def measure_start(self):
        """Replace a standby; return how long the new process took to be ready, in seconds."""
        leader = self.leader()["metadata"]["name"]
        names = {pod["metadata"]["name"] for pod in self.operators()}
        standby = next(name for name in names if name != leader)
        self.cluster.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{standby}")

        def new():
            return next((pod for pod in self.operators() if pod["metadata"]["name"] not in names), None)

        started = wait_for(lambda: (pod := new()) and started_at(pod), what="a new pod's process", poll_s=0.05)
        name = new()["metadata"]["name"]

        def answers():
            with suppress(OSError, RequestError):  # by way of the API server: pods' addresses may end at the nodes
                self.cluster.fetch("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/readyz")
                return True
            return False

        wait_for(answers, what="the new pod", poll_s=0.05)
        return time.time() - started

    # -- resources -----------------------------------------------------------------------------------------------------

    def add_cache(self, cache_id, engine, kind="replication-group"):
        """Put an open cache there whose owner has said yes to the namespace platform."""
        tags = {"elasticache-iam.dev/allow": f"{OWNER}/platform"}
        return self.aws.add_cache(cache_id, engine=engine, kind=kind, tags=tags)

    def apply_example(self, *paths):
        """Apply files of examples/, but for namespaces: ours are there, with Pod Security's label."""
        for path in paths:
            documents = yaml.safe_load_all((EXAMPLES / path).read_text(encoding="utf-8"))
            self.cluster.apply(*(document for document in documents if document["kind"] != "Namespace"))

    def resources(self, plural):
        return self.cluster.request("GET", f"{GROUP}/{plural}")["items"]

    def wait_until_ready(self):
        """Wait until every resource is Ready in its newest version."""

        def look():
            for plural in (GROUPS, USERS):
                for body in self.resources(plural):
                    name = f"{plural}/{body['metadata']['name']}"
                    conditions = {entry["type"]: entry for entry in body.get("status", {}).get("conditions", ())}
                    ready = conditions.get("Ready", {})
                    assert ready.get("status") == "True", f"{name}: {ready.get('reason')} {ready.get('message')}"
                    assert ready["observedGeneration"] == body["metadata"]["generation"], name
            return True

        wait_for(look, what="all resources to be Ready")

    def secrets(self):
        """Return our Secrets by namespace and name."""
        found = self.cluster.request("GET", f"/api/v1/secrets?labelSelector={OURS}")["items"]
        return {f"{body['metadata']['namespace']}/{body['metadata']['name']}": body for body in found}

    def secret(self, namespace, name):
        body = self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return {key: base64.b64decode(value).decode() for key, value in body["data"].items()}

    def aws_objects(self):
        """Return what the operator may have made in AWS, with what each says."""
        users = self.elasticache.describe_users()["Users"]
        groups = self.elasticache.describe_user_groups()["UserGroups"]
        roles = [role for role in self.iam.list_roles()["Roles"] if role["RoleName"] != ROLE]
        acls = [acl for acl in self.memorydb.describe_acls()["ACLs"] if acl["Name"] != "open-access"]
        theirs = [user for user in self.memorydb.describe_users()["Users"] if user["Name"] != "default"]
        return {
            **{f"user {user['UserId']}": user["AccessString"] for user in users if user["UserId"] != "default"},
            **{f"group {group['UserGroupId']}": sorted(group["UserIds"]) for group in groups},
            **{f"role {role['RoleName']}": role["AssumeRolePolicyDocument"] for role in roles},
            **{f"acl {acl['Name']}": sorted(acl["UserNames"]) for acl in acls},
            **{f"memorydb user {user['Name']}": user["AccessString"] for user in theirs},
        }

    # -- applications --------------------------------------------------------------------------------------------------

    def start_clients(self):
        """Run an application in Python and one in Go, each with its mounted Secret, as restricted pods."""
        script = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "client", "namespace": "shop"}}
        self.cluster.apply({**script, "data": {CLIENT.name: CLIENT.read_text(encoding="utf-8")}})
        python = {
            "image": self.image,
            "command": ["python", f"/client/{CLIENT.name}", str(self.connection_seconds)],
            "volumeMounts": [{"name": "client", "mountPath": "/client"}],
        }
        self._run_client("checkout", "shop", python, [{"name": "client", "configMap": {"name": "client"}}])
        age = f"{self.connection_seconds / 4:.0f}s"
        go = {"image": self.client_image, "args": ["/var/run/secrets/elasticache-iam", "86400", age]}
        self._run_client("counter", "platform", go, [])

    def _run_client(self, user, namespace, container, volumes):
        mount = {"name": "redis", "mountPath": "/var/run/secrets/elasticache-iam", "readOnly": True}
        spec = {
            "serviceAccountName": user,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "client",
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": CONTAINER,
                    **container,
                    "volumeMounts": [mount, *container.get("volumeMounts", ())],
                }
            ],
            "volumes": [{"name": "redis", "projected": {"sources": [{"secret": {"name": user}}]}}, *volumes],
            "terminationGracePeriodSeconds": 1,
        }
        labels = {"app": f"client-{user}"}
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"client-{user}", "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
        self.cluster.apply(deployment)
        pod = wait_for(
            lambda: next(filter(is_ready, self.cluster.pods(namespace, f"app={labels['app']}")), None), what=user
        )
        self.clients[user] = (namespace, pod["metadata"]["name"], pod["metadata"]["uid"])

    def count(self, user):
        """Return how far a client has counted in the cache, as itself."""
        namespace = self.clients[user][0]
        key = "orders:count" if user == "checkout" else f"{self.secret(namespace, user)['username']}:count"
        secret = self.secret("platform", "counter")
        with redis.Redis(
            host=secret["host"], port=int(secret["port"]), username=secret["username"], password=secret["password"],
            ssl=True, ssl_ca_certs=str(self.aws.ca_file),
        ) as client:  # fmt: skip
            return int(client.get(key) or 0)

    def wait_for_progress(self):
        """Wait until each client has counted on from where it is now."""
        before = {user: self.count(user) for user in self.clients}

        def look():
            now = {user: self.count(user) for user in self.clients}
            assert all(now[user] > before[user] + 1 for user in before), f"{before} {now}"
            return True

        wait_for(look, what="the clients to count on")

    def tokens_seen(self):
        """Return the ends of the tokens that the application in Python has found in its file."""
        return list(dict.fromkeys(report["expires_at"] for report in self._reports()))

    def complaints(self):
        """Return all that went wrong for the clients so far."""
        return self.interruptions() + self.failures() + self.refusals()

    def interruptions(self):
        """Return which clients' pods were restarted or replaced, or aren't ready."""
        found = []
        for user, (namespace, name, uid) in self.clients.items():
            pod = self.cluster.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
            if pod is None or pod["metadata"]["uid"] != uid or not is_ready(pod):
                found.append(f"{user}'s pod is not there or not ready")
            elif restarts(pod):
                found.append(f"{user}'s pod was restarted")
        return found

    def failures(self):
        """Return the clients' commands that failed, in their own words."""
        found = []
        for user, (namespace, name, _) in self.clients.items():
            lines = self.cluster.logs(namespace, name).splitlines()
            found += [f"{user}: {line}" for line in lines if line.startswith(("failed", "error", "Traceback"))]
        return found + [f"checkout: {failure}" for failure in self._last_seen()["failures"]]

    def refusals(self):
        """Return the logins that were refused, to whomever."""
        return [f"refused: {refusal}" for refusal in self.aws.refusals()]

    def slowest_commands_s(self):
        """Return the longest that the application in Python waited for the commands of one round, in seconds."""
        return self._last_seen()["slowest_s"]

    def warnings(self):
        """Return what the libraries of the application in Python said between its own lines."""
        return [line for line in self._lines() if not line.startswith("{")]

    def _last_seen(self):
        return self._reports()[-1]

    def _reports(self):
        return [json.loads(line) for line in self._lines() if line.startswith("{")]

    def _lines(self):
        namespace, name, _ = self.clients["checkout"]
        return self.cluster.logs(namespace, name).splitlines()

    # -- accidents ----------------------------------------------------------------------------------------------------

    def crash(self, pod):
        """End a container's process as a crash does, with nothing given back; return how many restarts that makes."""
        process = process_of(pod)
        if process is None:  # another machine's: the next best
            options = {"gracePeriodSeconds": 0}
            self.cluster.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}", options)
            return 0
        os.kill(process, signal.SIGKILL)
        return 1

    def picture(self):
        """Return what there is and what the operators said last, for somebody who looks at a failure."""
        shown = [self.cluster.kubectl("get", "pods,elasticache-iam,events", "-A", check=False)]
        with suppress(RequestError, OSError):
            names = [pod["metadata"]["name"] for pod in self.operators()]
            shown += [self.cluster.logs(NAMESPACE, name, tailLines=30) for name in names]
        for namespace, name, _ in self.clients.values():
            shown.append(self.cluster.logs(namespace, name, tailLines=10))
        return "\n".join(shown)


class TokenWatch:
    """Looks at every Secret of ours twice a second and remembers how near to its end a token came."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="token-watch", daemon=True)
        self._lock = threading.Lock()
        self._least = {}
        self.looks = 0

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def restart(self):
        """Forget what was seen."""
        with self._lock:
            self._least.clear()

    def least(self):
        """Return the least life that any Secret's token had left, in seconds, since the last restart."""
        with self._lock:
            return min(self._least.values(), default=float("inf"))

    def _look(self):
        while not self._stop.wait(0.5):
            with suppress(OSError, RequestError, ValueError):
                found = self._cluster.request("GET", f"/api/v1/secrets?labelSelector={OURS}")["items"]
                now = datetime.now(UTC)
                with self._lock:
                    self.looks += 1
                    for body in found:
                        left = (datetime.fromisoformat(body["metadata"]["annotations"][EXPIRES]) - now).total_seconds()
                        name = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
                        self._least[name] = min(left, self._least.get(name, left))
