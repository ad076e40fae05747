"""Manifests in files: read, checked as the API server would, with the line of every fault."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from typing_extensions import override

from elasticache_iam.api.group import UserGroup, UserGroupSpec
from elasticache_iam.api.keys import API_VERSION, GROUP, GROUP_KIND, USER_KIND
from elasticache_iam.api.object_meta import find_wrong_metadata, texts_in
from elasticache_iam.api.parse import InvalidResourceError, parse_group, parse_user
from elasticache_iam.api.user import ElastiCacheIAMUser, ElastiCacheIAMUserSpec
from elasticache_iam.api.words import find_unknown, step, suggest
from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.core.foreign import shown
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key
from elasticache_iam.runtime.manifest_files import Source, Unread, read_sources

_PLURALS: Final = {GROUP_KIND: GROUPS, USER_KIND: USERS}
_HELPERS: Final = frozenset({"Namespace", "ServiceAccount"})
_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")


@dataclass(slots=True)
class Manifests:
    """What files hold.

    Attributes:
        resources: Ours, by key, in the order of the files.
        namespaces: Labels of the namespaces that would be applied with them.
        service_accounts: Annotations of the ServiceAccounts, by namespace and name.
        ignored: What else there is, in words.
    """

    resources: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    service_accounts: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file; line and column count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    @override
    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What the API server would refuse, or can't be read.

    Attributes:
        code: Stable, for programs.
        spot: Where.
        what: The object, in words; "" where it isn't known.
        problem: What it is, field first.
    """

    code: str
    spot: Spot
    what: str
    problem: str

    @override
    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.spot), self.what, self.problem)))


@dataclass(slots=True)
class Scan:
    """All that files hold, with what is wrong in them.

    Attributes:
        manifests: What could be read, faulty resources among it.
        parsed: The resources that keep their own rules.
        faults: In the order of the files.
        files: Which file each resource stands in, and its node there.
        unread: Folders that aren't looked into.
    """

    manifests: Manifests = field(default_factory=Manifests)
    parsed: dict[Key, UserGroup | ElastiCacheIAMUser] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    files: dict[Key, tuple[str, yaml.Node]] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)

    def spot_of(self, key: Key, path: str) -> Spot:
        """Return where a field of a resource stands, or what of it there is.

        Args:
            key: The resource.
            path: As in `spec.caches[0].name`.
        """
        where, node = self.files[key]
        return _spot(where, _deepest(node, path))


def scan_manifests(paths: Sequence[str], *, namespace: str, recursive: bool) -> Scan:
    """As `read_manifests`, with the faults beside what could be read.

    Raises:
        ConfigurationError: A file isn't there.
    """
    reader = _Reader(namespace)
    for source in read_sources(paths, recursive=recursive):
        if isinstance(source, Source):
            reader.read(source.where, source.text)
        elif source.is_folder:
            reader.scan.unread.append(source)
        else:
            reader.scan.faults.append(Fault("not-read", Spot(source.where), "", source.why))
    return reader.scan


def read_manifests(paths: Sequence[str], *, namespace: str, recursive: bool = False) -> Manifests:
    """Read files, folders (their .yaml, .yml and .json files) and `-`, the standard input.

    Folders in folders that aren't read are named with what is ignored.

    Args:
        paths: Where to look.
        namespace: Of resources that name none.
        recursive: Whether to look into the folders of folders, too.

    Raises:
        ConfigurationError: Something can't be read, or breaks its rules; one line for each fault.
    """
    scan = scan_manifests(paths, namespace=namespace, recursive=recursive)
    if scan.faults:
        raise ConfigurationError("\n".join(shown(str(fault)) for fault in scan.faults))
    unread = [f"{folder.where} ({folder.why})" for folder in scan.unread]
    if not scan.manifests.resources:
        nothing = f"no {GROUP_KIND} and no {USER_KIND} in {', '.join(paths)}"
        raise ConfigurationError("; not looked at: ".join((nothing, *unread)))
    scan.manifests.ignored += unread
    return scan.manifests


