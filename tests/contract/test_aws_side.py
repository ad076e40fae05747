"""What an installation needs in AWS, by Terraform, CloudFormation and the AWS CLI: the same three times over."""

import copy
import itertools
import json
import os
import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

import hcl2
import jsonschema
import pytest
import yaml
from tests.contract.chart import Helm, with_defaults

from elasticache_iam.api.keys import OPERATOR_POLICY_NAME
from elasticache_iam.core.policy import operator_policy
from elasticache_iam.core.policy.trust import pod_identity_trust, trust_policy
from elasticache_iam_sandbox.supervisor import BackgroundSandbox

ROOT = Path(__file__).parents[2]
AWS = ROOT / "packaging" / "aws"
BIN = Path(sys.executable).parent

OWNER, ACCOUNT, REGION, CLUSTER = "prod", "111122223333", "eu-central-1", "main"
CLUSTER_REGION = "us-west-2"
"""Of a cluster in another region than its caches."""
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/elasticache-iam-boundary"
CACHE = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:orders-prod"
ELSEWHERE = "arn:aws:iam::444455556666:role/elasticache-iam-operator"
ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
SUBJECTS = (("elasticache-iam", "elasticache-iam-operator"),)
NOTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "iam:*", "Resource": "*"}]}
OPEN_TO_EC2 = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}

IRSA_TRUST = trust_policy(
    provider_arn=PROVIDER, issuer=f"https://{ISSUER}", audience="sts.amazonaws.com", subjects=SUBJECTS
)
ASSOCIATION_TRUST, ASSOCIATION_TRUST_ELSEWHERE = (
    pod_identity_trust(cluster_arn=f"arn:aws:eks:{region}:{ACCOUNT}:cluster/{CLUSTER}", subjects=SUBJECTS)
    for region in (REGION, CLUSTER_REGION)
)

FEATURES = {
    "existing_roles": {"existing_roles": True},
    "trusted_caches": {"trusted_caches": (CACHE,)},
    "roles_elsewhere": {"roles_elsewhere": (ELSEWHERE,)},
    "pod_identity": {"pod_identity_cluster": CLUSTER},
}
CHOICES = [
    *({"memorydb": memorydb} for memorydb in (True, False)),
    *({"memorydb": True, feature: True} for feature in FEATURES),
    {"memorydb": False, **dict.fromkeys(FEATURES, True)},
]


def the_policy(**choice):
    """Return what `elasticache-iam policy operator` prints."""
    options = [FEATURES[feature] for feature in FEATURES if choice.get(feature)]
    merged = dict(itertools.chain.from_iterable(option.items() for option in options))
    place = {"owner": OWNER, "partition": "aws", "account": ACCOUNT, "region": REGION, "boundary": BOUNDARY}
    return operator_policy(**place, memorydb=choice["memorydb"], **merged)


def canonical(policy):
    """Return a policy in a form in which two that mean the same are equal: order doesn't count in IAM."""

    def sorted_list(value):
        return sorted([value] if isinstance(value, str) else value)

    statements = {}
    for statement in policy["Statement"]:
        plain = dict(statement)
        for key in plain.keys() & {"Action", "Resource"}:
            plain[key] = sorted_list(plain[key])
        plain["Condition"] = {
            operator: {key: sorted_list(values) for key, values in keys.items()}
            for operator, keys in statement.get("Condition", {}).items()
        }
        statements[statement.get("Sid", "")] = plain
    assert len(statements) == len(policy["Statement"])
    return policy["Version"], statements


def name_of(choice):
    return "+".join(key if value else f"no-{key}" for key, value in choice.items())


@pytest.fixture(scope="module")
def renderer():
    return runpy.run_path(str(ROOT / "packaging" / "render_aws.py"))


def test_the_files_are_fresh(renderer):
    for path, text in renderer["rendered"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} isn't fresh: make aws"


# -- Terraform ---------------------------------------------------------------------------------------------------------


