"""The Secret of one user on one cache: its whole body, from what the token plane holds. Pure; runs at each refresh."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from elasticache_iam.api.keys import ANNOTATION_EXPIRES_AT, ANNOTATION_ISSUED_AT, API_VERSION, USER_KIND
from elasticache_iam.core.mint import CacheTarget, MintOrder
from elasticache_iam.core.names import object_labels
from elasticache_iam.core.times import rfc3339
from elasticache_iam.core.token import Token, percent_encoded
from elasticache_iam.delivery.template import TemplateCache, render_templates

SECRET_TYPE: Final = "servicebinding.io/redis"  # noqa: S105  # the Service Binding specification's type for Redis

VARIABLES: Final = frozenset(
    {
        "type",
        "provider",
        "host",
        "port",
        "reader_host",
        "username",
        "password",
        "uri",
        "ca",
        "region",
        "cache_id",
        "service",
        "expires_at",
    }
)
"""What templates of Secrets may use."""

_NOBODY_ELSES_BUSINESS: Final = {
    # A rotation is no change of the application: Argo CD need not look again ...
    "argocd.argoproj.io/ignore-resource-updates": "true",
    # ... and Reloader must not restart pods every six minutes.
    "reloader.stakater.com/ignore": "true",
}


def render_secret(
    order: MintOrder,
    target: CacheTarget,
    *,
    token: Token,
    owner: str,
    ca_pem: str | None,
    templates: TemplateCache,
) -> dict[str, Any]:
    """Return the whole Secret for one token.

    Labels and annotations of the author's are added to ours and never replace one of them. Keys of the author's
    template may replace ours: what the application reads is the author's choice.

    Args:
        order: Whom the token is for.
        target: The cache.
        token: What was just signed.
        owner: This installation's owner.
        ca_pem: The CA to trust when it isn't a public one; else None.
        templates: Keeps templates parsed from one rendering to the next, by the order's key.

    Raises:
        DeliveryTemplateError: A template isn't valid.
    """
    content = _content(order, target, token, ca_pem)
    if order.template:
        parsed = templates.get(order.key, order.template, VARIABLES, kind="Secret")
        content |= render_templates(parsed, _variables(target, content))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": target.secret_name,
            "namespace": order.namespace,
            "labels": {**order.secret_labels, **object_labels(owner, order.name)},
            "annotations": {
                **order.secret_annotations,
                **_NOBODY_ELSES_BUSINESS,
                ANNOTATION_ISSUED_AT: rfc3339(token.issued_at),
                ANNOTATION_EXPIRES_AT: rfc3339(token.expires_at),
            },
            "ownerReferences": [controller_reference(order.name, order.uid)],
        },
        "type": SECRET_TYPE,
        "data": {key: b64encode(value.encode()).decode() for key, value in content.items()},
    }


def render_emptied_secret(namespace: str, secret_name: str, *, name: str, uid: str, owner: str) -> dict[str, Any]:
    """Return a Secret with our marks for a user (name, uid) and nothing in it: what is about to be deleted."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name,
            "namespace": namespace,
            "labels": object_labels(owner, name),
            "ownerReferences": [controller_reference(name, uid)],
        },
        "type": SECRET_TYPE,
    }


def controller_reference(name: str, uid: str) -> dict[str, Any]:
    """Return the owner reference by which an object is a user's (name, uid), and goes with it."""
    return {
        "apiVersion": API_VERSION,
        "kind": USER_KIND,
        "name": name,
        "uid": uid,
        "controller": True,
        # Setting it takes the right to update the resource's finalizers, for a wait that nobody needs.
        "blockOwnerDeletion": False,
    }


def _content(order: MintOrder, target: CacheTarget, token: Token, ca_pem: str | None) -> dict[str, str]:
    """Return the standard keys. `type` and `provider` are the Service Binding specification's."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return {
        "type": "redis",
        "provider": target.service,
        "host": target.host,
        "port": str(target.port),
        "username": order.user_id,
        "password": token.text,
        "ssl": "true",
        "uri": f"rediss://{percent_encoded(order.user_id)}:{percent_encoded(token.text)}@{host}:{target.port}",
        **({"reader-host": target.reader_host} if target.reader_host else {}),
        **({"ca.crt": ca_pem} if ca_pem else {}),
        "expires-at": rfc3339(token.expires_at),
    }


def _variables(target: CacheTarget, content: Mapping[str, str]) -> dict[str, str]:
    """Return the `VARIABLES`; what a cache doesn't have is empty, so that `default` works."""
    return {
        "type": content["type"],
        "provider": content["provider"],
        "host": content["host"],
        "port": content["port"],
        "reader_host": content.get("reader-host", ""),
        "username": content["username"],
        "password": content["password"],
        "uri": content["uri"],
        "ca": content.get("ca.crt", ""),
        "region": target.region,
        "cache_id": target.cache_id,
        "service": target.service,
        "expires_at": content["expires-at"],
    }
