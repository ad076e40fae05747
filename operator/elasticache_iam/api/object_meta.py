"""What may stand in the metadata of a manifest: Kubernetes' own rules, and our annotations.

The API server checks the former before anybody sees the object, and nobody checks the latter.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from elasticache_iam.api.keys import ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY, ANNOTATION_REFRESH, GROUP, USER_KIND
from elasticache_iam.api.syntax import (
    DNS_LABEL,
    DNS_LABEL_SAYS,
    LABEL_VALUE,
    LABEL_VALUE_SAYS,
    QUALIFIED_NAME,
    QUALIFIED_NAME_SIZE,
)
from elasticache_iam.api.words import step, suggest

_FIELDS: Final = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_MAX_LABEL: Final = 63
_MAX_ANNOTATIONS: Final = 262_144
_KEY_SAYS: Final = "must be a key as name or example.com/name"

_SWITCHES: Final = (ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY)


def find_wrong_metadata(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the API server refuses or drops in any object's metadata, field first.

    Names aren't looked at, their rules depend on the kind; nor what isn't text though it should be.
    """
    for name in metadata:
        if name not in _FIELDS:
            yield f"metadata{step(str(name))}: unknown field{suggest(str(name), _FIELDS)}"
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and not _fits(namespace, DNS_LABEL, _MAX_LABEL):
        yield f"metadata.namespace: {DNS_LABEL_SAYS}, {_MAX_LABEL} characters at most"
    for key, value in texts_in(metadata, "labels").items():
        if not _fits(key, QUALIFIED_NAME, QUALIFIED_NAME_SIZE):
            yield f"metadata.labels{step(key)}: {_KEY_SAYS}"
        if not _fits(value, LABEL_VALUE, _MAX_LABEL):
            yield f"metadata.labels{step(key)}: {LABEL_VALUE_SAYS}, {_MAX_LABEL} characters at most"
    annotations = texts_in(metadata, "annotations")
    for key in annotations:
        if not _fits(key.lower(), QUALIFIED_NAME, QUALIFIED_NAME_SIZE):
            yield f"metadata.annotations{step(key)}: {_KEY_SAYS}"
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _MAX_ANNOTATIONS:
        yield f"metadata.annotations: must have at most {_MAX_ANNOTATIONS} bytes together"


def find_wrong_annotations(metadata: Mapping[str, Any], kind: str) -> Iterator[str]:
    """Yield what the operator wouldn't know among the annotations that are its own, field first."""
    known = (*_SWITCHES, ANNOTATION_REFRESH) if kind == USER_KIND else _SWITCHES
    for key, value in texts_in(metadata, "annotations").items():
        if not key.lower().startswith(f"{GROUP}/"):
            continue
        if key not in known:
            yield f"metadata.annotations{step(key)}: unknown annotation of a {kind}{suggest(key, known)}"
        elif key in _SWITCHES and value not in {"true", "false"}:
            yield f'metadata.annotations{step(key)}: must be "true" or "false", in quotes'


def texts_in(metadata: Mapping[str, Any], field: str) -> dict[str, str]:
    """Return the labels or annotations that are text, as all must be."""
    entries = metadata.get(field)
    if not isinstance(entries, Mapping):
        return {}
    return {key: value for key, value in entries.items() if isinstance(key, str) and isinstance(value, str)}


def _fits(text: str, pattern: str, size: int) -> bool:
    return len(text) <= size and re.fullmatch(pattern, text) is not None