def _parts(node: yaml.Node, document: Any) -> Iterator[tuple[yaml.Node, Any]]:
    """Yield a document, or the items of a List."""
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        items = _child(node, "items")
        for index, item in enumerate(document["items"]):
            yield (_child(items, f"[{index}]") if items is not None else None) or node, item
    else:
        yield node, document


class _Loader(yaml.SafeLoader):
    """Reads as kubectl does, to which a date is a string.

    Attributes:
        repeated: Keys that stand in their mapping a second time, each with the first.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[tuple[yaml.ScalarNode, yaml.ScalarNode]] = []

    @override
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[str, yaml.ScalarNode] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, key) is not key:
                self.repeated.append((key, first[key.value]))
        return node

    @override
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (
            ValueError,
            KeyError,
            AttributeError,
            IndexError,
        ) as error:  # what comes of `!!int x`, or of 5,000 digits
            raise yaml.constructor.ConstructorError(
                problem="a value isn't what its tag says, or too long", problem_mark=node.start_mark
            ) from error


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Reader:
    """What was read so far, and what is wrong with it."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.scan = Scan()

    def read(self, where: str, text: str) -> None:
        try:
            loader = _Loader(text)
            # One by one: what comes before a fault counts.
            while loader.check_node() and (node := loader.get_node()) is not None:
                document = loader.construct_document(node)
                self._tell_repeated(where, loader)
                for part_node, part in _parts(node, document) if document is not None else ():
                    self._take(part, part_node, where)
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            spot = Spot(where, mark.line + 1, mark.column + 1) if mark is not None else Spot(where)
            self._refuse("not-yaml", spot, "", f"not YAML: {getattr(error, 'problem', None) or 'it can not be read'}")

    def _tell_repeated(self, where: str, loader: _Loader) -> None:
        for key, first in loader.repeated:
            problem = (
                f"{step(key.value).removeprefix('.')}: stands here twice, first in line {first.start_mark.line + 1}"
            )
            self._refuse("repeated-key", _spot(where, key), "", problem)
        loader.repeated.clear()

    def _refuse(self, code: str, spot: Spot, what: str, problem: str) -> None:
        self.scan.faults.append(Fault(code, spot, what, problem))

    def _take(self, document: Any, node: yaml.Node, where: str) -> None:
        here = _spot(where, node)
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            self._refuse("not-an-object", here, "", "not a Kubernetes object: it has no kind")
            return
        kind, version, metadata = document["kind"], document.get("apiVersion"), document.get("metadata")
        version = version if isinstance(version, str) else ""
        metadata = metadata if isinstance(metadata, dict) else {}
        is_helper, is_misspelt = kind in _HELPERS and version == "v1", _is_misspelt(kind, version)
        if not is_helper and not is_misspelt and (kind not in _PLURALS or not version.startswith(f"{GROUP}/")):
            name = f" {metadata['name']}" if isinstance(metadata.get("name"), str) else ""
            self.scan.manifests.ignored.append(f"{kind}{name} ({where})")
            return
        if not isinstance(metadata.get("name"), str):
            self._refuse("not-an-object", here, kind, "metadata.name: required")
            return
        # What is null or empty is what isn't there, to the API server.
        metadata = {name: value for name, value in metadata.items() if value is not None}
        metadata = {**metadata, "namespace": metadata.get("namespace") or self._namespace}
        key = _key_of(kind, metadata)
        what = f"{kind} {key.namespace}/{key.name}"
        if is_misspelt:
            self._refuse("unknown-kind", here, what, _kind_fault(kind, version))
            return
        for problem in find_wrong_metadata(metadata):
            self._refuse("invalid-field", _spot(where, _deepest(node, problem)), what, problem)
        if is_helper:
            self._take_helper(kind, metadata, key)
        else:
            self._take_resource({**document, "metadata": metadata}, key, where, node)

    def _take_resource(self, body: Mapping[str, Any], key: Key, where: str, node: yaml.Node) -> None:
        what = f"{body['kind']} {key.namespace}/{key.name}"
        if key in self.scan.manifests.resources:
            other = self.scan.spot_of(key, "")
            self._refuse("duplicate", _spot(where, node), what, f"there is another one of that name in {other}")
        problems = list(_unknown_fields(body))
        try:
            resource = (parse_group if key.plural == GROUPS else parse_user)({**body, "status": {}})
            self.scan.parsed[key] = resource
        except InvalidResourceError as error:
            self.scan.parsed.pop(key, None)
            problems += error.problems
        for problem in problems:
            self._refuse("invalid-field", _spot(where, _deepest(node, problem)), what, problem)
        self.scan.manifests.resources[key] = body
        self.scan.files[key] = (where, node)

    def _take_helper(self, kind: str, metadata: Mapping[str, Any], key: Key) -> None:
        if kind == "Namespace":
            self.scan.manifests.namespaces[key.name] = texts_in(metadata, "labels")
        else:
            self.scan.manifests.service_accounts[key.namespace, key.name] = texts_in(metadata, "annotations")


