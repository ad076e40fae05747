"""Every way an operation can fail, and what to do about it.

Adapters translate foreign errors into these at the boundary. A `RetryableError` says when to come back, a
`PermanentError` that only an edit of the resource helps. `reason` becomes the condition's reason.
"""


class OperatorError(Exception):
    """Base of all expected failures. Its text is shown to people: it never holds a credential.

    Attributes:
        reason: CamelCase, one cause each; becomes a condition's reason. The class has one, a raiser may know better.
        code: AWS's or Kubernetes' own error code, if there was one.
        request_id: AWS's request id, if there was one.
    """

    reason: str = "Failed"

    def __init__(self, message: str, *, reason: str = "", code: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        if reason:
            self.reason = reason
        self.code = code
        self.request_id = request_id


class RetryableError(OperatorError):
    """Comes right by itself or by somebody else's doing: try again after `retry_after_s` seconds."""

    retry_after_s: float = 30.0


class PermanentError(OperatorError):
    """Only an edit of the resource helps."""


class BusyError(RetryableError):
    """AWS is still at work on the object."""

    reason = "Busy"
    retry_after_s = 10.0


class ThrottledError(RetryableError):
    """Too many calls; come back later, with jitter."""

    reason = "Throttled"
    retry_after_s = 15.0


class UnavailableError(RetryableError):
    """The other side doesn't answer, or answers 5xx."""

    reason = "Unavailable"
    retry_after_s = 10.0


class AccessDeniedError(RetryableError):
    """A right is missing; policies change without us."""

    reason = "AccessDenied"
    retry_after_s = 300.0


class QuotaExceededError(RetryableError):
    """A service quota is used up."""

    reason = "QuotaExceeded"
    retry_after_s = 300.0


class ResourceQuotaExceededError(RetryableError):
    """A ResourceQuota of the namespace leaves no room: its people raise it or make room."""

    reason = "ResourceQuotaExceeded"
    retry_after_s = 60.0


class NotFoundError(RetryableError):
    """The object isn't there (yet). On a delete path this is success."""

    reason = "NotFound"
    retry_after_s = 30.0


class ConflictError(RetryableError):
    """The object changed under us: read again and compute again."""

    reason = "Conflict"
    retry_after_s = 1.0


class AlreadyExistsError(OperatorError):
    """The name is taken. The caller reads the object and looks whose it is."""

    reason = "AlreadyExists"


class InvalidSpecError(PermanentError):
    """AWS refuses what the resource asks for."""

    reason = "InvalidSpec"


class NotOwnedError(PermanentError):
    """An AWS object or Secret of that name is there and isn't ours."""

    reason = "NotOwned"


class ContestedError(RetryableError):
    """Somebody keeps changing back what we put right: we go slower, and a person has to end it."""

    reason = "Contested"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnexpectedAwsError(RetryableError):
    """A code that we don't know: retried slowly."""

    reason = "UnexpectedAwsError"
    retry_after_s = 120.0


class NotLeaderError(OperatorError):
    """This process must not write: it isn't, or is no longer, the leader."""

    reason = "NotLeader"


class ConfigurationError(OperatorError):
    """The operator can't start like this: one line for the person who starts it, exit code 2."""

    reason = "Configuration"


class SurroundingsError(ConfigurationError):
    """Nothing is wrong with the configuration, but what it needs isn't there: the operator waits, a command ends."""
