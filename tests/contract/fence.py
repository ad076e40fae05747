"""The shipped rights and admission policies, given to a user of the test's choice."""

import base64
import http.client
import json
import ssl
import time
from pathlib import Path

import yaml

from elasticache_iam.kube.errors import CONFIG_MAP_FENCE_WORDS, FENCE_WORDS

NAME = "elasticache-iam-operator"
NAMESPACE = "elasticache-iam"
INSTALL = list(
    yaml.safe_load_all((Path(__file__).parents[2] / "packaging" / "install.yaml").read_text(encoding="utf-8"))
)


class RawClient:
    """Raw requests of a user with a client certificate: kubectl would GET before it PUTs."""

    def __init__(self, control_plane, user, folder):
        credentials = json.loads(control_plane.write_kubeconfig(folder / user, user=user).read_text())["users"][0][
            "user"
        ]
        pem = folder / f"{user}.pem"
        pem.write_bytes(
            b"".join(base64.b64decode(credentials[f"client-{part}-data"]) for part in ("certificate", "key"))
        )
        self._tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
        self._tls.load_cert_chain(pem)
        self._address = control_plane.url.removeprefix("https://")

    def send(self, method, path, body=None, *, content_type="application/json"):
        """Return the answer's status, and all its text, headers included."""
        connection = http.client.HTTPSConnection(self._address, context=self._tls, timeout=10)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": content_type})
            answer = connection.getresponse()
            return answer.status, f"{answer.headers}{answer.read().decode()}"
        finally:
            connection.close()


def shipped(kind, name=NAME):
    (found,) = [entry for entry in INSTALL if entry["kind"] == kind and entry["metadata"]["name"] == name]
    return json.loads(json.dumps(found))


def grant_rights(control_plane, user):
    """Give a user the operator's rights on all of the cluster."""
    role = {**shipped("ClusterRole"), "metadata": {"name": user}}
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(role))
    control_plane.kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}", f"--user={user}")


KINDS = ("secrets", "configmaps", "tokens")


def fence_in(control_plane, user, *, kinds=KINDS, rule=None):
    """Put a user behind the operator's policies, and wait until they are in force; it needs the rights they fence.

    For that of specs nobody waits: it needs resources. A rule replaces parts of what a policy is about.
    """
    operator = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    for what in kinds:
        policy = shipped("ValidatingAdmissionPolicy", f"{NAME}-{what}")
        policy["metadata"] = {"name": f"{user}-{what}"}
        condition = policy["spec"]["matchConditions"][0]
        assert operator in condition["expression"]
        condition["expression"] = condition["expression"].replace(operator, user)
        if what == "configmaps":  # a user is of no namespace: its checkpoint may lie in any
            policy["spec"]["matchConditions"][1]["expression"] = f"request.name != '{NAME}-checkpoint'"
        policy["spec"]["matchConstraints"]["resourceRules"][0].update(rule or {})
        binding = shipped("ValidatingAdmissionPolicyBinding", f"{NAME}-{what}")
        binding["metadata"] = {"name": f"{user}-{what}"}
        binding["spec"]["policyName"] = f"{user}-{what}"
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(policy))
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(binding))
    probe = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": "default"}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": "default"}}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = "/api/v1/namespaces/default/serviceaccounts/default/token"
    as_user = (f"--as={user}", "create")
    if "secrets" in kinds:
        _await_refusal(control_plane, FENCE_WORDS, *as_user, "--dry-run=server", input=json.dumps(probe))
    if "configmaps" in kinds:
        _await_refusal(control_plane, CONFIG_MAP_FENCE_WORDS, *as_user, "--dry-run=server", input=json.dumps(settings))
    if "tokens" in kinds:
        _await_refusal(control_plane, "denied request", *as_user, "--raw", token, input=json.dumps(request))


def _await_refusal(control_plane, words, *arguments, input):  # noqa: A002  # as subprocess.run
    deadline = time.monotonic() + 20
    while words not in control_plane.kubectl(*arguments, "-f", "-", input=input, check=False).stderr:
        assert time.monotonic() < deadline, "the policy doesn't come into force"
        time.sleep(0.1)
