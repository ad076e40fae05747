"""Who else wants a name: two resources of one namespace whose Secrets or ConfigMaps are to be called alike."""

from collections.abc import Callable

from elasticache_iam.api.parse import InvalidResourceError
from elasticache_iam.api.user import DeliveryMode, ElastiCacheIAMUser
from elasticache_iam.core.names import MAIN_ALIAS, secret_name
from elasticache_iam.reconcile.queue import USERS, Key
from elasticache_iam.reconcile.store import Store


def rivals_of(store: Store, key: Key, claims: Callable[[ElastiCacheIAMUser], frozenset[str]]) -> str:
    """Return a part of a message that names the others in the namespace that claim something; "" if there are none.

    Args:
        store: All resources.
        key: The user that was refused.
        claims: Returns which of the names in question a user claims.
    """
    found = []
    for other in store.all_keys():
        if other.plural != USERS or other.namespace != key.namespace or other == key:
            continue
        try:
            user = store.user(other)
        except InvalidResourceError:
            continue
        if user is not None and claims(user):
            found.append(f"{other.name} ({', '.join(sorted(claims(user)))})")
    return f": it is that of ElastiCacheIAMUser {', '.join(sorted(found)[:3])}" if found else ""


def secret_names(user: ElastiCacheIAMUser) -> frozenset[str]:
    """Return the names of the Secrets that a user has, or is about to have."""
    if user.spec.delivery.mode is not DeliveryMode.SECRET:
        return frozenset()
    base = user.spec.delivery.secret.name or user.metadata.name
    aliases = {cache.name for cache in user.status.caches} | set(user.spec.groups[0].caches or (MAIN_ALIAS,))
    return frozenset(secret_name(base, alias) for alias in aliases)
