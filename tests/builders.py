"""Builders with defaults: tests say only what they are about."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from elasticache_iam.api.keys import API_VERSION
from elasticache_iam.core.state import CacheKind, CacheRef, ObservedCache

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


def observed_cache(cache_id: str = "orders-prod", **changes: Any) -> ObservedCache:
    """A replication group that a group can go onto; `changes` overrides fields."""
    fields: dict[str, Any] = {
        "ref": CacheRef(CacheKind.REPLICATION_GROUP, cache_id),
        "arn": f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:{cache_id}",
        "status": "available",
        "engine": "redis",
        "engine_version": "7.1.0",
        "tls": True,
        "auth_token_enabled": False,
        "group_ids": frozenset(),
        "pending_group_ids": frozenset(),
        "host": "h",
        "port": 6379,
    }
    return ObservedCache(**{**fields, **changes})


class Nobody:
    """An AWS session of somebody who isn't logged in."""

    region_name = None

    def get_credentials(self) -> None:
        """Return that there are none."""


def load_script(path: Path) -> ModuleType:
    """Return a program that is no module of a package, imported from its file."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
