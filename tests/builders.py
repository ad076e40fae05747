"""Builders with defaults: tests say only what they are about."""

from typing import Any

from elasticache_iam.api.keys import API_VERSION

Manifest = dict[str, Any]

ACCOUNT = "111122223333"
REGION = "eu-central-1"
OWNER = "demo"


def group_manifest(
    name: str = "orders",
    namespace: str = "platform",
    *,
    caches: tuple[str, ...] = ("orders-prod",),
    attach: bool = True,
    admits: tuple[str, ...] = ("shop",),
    **spec: Any,
) -> Manifest:
    """A UserGroup on replication groups, as its defaults leave it after the API server; `spec` overrides fields."""
    names = ["main", *(f"cache{number}" for number in range(2, len(caches) + 1))]
    admission = [
        {"namespaces": {"names": list(admits)}, "limit": {"preset": "Admin"}},
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": "UserGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "engine": "redis",
            "caches": [{"name": alias, "replicationGroup": cache} for alias, cache in zip(names, caches, strict=False)],
            "attachment": {"policy": "Attach" if attach else "Refuse"},
            **({"admission": admission} if admits else {}),
            **spec,
        },
    }


def user_manifest(
    name: str = "checkout",
    namespace: str = "shop",
    *,
    group: str = "orders",
    group_namespace: str = "platform",
    access: dict[str, Any] | None = None,
    service_account: str | None = None,
    **spec: Any,
) -> Manifest:
    """An ElastiCacheIAMUser that reads and writes `orders:*`; `spec` overrides fields."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ElastiCacheIAMUser",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "groups": [{"name": group, "namespace": group_namespace}],
            "access": access or {"preset": "ReadWrite", "keys": ["orders:*"]},
            "serviceAccounts": [service_account or name],
            **spec,
        },
    }