class Module:
    """The Terraform module, as far as its policies go."""

    REFERENCES: ClassVar = {
        "var.owner": OWNER,
        "var.cluster_name": CLUSTER,
        "var.namespace": SUBJECTS[0][0],
        "var.service_account": SUBJECTS[0][1],
        "local.partition": "aws",
        "local.account": ACCOUNT,
        "local.region": REGION,
        "local.cluster_region": REGION,
        "local.issuer": ISSUER,
        "aws_iam_policy.boundary.arn": BOUNDARY,
        "var.trusted_caches": [CACHE],
        "var.roles_elsewhere": [ELSEWHERE],
    }

    def __init__(self):
        self.blocks = {}
        for path in sorted((AWS / "terraform").glob("*.tf")):
            for kind, bodies in hcl2.loads(path.read_text(encoding="utf-8")).items():
                self.blocks.setdefault(kind, []).extend(bodies)
        self.locals = {key: value for body in self.blocks["locals"] for key, value in body.items()}

    def at(self, references):
        """Return the same module with other values."""
        other = copy.copy(self)
        other.REFERENCES = self.REFERENCES | references
        return other

    def evaluate(self, value):
        if isinstance(value, dict):
            return {self.text(key): self.evaluate(item) for key, item in value.items() if not key.startswith("__")}
        if isinstance(value, list):
            return [self.evaluate(item) for item in value]
        if whole := re.fullmatch(r"\$\{([\w.]+)\}", value):
            return self.REFERENCES[whole[1]]
        return self.text(value)

    def text(self, value):
        return re.sub(
            r"\$\{([^}]+)\}", lambda match: self.REFERENCES[match[1]], value.removeprefix('"').removesuffix('"')
        )

    def parts(self):
        """Return the lists that make up the policy's statements, each with its condition."""
        expression = self.locals["statements"]
        found = re.findall(r"\[for statement in local\.(\w+) : statement if ([^\]]+)\]", expression)
        assert expression.count("[for") == len(found)
        return dict(found)

    def policy(self, choice):
        """Return the policy that a choice of variables makes."""
        chosen = {
            "var.memorydb": choice["memorydb"],
            "!var.memorydb": not choice["memorydb"],
            "var.existing_roles": choice.get("existing_roles"),
            "length(var.trusted_caches) > 0 && var.memorydb": choice.get("trusted_caches") and choice["memorydb"],
            "length(var.trusted_caches) > 0 && !var.memorydb": choice.get("trusted_caches") and not choice["memorydb"],
            "length(var.roles_elsewhere) > 0": choice.get("roles_elsewhere"),
            "var.pod_identity_users": choice.get("pod_identity"),
        }
        lists = [self.evaluate(self.locals[name]) for name, condition in self.parts().items() if chosen[condition]]
        return {"Version": "2012-10-17", "Statement": [statement for one in lists for statement in one]}


@pytest.fixture(scope="module")
def module():
    return Module()


@pytest.mark.parametrize("choice", CHOICES, ids=name_of)
def test_terraform_gives_the_operator_its_policy(module, choice):
    assert canonical(module.policy(choice)) == canonical(the_policy(**choice))


def test_terraform_lets_the_operators_pods_be_its_role(module):
    assert module.evaluate(module.locals["irsa_trust"]) == IRSA_TRUST
    assert module.evaluate(module.locals["pod_identity_trust"]) == ASSOCIATION_TRUST


def test_terraform_knows_a_cluster_in_another_region(module):
    trust = module.at({"local.cluster_region": CLUSTER_REGION}).evaluate(module.locals["pod_identity_trust"])
    bodies = {
        name: body
        for kind in ("data", "resource")
        for block in module.blocks[kind]
        for named in block.values()
        for name, body in named.items()
        if "aws_eks" in "".join(block)
    }

    assert trust == ASSOCIATION_TRUST_ELSEWHERE
    assert module.locals["cluster_region"] == "${coalesce(var.cluster_region, local.region)}"
    assert len(bodies) == 2
    assert {body["region"] for body in bodies.values()} == {"${local.cluster_region}"}
    outputs = (AWS / "terraform" / "outputs.tf").read_text(encoding="utf-8")
    assert '"clusterName" => name if local.cluster_region == local.region' in outputs


