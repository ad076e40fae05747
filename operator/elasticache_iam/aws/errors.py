"""AWS's failures as ours: one table from wire codes, and what botocore itself raises.

Wire codes, not exception class names: ElastiCache drops the `Fault` suffix on most codes but not on all. Two kinds
of trouble hide behind one code, so some are told apart by their message (`MESSAGES`).
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BusyError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    OperatorError,
    QuotaExceededError,
    RetryableError,
    ThrottledError,
    UnavailableError,
    UnexpectedAwsError,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code means to us. `retry_after_s` replaces the error's own pace, `reason` the error's own reason."""

    error: type[OperatorError]
    retry_after_s: float | None = None
    reason: str = ""


_BUSY: Final = Rule(BusyError)
_DENIED: Final = Rule(AccessDeniedError)
_INVALID: Final = Rule(InvalidSpecError)
_MISSING: Final = Rule(NotFoundError)
_QUOTA: Final = Rule(QuotaExceededError)
_TAKEN: Final = Rule(AlreadyExistsError)
_THROTTLED: Final = Rule(ThrottledError)
_DOWN: Final = Rule(UnavailableError)
_UNBELIEVED: Final = Rule(AccessDeniedError, retry_after_s=60.0, reason="IdentityRefused")
_UNKNOWN_HERE: Final = Rule(AccessDeniedError, retry_after_s=60.0, reason="AudienceMissing")

MODELLED: Final[Mapping[str, Rule]] = {
    # -- ElastiCache: users and groups
    "UserAlreadyExists": _TAKEN,
    "UserGroupAlreadyExists": _TAKEN,
    "UserNotFound": _MISSING,
    "UserGroupNotFound": _MISSING,
    "InvalidUserState": _BUSY,
    "InvalidUserGroupState": _BUSY,
    "DuplicateUserName": _INVALID,
    "DefaultUserRequired": _INVALID,
    "DefaultUserAssociatedToUserGroup": _BUSY,  # deletable once its group is gone
    "UserQuotaExceeded": _QUOTA,
    "UserGroupQuotaExceeded": _QUOTA,
    "TagQuotaPerResourceExceeded": _INVALID,
    "TagNotFound": Rule(ConflictError),  # somebody else took it off
    # Not NotFoundError: on a delete path that would read as "already gone".
    "ServiceLinkedRoleNotFoundFault": _DENIED,
    # -- ElastiCache: caches
    "ReplicationGroupNotFoundFault": _MISSING,
    "ServerlessCacheNotFoundFault": _MISSING,
    "CacheClusterNotFound": _MISSING,
    "InvalidReplicationGroupState": _BUSY,
    "InvalidCacheClusterState": _BUSY,
    "InvalidServerlessCacheStateFault": _BUSY,  # its text speaks of the account; practically the cache is busy
    "InvalidParameterValue": _INVALID,
    "InvalidParameterCombination": _INVALID,
    "InvalidARN": _INVALID,
    "InvalidCredentialsException": _DOWN,
    "NoOperationFault": _INVALID,
    # What ModifyReplicationGroup can say about parameters that we never send: a state of the cache, not of ours.
    "CacheParameterGroupNotFound": _MISSING,
    "CacheSecurityGroupNotFound": _MISSING,
    "InsufficientCacheClusterCapacity": _QUOTA,
    "InvalidCacheSecurityGroupState": _BUSY,
    "InvalidKMSKeyFault": _DENIED,
    "InvalidVPCNetworkStateFault": _BUSY,
    "NodeQuotaForClusterExceeded": _QUOTA,
    "NodeQuotaForCustomerExceeded": _QUOTA,
    # What ListTagsForResource can say about kinds that we never ask for.
    "CacheSubnetGroupNotFoundFault": _MISSING,
    "GlobalReplicationGroupNotFoundFault": _MISSING,
    "InvalidServerlessCacheSnapshotStateFault": _BUSY,
    "ReservedCacheNodeNotFound": _MISSING,
    "ServerlessCacheSnapshotNotFoundFault": _MISSING,
    "SnapshotNotFoundFault": _MISSING,
    # -- MemoryDB: it keeps the whole name of the shape
    "UserAlreadyExistsFault": _TAKEN,
    "ACLAlreadyExistsFault": _TAKEN,
    "UserNotFoundFault": _MISSING,
    "ACLNotFoundFault": _MISSING,
    "ClusterNotFoundFault": _MISSING,
    "InvalidUserStateFault": _BUSY,
    "InvalidACLStateFault": _BUSY,
    "InvalidClusterStateFault": _BUSY,
    "DuplicateUserNameFault": _INVALID,
    "UserQuotaExceededFault": _QUOTA,
    "ACLQuotaExceededFault": _QUOTA,
    "TagNotFoundFault": Rule(ConflictError),
    "InvalidParameterValueException": _INVALID,
    "InvalidParameterCombinationException": _INVALID,
    "InvalidARNFault": _INVALID,
    # What UpdateCluster can say about parameters that we never send, and the tag calls about kinds we never ask for.
    "ClusterQuotaForCustomerExceededFault": _QUOTA,
    "InvalidNodeStateFault": _BUSY,
    "MultiRegionClusterNotFoundFault": _MISSING,
    "MultiRegionParameterGroupNotFoundFault": _MISSING,
    "NodeQuotaForClusterExceededFault": _QUOTA,
    "NodeQuotaForCustomerExceededFault": _QUOTA,
    "ParameterGroupNotFoundFault": _MISSING,
    "ShardsPerClusterQuotaExceededFault": _QUOTA,
    "SubnetGroupNotFoundFault": _MISSING,
    # -- IAM
    "EntityAlreadyExists": _TAKEN,
    "NoSuchEntity": _MISSING,
    # A managed policy or an instance profile that somebody else attached: theirs to remove.
    "DeleteConflict": Rule(ConflictError, retry_after_s=60.0),
    "MalformedPolicyDocument": _INVALID,
    "LimitExceeded": _QUOTA,  # a quota or a size, not a throttle
    "ConcurrentModification": Rule(ConflictError, retry_after_s=5.0),
    "EntityTemporarilyUnmodifiable": _BUSY,
    "UnmodifiableEntity": _INVALID,
    "PolicyNotAttachable": _DENIED,  # the configured boundary: no edit of the resource helps
    "InvalidInput": _INVALID,
    "PolicyEvaluation": _DOWN,
    "ServiceFailure": _DOWN,
    # -- STS
    "ExpiredTokenException": Rule(AccessDeniedError, retry_after_s=10.0),  # the next try asks for a new token
    "IDPRejectedClaim": _UNBELIEVED,
    "InvalidIdentityToken": _UNBELIEVED,
    "IDPCommunicationError": Rule(UnavailableError, retry_after_s=30.0, reason="IssuerUnreachable"),
    "PackedPolicyTooLarge": _INVALID,
    "RegionDisabledException": _DENIED,
    # -- Resource Groups Tagging
    "InternalServiceException": _DOWN,
    "InvalidParameterException": _INVALID,
    "PaginationTokenExpiredException": Rule(ConflictError, retry_after_s=5.0),
    "ThrottledException": _THROTTLED,
    # -- EKS
    "ClientException": _DENIED,
    "InvalidRequestException": _INVALID,
    "ResourceInUseException": _TAKEN,
    "ResourceLimitExceededException": _QUOTA,
    "ResourceNotFoundException": _MISSING,
    "ServerException": _DOWN,
    "ServiceUnavailableException": _DOWN,
}
"""Codes that botocore's models of our services know."""

