"""The commands that repair a broken link, ready to be pasted: what people are told to run.

Their arguments come from AWS and from resources that application teams write, and whoever pastes a command is an
administrator: each argument is quoted, so that a shell hands it over as it is, whatever it holds.
"""

import shlex
from collections.abc import Mapping
from typing import Any, assert_never

from elasticache_iam.api.group import Service
from elasticache_iam.api.keys import (
    ANNOTATION_CONFIRM_DELETIONS,
    ANNOTATION_PAUSED,
    ANNOTATION_REFRESH,
    ROLE_POLICY_NAME,
    TAG_ALLOW,
)
from elasticache_iam.core.names import place_of_arn
from elasticache_iam.core.policy import compact_json, connect_policy
from elasticache_iam.core.state import CacheKind, CacheRef, Place


def refresh(namespace: str, name: str) -> str:
    """Return what makes the operator sign anew."""
    return f'{_annotate(namespace, name)} {ANNOTATION_REFRESH}="$(date)" --overwrite'


def unpause(namespace: str, name: str) -> str:
    """Return what ends a pause."""
    return f"{_annotate(namespace, name)} {ANNOTATION_PAUSED}-"


def have_repaired(namespace: str, name: str) -> str:
    """Return what lets the operator put right by itself what it is responsible for."""
    return f"{unpause(namespace, name)}   # and is the operator running?"


def confirm_deletions(namespace: str) -> str:
    """Return what confirms a namespace's deletions for the next ten minutes."""
    annotate = _command("kubectl", "annotate", "--overwrite", "namespace", namespace)
    return f'{annotate} {ANNOTATION_CONFIRM_DELETIONS}="$(date -u +%FT%TZ)"'


def delete(kind: str, namespace: str, name: str) -> str:
    """Return what deletes an object of ours that somebody else has spoiled."""
    return _command("kubectl", "-n", namespace, "delete", kind.lower(), name)


def _annotate(namespace: str, name: str) -> str:
    return _command("kubectl", "-n", namespace, "annotate", "eciu", name)


# -- users and groups -------------------------------------------------------------------------------------------------


def show_user(place: Place, user_id: str) -> str:
    """Return what shows a user's state."""
    if place.service is Service.MEMORYDB:
        return _aws("memorydb", "describe-users", place.region, "--user-name", user_id)
    return _aws("elasticache", "describe-users", place.region, "--user-id", user_id)


def show_group(place: Place, group_id: str) -> str:
    """Return what shows a group's state."""
    if place.service is Service.MEMORYDB:
        return _aws("memorydb", "describe-acls", place.region, "--acl-name", group_id)
    return _aws("elasticache", "describe-user-groups", place.region, "--user-group-id", group_id)


def set_iam_mode(place: Place, user_id: str) -> str:
    """Return what makes a user log in by IAM."""
    return _change_user(place, user_id, "--authentication-mode", "Type=iam")


def switch_on(place: Place, user_id: str, access_string: str) -> str:
    """Return what switches a user on, with the same rights."""
    rules = [rule for rule in access_string.split() if rule.lower() not in {"on", "off"}]
    return _change_user(place, user_id, "--access-string", " ".join(["on", *rules]))


def _change_user(place: Place, user_id: str, *change: str) -> str:
    if place.service is Service.MEMORYDB:
        return _aws("memorydb", "update-user", place.region, "--user-name", user_id, *change)
    return _aws("elasticache", "modify-user", place.region, "--user-id", user_id, *change)


def add_member(place: Place, group_id: str, user_id: str) -> str:
    """Return what puts a user into a group."""
    if place.service is Service.MEMORYDB:
        which = ("--acl-name", group_id, "--user-names-to-add", user_id)
        return _aws("memorydb", "update-acl", place.region, *which)
    which = ("--user-group-id", group_id, "--user-ids-to-add", user_id)
    return _aws("elasticache", "modify-user-group", place.region, *which)


# -- caches -----------------------------------------------------------------------------------------------------------


def show_cache(cache: CacheRef, region: str) -> str:
    """Return what shows a cache's state."""
    match cache.kind:
        case CacheKind.REPLICATION_GROUP:
            return _aws("elasticache", "describe-replication-groups", region, "--replication-group-id", cache.id)
        case CacheKind.SERVERLESS_CACHE:
            return _aws("elasticache", "describe-serverless-caches", region, "--serverless-cache-name", cache.id)
        case CacheKind.MEMORYDB_CLUSTER:
            return _aws("memorydb", "describe-clusters", region, "--cluster-name", cache.id)
        case _:
            assert_never(cache.kind)


