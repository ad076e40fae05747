"""Writes the generated parts of packaging/aws: the operator's policy and trust, as Terraform, CloudFormation and shell.

Run by `make aws`. The policies are those of `elasticache-iam policy operator`, with placeholders for what differs from
account to account. Everything else in those files is written by hand.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from elasticache_iam.api.keys import OPERATOR_POLICY_NAME, STS_AUDIENCE
from elasticache_iam.core.policy import operator_policy
from elasticache_iam.core.policy.trust import pod_identity_trust, trust_policy

ROOT = Path(__file__).resolve().parents[1]
AWS = ROOT / "packaging" / "aws"

OWNER = "zzowner"
PARTITION = "zzpartition"
ACCOUNT = "zzaccount"
REGION = "zzregion"
CLUSTER = "zzcluster"
CLUSTER_REGION = "zzclusterregion"
ISSUER = "zzissuer"
NAMESPACE = "zznamespace"
SERVICE_ACCOUNT = "zzserviceaccount"
BOUNDARY = "arn:zzpartition:iam::zzaccount:policy/zzboundary"
CACHES = "zzcaches"
ROLES_ELSEWHERE = "arn:aws:iam::444455556666:role/zzrole"
"""Placeholders: the policies' functions take them for real values."""

FEATURES: Mapping[str, Mapping[str, Any]] = {
    "existing_roles": {"existing_roles": True},
    "trusted_caches": {"trusted_caches": (CACHES,)},
    "roles_elsewhere": {"roles_elsewhere": (ROLES_ELSEWHERE,)},
    "pod_identity": {"pod_identity_cluster": CLUSTER},
}
"""What adds statements to the policy, by its name here: the arguments of `operator_policy`."""

Document = dict[str, Any]


def statements(*, memorydb: bool = True, **options: Any) -> list[Document]:
    """Return the statements of the operator's policy, over the placeholders."""
    policy = operator_policy(
        owner=OWNER,
        partition=PARTITION,
        account=ACCOUNT,
        region=REGION,
        boundary=BOUNDARY,
        memorydb=memorydb,
        **options,
    )
    return policy["Statement"]


def feature_statements(feature: str, *, memorydb: bool = True) -> list[Document]:
    """Return the statements that a feature adds."""
    base = statements(memorydb=memorydb)
    return [statement for statement in statements(memorydb=memorydb, **FEATURES[feature]) if statement not in base]


def irsa_trust() -> Document:
    """Return whom the operator's role trusts: its ServiceAccount's token."""
    return trust_policy(
        provider_arn=f"arn:{PARTITION}:iam::{ACCOUNT}:oidc-provider/{ISSUER}",
        issuer=f"https://{ISSUER}",
        audience=STS_AUDIENCE,
        subjects=((NAMESPACE, SERVICE_ACCOUNT),),
    )


def association_trust() -> Document:
    """Return the same for EKS Pod Identity."""
    return pod_identity_trust(
        cluster_arn=f"arn:{PARTITION}:eks:{CLUSTER_REGION}:{ACCOUNT}:cluster/{CLUSTER}",
        subjects=((NAMESPACE, SERVICE_ACCOUNT),),
    )


def boundary() -> Document:
    """Return the permissions boundary of the roles that the operator makes: to connect, and nothing else."""
    connect = {"Effect": "Allow", "Action": ["elasticache:Connect", "memorydb:Connect"], "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [connect]}


def replaced(value: Any, names: Mapping[str, str]) -> Any:
    """Return a document with its placeholders replaced, in keys and values."""
    if isinstance(value, dict):
        return {replaced(key, names): replaced(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, names) for item in value]
    if isinstance(value, str):
        for placeholder, name in sorted(names.items(), key=lambda pair: -len(pair[0])):
            value = value.replace(placeholder, name)
    return value


# -- Terraform ---------------------------------------------------------------------------------------------------------

TERRAFORM_NAMES = {
    OWNER: "${var.owner}",
    PARTITION: "${local.partition}",
    ACCOUNT: "${local.account}",
    REGION: "${local.region}",
    CLUSTER: "${var.cluster_name}",
    CLUSTER_REGION: "${local.cluster_region}",
    ISSUER: "${local.issuer}",
    NAMESPACE: "${var.namespace}",
    SERVICE_ACCOUNT: "${var.service_account}",
    BOUNDARY: "${aws_iam_policy.boundary.arn}",
}
TERRAFORM_LISTS = {CACHES: "var.trusted_caches", ROLES_ELSEWHERE: "var.roles_elsewhere"}
"""A list of one of these is a variable of the module."""

TERRAFORM_HEAD = """\
# The operator's policy and its parts. Written by `make aws` from the calls that the operator makes: don't edit.

locals {
"""


def terraform() -> str:
    """Return packaging/aws/terraform/policy.tf."""
    parts: dict[str, Any] = {
        "policy_name": OPERATOR_POLICY_NAME,
        "with_memorydb": statements(),
        "without_memorydb": statements(memorydb=False),
        **{feature: feature_statements(feature) for feature in FEATURES},
        "trusted_caches_without_memorydb": feature_statements("trusted_caches", memorydb=False),
        "irsa_trust": irsa_trust(),
        "pod_identity_trust": association_trust(),
        "boundary": boundary(),
    }
    lines = [f"  {name} = {hcl(replaced(part, TERRAFORM_NAMES), 2)}\n" for name, part in parts.items()]
    return TERRAFORM_HEAD + "\n".join(lines) + "}\n"


def hcl(value: Any, indent: int = 0) -> str:
    """Return a JSON value as `terraform fmt` would write it."""
    space, inner = " " * indent, " " * (indent + 2)
    if isinstance(value, dict):
        keys = {key: key if re.fullmatch(r"[A-Za-z]\w*", key) else json.dumps(key) for key in value}
        width = _alignment(value, keys)
        items = [f"{inner}{keys[key]:{width[key]}} = {hcl(item, indent + 2)}\n" for key, item in value.items()]
        return "{\n" + "".join(items) + space + "}"
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], str):
            return TERRAFORM_LISTS.get(value[0], f"[{json.dumps(value[0])}]")
        return "[\n" + "".join(f"{inner}{hcl(item, indent + 2)},\n" for item in value) + space + "]"
    return json.dumps(value)


