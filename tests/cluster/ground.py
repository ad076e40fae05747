"""One test's own ground on the shared control plane and sandbox: namespaces, an AWS account, an owner, operators."""

import base64
import itertools
import json
import logging
import os
import secrets
import signal
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.builders import group_manifest, user_manifest
from tests.waiting import PATIENCE_S, wait_for

from elasticache_iam.api.keys import API_VERSION, TAG_ALLOW
from elasticache_iam.core.policy.operator import operator_policy
from elasticache_iam_sandbox.cluster.errors import ApiError
from elasticache_iam_sandbox.processes import Process

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
INSTALL = ROOT / "packaging" / "install.yaml"
PROGRAM = Path(sys.executable).with_name("elasticache-iam")
NAME = "elasticache-iam-operator"
LEASE = NAME
USERS = "elasticacheiamusers"
GROUPS = "usergroups"
PLURALS = (USERS, GROUPS)
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
"""What the audit log tells of the token that a request came with."""
LEASE_S = 15.0
"""How long a Lease lasts after its last renewal, and a takeover waits for a leader that didn't give it back."""


def note_measured(seconds, what="it"):
    """Note what a test measured; `pytest -o log_cli=true --log-cli-level=info` shows it."""
    logging.getLogger("measured").info("%s: %.2f s", what, seconds)


def pass_second():
    """Wait for the next whole second: within one the same credentials sign the same token."""
    time.sleep(1 - time.time() % 1)


@dataclass(frozen=True)
class Login:
    """A kubeconfig and how the audit log names its token."""

    kubeconfig: Path
    credential: str


class Installation:
    """What packaging/install.yaml makes, in a namespace of its own and without Pods; operators share its identity.

    They are told apart by the namespaces they watch: all rights and the fence are the ones that users install.
    """

    def __init__(self, control_plane, folder):
        self.control_plane = control_plane
        self.namespace = f"operator-{secrets.token_hex(4)}"
        documents = [document for document in yaml.safe_load_all(self._text()) if document]
        self._namespaced = [document for document in documents if document["kind"] in {"Role", "RoleBinding"}]
        wanted = [document for document in documents if document["kind"] not in {"Deployment", "PodDisruptionBudget"}]
        for document in wanted:
            if document["metadata"]["name"] == f"{NAME}-configmaps" and "matchConditions" in document["spec"]:
                # Here the checkpoint lies in each test's namespace, not in that of the operator's ServiceAccount.
                document["spec"]["matchConditions"][1]["expression"] = f"request.name != '{NAME}-checkpoint'"
        self.documents = sorted(wanted, key=lambda document: document["kind"] != "Namespace")
        control_plane.kubectl(
            *("apply", "--server-side", "--force-conflicts", "-f", "-"), input=yaml.safe_dump_all(self.documents)
        )
        self.username = f"system:serviceaccount:{self.namespace}:{NAME}"
        self.token = self._request_token()
        self.kubeconfig = control_plane.write_kubeconfig(folder / "operator.kubeconfig", token=self.token)
        wait_for(self._is_in_force, what="the CRDs and the fence")

    def _text(self):
        """Return install.yaml for our namespace: the original's may be somebody else's in this cluster."""
        text = INSTALL.read_text(encoding="utf-8")
        replaced = text.replace("namespace: elasticache-iam\n", f"namespace: {self.namespace}\n")
        replaced = replaced.replace("name: elasticache-iam\n", f"name: {self.namespace}\n")
        return replaced.replace("system:serviceaccount:elasticache-iam:", f"system:serviceaccount:{self.namespace}:")

    def new_login(self, path):
        """Write a kubeconfig for the same identity with a token of its own, by which the audit log tells it apart."""
        token = self._request_token()
        self.control_plane.write_kubeconfig(path, token=token)
        claims = token.split(".")[1]
        return Login(path, f"JTI={json.loads(base64.urlsafe_b64decode(claims + '=' * (-len(claims) % 4)))['jti']}")

    def _request_token(self):
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{NAME}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
        return self.control_plane.request("POST", path, body)["status"]["token"]

    def _is_in_force(self):
        foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe"}}
        _, answer = self.as_operator("POST", f"/api/v1/namespaces/{self.namespace}/secrets?dryRun=All", foreign)
        with suppress(ApiError):
            for plural in PLURALS:
                self.control_plane.request("GET", f"/apis/{API_VERSION}/{plural}")
            return "ValidatingAdmissionPolicy" in answer
        return False

    def as_operator(self, method, path, body=None, content_type="application/json"):
        """Return status and text of a request with the operator's own token."""
        request = urllib.request.Request(  # noqa: S310  # our own API server
            self.control_plane.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": content_type},
        )
        try:
            context = ssl.create_default_context(cafile=str(self.control_plane.ca_file))
            with urllib.request.urlopen(request, context=context, timeout=30) as answer:  # noqa: S310  # as above
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def add_operators_namespace(self, name):
        """Make a namespace for one test's Lease and checkpoint, with the same rights there as in our own."""
        for document in self._namespaced:
            metadata = {"name": document["metadata"]["name"], "namespace": name}
            group = "/apis/rbac.authorization.k8s.io/v1"
            path = f"{group}/namespaces/{name}/{document['kind'].lower()}s"
            self.control_plane.request("POST", path, {**document, "metadata": metadata})