def attach(cache: CacheRef, region: str, group_id: str) -> str:
    """Return what attaches a group to a cache. On an open one that shuts out whoever has no user."""
    match cache.kind:
        case CacheKind.REPLICATION_GROUP:
            return _change_cache(cache, region, "--user-group-ids-to-add", group_id)
        case CacheKind.SERVERLESS_CACHE:
            return _change_cache(cache, region, "--user-group-id", group_id)
        case CacheKind.MEMORYDB_CLUSTER:
            return _change_cache(cache, region, "--acl-name", group_id)
        case _:
            assert_never(cache.kind)


def upgrade(cache: CacheRef, region: str, version: str) -> str:
    """Return what takes a cache to an engine that knows IAM users. It fails over, and there is no way back."""
    parameter = "--major-engine-version" if cache.kind is CacheKind.SERVERLESS_CACHE else "--engine-version"
    return _change_cache(cache, region, parameter, version)


def turn_on_tls(cache: CacheRef, region: str) -> str:
    """Return what turns on encryption in transit, in its gentle mode first."""
    if cache.kind is CacheKind.REPLICATION_GROUP:
        return _change_cache(cache, region, "--transit-encryption-enabled", "--transit-encryption-mode", "preferred")
    return "make a new cluster with TLS: AWS can't turn it on later"


def _change_cache(cache: CacheRef, region: str, *change: str) -> str:
    match cache.kind:
        case CacheKind.REPLICATION_GROUP:
            which = ("--replication-group-id", cache.id, *change, "--apply-immediately")
            return _aws("elasticache", "modify-replication-group", region, *which)
        case CacheKind.SERVERLESS_CACHE:
            which = ("--serverless-cache-name", cache.id, *change)
            return _aws("elasticache", "modify-serverless-cache", region, *which)
        case CacheKind.MEMORYDB_CLUSTER:
            return _aws("memorydb", "update-cluster", region, "--cluster-name", cache.id, *change)
        case _:
            assert_never(cache.kind)


def exchange(cache: CacheRef, region: str, group_id: str) -> str:
    """Return what gives a cache another group in the place of one."""
    if cache.kind is CacheKind.REPLICATION_GROUP:
        change = ("--user-group-ids-to-remove", group_id, "--user-group-ids-to-add", "OTHER")
        return _change_cache(cache, region, *change)
    return attach(cache, region, "OTHER")  # it has one group at a time


def consent(arn: str, value: str) -> str:
    """Return what lets a namespace use a user, group or cache of somebody else's: its owner says it.

    Args:
        arn: The object's.
        value: The tag's new one; see `names.with_consent`.
    """
    place = place_of_arn(arn)
    region = ("--region", place.region) if place is not None else ()
    tag = f"Key={TAG_ALLOW},Value={value}"
    if place is not None and place.service is Service.MEMORYDB:
        return _command("aws", "memorydb", "tag-resource", *region, "--resource-arn", arn, "--tags", tag)
    return _command("aws", "elasticache", "add-tags-to-resource", *region, "--resource-name", arn, "--tags", tag)


# -- the role ---------------------------------------------------------------------------------------------------------


def allow_connect(role_name: str, *, user_arn: str, cache_arn: str, service: str, is_ours: bool) -> str:
    """Return what lets a role connect; into a role of others it goes beside what is there."""
    policy_name = ROLE_POLICY_NAME if is_ours else f"{ROLE_POLICY_NAME}-by-hand"
    document = compact_json(connect_policy(user_arn, (cache_arn,), service))
    what = ("--role-name", role_name, "--policy-name", policy_name, "--policy-document", document)
    return _command("aws", "iam", "put-role-policy", *what)


def widen(boundary: str | None, service: str) -> str:
    """Return what lets a permissions boundary allow Connect: its document has to be completed by hand."""
    change = _command("aws", "iam", "create-policy-version", "--set-as-default")
    which = shlex.quote(boundary) if boundary else "…"
    return (
        f"{change} --policy-arn {which} --policy-document file://boundary.json"
        f"   # the present one, and Allow {service}:Connect"
    )


def set_trust(role_name: str, trust: Mapping[str, Any] | None, *, is_ours: bool) -> str:
    """Return what lets a role admit who signs; what else admits a role of others is kept by hand."""
    if trust is None:
        which = ("--role-name", role_name, "--query", "Role.AssumeRolePolicyDocument")
        return _command("aws", "iam", "get-role", *which)
    what = ("--role-name", role_name, "--policy-document", compact_json(trust))
    note = "" if is_ours else "   # beside the statements that it has"
    return _command("aws", "iam", "update-assume-role-policy", *what) + note


def create_role(role_name: str, trust: Mapping[str, Any] | None = None) -> str:
    """Return what makes a role of somebody else's; without its trust policy only how the command begins."""
    create = _command("aws", "iam", "create-role", "--role-name", role_name)
    if trust is None:
        return f"{create} …"
    return f"{create} {_command('--assume-role-policy-document', compact_json(trust))}"