def test_terraforms_references_exist(module):
    text = "".join(path.read_text(encoding="utf-8") for path in (AWS / "terraform").glob("*.tf"))
    variables = {name.strip('"') for body in module.blocks["variable"] for name in body}

    used = set(re.findall(r"\bvar\.(\w+)", text))

    assert used == variables
    assert set(re.findall(r"\blocal\.(\w+)", text)) <= module.locals.keys()


# -- CloudFormation ----------------------------------------------------------------------------------------------------


class Template:
    """The CloudFormation template with values for its parameters: what functions of it make."""

    class Loader(yaml.SafeLoader):
        """Reads the short tags as (tag, value)."""

    def __init__(self, **parameters):
        text = (AWS / "cloudformation.yaml").read_text(encoding="utf-8")
        self.document = yaml.load(text, self.Loader)  # noqa: S506  # a safe loader's subclass
        defaults = {name: entry.get("Default") for name, entry in self.document["Parameters"].items()}
        self.values = defaults | parameters | {"Boundary": BOUNDARY}
        self.values |= {"AWS::Partition": "aws", "AWS::AccountId": ACCOUNT, "AWS::Region": REGION}
        for name, entry in self.document["Parameters"].items():
            if entry["Type"] == "CommaDelimitedList":
                self.values[name] = self.values[name].split(",")

    def holds(self, condition):
        return self.evaluate(self.document["Conditions"][condition])

    def evaluate(self, value):
        match value:
            case ("!If", [condition, then, otherwise]):
                return self.evaluate(then if self.holds(condition) else otherwise)
            case ("!Equals", [one, other]):
                return self.evaluate(one) == self.evaluate(other)
            case ("!Not", [one]):
                return not self.evaluate(one)
            case ("!Join", [separator, items]):
                return separator.join(self.evaluate(items))
            case ("!Ref", "AWS::NoValue"):
                return None
            case ("!Ref", name):
                return self.values[name]
            case ("!Sub", text):
                return self.substitute(text)
            case dict():
                return {key: self.evaluate(item) for key, item in value.items()}
            case list():
                return [item for item in map(self.evaluate, value) if item is not None]
            case _:
                return value

    def substitute(self, text):
        """Return a text with values for its names, of which a list may bring more."""
        text, choices = (text, {}) if isinstance(text, str) else text
        values = self.values | self.evaluate(choices)
        return re.sub(r"\$\{([^}]+)\}", lambda match: values[match[1]], text)

    @property
    def role(self):
        return self.document["Resources"]["Role"]["Properties"]

    def policy(self):
        return self.evaluate(self.role["Policies"][0]["PolicyDocument"])

    def trust(self):
        return json.loads(self.evaluate(self.role["AssumeRolePolicyDocument"]))


