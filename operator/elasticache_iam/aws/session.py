"""Credentials in another account: a role there that the operator becomes, again and again."""

from dataclasses import dataclass
from typing import Any, Final

from boto3.session import Session
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import ClientError

from elasticache_iam.aws.api import Api
from elasticache_iam.aws.errors import translate
from elasticache_iam.core.errors import AccessDeniedError

METHOD: Final = "sts-assume-role"
"""How botocore calls such credentials in its own messages."""
SESSION_S: Final = 3600
"""What every role allows, and the most for a role that is assumed with the session of another (IRSA, Pod Identity)."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """Which role to become, and how it knows us."""

    role_arn: str
    session_name: str
    """What CloudTrail shows there."""
    external_id: str | None


def assumed_session(session: Session, assumption: Assumption, *, sts: Api) -> Session:
    """Give a session the role's credentials, and return it.

    They are fetched by the first call that needs them, in its worker thread, and anew before they end.

    Args:
        session: A new one, for that account alone.
        assumption: The role.
        sts: Calls with our own credentials, in a region whose STS is on.
    """
    credentials = DeferredRefreshableCredentials(refresh_using=lambda: _assume(assumption, sts), method=METHOD)
    # botocore's and boto3's only way to credentials that renew themselves. It goes before all others that may be found.
    inner: Any = session._session  # noqa: SLF001
    inner._credentials = credentials  # noqa: SLF001
    return session


def _assume(assumption: Assumption, sts: Api) -> dict[str, str]:
    """Return credentials as botocore takes them. Raises AccessDeniedError, and botocore's exceptions."""
    parameters: dict[str, Any] = {
        "RoleArn": assumption.role_arn,
        "RoleSessionName": assumption.session_name,
        "DurationSeconds": SESSION_S,
    }
    if assumption.external_id is not None:
        parameters["ExternalId"] = assumption.external_id
    try:
        answer = sts.call_here("sts", "AssumeRole", parameters)["Credentials"]
    except ClientError as error:
        refusal = translate(error, service="sts", operation="AssumeRole")
        if isinstance(refusal, AccessDeniedError):
            raise _explain(refusal, assumption) from error
        raise
    return {
        "access_key": answer["AccessKeyId"],
        "secret_key": answer["SecretAccessKey"],
        "token": answer["SessionToken"],
        "expiry_time": answer["Expiration"].isoformat(),
    }


def _explain(error: AccessDeniedError, assumption: Assumption) -> AccessDeniedError:
    """Return a refusal that says what both sides need."""
    condition = ", on the condition that sts:ExternalId is the configured externalId" if assumption.external_id else ""
    return AccessDeniedError(
        f"can't become {assumption.role_arn}: its trust policy must allow sts:AssumeRole to the operator's own role"
        f"{condition}, and the policy of the operator's own role must allow it too ({error.message})",
        code=error.code,
        request_id=error.request_id,
    )