def _alignment(value: Document, keys: Mapping[str, str]) -> dict[str, int]:
    """Return how wide each key is written: neighbours whose values take one line each are aligned."""
    widths: dict[str, int] = {}
    run: list[str] = []
    for key, item in value.items():
        if "\n" in hcl(item):
            run = []
            widths[key] = len(keys[key])
        else:
            run.append(key)
            widths |= dict.fromkeys(run, max(len(keys[name]) for name in run))
    return widths


# -- CloudFormation ----------------------------------------------------------------------------------------------------

CLOUDFORMATION_NAMES = {
    OWNER: "${Owner}",
    PARTITION: "${AWS::Partition}",
    ACCOUNT: "${AWS::AccountId}",
    REGION: "${AWS::Region}",
    CLUSTER: "${ClusterName}",
    CLUSTER_REGION: "${RegionOfCluster}",
    ISSUER: "${Issuer}",
    NAMESPACE: "${Namespace}",
    SERVICE_ACCOUNT: "${ServiceAccount}",
    BOUNDARY: "${Boundary}",
}
CLOUDFORMATION_CHOICES = {"RegionOfCluster": ("HasClusterRegion", "ClusterRegion", "AWS::Region")}
"""Names in texts that aren't parameters: a condition, and what they stand for if it holds and if not."""
CLOUDFORMATION_LISTS = {CACHES: "TrustedCaches", ROLES_ELSEWHERE: "RolesElsewhere"}
CLOUDFORMATION_CONDITIONS = {
    "existing_roles": "HasExistingRoles",
    "trusted_caches": "HasTrustedCaches",
    "roles_elsewhere": "HasRolesElsewhere",
    "pod_identity": "HasPodIdentityUsers",
}


class Tagged:
    """A value under one of CloudFormation's short tags."""

    def __init__(self, tag: str, value: Any) -> None:
        self.tag = tag
        self.value = value


class Writer(yaml.SafeDumper):
    """Writes CloudFormation's YAML: no aliases, lists indented, short tags."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


def _represent(dumper: Writer, tagged: Tagged) -> yaml.Node:
    if isinstance(tagged.value, list):
        return dumper.represent_sequence(tagged.tag, tagged.value)
    style = "|" if "\n" in tagged.value else None
    return dumper.represent_scalar(tagged.tag, tagged.value, style=style)


class Text(str):
    """A text of several lines, written as such."""


def _represent_text(dumper: Writer, text: Text) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


Writer.add_representer(Tagged, _represent)
Writer.add_representer(Text, _represent_text)


def cloudformation_statements() -> list[Any]:
    """Return the list of statements, with those of features and MemoryDB under their conditions."""
    listed: list[Any] = _cloudformation_list(statements(), statements(memorydb=False))
    for feature, condition in CLOUDFORMATION_CONDITIONS.items():
        added = _cloudformation_list(feature_statements(feature), feature_statements(feature, memorydb=False))
        listed += [Tagged("!If", [condition, statement, Tagged("!Ref", "AWS::NoValue")]) for statement in added]
    return listed


def _cloudformation_list(longer: list[Document], shorter: list[Document]) -> list[Document]:
    """Return statements whose entries that only MemoryDB needs are conditional."""
    conditional = []
    for statement, without in zip(longer, shorter, strict=True):
        parts = {
            key: [
                item if item in without[key] else Tagged("!If", ["HasMemoryDB", item, Tagged("!Ref", "AWS::NoValue")])
                for item in statement[key]
            ]
            for key in ("Action", "Resource")
        }
        conditional.append(_substituted({**statement, **parts}))
    return conditional


def _substituted(value: Any) -> Any:
    """Return a document with its placeholders as CloudFormation's; keys can't hold any."""
    if isinstance(value, Tagged):
        return Tagged(value.tag, _substituted(value.value))
    if isinstance(value, dict):
        return {key: _substituted(item) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], str) and value[0] in CLOUDFORMATION_LISTS:
            return Tagged("!Ref", CLOUDFORMATION_LISTS[value[0]])
        return [_substituted(item) for item in value]
    new = replaced(value, CLOUDFORMATION_NAMES)
    if new == "${Boundary}":
        return Tagged("!Ref", "Boundary")
    return new if new == value else Tagged("!Sub", new)


def cloudformation_policies() -> str:
    """Return the operator's policy, with its name."""
    document = {"Version": "2012-10-17", "Statement": cloudformation_statements()}
    return _yaml([{"PolicyName": OPERATOR_POLICY_NAME, "PolicyDocument": document}])