def read_tag(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return f"!{suffix}", loader.construct_scalar(node)
    return f"!{suffix}", loader.construct_sequence(node, deep=True)


Template.Loader.add_multi_constructor("!", read_tag)


@pytest.mark.parametrize("choice", CHOICES, ids=name_of)
def test_cloudformation_gives_the_operator_its_policy(choice):
    template = Template(
        Owner=OWNER,
        Issuer=ISSUER,
        ClusterName=CLUSTER,
        MemoryDB="true" if choice["memorydb"] else "false",
        ExistingRoles="true" if choice.get("existing_roles") else "false",
        PodIdentityUsers="true" if choice.get("pod_identity") else "false",
        TrustedCaches=CACHE if choice.get("trusted_caches") else "",
        RolesElsewhere=ELSEWHERE if choice.get("roles_elsewhere") else "",
    )

    assert canonical(template.policy()) == canonical(the_policy(**choice))


@pytest.mark.parametrize(("identity", "trust"), [("IRSA", IRSA_TRUST), ("PodIdentity", ASSOCIATION_TRUST)])
def test_cloudformation_lets_the_operators_pods_be_its_role(identity, trust):
    template = Template(Owner=OWNER, Issuer=ISSUER, ClusterName=CLUSTER, Identity=identity)

    assert template.trust() == trust


def test_cloudformation_knows_a_cluster_in_another_region():
    template = Template(
        Owner=OWNER, Issuer=ISSUER, ClusterName=CLUSTER, ClusterRegion=CLUSTER_REGION, Identity="PodIdentity"
    )

    assert template.trust() == ASSOCIATION_TRUST_ELSEWHERE


def test_cloudformation_has_no_faults_that_cfn_lint_knows():
    answer = subprocess.run(  # noqa: S603  # of this environment
        [BIN / "cfn-lint", "--non-zero-exit-code", "informational", AWS / "cloudformation.yaml"],
        env={"PATH": str(BIN), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_operators_policy_has_one_name_everywhere(module):
    (resource,) = [block for block in module.blocks["resource"] if '"aws_iam_role_policy"' in block]
    (body,) = next(iter(resource.values())).values()
    (of_stack,) = Template().role["Policies"]
    pages = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("install.md", "multi-account.md")]
    put = re.compile(r"aws iam put-role-policy --role-name elasticache-iam-operator --policy-name (\S+)")

    assert body["name"] == "${local.policy_name}"
    assert module.evaluate(module.locals["policy_name"]) == OPERATOR_POLICY_NAME
    assert of_stack["PolicyName"] == OPERATOR_POLICY_NAME
    assert [put.findall(page) for page in pages] == [[OPERATOR_POLICY_NAME]] * 2


def test_the_boundary_is_the_same_everywhere(module, renderer):
    boundary = renderer["boundary"]()
    template = Template().document["Resources"]["Boundary"]["Properties"]["PolicyDocument"]

    assert module.evaluate(module.locals["boundary"]) == boundary == template
    assert boundary["Statement"][0]["Action"] == ["elasticache:Connect", "memorydb:Connect"]


# -- the script --------------------------------------------------------------------------------------------------------


class Script:
    """setup.sh in an account of the sandbox."""

    def __init__(self, running):
        self.running = running
        self.account = running.add_account()
        self.key = self.account.admin
        self.session = running.admin_session(self.account)
        self.iam = self.session.client("iam")
        self.issuer = f"oidc.eks.eu-central-1.amazonaws.com/id/{self.account.account_id}"
        running.run(lambda world: world.add_cluster(self.account.account_id, REGION, CLUSTER, f"https://{self.issuer}"))

    def __call__(self, *arguments, check=True):
        return self.run(AWS / "setup.sh", *arguments, check=check)

    def run(self, *command, check=True, directory=None):
        """Run a program with an administrator's credentials."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        ours = {"PATH": path, "AWS_CONFIG_FILE": os.devnull, "AWS_REGION": REGION}
        answer = subprocess.run(  # noqa: S603  # the script under test
            command,
            cwd=directory,
            env=kept | self.running.env(self.key) | ours,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert answer.returncode == 0 or not check, answer.stdout + answer.stderr
        return answer

    @property
    def provider(self):
        return f"arn:aws:iam::{self.account.account_id}:oidc-provider/{self.issuer}"

    def here(self, policy):
        """Return a policy of the account of the documentation as one of this."""
        text = json.dumps(policy).replace(ACCOUNT, self.account.account_id)
        return json.loads(text.replace(ISSUER, self.issuer))

    def writes(self):
        """Return how often each changing operation was called, by anybody."""
        counts = self.running.run(lambda world: dict(world.call_counts()))
        return Counter({call: n for call, n in counts.items() if not call[1].startswith(("Get", "List", "Describe"))})


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with BackgroundSandbox(tmp_path_factory.mktemp("aws-side")) as running:
        yield running


@pytest.fixture(scope="module")
def installed(running):
    """An account with a provider for IRSA, as every EKS cluster has one, after a run."""
    script = Script(running)
    script.iam.create_open_id_connect_provider(Url=f"https://{script.issuer}", ClientIDList=["sts.amazonaws.com"])
    script.values = script("--owner", OWNER, "--cluster", CLUSTER).stdout
    return script


def test_the_script_makes_role_and_policy(installed):
    role = installed.iam.get_role(RoleName="elasticache-iam-operator")["Role"]
    policy = installed.iam.get_role_policy(RoleName="elasticache-iam-operator", PolicyName="operator")

    assert role["AssumeRolePolicyDocument"] == installed.here(IRSA_TRUST)
    assert canonical(policy["PolicyDocument"]) == canonical(installed.here(the_policy(memorydb=True)))


def test_the_script_adds_the_audience_and_keeps_the_others(installed):
    provider = installed.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=installed.provider)

    assert sorted(provider["ClientIDList"]) == ["elasticache-iam.dev/sign", "sts.amazonaws.com"]


def test_the_script_makes_the_boundary(installed, renderer):
    arn = f"arn:aws:iam::{installed.account.account_id}:policy/elasticache-iam-boundary"
    version = installed.iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]

    assert version["Document"] == renderer["boundary"]()


def test_the_script_prints_values_for_the_chart(installed):
    values = yaml.safe_load(installed.values)

    arn = f"arn:aws:iam::{installed.account.account_id}"
    assert values == {
        "config": {
            "owner": OWNER,
            "account": installed.account.account_id,
            "region": REGION,
            "oidcIssuer": f"https://{installed.issuer}",
            "permissionsBoundary": f"{arn}:policy/elasticache-iam-boundary",
            "clusterName": CLUSTER,
        },
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": f"{arn}:role/elasticache-iam-operator"}},
    }
    schema = ROOT / "charts" / "elasticache-iam-operator" / "values.schema.json"
    jsonschema.validate(with_defaults(values), json.loads(schema.read_text(encoding="utf-8")))


def test_the_script_changes_nothing_the_second_time(installed):
    before = installed.writes()

    answer = installed("--owner", OWNER, "--cluster", CLUSTER)

    assert installed.writes() == before
    assert answer.stderr == "Everything is in place.\n"
    assert answer.stdout == installed.values


def test_what_the_script_prints_is_a_file_of_values_for_helm(installed, helm, tmp_path):
    (tmp_path / "values.yaml").write_text(installed.values)
    arguments = ("-f", tmp_path / "values.yaml", "--set", "image.repository=registry.example/operator")

    objects = Helm(helm, tmp_path).template(*arguments)

    (account,) = [entry for entry in objects if entry["kind"] == "ServiceAccount"]
    (role,) = account["metadata"]["annotations"].values()
    assert role == f"arn:aws:iam::{installed.account.account_id}:role/elasticache-iam-operator"


@pytest.mark.parametrize("more", [(), ("--take-over",)], ids=["plain", "take-over"])
def test_the_script_leaves_the_role_of_another_installation_alone(installed, more):
    before = installed.writes()

    answer = installed("--owner", "second", "--cluster", CLUSTER, "--namespace", "other", *more, check=False)

    assert answer.returncode == 2
    assert f"elasticache-iam-operator is that of the owner {OWNER}; say --role-name" in answer.stderr
    assert (installed.writes(), answer.stdout) == (before, "")


def test_a_second_installation_gets_a_role_of_its_own(installed):
    installed("--owner", "second", "--cluster", CLUSTER, "--role-name", "second-operator", "--namespace", "other")

    role = installed.iam.get_role(RoleName="second-operator")["Role"]
    first = installed.iam.get_role(RoleName="elasticache-iam-operator")["Role"]
    assert "system:serviceaccount:other:elasticache-iam-operator" in json.dumps(role["AssumeRolePolicyDocument"])
    assert first["AssumeRolePolicyDocument"] == installed.here(IRSA_TRUST)


def ask_setup(script):
    """Return what `elasticache-iam setup` says of the policies of the operator's role."""
    arn = f"arn:aws:iam::{script.account.account_id}"
    place = ("--no-cluster", "--owner", OWNER, "--issuer", f"https://{script.issuer}", "--region", REGION)
    made = ("--boundary", f"{arn}:policy/elasticache-iam-boundary")
    made += ("--operator-role", f"{arn}:role/elasticache-iam-operator")
    answer = script.run(BIN / "elasticache-iam", "setup", *place, *made, "-o", "json", check=False)
    (found,) = [each for each in json.loads(answer.stdout)["checks"] if each["says"].startswith("its polic")]
    return found


def test_setup_brings_the_policy_of_an_older_script_up_to_date(running, tmp_path):
    script = Script(running)
    script("--owner", OWNER, "--cluster", CLUSTER)
    which = {"RoleName": "elasticache-iam-operator", "PolicyName": OPERATOR_POLICY_NAME}
    made = script.iam.get_role_policy(**which)["PolicyDocument"]
    older = json.dumps(made).replace('"iam:TagRole", ', "")
    script.iam.put_role_policy(**which, PolicyDocument=older)

    found = ask_setup(script)
    script.run("/bin/bash", "-c", found["repair"], directory=tmp_path)

    assert (found["state"], found["says"]) == ("missing", "its policies lack iam:TagRole")
    assert ask_setup(script)["state"] == "ok"
    assert script.iam.list_role_policies(RoleName=which["RoleName"])["PolicyNames"] == [OPERATOR_POLICY_NAME]
    assert canonical(script.iam.get_role_policy(**which)["PolicyDocument"]) == canonical(made)


@pytest.fixture(scope="module")
def strange(running, tmp_path_factory):
    """An account where others have been: a boundary, a role that somebody else may be. The user brings a policy."""
    script = Script(running)
    theirs = {**NOTHING, "Statement": [{"Effect": "Allow", "Action": "elasticache:*", "Resource": "*"}]}
    script.boundary = script.iam.create_policy(PolicyName="elasticache-iam-boundary", PolicyDocument=json.dumps(theirs))
    role = {"RoleName": "elasticache-iam-operator", "Path": "/controllers/", "MaxSessionDuration": 7200}
    script.iam.create_role(**role, AssumeRolePolicyDocument=json.dumps(OPEN_TO_EC2))
    script.wider = script.here(the_policy(memorydb=False, existing_roles=True))
    file = tmp_path_factory.mktemp("policy") / "policy.json"
    file.write_text(json.dumps(script.wider, indent=2))
    arguments = ("--owner", OWNER, "--issuer", f"https://{script.issuer}", "--policy-file", file)
    before = script.writes()
    script.refused = script(*arguments, check=False)
    script.planned = script(*arguments, "--take-over", "--plan")
    script.writes_of_plan = script.writes() - before
    script.done = script(*arguments, "--take-over")
    before = script.writes()
    script.again = script(*arguments)
    script.writes_of_again = script.writes() - before
    return script


def test_a_plan_changes_nothing_and_shows_what_is_done_then(strange):
    assert strange.writes_of_plan == Counter()
    assert strange.planned.stdout == ""
    planned, done = (
        [line.removeprefix(mark) for line in answer.stderr.splitlines() if line.startswith(mark)]
        for answer, mark in ((strange.planned, "would: "), (strange.done, "==> "))
    )
    assert planned == done
    assert [line.split()[0] for line in planned] == ["create", "take", "let", "write"]


def test_the_script_takes_no_role_of_somebody_elses_unasked(strange):
    assert strange.refused.returncode == 2
    assert "elasticache-iam-operator is there, and not from this script" in strange.refused.stderr


def test_a_role_that_was_taken_over_is_the_operators_from_then_on(strange):
    role = strange.iam.get_role(RoleName="elasticache-iam-operator")["Role"]

    assert role["Description"] == f"elasticache-iam-operator, owner {OWNER}"
    assert role["MaxSessionDuration"] == 7200
    assert strange.writes_of_again == Counter()
    assert strange.again.stderr.splitlines()[-1] == "Everything is in place."


def test_the_script_prints_the_role_with_its_path(strange):
    (arn,) = yaml.safe_load(strange.again.stdout)["serviceAccount"]["annotations"].values()

    assert arn == strange.iam.get_role(RoleName="elasticache-iam-operator")["Role"]["Arn"]
    assert arn.endswith(":role/controllers/elasticache-iam-operator")


def test_the_script_leaves_a_boundary_of_others_alone_and_says_so(strange):
    policy = strange.iam.get_policy(PolicyArn=strange.boundary["Policy"]["Arn"])["Policy"]

    assert policy["DefaultVersionId"] == "v1"
    assert "elasticache-iam-boundary is there and says something else" in strange.done.stderr


def test_the_script_corrects_whom_the_role_trusts(strange):
    role = strange.iam.get_role(RoleName="elasticache-iam-operator")["Role"]

    assert role["AssumeRolePolicyDocument"] == strange.here(IRSA_TRUST)


def test_the_script_takes_a_policy_that_was_made_with_more_options(strange):
    policy = strange.iam.get_role_policy(RoleName="elasticache-iam-operator", PolicyName="operator")

    assert policy["PolicyDocument"] == strange.wider


def test_the_script_gives_the_role_to_pods_by_pod_identity(running):
    script = Script(running)

    script("--owner", OWNER, "--cluster", CLUSTER, "--pod-identity")

    role = script.iam.get_role(RoleName="elasticache-iam-operator")["Role"]
    assert role["AssumeRolePolicyDocument"] == script.here(ASSOCIATION_TRUST)
    (association,) = script.session.client("eks").list_pod_identity_associations(clusterName=CLUSTER)["associations"]
    assert (association["namespace"], association["serviceAccount"]) == SUBJECTS[0]


def test_the_script_finds_a_cluster_in_another_region_than_the_caches(running):
    script = Script(running)
    account, cluster = script.account.account_id, "far"
    running.run(lambda world: world.add_cluster(account, CLUSTER_REGION, cluster, f"https://{script.issuer}"))
    arguments = ("--owner", OWNER, "--cluster", cluster, "--pod-identity")

    without = script(*arguments, check=False)
    answer = script(*arguments, "--cluster-region", CLUSTER_REGION)

    assert without.returncode == 2
    assert f"the cluster {cluster} in {REGION}" in without.stderr
    assert without.stderr.rstrip().endswith("say --cluster-region")
    role = script.iam.get_role(RoleName="elasticache-iam-operator")["Role"]
    trust = json.loads(json.dumps(ASSOCIATION_TRUST_ELSEWHERE).replace(f"cluster/{CLUSTER}", f"cluster/{cluster}"))
    assert role["AssumeRolePolicyDocument"] == script.here(trust)
    eks = script.session.client("eks", region_name=CLUSTER_REGION)
    assert len(eks.list_pod_identity_associations(clusterName=cluster)["associations"]) == 1
    config = yaml.safe_load(answer.stdout)["config"]
    assert (config["region"], config["oidcIssuer"]) == (REGION, f"https://{script.issuer}")
    assert "clusterName" not in config


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cluster", "main"], "--owner is 1 to 10"),
        (["--owner", "Prod!", "--cluster", "main"], "--owner is 1 to 10"),
        (["--owner", "prod"], "say --cluster or --issuer"),
        (["--owner", "prod", "--issuer", "http://foo.example"], "--issuer is an https URL"),
        (["--owner", "prod", "--issuer", "https://foo bar"], "--issuer is an https URL"),
        (["--owner", "prod", "--issuer", "https://x", "--pod-identity"], "--pod-identity needs --cluster"),
        (["--owner", "prod", "--issuer", "https://x", "--cluster-region", "x"], "--cluster-region needs --cluster"),
        (["--owner"], "--owner needs a value"),
        (["--ownr", "prod"], "unknown argument --ownr"),
        (["--owner", "prod", "--cluster", "main", "--policy-file", "/nowhere"], "can't read /nowhere"),
        (
            ["--owner", "prod", "--cluster", "main", "--policy-file", "/etc/hostname"],
            "/etc/hostname is no policy in JSON",
        ),
        (
            ["--owner", "prod", "--cluster", "main", "--policy-file", AWS / "terraform" / "policy.tf"],
            "is no policy in JSON",
        ),
    ],
)
def test_the_script_refuses_what_cant_be_meant_before_it_asks_aws(arguments, said):
    answer = subprocess.run(  # noqa: S603  # the script under test
        [AWS / "setup.sh", *arguments], capture_output=True, text=True, check=False, timeout=60
    )

    assert answer.returncode == 2
    assert said in answer.stderr


def test_the_script_stops_where_aws_refuses(running):
    script = Script(running)
    script.key = running.add_access_key("nobody", account_id=script.account.account_id, policy=NOTHING)

    answer = script("--owner", OWNER, "--issuer", "https://oidc.example", check=False)

    assert answer.returncode != 0
    assert "AccessDenied" in answer.stderr
    assert "==>" not in answer.stderr
