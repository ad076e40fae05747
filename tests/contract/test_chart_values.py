"""What the chart makes of its values, wrong ones among them. No cluster needed."""

import itertools
import json
import re
import subprocess

import pytest
import yaml
from tests.contract.chart import CHART, ROOT, VARIANTS, Helm

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.kube.rights import needed_rights

OWNER = ("--set", "config.owner=demo")
NAME = "r-elasticache-iam-operator"
ACCOUNT = "111122223333"
THERE = {"id": ACCOUNT, "roleArn": f"arn:aws:iam::{ACCOUNT}:role/a"}


@pytest.fixture(scope="module")
def cli(helm, tmp_path_factory):
    return Helm(helm, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def variants(cli):
    """All that each file of values in ci/ makes, by the file's name."""
    return {path.name.removesuffix("-values.yaml"): cli.template("-f", path) for path in VARIANTS}


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def only(documents, kind):
    (found,) = of_kind(documents, kind)
    return found


def pod(documents):
    return only(documents, "Deployment")["spec"]["template"]


def container(documents):
    (found,) = pod(documents)["spec"]["containers"]
    return found


def is_within(part, whole):
    return part.items() <= whole.items()


def refusal(cli, *arguments):
    answer = cli("template", "r", CHART, *arguments, check=False)
    assert answer.returncode != 0
    return answer.stderr


# -- the whole ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", VARIANTS, ids=lambda path: path.stem)
def test_the_chart_has_no_faults_that_helm_knows(cli, values):
    assert "0 chart(s) failed" in cli("lint", "--strict", CHART, "-f", values).stdout


def test_the_operator_takes_the_configuration_of_each_variant(variants):
    for name, documents in variants.items():
        (text,) = [
            document["data"]["config.yaml"]
            for document in of_kind(documents, "ConfigMap")
            if document["metadata"]["name"].endswith("-config")
        ]
        assert OperatorConfig.model_validate(yaml.safe_load(text)).owner, name


def test_every_object_has_the_charts_labels(variants):
    for documents in variants.values():
        for document in documents:
            metadata = document["metadata"]
            if document["kind"] != "CustomResourceDefinition" and metadata["name"] not in {"r-extra", "r-more"}:
                assert metadata["labels"]["app.kubernetes.io/instance"] == "r"


def test_the_common_labels_are_on_every_object_and_pod(variants):
    documents = [entry for entry in variants["production"] if entry["kind"] != "CustomResourceDefinition"]

    labels = [document["metadata"]["labels"] for document in (*documents, pod(documents))]
    assert {entry.get("example.com/team") for entry in labels} == {"platform"}


def test_the_pods_of_all_but_the_host_network_meet_the_restricted_profile(variants):
    for name, documents in variants.items():
        spec = pod(documents)["spec"]
        assert ("hostNetwork" in spec) is (name == "host-network")
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(documents)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_openshift_chooses_the_ids_itself(variants):
    context = pod(variants["openshift"])["spec"]["securityContext"]

    assert {"runAsUser", "runAsGroup", "fsGroup"}.isdisjoint(context)


# -- wrong values ------------------------------------------------------------------------------------------------------

WRONG = {
    "no-owner": ("config.owner=", "config.owner is required: this installation's name in AWS, 1 to 10 lower-case"),
    "an-owner-in-capitals": ("config.owner=My", 'config.owner: "My" can\'t begin a name in AWS; it must be 1 to 10'),
    "an-owner-with-a-hyphen": ("config.owner=my-team", 'config.owner: "my-team"'),
    "an-owner-too-long": ("config.owner=abcdefghijk", 'config.owner: "abcdefghijk"'),
    "an-owner-that-is-a-number": ("config.owner=7", 'config.owner: "7"'),
    "an-account-without-quotes": (f"config.account={ACCOUNT}", "or use --set-string config.account=…"),
    "a-zone-as-region": (
        "config.region=eu-central-1a",
        'config.region: "eu-central-1a" is no AWS region; they look like',
    ),
    "an-issuer-without-scheme": ("config.oidcIssuer=oidc.eks", 'config.oidcIssuer: "oidc.eks" is no OIDC issuer'),
    "an-audience-with-a-space": ("config.audience=a b", 'config.audience: "a b" can\'t be a client id'),
    "a-boundary-by-name": ("config.permissionsBoundary=b", 'config.permissionsBoundary: "b" is no policy\'s ARN'),
    "a-tag-of-the-operators": (
        "config.allowedTagKeys={team,elasticache-iam.dev/owner}",
        'config.allowedTagKeys[1]: no resource may have the tag "elasticache-iam.dev/owner", nor',
    ),
    "a-tag-of-awss": ("config.allowedTagKeys={AWS:foo}", 'no resource may have the tag "AWS:foo"'),
    "an-address-as-range": (
        "networkPolicy.caches.to[0].ipBlock.cidr=10.0.0.0",
        'networkPolicy.caches.to[0].ipBlock.cidr: "10.0.0.0" is no range of addresses; they look like 10.0.0.0/24',
    ),
    "an-operators-role-by-name": ("config.operatorRoleArn=role", 'config.operatorRoleArn: "role" is no role\'s ARN'),
    "a-cache-by-name": ("config.trustedCaches[0]=orders", 'config.trustedCaches[0]: "orders" is no cache\'s ARN'),
    "a-ca-that-is-neither": ("config.cacheCA=ca.crt", "config.cacheCA: neither PEM text"),
    "a-pattern-of-namespaces": (
        "config.namespaces[0]=*",
        'config.namespaces[0]: "*" is no namespace\'s name; patterns',
    ),
    "a-lease-without-room": (
        "config.leaseSeconds=10",
        "leaseRetry < leaseRenewDeadline < leaseSeconds, not 2 < 10 < 10",
    ),
    "a-long-life": ("config.tokenSeconds=901", "at '/config/tokenSeconds': maximum: got 901, want 900"),
    "a-life-in-words": ("config.tokenSeconds=long", "at '/config/tokenSeconds': got string"),
    "an-unknown-signing": (
        "config.signing=Mine",
        "at '/config/signing': value must be one of 'WebIdentity', 'AssumeRole'",
    ),
    "a-misspelt-setting": ("config.tokenSecond=600", "at '/config': additional properties 'tokenSecond' not allowed"),
    "a-misspelt-value": ("replicas=3", "at '': additional properties 'replicas' not allowed"),
    "a-misspelt-value-further-down": ("metrics.serviceMonitor.on=true", "at '/metrics/serviceMonitor': additional"),
    "a-misspelt-field-of-a-list": ("extraEnv[0].nam=x", "at '/extraEnv/0'"),
    "a-registry-that-is-a-url": (
        "image.registry=https://r",
        'image.registry: "https://r" is a URL; write the host alone',
    ),
    "a-tag-in-the-name": ("image.repository=r:5000/a:1", 'image.repository: "r:5000/a:1" has a tag or digest'),
    "a-repository-with-slashes-around": (
        "image.repository=/a/b/",
        'image.repository: "/a/b/" is no image\'s name; they look like registry.example.com/',
    ),
    "a-repository-in-capitals": ("image.repository=r/A", 'image.repository: "r/A" is no image\'s name'),
    "a-tag-with-a-space": ("image.tag=a b", 'image.tag: "a b" can\'t be a tag; they are letters, digits'),
    "a-tag-as-digest": ("image.digest=latest", 'image.digest: "latest" is no digest; they look like sha256:'),
    "a-role-by-name": (
        r"serviceAccount.annotations.eks\.amazonaws\.com/role-arn=role",
        'serviceAccount.annotations.eks.amazonaws.com/role-arn: "role" is no role\'s ARN',
    ),
    "nobodys-service-account": ("serviceAccount.create=false", "serviceAccount.name is required with"),
    "annotations-without-a-fence": (
        "fence.enabled=false,rbac.annotateServiceAccounts=true",
        "rbac.annotateServiceAccounts needs fence.enabled",
    ),
    "a-budget-of-nothing": ("podDisruptionBudget.maxUnavailable=0", 'maxUnavailable: "0" would hold up every drain'),
    "a-budget-in-words": ("podDisruptionBudget.maxUnavailable=half", 'podDisruptionBudget.maxUnavailable: "half"'),
    "a-label-that-is-there": (r"podLabels.app\.kubernetes\.io/name=a", 'podLabels: "app.kubernetes.io/name" is there'),
    "a-label-of-the-charts": (r"commonLabels.helm\.sh/chart=a", 'commonLabels: "helm.sh/chart" is the chart\'s own'),
    "a-variable-of-the-charts": ("extraEnv[0].name=POD_NAME", "extraEnv: POD_NAME is the chart's own; leave it out"),
    "a-volume-of-the-charts": (
        "extraVolumes[0].name=tmp",
        'extraVolumes: "tmp" is the name of one of the chart\'s own',
    ),
    "two-monitors": (
        "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true",
        "with both, everything is counted twice; choose one",
    ),
    "an-alert-that-is-none": (
        "metrics.prometheusRule.disabled[0]=Foo",
        'metrics.prometheusRule.disabled: there is no alert "Foo"; there are ElastiCacheIAMTokensExpiring, ',
    ),
    "an-interval-without-unit": ("metrics.podMonitor.interval=fast", "at '/metrics/podMonitor/interval'"),
    "a-name-that-is-none": ("fullnameOverride=FOO_", "at '/fullnameOverride'"),
    "a-part-of-a-name-that-is-none": ("nameOverride=Foo_Bar", "at '/nameOverride'"),
    "an-account-that-is-none": ("serviceAccount.name=Foo_Bar", "at '/serviceAccount/name'"),
    "a-page-without-address": ("metrics.prometheusRule.runbookUrl=foo", "at '/metrics/prometheusRule/runbookUrl'"),
    "a-privileged-port": ("port=80", "at '/port': minimum: got 80, want 1,024"),
}


@pytest.mark.parametrize(("setting", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_value_is_named_with_what_to_do(cli, setting, says):
    assert says in refusal(cli, *OWNER, "--set", setting)


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor", "PrometheusRule"])
def test_what_the_cluster_does_not_know_is_named(cli, kind):
    value = f"metrics.{kind[0].lower()}{kind[1:]}.enabled"
    asked_for = (*OWNER, "--set", f"{value}=true", "--api-versions", "apps/v1/Deployment")

    assert f"{value}: the cluster doesn't know {kind}, which comes with Prometheus Operator" in refusal(cli, *asked_for)
    assert of_kind(cli.template(*asked_for, "--api-versions", f"monitoring.coreos.com/v1/{kind}"), kind)


@pytest.mark.parametrize(
    ("account", "says"),
    [
        ({"id": 111122223333, "roleArn": "x"}, 'config.accounts[0].id: "1.11122223333e+11" is no AWS account'),
        ({"id": ACCOUNT, "roleArn": "x"}, f"they look like arn:aws:iam::{ACCOUNT}:role/NAME"),
        ({"id": ACCOUNT, "roleArn": "arn:aws:iam::444455556666:role/a"}, f"of account 444455556666, not of {ACCOUNT}"),
        ({**THERE, "permissionsBoundary": "b"}, 'config.accounts[0].permissionsBoundary: "b" is no policy\'s ARN'),
        (
            {**THERE, "permissionsBoundary": "arn:aws:iam::444455556666:policy/b"},
            f"is a policy of account 444455556666, not of {ACCOUNT}",
        ),
    ],
    ids=["a-number", "a-name", "a-role-elsewhere", "a-boundary-by-name", "a-boundary-elsewhere"],
)
def test_a_wrong_account_is_named(cli, account, says):
    accounts = json.dumps([{**account, "namespaces": ["*"]}])

    assert says in refusal(cli, *OWNER, "--set-json", f"config.accounts={accounts}")


def test_a_boundary_of_another_account_is_named(cli):
    asked_for = (*OWNER, "--set-string", f"config.account={ACCOUNT}", "--set")

    says = refusal(cli, *asked_for, "config.permissionsBoundary=arn:aws:iam::444455556666:policy/b")

    assert f"is a policy of account 444455556666, and roles are made in config.account {ACCOUNT}; a boundary" in says
    for mine in (ACCOUNT, "aws"):
        assert cli.template(*asked_for, f"config.permissionsBoundary=arn:aws:iam::{mine}:policy/b")


def test_all_that_is_wrong_is_said_at_once(cli):
    text = refusal(cli, "--set", "image.digest=latest,config.region=here")

    assert "config.owner is required" in text
    assert 'config.region: "here"' in text
    assert 'image.digest: "latest"' in text


def test_a_cluster_that_is_too_old_is_refused(cli):
    assert "requires kubeVersion: >=1.30.0" in refusal(cli, *OWNER, "--kube-version", "1.29.9")


def test_a_release_may_have_a_number_for_a_name(cli):
    monitoring = ("-f", CHART / "ci" / "monitoring-values.yaml")

    documents = [entry for entry in yaml.safe_load_all(cli("template", "123", CHART, *monitoring).stdout) if entry]

    labelled = [entry["metadata"]["labels"] for entry in documents if entry["kind"] != "CustomResourceDefinition"]
    assert {entry["app.kubernetes.io/instance"] for entry in labelled} == {"123"}


def test_an_installation_is_refused_as_well(cli):
    answer = cli("install", "r", CHART, "--dry-run=client", check=False)

    assert answer.returncode != 0
    assert "config.owner is required" in answer.stderr


# -- configuration -----------------------------------------------------------------------------------------------------


def rendered_config(documents):
    (text,) = [
        document["data"]["config.yaml"]
        for document in of_kind(documents, "ConfigMap")
        if document["metadata"]["name"] == f"{NAME}-config"
    ]
    return yaml.safe_load(text)


def test_without_settings_the_operators_own_defaults_are_written_out(cli):
    written = rendered_config(cli.template(*OWNER))

    assert OperatorConfig.model_validate(written) == OperatorConfig(owner="demo")
    assert "region" not in written


def test_a_setting_of_null_is_left_to_the_operator(cli):
    written = rendered_config(cli.template(*OWNER, "--set", "config.tokenSeconds=null,config.signing=null"))

    assert {"tokenSeconds", "signing"}.isdisjoint(written)


def test_whatever_has_no_default_may_be_null(cli):
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def empty_paths(node, path):
        for key, value in node.items():
            if isinstance(value, dict) and value:
                yield from empty_paths(value, f"{path}{key}.")
            elif value in ("", [], {}) and key != "owner":
                yield f"{path}{key}"

    paths = list(empty_paths(values, ""))
    nulls = ",".join(f"{path}=null" for path in paths)
    asked_for = "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true"

    documents = cli.template(*OWNER, "--set", nulls, "--set", f"{asked_for},networkPolicy.enabled=true")

    assert len(paths) > 40
    assert rendered_config(documents) == rendered_config(cli.template(*OWNER))
    cli("install", "r", CHART, "--dry-run=client", *OWNER, "--set", nulls)


VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def all_paths(node=VALUES, schema=SCHEMA, path=()):
    """Every path of values.yaml, and whether a value is required there."""
    for key, value in node.items():
        yield (*path, key), key in schema.get("required", ())
        if isinstance(value, dict):
            yield from all_paths(value, schema.get("properties", {}).get(key, {}), (*path, key))


NEEDED = {path for path, is_required in all_paths() if is_required}
DISPENSABLE = {path for path, is_required in all_paths() if not is_required}


def nulls(paths):
    return ("--set", ",".join(f"{'.'.join(path)}=null" for path in sorted(paths)))


@pytest.mark.parametrize("depth", sorted({len(path) for path in NEEDED}))
def test_a_null_where_a_value_is_needed_is_named(cli, depth):
    paths = {path for path in NEEDED if len(path) == depth and path != ("config", "owner")}

    found = re.findall(r"at '(.*)': missing propert(?:y|ies) (.*)", refusal(cli, *OWNER, *nulls(paths)))

    named = {(*at.split("/")[1:], name) for at, names in found for name in re.findall(r"'(\w+)'", names)}
    assert named == paths


def test_a_null_anywhere_else_is_the_default(cli):
    own = {"resources", "podSecurityContext", "securityContext"}  # each null there takes a field away
    fields = {path for path in DISPENSABLE if path[0] in own}
    leaves = {path for path in fields if not any(other[: len(path)] == path != other for other in fields)}

    plain, documents = (cli.template(*OWNER, *more) for more in ((), nulls(DISPENSABLE - fields)))
    bare = cli.template(*OWNER, *nulls(leaves))

    assert OperatorConfig.model_validate(rendered_config(documents)) == OperatorConfig(owner="demo")
    assert [as_rendered(entry) for entry in documents] == [as_rendered(entry) for entry in plain]
    assert container(bare)["name"] == "operator"
    assert "resources" not in container(cli.template(*OWNER, "--set", "resources=null"))


def as_rendered(document):
    """Return an object without the configuration and its sum."""
    if document["metadata"]["name"] == f"{NAME}-config":
        return document["metadata"]
    if document["kind"] == "Deployment":
        document["spec"]["template"]["metadata"].pop("annotations")
    return document


def test_zero_and_false_are_values(cli):
    written = rendered_config(cli.template(*OWNER, "--set", "config.massDeletionMinimum=0,config.verifyLogins=false"))

    assert (written["massDeletionMinimum"], written["verifyLogins"]) == (0, False)


def test_a_change_of_the_configuration_starts_the_pods_anew(cli):
    first, second = (
        pod(cli.template(*OWNER, "--set", f"config.tokenSeconds={life}"))["metadata"]["annotations"]
        for life in (600, 900)
    )

    assert first != second


@pytest.mark.parametrize("audience", ["example.com/sign", "sts.amazonaws.com"])
def test_the_fence_follows_the_audience(cli, audience):
    documents = cli.template(*OWNER, "--set", f"config.audience={audience}")

    (policy,) = [
        document
        for document in of_kind(documents, "ValidatingAdmissionPolicy")
        if document["metadata"]["name"].endswith("-tokens")
    ]
    assert f"== ['{audience}']" in policy["spec"]["validations"][0]["expression"]


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not-kept"])
def test_the_crds_are_the_generated_ones(cli, keep):
    documents = cli.template(*OWNER, "--set", f"crds.keep={str(keep).lower()}")

    rendered = of_kind(documents, "CustomResourceDefinition")
    annotations = [document["metadata"].pop("annotations", None) for document in rendered]
    assert rendered == [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert annotations == [{"helm.sh/resource-policy": "keep"} if keep else None] * 2


# -- rights ------------------------------------------------------------------------------------------------------------


def bound_rules(documents):
    """The rules bound to the operator's ServiceAccount, by namespace; "" for the whole cluster."""
    rules = {}
    for binding in of_kind(documents, "ClusterRoleBinding") + of_kind(documents, "RoleBinding"):
        (role,) = [
            document
            for document in of_kind(documents, binding["roleRef"]["kind"])
            if document["metadata"]["name"] == binding["roleRef"]["name"]
            and document["metadata"].get("namespace") == binding["metadata"].get("namespace")
        ]
        rules.setdefault(binding["metadata"].get("namespace", ""), []).extend(role["rules"])
    return rules


def verbs_on(rules, resource):
    return {verb for rule in rules if resource in rule["resources"] for verb in rule["verbs"]}


def test_with_a_list_of_namespaces_the_rights_are_in_these_alone(variants):
    rules = bound_rules(variants["namespaced"])

    assert set(rules) == {"", "default", "kube-public", "operators"}
    assert rules[""] == [
        {
            "apiGroups": [""],
            "resources": ["namespaces"],
            "resourceNames": ["default", "kube-public", "operators"],
            "verbs": ["get"],
        }
    ]
    assert verbs_on(rules["operators"], "secrets") == set()
    assert verbs_on(rules["default"], "secrets") == {"create", "update", "delete"}


def test_the_rights_in_a_namespace_are_those_of_the_cluster(cli):
    everywhere = bound_rules(cli.template(*OWNER))[""]
    there = bound_rules(cli.template(*OWNER, "--set", "config.namespaces={shop,platform}"))

    of_the_cluster = [r for r in everywhere if r["resources"] not in (["namespaces"], ["customresourcedefinitions"])]
    assert there["shop"] == there["platform"] == of_the_cluster


def test_the_operators_own_namespace_may_be_one_of_the_list(cli):
    documents = cli.template(*OWNER, "--set", "config.namespaces={operators}")

    names = [(d["kind"], d["metadata"]["name"]) for d in documents if d["kind"] in {"Role", "RoleBinding"}]
    assert len(set(names)) == len(names) == 4
    assert of_kind(documents, "ClusterRole")[0]["rules"][0]["resourceNames"] == ["operators"]


def is_given(right, rules):
    places = {"", right.namespace} if right.resource != "namespaces" else {""}
    return any(
        right.verb in rule["verbs"]
        and right.resource in rule["resources"]
        and right.group in rule["apiGroups"]
        and ("resourceNames" not in rule or right.name in rule["resourceNames"])
        for place in places
        for rule in rules.get(place, ())
    )


@pytest.mark.parametrize("variant", ["minimal", "namespaced", "pod-monitor"])
def test_the_rights_that_the_operator_asks_for_are_given(variants, variant):
    config = OperatorConfig.model_validate(rendered_config(variants[variant]))
    rules = bound_rules(variants[variant])

    needed = needed_rights(config, namespace="operators")

    assert [right for right in needed if not is_given(right, rules)] == []


def test_secrets_are_read_only_where_secret_repair_asks_for_it(variants):
    for name, documents in variants.items():
        verbs = {verb for rules in bound_rules(documents).values() for verb in verbs_on(rules, "secrets")}
        assert ({"list", "watch"} <= verbs) is (name == "pod-monitor"), name
        assert "get" not in verbs


@pytest.mark.parametrize(("signing", "may"), [("WebIdentity", True), ("AssumeRole", False)])
def test_who_signs_as_the_operator_may_not_ask_for_tokens(cli, signing, may):
    rules = bound_rules(cli.template(*OWNER, "--set", f"config.signing={signing}"))[""]

    assert bool(verbs_on(rules, "serviceaccounts/token")) is may


@pytest.mark.parametrize(
    ("setting", "resource", "verbs"),
    [
        ("rbac.podWarnings=false", "pods", set()),
        ("rbac.configMaps=false", "configmaps", set()),
        ("fence.enabled=false", "configmaps", set()),
        ("rbac.annotateServiceAccounts=true", "serviceaccounts", {"get", "patch"}),
    ],
    ids=["pods", "configmaps", "configmaps-without-fence", "annotations"],
)
def test_a_right_can_be_left_out_or_given(cli, setting, resource, verbs):
    rules = bound_rules(cli.template(*OWNER, "--set", setting))

    assert verbs_on(rules[""], resource) == verbs


def test_without_aggregation_the_built_in_roles_stay_as_they_are(cli):
    documents = cli.template(*OWNER, "--set", "rbac.aggregate=false")

    assert "aggregate-to-" not in json.dumps(documents)


def test_an_installation_in_two_halves_has_no_object_of_the_cluster(variants):
    kinds = {document["kind"] for document in variants["split"]}

    assert kinds == {"ConfigMap", "Deployment"}
    assert pod(variants["split"])["spec"]["serviceAccountName"] == "provided"


# -- the Pod -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "image"),
    [
        ("", "elasticache-iam-operator:0.1.0"),
        ("image.tag=edge", "elasticache-iam-operator:edge"),
        ("image.registry=r.example.com:5000", "r.example.com:5000/elasticache-iam-operator:0.1.0"),
        ("image.registry=r.example.com/,image.repository=a/b", "r.example.com/a/b:0.1.0"),
        ("image.repository=R.example.com:5000/a_b/c--d", "R.example.com:5000/a_b/c--d:0.1.0"),
        (f"image.tag=edge,image.digest=sha256:{'a' * 64}", f"elasticache-iam-operator@sha256:{'a' * 64}"),
    ],
    ids=["default", "tag", "registry", "registry-with-a-slash", "registry-in-the-name", "digest-wins"],
)
def test_the_image_is_named(cli, settings, image):
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]

    documents = cli.template(*OWNER, "--set", settings) if settings else cli.template(*OWNER)

    assert container(documents)["image"] == image.replace("0.1.0", version)


def test_replicas_spread_over_zones_and_nodes_where_possible(variants):
    constraints = pod(variants["minimal"])["spec"]["topologySpreadConstraints"]

    assert [entry["topologyKey"] for entry in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {entry["whenUnsatisfiable"] for entry in constraints} == {"ScheduleAnyway"}
    labels = pod(variants["minimal"])["metadata"]["labels"]
    assert all(is_within(entry["labelSelector"]["matchLabels"], labels) for entry in constraints)


def test_a_constraint_of_ones_own_counts_this_releases_pods_unless_it_says_which(cli):
    own = [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
    said = [{**own[0], "labelSelector": {"matchLabels": {"a": "b"}}}]

    documents = cli.template(*OWNER, "--set-json", f"topologySpreadConstraints={json.dumps(own + said)}")

    first, second = pod(documents)["spec"]["topologySpreadConstraints"]
    assert first["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "r"
    assert second == said[0]


def test_a_probe_keeps_what_it_asks_when_its_times_change(cli):
    documents = cli.template(*OWNER, "--set", "livenessProbe.periodSeconds=30,livenessProbe.initialDelaySeconds=5")

    assert container(documents)["livenessProbe"] == {
        "httpGet": {"path": "/livez", "port": "http"},
        "periodSeconds": 30,
        "initialDelaySeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    }


def test_the_last_line_of_the_log_is_the_pods_last_word(variants):
    assert container(variants["minimal"])["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_operator_knows_its_own_pod(variants):
    fields = {
        entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in container(variants["minimal"])["env"]
    }

    assert fields == {"POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name", "POD_UID": "metadata.uid"}


def test_what_is_added_to_the_pod_is_there(variants):
    documents = variants["production"]
    spec = pod(documents)["spec"]

    assert pod(documents)["metadata"]["labels"]["example.com/tier"] == "control"
    assert pod(documents)["metadata"]["annotations"]["example.com/scrape"] == "true"
    assert {"name": "AWS_REGION", "value": "eu-central-1"} in container(documents)["env"]
    assert {"name": "ca", "configMap": {"name": "ca"}} in spec["volumes"]
    assert {"name": "ca", "mountPath": "/etc/ca", "readOnly": True} in container(documents)["volumeMounts"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert spec["tolerations"] == [{"key": "example.com/platform", "operator": "Exists", "effect": "NoSchedule"}]
    assert "nodeAffinity" in spec["affinity"]
    assert spec["terminationGracePeriodSeconds"] == 45


def test_on_the_nodes_network_names_are_still_the_clusters(variants):
    documents = variants["host-network"]
    spec = pod(documents)["spec"]

    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert "--listen=*:18080" in container(documents)["args"]
    assert container(documents)["ports"] == [{"name": "http", "containerPort": 18080, "protocol": "TCP"}]
    assert spec["hostAliases"] == [{"ip": "10.0.0.9", "hostnames": ["sts.eu-central-1.amazonaws.com"]}]
    assert only(documents, "Deployment")["metadata"]["annotations"] == {"example.com/owner": "platform"}


def test_a_pod_that_is_not_ready_holds_up_no_drain(variants):
    budget = only(variants["production"], "PodDisruptionBudget")["spec"]

    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == ("50%", "AlwaysAllow")
    assert is_within(budget["selector"]["matchLabels"], pod(variants["production"])["metadata"]["labels"])


def test_a_rollout_never_leaves_fewer_replicas(variants):
    strategy = only(variants["minimal"], "Deployment")["spec"]["strategy"]

    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_a_rollout_on_the_nodes_network_needs_no_further_node(variants):
    strategy = only(variants["host-network"], "Deployment")["spec"]["strategy"]

    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}


def test_more_objects_are_installed_along(variants):
    data = {d["metadata"]["name"]: d.get("data") for d in of_kind(variants["pod-monitor"], "ConfigMap")}

    assert data["r-extra"] == {"owner": "prod"}
    assert "r-more" in data


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_nothing_of_other_projects_is_made_unless_asked_for(variants):
    kinds = {document["kind"] for document in variants["minimal"]}

    assert kinds.isdisjoint({"ServiceMonitor", "PodMonitor", "PrometheusRule", "NetworkPolicy", "Service"})


def test_the_service_monitor_finds_the_service_and_that_the_pods(variants):
    documents = variants["monitoring"]
    monitor, service = only(documents, "ServiceMonitor"), only(documents, "Service")

    assert is_within(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": [service["metadata"]["namespace"]]}
    assert [entry["port"] for entry in monitor["spec"]["endpoints"]] == [service["spec"]["ports"][0]["name"]]
    assert is_within(service["spec"]["selector"], pod(documents)["metadata"]["labels"])
    assert service["spec"]["ports"][0]["targetPort"] in [port["name"] for port in container(documents)["ports"]]
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert monitor["spec"]["endpoints"][0]["interval"] == "30s"


def test_the_pod_monitor_finds_the_pods_without_a_service(variants):
    documents = variants["pod-monitor"]
    monitor = only(documents, "PodMonitor")

    assert is_within(monitor["spec"]["selector"]["matchLabels"], pod(documents)["metadata"]["labels"])
    assert [entry["port"] for entry in monitor["spec"]["podMetricsEndpoints"]] == [
        port["name"] for port in container(documents)["ports"]
    ]
    assert of_kind(documents, "Service") == []


def test_a_service_may_be_had_alone(cli):
    documents = cli.template(*OWNER, "--set", "metrics.service.enabled=true")

    assert only(documents, "Service")["metadata"]["name"] == f"{NAME}-metrics"
    assert of_kind(documents, "ServiceMonitor") == []


def test_the_alerts_are_those_of_the_file(cli, variants):
    (group,) = yaml.safe_load((CHART / "files" / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]

    plain = only(cli.template(*OWNER, "--set", "metrics.prometheusRule.enabled=true"), "PrometheusRule")
    (changed,) = only(variants["monitoring"], "PrometheusRule")["spec"]["groups"]

    assert plain["spec"]["groups"] == [group]
    kept = [rule for rule in group["rules"] if rule["alert"] != "ElastiCacheIAMThrottled"]
    assert [rule["expr"] for rule in changed["rules"]] == [rule["expr"] for rule in kept]
    assert {rule["labels"]["team"] for rule in changed["rules"]} == {"platform"}
    assert [rule["annotations"]["runbook_url"] for rule in changed["rules"]] == [
        f"https://wiki.example.com/elasticache-iam/alerts#{rule['alert'].lower()}" for rule in kept
    ]


def test_prometheus_takes_the_rules(variants, tmp_path):
    script = ROOT / "packaging" / "install_promtool.sh"
    promtool = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()  # noqa: S603  # ours
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(only(variants["monitoring"], "PrometheusRule")["spec"]))

    answer = subprocess.run([promtool, "check", "rules", rules], check=False, capture_output=True, text=True)  # noqa: S603

    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_dashboard_is_that_of_the_file_and_grafana_finds_it(variants):
    (found,) = [
        document
        for document in of_kind(variants["monitoring"], "ConfigMap")
        if document["metadata"]["name"].endswith("-dashboard")
    ]

    (text,) = found["data"].values()
    assert json.loads(text) == json.loads((CHART / "files" / "monitoring" / "dashboard.json").read_text("utf-8"))
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Platform"}


# -- network -----------------------------------------------------------------------------------------------------------


def egress_ports(policy):
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}


def test_the_network_policy_lets_through_what_the_operator_needs(cli):
    documents = cli.template(*OWNER, "--set", "networkPolicy.enabled=true")
    policy = only(documents, "NetworkPolicy")

    assert is_within(policy["spec"]["podSelector"]["matchLabels"], pod(documents)["metadata"]["labels"])
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]}]
    assert egress_ports(policy) == {53, 80, 443, 6443, 6379, 6380}


def test_without_test_logins_the_caches_are_out_of_reach(variants):
    policy = only(variants["pod-monitor"], "NetworkPolicy")

    assert {6379, 6380}.isdisjoint(egress_ports(policy))


def test_in_a_network_without_a_way_out_each_rule_says_whereto(variants):
    policy = only(variants["air-gapped"], "NetworkPolicy")

    assert all(rule.get("to") for rule in policy["spec"]["egress"])
    assert policy["spec"]["ingress"][0]["from"]
    assert egress_ports(policy) == {53, 443, 6379, 6380, 3128}


# -- what Helm says after it -------------------------------------------------------------------------------------------


def notes(cli, *arguments, command="install"):
    answer = cli(command, "r", CHART, "--dry-run=client", "--namespace", "operators", *arguments)
    return answer.stdout.partition("NOTES:\n")[2]


def test_the_notes_of_a_first_try_say_all_that_is_still_to_be_done(cli):
    text = notes(cli, *OWNER)

    for expected in (
        f"kubectl -n operators rollout status deployment/{NAME}",
        "helm upgrade r CHART -n operators --reset-then-reuse-values --set image.registry=REGISTRY",
        "aws eks create-pod-identity-association --cluster-name CLUSTER --namespace operators",
        "elasticache-iam policy operator --owner demo --account ACCOUNT --region REGION\n",
        "--client-id elasticache-iam.dev/sign",
        f"--clusterrole={NAME}-usergroups",
        "Warning: without config.permissionsBoundary",
        "Before `helm uninstall r`",
        "The CRDs stay.",
    ):
        assert expected in text


def test_the_notes_have_the_values_that_were_given(cli):
    text = notes(cli, "-f", CHART / "ci" / "production-values.yaml")

    assert "The role arn:aws:iam::111122223333:role/elasticache-iam-operator\n" in text
    assert "must trust the ServiceAccount operators/cache-access" in text
    assert (
        "--owner prod --account 111122223333 --region eu-central-1"
        " --boundary arn:aws:iam::111122223333:policy/elasticache-iam-boundary" in text
    )
    assert "--client-id example.com/sign" in text
    for done in ("image.registry", "create-pod-identity-association", "Warning", "REGION"):
        assert done not in text


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("fence.enabled=false", "could read and overwrite every Secret and sign in as every ServiceAccount"),
        ("config.secretRepair=true", "Warning: with config.secretRepair a stolen operator could read every Secret."),
        ("replicaCount=1", "Warning: with replicaCount=1 tokens aren't replaced while"),
        ("crds.keep=false", "The CRDs go with the release (crds.keep=false), and all resources with them."),
        ("crds.enabled=false", "The operator waits for them:\n\n  kubectl apply --server-side -f crds/"),
        ("config.namespaces={shop}", "owner demo, watches shop."),
        ("config.signing=AssumeRole", "--region REGION --assume-role-signing"),
    ],
    ids=["fence", "secret-repair", "one-replica", "crds-go", "no-crds", "namespaces", "assume-role"],
)
def test_the_notes_say_what_a_choice_means(cli, setting, says):
    assert says in notes(cli, *OWNER, "--set", setting)


@pytest.mark.parametrize("setting", ["config.signing=AssumeRole", "config.audience=sts.amazonaws.com"])
def test_the_notes_ask_for_no_client_id_that_is_not_needed(cli, setting):
    assert "add-client-id" not in notes(cli, *OWNER, "--set", setting)


def test_the_notes_commands_find_this_installation(cli):
    text = notes(cli, *OWNER)

    assert f"  elasticache-iam setup --operator-namespace operators --name {NAME}\n" in text
    assert "`elasticache-iam status -A --operator-namespace operators`" in text


def test_the_notes_commands_are_plain_where_the_names_are_the_default_ones(cli):
    arguments = ("--dry-run=client", "--namespace", "elasticache-iam", *OWNER)
    text = cli("install", "elasticache-iam-operator", CHART, *arguments).stdout.partition("NOTES:\n")[2]

    assert "  elasticache-iam setup\n" in text
    assert "`elasticache-iam status -A`" in text


def test_the_notes_name_pages_that_are_there(cli):
    pages = re.findall(r"docs/[\w/.-]+\.md", notes(cli, *OWNER))

    assert pages
    assert [page for page in pages if not (ROOT / page).exists()] == []


def test_the_notes_are_short_enough_to_be_read(cli):
    lines = notes(cli, *OWNER).splitlines()

    assert len(lines) < 50
    assert all(len(line) < 145 for line in lines)
    assert not any(first == second == "" for first, second in itertools.pairwise(lines))