def _key_of(kind: str, metadata: Mapping[str, Any]) -> Key:
    namespace = metadata["namespace"]
    return Key(_PLURALS.get(kind, kind), namespace if isinstance(namespace, str) else "?", metadata["name"])


def _unknown_fields(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the API server doesn't know, field first."""
    spec = UserGroupSpec if body["kind"] == GROUP_KIND else ElastiCacheIAMUserSpec
    for name in body:
        if name not in _TOP:
            yield f"{name}: unknown field{suggest(str(name), _TOP)}"
    yield from find_unknown(body.get("spec"), spec, "spec")


def _is_misspelt(kind: str, version: str) -> bool:
    """Whether an object must be meant as one of ours, and isn't: passed over in silence, it would look applied."""
    group = version.partition("/")[0]
    if version == API_VERSION:
        return kind not in _PLURALS
    if not version:
        return kind in _PLURALS
    return group == GROUP or kind == USER_KIND or (kind in _PLURALS and bool(suggest(group, (GROUP,))))


def _kind_fault(kind: str, version: str) -> str:
    if not version:
        return f"apiVersion: required, use {API_VERSION}"
    if version != API_VERSION:
        return f"apiVersion: {version} is unknown, use {API_VERSION}"
    return f"kind: unknown in {GROUP}, which has {' and '.join(_PLURALS)}{suggest(kind, _PLURALS)}"


def _deepest(node: yaml.Node, problem: str) -> yaml.Node:
    """Return where the field stands that a problem begins with, or what of it there is."""
    rest = problem
    while (found := _step_into(node, rest)) is not None:
        node, rest = found
    return node


def _step_into(node: yaml.Node, path: str) -> tuple[yaml.Node, str] | None:
    """Return what the first part of a path leads to, with the rest of it; a key may have dots and slashes."""
    children: Iterable[tuple[str, yaml.Node]] = ()
    if isinstance(node, yaml.SequenceNode):
        children = ((f"[{index}]", child) for index, child in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        # The last one counts: what is merged from an anchor (`<<`) comes first.
        children = ((step(str(key.value)), child) for key, child in reversed(node.value))
    here = path if path.startswith("[") else f".{path.removeprefix('.')}"
    fitting = ((part, child) for part, child in children if _begins_with(here, part))
    part, child = max(fitting, key=lambda found: len(found[0]), default=("", None))
    return None if child is None else (child, here[len(part) :])


def _begins_with(path: str, part: str) -> bool:
    return path.startswith(part) and path[len(part) : len(part) + 1] in {"", ".", "[", ":"}


def _child(node: yaml.Node, name: str) -> yaml.Node | None:
    found = _step_into(node, name)
    return found[0] if found is not None else None


def _spot(where: str, node: yaml.Node) -> Spot:
    return Spot(where, int(node.start_mark.line) + 1, int(node.start_mark.column) + 1)
