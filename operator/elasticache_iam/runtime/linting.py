"""What `elasticache-iam lint` finds in manifests: what the API server would refuse, and what would never become Ready.

Neither a cluster nor AWS is asked; what depends on them isn't claimed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from elasticache_iam.api.group import UserGroup
from elasticache_iam.api.keys import GROUP_KIND, USER_KIND
from elasticache_iam.api.object_meta import find_wrong_annotations
from elasticache_iam.api.user import DeliveryMode, ElastiCacheIAMUser
from elasticache_iam.core.access import find_surprises
from elasticache_iam.core.admission import admit, needs_namespace_labels
from elasticache_iam.core.names import MAIN_ALIAS, secret_name
from elasticache_iam.core.plan.attachment import cache_ref
from elasticache_iam.core.remarks import Remark
from elasticache_iam.delivery.check import find_wrong_templates
from elasticache_iam.reconcile.queue import GROUPS, Key
from elasticache_iam.runtime.manifests import Scan, Spot, scan_manifests

if TYPE_CHECKING:
    from elasticache_iam.core.state import CacheRef

NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"


def lint_access_string(text: str) -> tuple[Remark, ...]:
    """Return what is odd about an access string."""
    return tuple(
        Remark(found.code, found.message, suggestion=found.suggestion, column=found.column)
        for found in find_surprises(text)
    )


def lint_manifests(paths: Sequence[str], *, namespace: str, recursive: bool) -> tuple[Remark, ...]:
    """Return what is wrong or odd in manifests, by file and line.

    Args:
        paths: Files, folders, or `-`.
        namespace: Of resources that name none.
        recursive: Whether to look into the folders of folders, too; else one with manifests is an error.

    Raises:
        ConfigurationError: A file isn't there.
    """
    scan = scan_manifests(paths, namespace=namespace, recursive=recursive)
    remarks = [_remark(fault.code, fault.spot, fault.problem, what=fault.what) for fault in scan.faults]
    remarks += [Remark("not-read", unread.why, file=unread.where) for unread in scan.unread]
    remarks += _Set(scan).remarks()
    order = {name: number for number, name in enumerate(dict.fromkeys(remark.file for remark in remarks))}
    return tuple(sorted(remarks, key=lambda remark: (order[remark.file], remark.line or 0, remark.column or 0)))


def _remark(code: str, spot: Spot, message: str, *, what: str, suggestion: str = "") -> Remark:
    return Remark(code, message, what=what, suggestion=suggestion, file=spot.file, line=spot.line, column=spot.column)


class _Set:
    """Resources that would be applied together; those that break their own rules are left out."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._groups = {key: found for key, found in scan.parsed.items() if isinstance(found, UserGroup)}
        self._users = {key: found for key, found in scan.parsed.items() if isinstance(found, ElastiCacheIAMUser)}

    def remarks(self) -> Iterator[Remark]:
        """Yield what is wrong between resources, in our annotations, access strings and templates."""
        yield from self._annotations()
        yield from self._claimed_caches()
        yield from self._claimed_secrets()
        for key, user in self._users.items():
            yield from self._access(key, user)
            for path, wrong in find_wrong_templates(user.spec.delivery):
                yield self._say("invalid-template", key, f"spec.delivery.{path}", wrong)
            yield from self._membership(key, user)

    def _say(self, code: str, key: Key, path: str, message: str, *, suggestion: str = "", column: int = 0) -> Remark:
        spot = self._scan.spot_of(key, path)
        if column and spot.column is not None:
            spot = Spot(spot.file, spot.line, spot.column + column)
        kind = GROUP_KIND if key.plural == GROUPS else USER_KIND
        return _remark(code, spot, message, what=f"{kind} {key.namespace}/{key.name}", suggestion=suggestion)

    def _annotations(self) -> Iterator[Remark]:
        for key, body in self._scan.manifests.resources.items():
            for problem in find_wrong_annotations(body["metadata"], body["kind"]):
                yield self._say("unknown-annotation", key, problem, problem)

    def _claimed_caches(self) -> Iterator[Remark]:
        holders: dict[tuple[str | None, str | None, CacheRef], Key] = {}
        for key, group in self._groups.items():
            for number, cache in enumerate(group.spec.caches):
                ref = cache_ref(cache)
                holder = holders.setdefault((group.spec.account, group.spec.region, ref), key)
                if holder != key:
                    message = f"{ref.id} is on the list of UserGroup {holder.namespace}/{holder.name}, too"
                    yield self._say(
                        "cache-claimed",
                        key,
                        f"spec.caches[{number}]",
                        message,
                        suggestion="a cache has one group: let the users join that one",
                    )

    def _claimed_secrets(self) -> Iterator[Remark]:
        holders: dict[tuple[str, str], Key] = {}
        for key, user in self._users.items():
            if user.spec.delivery.mode is not DeliveryMode.SECRET:
                continue
            for name in self._secrets(user):
                holder = holders.setdefault((key.namespace, name), key)
                if holder != key:
                    yield self._say(
                        "secret-claimed",
                        key,
                        "spec.delivery.secret.name",
                        f"the Secret {name} is that of ElastiCacheIAMUser {holder.name}",
                        suggestion="set another spec.delivery.secret.name",
                    )

    def _secrets(self, user: ElastiCacheIAMUser) -> frozenset[str]:
        base = user.spec.delivery.secret.name or user.metadata.name
        group = self._groups.get(_group_key(user))
        listed = tuple(cache.name for cache in group.spec.caches) if group is not None else ()
        aliases = user.spec.groups[0].caches or listed or (MAIN_ALIAS,)
        return frozenset(secret_name(base, alias) for alias in aliases)

    def _access(self, key: Key, user: ElastiCacheIAMUser) -> Iterator[Remark]:
        text = user.spec.access.access_string
        if text is None:
            return
        for found in find_surprises(text):
            path = "spec.access.accessString"
            yield self._say(found.code, key, path, found.message, suggestion=found.suggestion, column=found.column or 0)

    def _membership(self, key: Key, user: ElastiCacheIAMUser) -> Iterator[Remark]:
        group = self._groups.get(_group_key(user))
        if group is None:
            return
        listed = {cache.name for cache in group.spec.caches}
        for number, alias in enumerate(user.spec.groups[0].caches or ()):
            if alias not in listed:
                where = f"UserGroup {group.metadata.namespace}/{group.metadata.name}"
                message = f"{where} has no cache {alias}"
                suggestion = f"it has {', '.join(sorted(listed))}" if listed else "it lists none"
                yield self._say(
                    "unknown-cache", key, f"spec.groups[0].caches[{number}]", message, suggestion=suggestion
                )
        labels = self._labels(key.namespace)
        if labels is None and needs_namespace_labels(group):
            return  # the namespace isn't among the manifests, so a selector may match it
        admission = admit(group, user, labels or {NAMESPACE_LABEL: key.namespace})
        if not admission.ok:
            yield self._say("not-admitted", key, "spec.access", admission.message)

    def _labels(self, namespace: str) -> Mapping[str, str] | None:
        brought = self._scan.manifests.namespaces.get(namespace)
        return None if brought is None else {NAMESPACE_LABEL: namespace, **brought}


def _group_key(user: ElastiCacheIAMUser) -> Key:
    wanted = user.spec.groups[0]
    return Key(GROUPS, wanted.namespace or user.metadata.namespace, wanted.name)