def cloudformation_boundary() -> str:
    """Return the boundary."""
    return _yaml(boundary())


def cloudformation_trust() -> str:
    """Return the role's trust as JSON texts: a key of YAML can't hold the issuer."""
    chosen = [_text(json.dumps(replaced(trust, CLOUDFORMATION_NAMES), indent=2)) for trust in _trusts()]
    return _yaml({"AssumeRolePolicyDocument": Tagged("!If", ["ByPodIdentity", chosen[1], chosen[0]])})


def _text(text: str) -> Tagged:
    """Return a text in which names are replaced."""
    choices = {
        name: Tagged("!If", [condition, Tagged("!Ref", this), Tagged("!Ref", that)])
        for name, (condition, this, that) in CLOUDFORMATION_CHOICES.items()
        if f"${{{name}}}" in text
    }
    return Tagged("!Sub", [Text(text), choices] if choices else text)


def _trusts() -> tuple[Document, Document]:
    return irsa_trust(), association_trust()


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=Writer, sort_keys=False, width=110)


# -- the shell ---------------------------------------------------------------------------------------------------------

SHELL_NAMES = {
    OWNER: "$owner",
    PARTITION: "$partition",
    ACCOUNT: "$account",
    REGION: "$region",
    CLUSTER: "$cluster",
    CLUSTER_REGION: "$cluster_region",
    ISSUER: "$issuer",
    NAMESPACE: "$namespace",
    SERVICE_ACCOUNT: "$service_account",
    BOUNDARY: "$boundary",
}


def shell() -> str:
    """Return the name of the operator's policy, and functions that print the documents."""
    documents = {
        "print_policy": {"Version": "2012-10-17", "Statement": statements()},
        "print_trust": irsa_trust(),
        "print_pod_identity_trust": association_trust(),
        "print_boundary": boundary(),
    }
    functions = [
        f"{name}() {{\n  cat <<JSON\n{json.dumps(replaced(document, _braced(SHELL_NAMES)), indent=2)}\nJSON\n}}\n"
        for name, document in documents.items()
    ]
    return "\n".join([f"policy_name={OPERATOR_POLICY_NAME}\n", *functions])


def _braced(names: Mapping[str, str]) -> dict[str, str]:
    return {placeholder: f"${{{name[1:]}}}" for placeholder, name in names.items()}


# -- files -------------------------------------------------------------------------------------------------------------


def with_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Return a text with what stands between `# begin generated: <name>` and `# end generated` written anew."""
    lines: list[str] = []
    for line, is_kept in _kept(text):
        if is_kept:
            lines.append(line)
        if match := re.match(r"( *)# begin generated: (\S+)", line):
            lines += [f"{match[1]}{new}".rstrip() for new in parts[match[2]]().splitlines()]
    return "\n".join(lines) + "\n"


def _kept(text: str) -> Iterator[tuple[str, bool]]:
    is_kept = True
    for line in text.splitlines():
        is_end = line.strip().startswith("# end generated")
        yield line, is_kept or is_end
        if is_end:
            is_kept = True
        elif line.strip().startswith("# begin generated"):
            is_kept = False


def rendered() -> dict[Path, str]:
    """Return each file's text as it should be."""
    template, script = AWS / "cloudformation.yaml", AWS / "setup.sh"
    cloudformation = {
        "policies": cloudformation_policies,
        "boundary": cloudformation_boundary,
        "trust": cloudformation_trust,
    }
    return {
        AWS / "terraform" / "policy.tf": terraform(),
        template: with_parts(template.read_text(encoding="utf-8"), cloudformation),
        script: with_parts(script.read_text(encoding="utf-8"), {"documents": shell}),
    }


def main() -> None:
    """Write the files, or with `--check` say which aren't fresh."""
    stale = [path for path, text in rendered().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if sys.argv[1:] == ["--check"]:
        sys.exit("".join(f"{path.relative_to(ROOT)} isn't fresh: make aws\n" for path in stale) or 0)
    for path, text in rendered().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
