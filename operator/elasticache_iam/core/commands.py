"""The commands that repair a broken link, ready to be pasted: what people are told to run."""

from collections.abc import Mapping
from typing import Any, assert_never

from elasticache_iam.api.group import Service
from elasticache_iam.api.keys import ANNOTATION_PAUSED, ANNOTATION_REFRESH, ROLE_POLICY_NAME
from elasticache_iam.core.policy import compact_json, connect_policy
from elasticache_iam.core.state import CacheKind, CacheRef, Place


def refresh(namespace: str, name: str) -> str:
    """Return what makes the operator sign anew."""
    return f'kubectl -n {namespace} annotate eciu {name} {ANNOTATION_REFRESH}="$(date)" --overwrite'


def unpause(namespace: str, name: str) -> str:
    """Return what lets the operator put right by itself what it is responsible for."""
    return f"kubectl -n {namespace} annotate eciu {name} {ANNOTATION_PAUSED}-   # and is the operator running?"


# -- users and groups -------------------------------------------------------------------------------------------------


def show_user(place: Place, user_id: str) -> str:
    """Return what shows a user's state."""
    if place.service is Service.MEMORYDB:
        return _aws("memorydb describe-users", place.region, f"--user-name {user_id}")
    return _aws("elasticache describe-users", place.region, f"--user-id {user_id}")


def show_group(place: Place, group_id: str) -> str:
    """Return what shows a group's state."""
    if place.service is Service.MEMORYDB:
        return _aws("memorydb describe-acls", place.region, f"--acl-name {group_id}")
    return _aws("elasticache describe-user-groups", place.region, f"--user-group-id {group_id}")


def set_iam_mode(place: Place, user_id: str) -> str:
    """Return what makes a user log in by IAM."""
    return _change_user(place, user_id, "--authentication-mode Type=iam")


def switch_on(place: Place, user_id: str, access_string: str) -> str:
    """Return what switches a user on, with the same rights."""
    rules = [rule for rule in access_string.split() if rule.lower() not in {"on", "off"}]
    return _change_user(place, user_id, f"--access-string '{' '.join(['on', *rules])}'")


def _change_user(place: Place, user_id: str, change: str) -> str:
    if place.service is Service.MEMORYDB:
        return _aws("memorydb update-user", place.region, f"--user-name {user_id} {change}")
    return _aws("elasticache modify-user", place.region, f"--user-id {user_id} {change}")


def add_member(place: Place, group_id: str, user_id: str) -> str:
    """Return what puts a user into a group."""
    if place.service is Service.MEMORYDB:
        return _aws("memorydb update-acl", place.region, f"--acl-name {group_id} --user-names-to-add {user_id}")
    members = f"--user-group-id {group_id} --user-ids-to-add {user_id}"
    return _aws("elasticache modify-user-group", place.region, members)


# -- caches -----------------------------------------------------------------------------------------------------------


def show_cache(cache: CacheRef, region: str) -> str:
    """Return what shows a cache's state."""
    match cache.kind:
        case CacheKind.REPLICATION_GROUP:
            return _aws("elasticache describe-replication-groups", region, f"--replication-group-id {cache.id}")
        case CacheKind.SERVERLESS_CACHE:
            return _aws("elasticache describe-serverless-caches", region, f"--serverless-cache-name {cache.id}")
        case CacheKind.MEMORYDB_CLUSTER:
            return _aws("memorydb describe-clusters", region, f"--cluster-name {cache.id}")
        case _:
            assert_never(cache.kind)


def attach(cache: CacheRef, region: str, group_id: str) -> str:
    """Return what attaches a group to a cache. On an open one that shuts out whoever has no user."""
    match cache.kind:
        case CacheKind.REPLICATION_GROUP:
            return _change_cache(cache, region, f"--user-group-ids-to-add {group_id}")
        case CacheKind.SERVERLESS_CACHE:
            return _change_cache(cache, region, f"--user-group-id {group_id}")
        case CacheKind.MEMORYDB_CLUSTER:
            return _change_cache(cache, region, f"--acl-name {group_id}")
        case _:
            assert_never(cache.kind)


def upgrade(cache: CacheRef, region: str, version: str) -> str:
    """Return what takes a cache to an engine that knows IAM users. It fails over, and there is no way back."""
    parameter = "--major-engine-version" if cache.kind is CacheKind.SERVERLESS_CACHE else "--engine-version"
    return _change_cache(cache, region, f"{parameter} {version}")


def turn_on_tls(cache: CacheRef, region: str) -> str:
    """Return what turns on encryption in transit, in its gentle mode first."""
    if cache.kind is CacheKind.REPLICATION_GROUP:
        return _change_cache(cache, region, "--transit-encryption-enabled --transit-encryption-mode preferred")
    return "make a new cluster with TLS: AWS can't turn it on later"


def _change_cache(cache: CacheRef, region: str, change: str) -> str:
    match cache.kind:
        case CacheKind.REPLICATION_GROUP:
            which = f"--replication-group-id {cache.id} {change} --apply-immediately"
            return _aws("elasticache modify-replication-group", region, which)
        case CacheKind.SERVERLESS_CACHE:
            return _aws("elasticache modify-serverless-cache", region, f"--serverless-cache-name {cache.id} {change}")
        case CacheKind.MEMORYDB_CLUSTER:
            return _aws("memorydb update-cluster", region, f"--cluster-name {cache.id} {change}")
        case _:
            assert_never(cache.kind)


# -- the role ---------------------------------------------------------------------------------------------------------


def allow_connect(role_name: str, *, user_arn: str, cache_arn: str, service: str, is_ours: bool) -> str:
    """Return what lets a role connect; into a role of others it goes beside what is there."""
    policy_name = ROLE_POLICY_NAME if is_ours else f"{ROLE_POLICY_NAME}-by-hand"
    document = compact_json(connect_policy(user_arn, (cache_arn,), service))
    return f"aws iam put-role-policy --role-name {role_name} --policy-name {policy_name} --policy-document '{document}'"


def widen(boundary: str | None, action: str) -> str:
    """Return what lets a permissions boundary allow an action: its document has to be completed by hand."""
    return (
        f"aws iam create-policy-version --set-as-default --policy-arn {boundary or '…'} "
        f"--policy-document file://boundary.json   # the present one, and Allow {action}"
    )


def set_trust(role_name: str, trust: Mapping[str, Any] | None, *, is_ours: bool) -> str:
    """Return what lets a role admit who signs; what else admits a role of others is kept by hand."""
    if trust is None:
        return f"aws iam get-role --role-name {role_name} --query Role.AssumeRolePolicyDocument"
    note = "" if is_ours else "   # beside the statements that it has"
    return f"aws iam update-assume-role-policy --role-name {role_name} --policy-document '{compact_json(trust)}'{note}"


def add_audience(issuer: str, audience: str, *, provider_arn: str | None) -> str:
    """Return what lets an account take a cluster's tokens: the provider is made, or told of one more audience."""
    if provider_arn is None:
        return f"aws iam create-open-id-connect-provider --url {issuer} --client-id-list {audience}"
    return (
        f"aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {provider_arn} "
        f"--client-id {audience}"
    )


def _aws(command: str, region: str, parameters: str) -> str:
    return f"aws {command} --region {region} {parameters}"
