"""What is shipped beside the code: the chart, its rendering for kubectl, the image's Dockerfile. No helm needed."""

import json
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.keys import DEFAULT_AUDIENCE, GROUP, LABEL_MANAGED_BY, MANAGED_BY, USER_KIND
from elasticache_iam.cli.operator import operator
from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.delivery.secret import SECRET_TYPE
from elasticache_iam.kube.errors import ApiStatus
from elasticache_iam.kube.lease import LEASE_NAME
from elasticache_iam.kube.token_kube import CHECKPOINT_NAME
from elasticache_iam.runtime.config import load_config

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "elasticache-iam-operator"
INSTALL = list(yaml.safe_load_all((ROOT / "packaging" / "install.yaml").read_text(encoding="utf-8")))
NAMESPACE = "elasticache-iam"
NAME = "elasticache-iam-operator"
CLUSTER_SCOPED = {
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


def find(kind, name=NAME):
    (found,) = [entry for entry in INSTALL if entry["kind"] == kind and entry["metadata"]["name"] == name]
    return found


def rules(*kinds):
    return [rule for entry in INSTALL if entry["kind"] in kinds for rule in entry["rules"]]


def operator_rights():
    """All (verb, API group, resource) that the operator has."""
    return {
        (verb, group, resource)
        for rule in find("ClusterRole")["rules"] + find("Role")["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def pod():
    return find("Deployment")["spec"]["template"]["spec"]


def policy_text(name):
    return " ".join(entry["expression"] for entry in find("ValidatingAdmissionPolicy", name)["spec"]["validations"])


# -- rights ------------------------------------------------------------------------------------------------------------


def test_nobody_gets_to_read_secrets():
    secrets = [rule for rule in rules("ClusterRole", "Role") if any("secrets" in name for name in rule["resources"])]

    assert [set(rule["verbs"]) for rule in secrets] == [{"create", "update", "delete"}]


def test_no_right_is_a_wildcard():
    assert [rule for rule in rules("ClusterRole", "Role") if "*" in json.dumps(rule)] == []


def test_no_right_leads_to_more_rights():
    verbs = {verb for rule in rules("ClusterRole", "Role") for verb in rule["verbs"]}
    groups = {group for rule in rules("ClusterRole", "Role") for group in rule["apiGroups"]}

    assert verbs.isdisjoint({"impersonate", "bind", "escalate", "approve", "sign"})
    assert groups.isdisjoint({"rbac.authorization.k8s.io", "admissionregistration.k8s.io", "authentication.k8s.io"})


def test_the_operators_rights_are_those_that_its_calls_need():
    resources = [(GROUP, plural) for plural in ("elasticacheiamusers", "usergroups")]
    assert operator_rights() == {
        *((verb, *resource) for resource in resources for verb in ("get", "list", "watch", "patch")),
        *(("patch", group, f"{plural}/status") for group, plural in resources),
        *(("update", group, f"{plural}/finalizers") for group, plural in resources),
        *((verb, "", "secrets") for verb in ("create", "update", "delete")),
        ("get", "", "serviceaccounts"),
        ("create", "", "serviceaccounts/token"),
        ("create", "events.k8s.io", "events"),
        *((verb, "", "namespaces") for verb in ("get", "list", "watch")),
        *((verb, "apiextensions.k8s.io", "customresourcedefinitions") for verb in ("list", "watch")),
        *((verb, "", "configmaps") for verb in ("get", "create", "patch", "update", "delete")),
        ("list", "", "pods"),
        *((verb, "coordination.k8s.io", "leases") for verb in ("get", "create", "update")),
    }


def test_the_only_configmap_it_may_read_or_patch_is_the_checkpoint():
    anywhere, at_home = [rule for rule in rules("ClusterRole", "Role") if "configmaps" in rule["resources"]]

    assert at_home["resourceNames"] == [CHECKPOINT_NAME]
    assert set(anywhere["verbs"]) == {"create", "update", "delete"}


def test_the_only_lease_it_may_read_or_change_is_its_own():
    rights = [rule for rule in rules("ClusterRole", "Role") if "leases" in rule["resources"]]

    assert [(rule.get("resourceNames"), rule["verbs"]) for rule in rights] == [
        (None, ["create"]),
        ([LEASE_NAME], ["get", "update"]),
    ]


def test_roles_are_bound_to_the_operators_serviceaccount_alone():
    bindings = [entry for entry in INSTALL if entry["kind"] in {"ClusterRoleBinding", "RoleBinding"}]

    assert {(entry["kind"], entry["roleRef"]["name"]) for entry in bindings} == {
        ("ClusterRoleBinding", NAME),
        ("RoleBinding", NAME),
    }
    assert [subject for entry in bindings for subject in entry["subjects"]] == [
        {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    ] * 2


def test_application_teams_get_users_and_no_groups():
    aggregated = [entry for entry in INSTALL if "rbac.authorization.k8s.io/aggregate-to-" in json.dumps(entry)]

    assert {entry["metadata"]["name"] for entry in aggregated} == {f"{NAME}-view", f"{NAME}-edit"}
    assert {name for entry in aggregated for rule in entry["rules"] for name in rule["resources"]} == {
        "elasticacheiamusers"
    }


def test_the_view_role_changes_nothing():
    view = find("ClusterRole", f"{NAME}-view")

    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}


# -- the fence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["secrets", "configmaps", "tokens", "specs"])
def test_the_fence_denies_and_fails_closed(what):
    policy = find("ValidatingAdmissionPolicy", f"{NAME}-{what}")
    binding = find("ValidatingAdmissionPolicyBinding", f"{NAME}-{what}")

    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {"policyName": f"{NAME}-{what}", "validationActions": ["Deny"]}
    first, *others = [entry["expression"] for entry in policy["spec"]["matchConditions"]]
    assert first == f"request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:{NAME}'"
    assert [CHECKPOINT_NAME in other for other in others] == [True] * (what == "configmaps")


@pytest.mark.parametrize(
    ("what", "marks"),
    [("secrets", [LABEL_MANAGED_BY, MANAGED_BY, SECRET_TYPE]), ("configmaps", [LABEL_MANAGED_BY, MANAGED_BY])],
)
def test_the_fence_knows_the_operators_objects_by_what_the_operator_writes(what, marks):
    text = policy_text(f"{NAME}-{what}")

    for part in (*marks, USER_KIND, f"{GROUP}/"):
        assert text.count(f"'{part}'") == 2, part  # of the new object and of the old one


@pytest.mark.parametrize("what", ["secrets", "configmaps"])
def test_the_operator_knows_each_refusal_of_the_fence_by_its_words(what):
    validations = find("ValidatingAdmissionPolicy", f"{NAME}-{what}")["spec"]["validations"]

    for entry in validations:
        refusal = f"ValidatingAdmissionPolicy 'a' with binding 'b' denied request: {entry['message']}"
        assert ApiStatus(403, message=refusal).is_fenced, entry["message"]


def test_the_fence_lets_the_default_audience_through():
    assert f"== ['{DEFAULT_AUDIENCE}']" in policy_text(f"{NAME}-tokens")


# -- the Pod -----------------------------------------------------------------------------------------------------------


def test_the_pod_meets_the_restricted_profile():
    context = pod()["securityContext"]

    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 65532
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert [entry["securityContext"] for entry in pod()["containers"]] == [
        {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    ]


def test_the_pod_has_nothing_of_the_host():
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod())
    assert [set(volume) - {"name"} for volume in pod()["volumes"]] == [{"configMap"}, {"emptyDir"}]


def test_the_only_place_to_write_is_tmp():
    mounts = pod()["containers"][0]["volumeMounts"]

    assert [mount["mountPath"] for mount in mounts if not mount.get("readOnly")] == ["/tmp"]


def test_only_the_pod_mounts_the_serviceaccounts_token():
    assert find("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod()["automountServiceAccountToken"] is True


def test_the_containers_arguments_are_the_commands():
    arguments = pod()["containers"][0]["args"]

    with click.Context(operator) as context:
        values, rest, _ = operator.make_parser(context).parse_args(arguments[1:])

    assert arguments[0] == operator.name
    assert rest == []
    assert str(values["config_path"]) == "/etc/elasticache-iam/config.yaml"


def test_probes_ask_where_the_operator_listens():
    container = pod()["containers"][0]

    assert "--listen=*:8080" in container["args"]
    assert [port["containerPort"] for port in container["ports"] if port["name"] == "http"] == [8080]
    assert {name: container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe", "startupProbe")} == {
        "livenessProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
        "startupProbe": {"path": "/livez", "port": "http"},
    }


def test_a_replica_may_always_be_drained():
    assert find("Deployment")["spec"]["replicas"] == 2
    assert find("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_everything_is_in_the_operators_namespace():
    namespaced = [entry for entry in INSTALL if entry["kind"] not in CLUSTER_SCOPED]

    assert {entry["metadata"]["namespace"] for entry in namespaced} == {NAMESPACE}


def test_what_kubectl_installs_does_not_claim_to_be_helms():
    text = (ROOT / "packaging" / "install.yaml").read_text(encoding="utf-8")

    assert "managed-by: Helm" not in text
    assert "helm.sh/" not in text


def test_the_configuration_is_one_that_the_operator_takes_once_it_has_an_owner(tmp_path):
    text = find("ConfigMap", f"{NAME}-config")["data"]["config.yaml"]
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match="owner: must be 1 to 10 lower-case letters and digits"):
        load_config(path)
    path.write_text(text.replace("owner: SET-ME", "owner: prod"))
    assert load_config(path).owner == "prod"


def test_the_installed_crds_are_the_generated_ones():
    installed = [entry for entry in INSTALL if entry["kind"] == "CustomResourceDefinition"]

    assert installed == [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]


def test_the_charts_crds_are_the_generated_ones():
    def files(folder):
        return {path.name: path.read_text() for path in folder.glob("*")}

    assert files(CHART / "files" / "crds") == files(ROOT / "crds")  # run `make install-yaml`


# -- the chart's values ------------------------------------------------------------------------------------------------


def schema():
    return json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def own_objects(node, path=""):
    """All objects of the schema whose keys are ours."""
    if "properties" in node:
        yield path, node
        for name, child in node["properties"].items():
            yield from own_objects(child, f"{path}.{name}")


PROBES = (".startupProbe", ".livenessProbe", ".readinessProbe")


def values():
    return yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def test_every_value_has_a_schema_and_the_other_way_round():
    for path, node in own_objects(schema()):
        shown = values()
        for name in path.split(".")[1:]:
            shown = shown[name]
        known = set(node["properties"]) - {"global"}
        assert set(shown) <= known if path in PROBES else set(shown) == known, path


def test_what_has_a_default_is_required():
    """Helm takes a key away whose value is null: the templates would render nothing in its place, or break."""
    for path, node in own_objects(schema()):
        shown = values()
        for name in path.split(".")[1:]:
            shown = shown[name]
        filled = {name for name, value in shown.items() if value not in ("", [], {}, False)}
        nullable = (
            filled if path == ".config" else {"resources"}
        )  # the operator has defaults, too; a Pod needs no limits
        assert set(node.get("required", ())) >= filled - nullable, path


def test_a_misspelt_value_is_an_error_everywhere():
    assert [path for path, node in own_objects(schema()) if node.get("additionalProperties") is not False] == []


def test_every_value_is_described():
    nodes = {
        f"{path}.{name}": child for path, node in own_objects(schema()) for name, child in node["properties"].items()
    }

    assert [path for path, node in nodes.items() if not node.get("description")] == []


def test_the_charts_config_has_the_operators_settings():
    settings = {field.alias or name for name, field in OperatorConfig.model_fields.items()}

    assert set(schema()["properties"]["config"]["properties"]) == settings


def test_the_charts_config_has_the_operators_limits():
    model = OperatorConfig.model_json_schema(by_alias=True)["properties"]
    chart = schema()["properties"]["config"]["properties"]
    limits = ("minimum", "maximum", "exclusiveMinimum")

    def bounds(node):
        return {word: node[word] for word in limits if word in node}

    assert {name: bounds(node) for name, node in chart.items()} == {name: bounds(node) for name, node in model.items()}


def test_the_values_tell_every_setting_with_its_default():
    shown = values()["config"]

    for name, field in OperatorConfig.model_fields.items():
        default = field.get_default()
        expected = list(default) if isinstance(default, tuple) else default
        assert shown[field.alias or name] == ("" if default is None or field.is_required() else expected), name


def test_chart_image_and_distribution_have_one_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert {chart["version"], chart["appVersion"]} == {project["version"]}
    assert pod()["containers"][0]["image"] == f"{NAME}:{project['version']}"


# -- the image ---------------------------------------------------------------------------------------------------------


def instructions(word):
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.removeprefix(word).strip() for line in text.splitlines() if line.startswith(f"{word} ")]


def test_the_image_runs_the_operator_as_the_user_that_the_chart_sets():
    assert json.loads(instructions("ENTRYPOINT")[-1]) == ["elasticache-iam"]
    assert json.loads(instructions("CMD")[-1]) == ["operator"]
    assert instructions("USER")[-1].split(":")[0] == str(pod()["securityContext"]["runAsUser"])


def test_the_image_takes_only_packages_with_known_hashes():
    installs = [line for line in instructions("RUN") if "pip install" in line]

    assert installs
    for command in (part for line in installs for part in line.split("&&") if "pip install" in part):
        assert "--require-hashes" in command or "--no-index" in command, command


def test_the_image_has_no_sandbox():
    assert not any("sandbox" in line for line in instructions("COPY"))
    assert "operator/elasticache_iam " in " ".join(instructions("COPY"))