class Operator:
    """The operator as a process."""

    def __init__(self, process, log, credential=""):
        self.process = process
        self.log = log
        self.credential = credential
        self.started_at = time.monotonic()
        self.ready_after_s = 0.0

    @cached_property
    def address(self):
        return wait_for(self._address, what="the operator to start")

    def _address(self):
        for entry in self.entries():
            if entry.get("msg") == "started":
                return entry["listen"]
        if not self.process.is_running:
            raise RuntimeError(f"the operator ended with {self.process.exit_code}: {self.text()}")
        return None

    def wait_until_ready(self):
        wait_for(lambda: self.probe("/readyz")[0] == 200, what="/readyz")
        self.ready_after_s = time.monotonic() - self.started_at

    def wait_until_leading(self, timeout_s=PATIENCE_S):
        wait_for(lambda: self.said("elected"), timeout_s=timeout_s, what="the operator to lead")

    @property
    def elected_at(self):
        """When it became the leader; None if it never did."""
        return next((datetime.fromisoformat(entry["ts"]) for entry in self.said("elected")), None)

    def probe(self, path):
        """Return status and text of an HTTP request."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:  # loopback
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def text(self):
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def entries(self):
        for line in self.text().splitlines():
            with suppress(ValueError):
                yield json.loads(line)

    def said(self, message):
        return [entry for entry in self.entries() if entry.get("msg") == message]

    def kill(self):
        """End it as a lost node does."""
        if self.process.is_running:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def stop(self, timeout_s=30.0):
        """Send SIGTERM; return exit code and how long it took."""
        begin = time.monotonic()
        os.kill(self.process.pid, signal.SIGTERM)
        code = self.process.wait(timeout_s)
        return code, time.monotonic() - begin


class Ground:
    """Everything of one test."""

    def __init__(self, installation, sandbox, account, folder):
        self.installation = installation
        self.control_plane = installation.control_plane
        self.sandbox = sandbox
        self.account = account
        self.folder = folder
        tag = secrets.token_hex(3)
        self.owner = f"t{tag}"
        self.namespaces = {name: f"{name}-{tag}" for name in ("platform", "shop", "web", "operators")}
        self.operators = []
        session = sandbox.admin_session(account)
        self.elasticache, self.iam = session.client("elasticache"), session.client("iam")
        self.memorydb = session.client("memorydb")
        self.operator_key = sandbox.add_access_key(
            "operator",
            account_id=account.account_id,
            policy=operator_policy(
                owner=self.owner, partition="aws", account=account.account_id, region=account.region
            ),
        )
        for name in self.namespaces.values():
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            self.control_plane.request("POST", "/api/v1/namespaces", body)
        installation.add_operators_namespace(self.namespaces["operators"])

    # -- AWS ----------------------------------------------------------------------------------------------------------

    @property
    def consent(self):
        """The tags by which an AWS object's owner says yes to our platform namespace."""
        return {TAG_ALLOW: f"{self.owner}/{self.namespaces['platform']}"}

    def add_cache(self, cache_id="orders-prod", *, engine="redis", consent=True, **options):
        """Put an open cache there, which consents to our platform namespace; `options` as of `Sandbox.add_cache`."""
        tags = self.consent if consent else {}
        return self.sandbox.add_cache(cache_id, account_id=self.account.account_id, engine=engine, tags=tags, **options)

    def aws_listing(self):
        """Return the ids of all users, groups and roles in the account that AWS itself didn't bring."""
        return {
            *(f"user {user['UserId']}" for user in self.elasticache.describe_users()["Users"]),
            *(f"group {group['UserGroupId']}" for group in self.elasticache.describe_user_groups()["UserGroups"]),
            *(f"role {role['RoleName']}" for role in self.iam.list_roles()["Roles"]),
        } - {"user default"}

    # -- Kubernetes ---------------------------------------------------------------------------------------------------

    def localise(self, document):
        """Return a manifest with this test's namespaces instead of the example's."""
        text = json.dumps(document)
        for name, ours in self.namespaces.items():
            for pattern in ('"namespace": "{}"', '"names": ["{}"]'):
                text = text.replace(pattern.format(name), pattern.format(ours))
        return json.loads(text)

    def apply(self, *documents, namespace=None):
        """Apply manifests as kubectl does, with the ServiceAccounts that users name."""
        found = []
        for document in map(self.localise, documents):
            if document["kind"] == "Namespace":
                continue
            if namespace is not None:
                document["metadata"]["namespace"] = namespace
            for account in document.get("spec", {}).get("serviceAccounts", ()):
                self.add_service_account(document["metadata"]["namespace"], account)
            found.append(document)
        self.control_plane.kubectl("apply", "--validate=strict", "-f", "-", input=yaml.safe_dump_all(found))

    def add_user(self, name=None, *, namespace="shop", **spec):
        """Apply a user, wait until it is Ready and return its name: by default one that nobody has."""
        name = name or f"user-{secrets.token_hex(3)}"
        self.apply(user_manifest(name, namespace, **spec))
        self.wait_until_ready(name, namespace=namespace)
        return name

    def add_group(self, name=None, **spec):
        """Apply a group on a cache of its own and return both names: by default ones that nobody has."""
        name = name or f"group-{secrets.token_hex(3)}"
        self.add_cache(f"{name}-cache")
        self.apply(group_manifest(name, caches=(f"{name}-cache",), **spec))
        return name

    def apply_example(self, *paths):
        """Apply files of examples/."""
        for path in paths:
            self.apply(*yaml.safe_load_all((EXAMPLES / path).read_text(encoding="utf-8")))

    def add_service_account(self, namespace, name):
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        with suppress(ApiError):
            self.control_plane.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body)

    def path(self, plural, name, namespace):
        namespace = self.namespaces.get(namespace, namespace)
        api = f"/apis/{API_VERSION}" if plural in PLURALS else "/api/v1"
        return f"{api}/namespaces/{namespace}/{plural}/{name}"

    def get(self, plural, name, namespace="shop"):
        """Return an object, None if there is none."""
        try:
            return self.control_plane.request("GET", self.path(plural, name, namespace))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def patch(self, plural, name, change, namespace="shop"):
        path, merge = self.path(plural, name, namespace), "application/merge-patch+json"
        return self.control_plane.request("PATCH", path, change, content_type=merge)

    def annotate(self, name, *, plural=USERS, namespace="shop", **annotations):
        named = {f"elasticache-iam.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.patch(plural, name, {"metadata": {"annotations": named}}, namespace)

    def delete(self, plural, name, namespace="shop"):
        self.control_plane.request("DELETE", self.path(plural, name, namespace))

    def conditions(self, plural, name, namespace="shop"):
        body = self.get(plural, name, namespace) or {}
        return {entry["type"]: entry for entry in body.get("status", {}).get("conditions", ())}

    def wait_for_condition(
        self, plural, name, kind, *, namespace="shop", status=None, reason=None, timeout_s=PATIENCE_S
    ):
        """Wait for a condition's status or reason; the failure shows them all."""

        def look():
            conditions = self.conditions(plural, name, namespace)
            found = conditions.get(kind)
            shown = {key: f"{c['status']} {c['reason']} {c['message']}" for key, c in conditions.items()}
            assert found, shown
            assert status in (None, found["status"]), shown
            assert reason in (None, found["reason"]), shown
            return found

        return wait_for(look, timeout_s=timeout_s, what=f"{kind} {status or ''} {reason or ''} of {name}")

    def wait_until_ready(self, name="checkout", *, plural=USERS, namespace="shop", timeout_s=PATIENCE_S):
        def look():
            body = self.get(plural, name, namespace)
            seen = body["status"]["observedGeneration"]
            assert seen == body["metadata"]["generation"], f"only generation {seen} was; {self.complaints()}"
            return True

        wait_for(look, timeout_s=timeout_s, what=f"{name} to be looked at")
        return self.wait_for_condition(plural, name, "Ready", namespace=namespace, status="True", timeout_s=timeout_s)

    def wait_until_gone(self, plural, name, namespace="shop", timeout_s=PATIENCE_S):
        def look():
            found = self.get(plural, name, namespace)
            assert found is None, f"still there: {found.get('status', {}).get('conditions')}"
            return True

        wait_for(look, timeout_s=timeout_s, what=f"{name} to be gone")

    def secret(self, name="checkout", namespace="shop"):
        """Return a Secret's content, decoded; None if there is none."""
        body = self.get("secrets", name, namespace)
        if body is None:
            return None
        return {key: base64.b64decode(value).decode() for key, value in body["data"].items()}

    def audit(self, **wanted):
        """Return the operators' requests about this test's namespaces, oldest first."""
        ours = set(self.namespaces.values())
        return [
            event
            for event in self.control_plane.audit_events()
            if event["user"].get("username") == self.installation.username
            and event.get("objectRef", {}).get("namespace") in ours
            and event["stage"] == "ResponseComplete"
            and all(event["objectRef"].get(key) == value for key, value in wanted.items())
        ]

    def audit_of(self, operator):
        """Return one operator's requests, oldest first, whatever became of them and whatever they were about."""
        return [
            event
            for event in self.control_plane.audit_events()
            if operator.credential in event["user"].get("extra", {}).get(CREDENTIAL_ID, ())
            and event["stage"] == "ResponseComplete"
        ]

    def writes(self):
        """Return the operator's writes but those of its Lease and checkpoint."""
        return [
            event
            for event in self.audit()
            if event["verb"] in {"create", "update", "patch", "delete", "deletecollection"}
            and event["objectRef"]["resource"] not in {"leases", "configmaps"}
        ]

    # -- operators ----------------------------------------------------------------------------------------------------

    def config(self, **changes):
        settings = {
            "owner": self.owner,
            "region": self.account.region,
            "account": self.account.account_id,
            "oidcIssuer": self.control_plane.issuer,
            "cacheCA": str(self.sandbox.ca_file),
            "pollInterval": 0.3,
            "namespaces": [self.namespaces[name] for name in ("platform", "shop", "web")],
        }
        return {key: value for key, value in {**settings, **changes}.items() if value is not None}

    def environment(self, **changes):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "KUBE"))}
        ours = self.sandbox.env(self.operator_key) | {"KUBECONFIG": str(self.installation.kubeconfig)}
        return {key: value for key, value in {**kept, **ours, **changes}.items() if value is not None}

    def start_operator(self, *arguments, environment=None, lead=True, **changes):
        """Start an operator and wait until it leads, or else is ready."""
        operator = self.launch_operator(*arguments, environment=environment, **changes)
        operator.wait_until_ready()
        if lead:
            operator.wait_until_leading()
        return operator

    def launch_operator(self, *arguments, environment=None, login=None, **changes):
        """Start an operator and wait for nothing; a new login needs the API server."""
        number = len(self.operators)
        config = self.folder / f"config-{number}.yaml"
        config.write_text(yaml.safe_dump(self.config(**changes)), encoding="utf-8")
        log = self.folder / f"operator-{number}.log"
        login = login or self.installation.new_login(self.folder / f"operator-{number}.kubeconfig")
        process = Process(
            f"operator-{number}",
            (
                *(PROGRAM, "operator", "--config", config, "--namespace", self.namespaces["operators"]),
                *("--listen", "127.0.0.1:0", *arguments),
            ),
            log=log,
            env=environment or self.environment(KUBECONFIG=str(login.kubeconfig)),
            cwd=self.folder,
        )
        operator = Operator(process, log, login.credential)
        process.start()
        self.operators.append(operator)
        return operator

    def complaints(self):
        """Return the operators' errors, for a test's message."""
        return [entry for operator in self.operators for entry in operator.entries() if entry["level"] == "error"]

    def lease(self):
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespaces['operators']}/leases/{LEASE}"
        return self.control_plane.request("GET", path)["spec"]

    def end_lease(self):
        """Let the Lease run out at once: a killed leader's lasts 15 s."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespaces['operators']}/leases/{LEASE}"
        with suppress(ApiError):
            self.control_plane.request("DELETE", path)

    def sts_calls(self):
        counts = self.sandbox.run(lambda world: dict(world.call_counts()))
        return counts.get(("sts", "AssumeRoleWithWebIdentity"), 0)

    # -- caches -------------------------------------------------------------------------------------------------------

    def login(self, secret, **changes):
        """Return a stock client that logs in with nothing but what stands in a Secret; TLS is verified."""
        return redis.Redis(
            **{
                "host": secret["host"],
                "port": int(secret["port"]),
                "username": secret["username"],
                "password": secret["password"],
                "ssl": True,
                "ssl_cert_reqs": "required",
                "ssl_check_hostname": True,
                "ssl_ca_data": secret["ca.crt"],
                "retry": Retry(NoBackoff(), 0),
                "socket_timeout": 5,
                **changes,
            }
        )

    def anonymous(self, cache):
        return redis.Redis(
            cache.host, cache.port, ssl=True, ssl_ca_certs=cache.ca_file, retry=Retry(NoBackoff(), 0), protocol=2
        )

    def close(self):
        for operator in self.operators:
            operator.kill()
            operator.process.stop()
        for plural, namespace in itertools.product(PLURALS, self.namespaces):
            base = self.path(plural, "", namespace).rstrip("/")
            for item in self.control_plane.request("GET", base)["items"]:
                with suppress(ApiError):
                    if item["metadata"].get("finalizers"):
                        self.patch(plural, item["metadata"]["name"], {"metadata": {"finalizers": None}}, namespace)
        for name in self.namespaces.values():
            with suppress(ApiError):
                self.control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


class Hold:
    """A fault: calls of one operation take a moment, are carried out, and nobody hears of it. Tells when one comes."""

    error_message = ""
    http_status = 400

    def __init__(self, service, operation, *, error_code="LostAnswer"):
        self.service = service
        self.operation = operation
        self.error_code = error_code
        self.remaining = None
        self.arrived = threading.Event()

    @property
    def latency_s(self):
        self.arrived.set()
        return 0.3
