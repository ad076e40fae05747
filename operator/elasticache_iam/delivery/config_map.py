"""The ConfigMap of one user: settings without a token. Pure; the control plane renders it in each pass.

It changes when a setting does, and with it what reads it should start anew: so, unlike a Secret, it carries no word to
Argo CD or Reloader to look away.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from elasticache_iam.api.user import ElastiCacheIAMUser, UserCacheStatus
from elasticache_iam.core.names import MAIN_ALIAS, object_labels
from elasticache_iam.delivery.secret import VARIABLES as SECRET_VARIABLES
from elasticache_iam.delivery.secret import controller_reference
from elasticache_iam.delivery.template import TemplateCache, Variables, render_templates

VARIABLES: Final = (SECRET_VARIABLES - {"password", "uri", "expires_at"}) | {"caches"}
"""What templates of ConfigMaps may use: what holds no token, of one cache and of each."""


def render_config_map(
    user: ElastiCacheIAMUser,
    caches: Iterable[UserCacheStatus],
    *,
    user_id: str,
    owner: str,
    ca_pem: str | None,
    templates: TemplateCache,
) -> dict[str, Any]:
    """Return the whole ConfigMap that a user asks for.

    Args:
        user: The resource; it asks for a ConfigMap.
        caches: The caches that it may use, at least one. Templates speak of `main`, else of the first.
        user_id: Its name in Redis.
        owner: This installation's owner.
        ca_pem: The CA to trust when it isn't a public one; else None.
        templates: Keeps templates parsed from one rendering to the next, by namespace and name.

    Raises:
        DeliveryTemplateError: A template isn't valid.
        ValueError: There is nothing to render: no ConfigMap is asked for, or there is no cache.
    """
    delivery = user.spec.delivery.config_map
    by_alias = {cache.name: _variables(cache, user_id, ca_pem) for cache in caches}
    if delivery is None or not by_alias:
        raise ValueError("nothing to render")
    chosen = by_alias.get(MAIN_ALIAS) or next(iter(by_alias.values()))
    variables: Variables = {**chosen, "caches": by_alias}
    key = (user.metadata.namespace, user.metadata.name)
    parsed = templates.get(key, delivery.template, VARIABLES, kind="ConfigMap")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(user, delivery.name, owner),
        "data": render_templates(parsed, variables),
    }


def render_emptied_config_map(user: ElastiCacheIAMUser, name: str, *, owner: str) -> dict[str, Any]:
    """Return a ConfigMap with our marks for a user and nothing in it: what is about to be deleted."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(user, name, owner)}


def digest_of(body: Mapping[str, Any]) -> str:
    """Return what tells one content from another: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def _metadata(user: ElastiCacheIAMUser, name: str, owner: str) -> dict[str, Any]:
    meta = user.metadata
    return {
        "name": name,
        "namespace": meta.namespace,
        "labels": object_labels(owner, meta.name),
        "ownerReferences": [controller_reference(meta.name, meta.uid)],
    }


def _variables(cache: UserCacheStatus, user_id: str, ca_pem: str | None) -> dict[str, str]:
    """Return the `VARIABLES` of one cache; what a cache doesn't have is empty, so that `default` works."""
    return {
        "type": "redis",
        "provider": cache.service,
        "host": cache.host,
        "port": str(cache.port),
        "reader_host": cache.reader_host,
        "username": user_id,
        "ca": ca_pem or "",
        "region": cache.region,
        "cache_id": cache.id,
        "service": cache.service,
    }
