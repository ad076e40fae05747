"""One table from what the API server answers to what the operator does about it.

Nothing of an answer to a request with a Secret or a token in it reaches an exception but names: an API server quotes
what it refuses, a body that it can't decode or a whole object.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from elasticache_iam.api.syntax import DNS_SUBDOMAIN
from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    OperatorError,
    ResourceQuotaExceededError,
    RetryableError,
    ThrottledError,
    UnavailableError,
)

# By HTTP status. Unlisted ones, 5xx among them, are UnavailableError: the other side's trouble, retried soon.
ERRORS: Final[Mapping[int, type[OperatorError]]] = {
    400: InvalidSpecError,
    401: AccessDeniedError,
    403: AccessDeniedError,  # retried slowly: roles change without us
    404: NotFoundError,
    409: ConflictError,
    410: ConflictError,  # a page's continue token has expired: list again
    413: InvalidSpecError,
    415: InvalidSpecError,
    422: InvalidSpecError,
    429: ThrottledError,
}

# By the Status' reason, or by a cause's; these win over the HTTP status.
REASONS: Final[Mapping[str, type[OperatorError]]] = {
    "AlreadyExists": AlreadyExistsError,
    "NamespaceTerminating": NotFoundError,  # a 403, but no right would help: the namespace is as good as gone
}

# How the server words a 409 about a uid: of a deletion, of an update.
_UID_CONFLICT: Final = re.compile(r"UID in the precondition|UID in precondition: ")

FENCE_WORDS: Final = "elasticache-iam-operator writes only its own Secrets"
CONFIG_MAP_FENCE_WORDS: Final = "elasticache-iam-operator writes only its own ConfigMaps"
"""How each refusal by the chart's admission policies begins; a test holds the chart to it."""
_FENCE_REFUSAL: Final = re.compile(
    r"ValidatingAdmissionPolicy '[^']+' with binding '[^']+' denied request: "
    rf"(?:{FENCE_WORDS}|{CONFIG_MAP_FENCE_WORDS}):"
)

# RBAC's own refusal: it names the right that is missing and quotes nothing of the body.
_RBAC_REFUSAL: Final = re.compile(
    r'User "[^"]*" cannot [a-z]+ resource "[^"]*" in API group "[^"]*"'
    r'( in the namespace "[^"]*"| at the cluster scope)?'
)

# A ResourceQuota's own refusal; a webhook's or a policy's begins with whose it is.
# Source: k8s.io/apiserver, pkg/admission/plugin/resourcequota/controller.go, CheckRequest.
_QUOTA_REFUSAL: Final = re.compile(
    r'[a-z0-9.-]+(?: "[^"]*")? is forbidden: (?:exceeded quota|failed quota|status unknown for quota): '
    r"([a-z0-9.-]{1,253})[:,]"
)


@dataclass(frozen=True, slots=True)
class StatusCause:
    """One of metav1.Status' details.causes, without its message, which may quote values."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class ApiStatus:
    """A refusal: metav1.Status, or what an HTTP error without one says."""

    http_status: int
    reason: str = ""
    message: str = field(default="", repr=False)
    causes: tuple[StatusCause, ...] = ()
    retry_after_s: float | None = None

    @property
    def is_other_object(self) -> bool:
        """Whether the uid that the request carried isn't that of the object now there.

        Updates and deletions say so with a 409, as they do of an object that has changed.
        """
        return self.http_status == 409 and _UID_CONFLICT.search(self.message) is not None  # noqa: PLR2004

    @property
    def is_fenced(self) -> bool:
        """Whether it is our own admission policy that refuses: not RBAC, nor somebody else's policy."""
        return self.http_status == 403 and _FENCE_REFUSAL.search(self.message) is not None  # noqa: PLR2004

    @property
    def quota(self) -> str | None:
        """The name of the namespace's ResourceQuota that refuses; None if none does."""
        refusal = _QUOTA_REFUSAL.match(self.message) if self.http_status == 403 else None  # noqa: PLR2004
        return refusal[1] if refusal is not None and re.fullmatch(DNS_SUBDOMAIN, refusal[1]) else None

    @property
    def is_immutable(self) -> bool:
        """Whether it is a Secret or ConfigMap of which somebody has set `immutable: true`."""
        fields = {cause.field for cause in self.causes if cause.reason == "FieldValueForbidden"}
        return self.http_status == 422 and bool(fields & {"data", "binaryData", "immutable"})  # noqa: PLR2004

    @property
    def is_failed_test(self) -> bool:
        """Whether a JSON patch failed to apply: a `test` didn't hold, or its path isn't there.

        A refused validation or admission has causes, this one has none.
        """
        return self.http_status == 422 and not self.causes  # noqa: PLR2004


def parse_status(http_status: int, body: bytes, *, retry_after: str | None = None) -> ApiStatus:
    """Return what a failed call's answer says; a body that isn't a Status (a proxy's HTML, say) is ignored."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("kind") != "Status":
        document = {}
    details = document.get("details") or {}
    causes = tuple(
        StatusCause(str(cause.get("field") or ""), str(cause.get("reason") or ""))
        for cause in details.get("causes") or ()
    )
    seconds = details.get("retryAfterSeconds") or retry_after
    return ApiStatus(
        http_status=http_status,
        reason=str(document.get("reason") or ""),
        message=str(document.get("message") or ""),
        causes=causes,
        retry_after_s=_parse_seconds(seconds),
    )


def to_error(status: ApiStatus, *, what: str, confidential: bool) -> OperatorError:
    """Return the error that a refusal stands for.

    Args:
        status: The refusal.
        what: The request in words, for people: `patch secrets shop/checkout`.
        confidential: Whether the request or the object holds a secret: only names are told.
    """
    if (quota := status.quota) is not None:
        return ResourceQuotaExceededError(
            f"{what}: the namespace's ResourceQuota {quota} doesn't allow it: raise it, or delete what isn't needed; "
            f"what counts shows: kubectl describe resourcequota {quota}",
            code=status.reason or str(status.http_status),
        )
    kind = ERRORS.get(status.http_status, UnavailableError)
    for reason in (status.reason, *(cause.reason for cause in status.causes)):
        kind = REASONS.get(reason, kind)
    error = kind(
        f"{what}: {_explain(status, confidential=confidential)}", code=status.reason or str(status.http_status)
    )
    if isinstance(error, RetryableError) and status.retry_after_s is not None:
        error.retry_after_s = max(error.retry_after_s, status.retry_after_s)
    return error


def _explain(status: ApiStatus, *, confidential: bool) -> str:
    """Return the part of a refusal that may be shown."""
    if status.message and not confidential:
        return status.message
    parts = [f"{status.http_status} {status.reason}".strip()]
    if refusal := _RBAC_REFUSAL.search(status.message):
        parts.append(refusal[0])
    parts += sorted({" ".join(filter(None, (cause.reason, _field_name(cause.field)))) for cause in status.causes})
    return ", ".join(parts)


def _field_name(path: str) -> str:
    """Return a field's path without what is in brackets: a Secret's keys are its author's."""
    return path.split("[", maxsplit=1)[0]


def _parse_seconds(value: object) -> float | None:
    """Return a Retry-After in seconds; None for none, or for one that is a date."""
    try:
        return float(str(value))
    except ValueError:
        return None