def create_boundary(name: str) -> str:
    """Return what makes a permissions boundary that allows logging in, and nothing else."""
    allow = {"Effect": "Allow", "Action": ["elasticache:Connect", "memorydb:Connect"], "Resource": "*"}
    document = compact_json({"Version": "2012-10-17", "Statement": [allow]})
    return _command("aws", "iam", "create-policy", "--policy-name", name, "--policy-document", document)


def print_operator_policy(*options: str) -> str:
    """Return what prints the operator's own policy."""
    return _command("elasticache-iam", "policy", "operator", *options)


def put_operator_policy(role_name: str, policy: str, print_policy: str) -> str:
    """Return what gives the operator's role the policy that another command prints, in the place of the one it has.

    Args:
        role_name: The role.
        policy: The one that is replaced or made: the name of an inline one, or a managed one's ARN.
        print_policy: The command that prints it.
    """
    file = "operator-policy.json"
    which: tuple[str, ...]
    if is_managed(policy):
        which = ("create-policy-version", "--set-as-default", "--policy-arn", policy)
    else:
        which = ("put-role-policy", "--role-name", role_name, "--policy-name", policy)
    put = _command("aws", "iam", *which, "--policy-document", f"file://{file}")
    note = "   # it has 5 versions at most: delete-policy-version" if is_managed(policy) else ""
    return f"{print_policy} > {file} && {put}{note}"


def remove_policy(role_name: str, policy: str) -> str:
    """Return what takes a policy from a role: the inline one of that name, or the managed one of that ARN."""
    if is_managed(policy):
        return _command("aws", "iam", "detach-role-policy", "--role-name", role_name, "--policy-arn", policy)
    return _command("aws", "iam", "delete-role-policy", "--role-name", role_name, "--policy-name", policy)


def is_managed(policy: str) -> bool:
    """Whether it is a managed policy's ARN: names of inline ones have no colon."""
    return policy.startswith("arn:")


def find_denial() -> str:
    """Return what shows the policies of all roles, of which one denies."""
    return "aws iam get-account-authorization-details --filter Role   # look for the Deny in the role named above"


def consent_to_role(role_name: str, value: str) -> str:
    """Return what lets us put our policy into a role of somebody else's; the value is that of `names.with_consent`."""
    return _command("aws", "iam", "tag-role", "--role-name", role_name, "--tags", f"Key={TAG_ALLOW},Value={value}")


def show_role_terms(namespace: str, name: str, field: str) -> str:
    """Return what shows the statements that a role's owner has to write: status.role.trust or .policy."""
    which = f"jsonpath={{.status.role.{field}}}"
    return _command("kubectl", "-n", namespace, "get", "eciu", name, "-o", which)


def annotate_service_account(namespace: str, account: str, annotation: str, value: str) -> str:
    """Return what annotates a ServiceAccount."""
    return _command("kubectl", "-n", namespace, "annotate", "serviceaccount", account, f"{annotation}={value}")


def add_audience(issuer: str, audience: str, *, provider_arn: str | None) -> str:
    """Return what lets an account take a cluster's tokens: the provider is made, or told of one more audience."""
    if provider_arn is None:
        what = ("--url", issuer, "--client-id-list", audience)
        return _command("aws", "iam", "create-open-id-connect-provider", *what)
    what = ("--open-id-connect-provider-arn", provider_arn, "--client-id", audience)
    return _command("aws", "iam", "add-client-id-to-open-id-connect-provider", *what)


def associate(cluster: str, namespace: str, account: str, role_arn: str) -> str:
    """Return what gives a ServiceAccount a role by EKS Pod Identity."""
    who = ("--cluster-name", cluster, "--namespace", namespace, "--service-account", account)
    return _command("aws", "eks", "create-pod-identity-association", *who, "--role-arn", role_arn)


def add_pod_identity_agent(cluster: str) -> str:
    """Return what installs the add-on that hands roles to pods."""
    return _command("aws", "eks", "create-addon", "--cluster-name", cluster, "--addon-name", "eks-pod-identity-agent")


def install(name: str, namespace: str, *, owner: str, region: str) -> str:
    """Return what installs the operator by Helm, with the image left to fill in."""
    where = (name, "charts/elasticache-iam-operator", "-n", namespace, "--create-namespace")
    settings = (
        f"config.owner={owner}",
        f"config.region={region}",
        "image.repository=REGISTRY/elasticache-iam-operator",
    )
    return _command("helm", "install", *where, *(word for setting in settings for word in ("--set", setting)))


def _aws(service: str, operation: str, region: str, *parameters: str) -> str:
    return _command("aws", service, operation, "--region", region, *parameters)


def _command(*words: str) -> str:
    """Return a command that a shell takes apart into exactly these words."""
    return shlex.join(words)