COMMON: Final[Mapping[str, Rule]] = {
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "AuthFailure": _DENIED,
    "ExpiredToken": Rule(AccessDeniedError, retry_after_s=60.0),
    "IncompleteSignature": _DENIED,
    "InvalidClientTokenId": _DENIED,
    "MissingAuthenticationToken": _DENIED,
    "NotAuthorized": _DENIED,
    "OptInRequired": _DENIED,
    "RequestExpired": Rule(AccessDeniedError, retry_after_s=60.0),
    "SignatureDoesNotMatch": _DENIED,
    "UnrecognizedClientException": _DENIED,
    "InternalError": _DOWN,
    "InternalFailure": _DOWN,
    "ServiceUnavailable": _DOWN,
    "RequestLimitExceeded": _THROTTLED,
    "Throttling": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "InvalidAction": _INVALID,
    "InvalidQueryParameter": _INVALID,
    "MissingParameter": _INVALID,
    "ValidationError": _INVALID,
    "ValidationException": _INVALID,
}
"""Codes that any service may answer and no model lists. Source: "Common errors" in the API references."""

ERRORS: Final[Mapping[str, Rule]] = {**COMMON, **MODELLED}

MESSAGES: Final[tuple[tuple[str, str, Rule], ...]] = (
    # Somebody was faster: nothing of the call was carried out, so read again and compute again.
    ("InvalidParameterValue", "is not a member of user group", Rule(ConflictError)),
    ("InvalidParameterCombination", "is not a member of user group", Rule(ConflictError)),
    ("InvalidParameterValueException", "is not a member of", Rule(ConflictError)),
    # A user that is being modified answers tag calls as if it weren't there.
    ("UserNotFound", "is not available for tagging", _BUSY),
    # STS knows tokens of the cluster, or of that audience, by the account's OIDC provider only.
    ("InvalidIdentityToken", "No OpenIDConnect provider found", _UNKNOWN_HERE),
    ("InvalidIdentityToken", "Incorrect token audience", _UNKNOWN_HERE),
    # A principal made moments ago isn't known everywhere yet.
    ("MalformedPolicyDocument", "Invalid principal in policy", _MISSING),
)
"""Code and part of the message, where the code alone would mislead."""

SERVICE_TITLES: Final[Mapping[str, str]] = {
    "elasticache": "ElastiCache",
    "memorydb": "MemoryDB",
    "iam": "IAM",
    "sts": "STS",
    "eks": "EKS",
    "resourcegroupstaggingapi": "Resource Groups Tagging",
}

# AWS quotes the canonical request here, with the caller's session token in it.
_UNQUOTABLE: Final = frozenset({"SignatureDoesNotMatch", "IncompleteSignature"})
_LONGEST_MESSAGE: Final = 600
_SECRET_LOOKING: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|[A-Za-z0-9+/=]{100,}")
_OFFERED_VALUE: Final = re.compile(r", value: .*")

_NO_CREDENTIALS: Final = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.NoAuthTokenError,
    boto.UnknownCredentialError,
    boto.MetadataRetrievalError,
)
_NO_CONNECTION: Final = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.EndpointConnectionError,
    boto.IncompleteReadError,
    boto.ResponseStreamingError,
)


def translate(error: Exception, *, service: str, operation: str) -> OperatorError | None:
    """Return our error for one of botocore's, None for an exception that isn't AWS's doing (a bug: let it pass).

    Args:
        error: What the call raised.
        service: botocore's name of the service.
        operation: As in the API model: CreateUser.
    """
    where = f"{SERVICE_TITLES.get(service, service)} {operation}"
    if isinstance(error, OperatorError):
        return error
    if isinstance(error, boto.ClientError):
        return _translate_answer(error, where=where, operation=operation)
    if isinstance(error, boto.SSLError):
        return UnavailableError(
            f"{where}: the endpoint's certificate is not trusted; behind a proxy that opens TLS, set AWS_CA_BUNDLE",
            code="SSLError",
        )
    if isinstance(error, _NO_CONNECTION):
        return UnavailableError(f"{where}: no answer ({_scrub(str(error))})", code=type(error).__name__)
    if isinstance(error, ResponseParserError):  # it quotes the answer: a proxy's page, half a document
        return UnavailableError(f"{where}: an answer that can't be read", code=type(error).__name__)
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDeniedError(
            f"{where}: there are no AWS credentials to call with; on your own machine log in (aws sso login) "
            "or choose a profile (AWS_PROFILE); for the operator in a cluster give its ServiceAccount a role by the "
            "annotation eks.amazonaws.com/role-arn (IRSA) or by an EKS Pod Identity association, then restart its pods",
            code=type(error).__name__,
        )
    if isinstance(error, boto.ParamValidationError):
        report = "; ".join(_OFFERED_VALUE.sub("", line) for line in str(error).splitlines() if line)
        return InvalidSpecError(f"{where}: {_scrub(report)}", code="ParamValidation")
    if isinstance(error, boto.BotoCoreError):
        return UnexpectedAwsError(f"{where}: {_scrub(str(error))}", code=type(error).__name__)
    return None


def is_out_of_reach(code: str) -> bool:
    """Whether a call's code says that AWS was never asked, or didn't answer: for want of a way or of credentials."""
    kind = getattr(boto, code, None)
    return isinstance(kind, type) and issubclass(kind, (*_NO_CONNECTION, *_NO_CREDENTIALS, boto.SSLError))


def is_no_operation(error: OperatorError) -> bool:
    """Whether AWS refused only because there was nothing to change: that is what we wanted."""
    return error.code == "NoOperationFault" or "No modifications were requested" in error.message


@contextlib.contextmanager
def gone_is_success(code: str) -> Iterator[None]:
    """Pass over that very code and no other "not found": another one would be about something else."""
    try:
        yield
    except NotFoundError as error:
        if error.code != code:
            raise


def is_unknown_operation(error: OperatorError) -> bool:
    """Whether AWS doesn't know the operation, in that region."""
    return error.code in {"InvalidAction", "UnknownOperationException"}


def _translate_answer(error: boto.ClientError, *, where: str, operation: str) -> OperatorError:
    """Look up a ClientError. Its code and request id are kept, its message without what looks like a secret."""
    answer = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    code = str(answer.get("Code", ""))
    message = str(answer.get("Message", ""))
    request_id = str(metadata.get("RequestId", ""))
    if error.operation_name != operation:  # botocore fetched credentials on the way
        where = f"{where}: getting the operator's own credentials by {error.operation_name}"
    text = "AWS rejects the signature: are keys and clock right?" if code in _UNQUOTABLE else _scrub(message)
    shown = f"{where}: {code}: {text}" + (f" (request id {request_id})" if request_id else "")
    rule = _find_rule(code, message, int(metadata.get("HTTPStatusCode", 0)))
    translated = rule.error(shown, reason=rule.reason, code=code, request_id=request_id)
    if rule.retry_after_s is not None and isinstance(translated, RetryableError):
        translated.retry_after_s = rule.retry_after_s
    return translated


def _find_rule(code: str, message: str, http_status: int) -> Rule:
    """Return what a code means; unknown ones go by their HTTP status."""
    for its_code, part, rule in MESSAGES:
        if code == its_code and part.lower() in message.lower():
            return rule
    if (known := ERRORS.get(code)) is not None:
        return known
    if http_status == 429:  # noqa: PLR2004  # HTTP: Too Many Requests
        return _THROTTLED
    if http_status >= 500:  # noqa: PLR2004  # HTTP: the server's fault
        return _DOWN
    return Rule(UnexpectedAwsError)


def _scrub(message: str) -> str:
    """Return a message fit for people: one line, not endless, nothing in it that looks like a token."""
    line = " ".join(_SECRET_LOOKING.sub("[…]", message).split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}…"
