"""Sessions of workloads, from STS, in a lane of their own."""

from collections.abc import Mapping
from typing import Any

from boto3.session import Session

from elasticache_iam.aws.api import Api, ObserveApiCall
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.core.token import Credentials


class BotoSts:
    """Implements `ports.Sts`.

    AssumeRoleWithWebIdentity is unsigned: the operator's own AWS identity plays no part in it. AssumeRole is signed.

    Args:
        session: For botocore's settings; credentials are needed for AssumeRole only.
        region: STS's regional endpoint is there.
        bridge: Its STS lane carries the calls.
        observe_call: Told of each call.
    """

    def __init__(
        self, session: Session, *, region: str, bridge: Bridge, observe_call: ObserveApiCall | None = None
    ) -> None:
        def make(*, unsigned: bool) -> Api:
            return Api(
                session,
                region=region,
                lane=bridge.sts,
                observe_call=observe_call,
                attempts=1,  # the token plane comes back by itself; two more tries would only throttle STS further
                unsigned=unsigned,
            )

        self._unsigned = make(unsigned=True)
        self._signed = make(unsigned=False)

    async def assume_role_with_web_identity(
        self, *, role_arn: str, session_name: str, web_identity_token: str, duration_s: int, policy: str
    ) -> Credentials:
        """Trade a ServiceAccount's token for a session, narrowed by the session policy (JSON text, at most 2048)."""
        answer = await self._unsigned.call(
            "sts",
            "AssumeRoleWithWebIdentity",
            {
                "RoleArn": role_arn,
                "RoleSessionName": session_name,
                "WebIdentityToken": web_identity_token,
                "DurationSeconds": duration_s,
                "Policy": policy,
            },
        )
        return _credentials_in(answer)

    async def assume_role(
        self, *, role_arn: str, session_name: str, external_id: str, duration_s: int, policy: str
    ) -> Credentials:
        """Become a role that trusts the operator's own, for an hour at most, narrowed by the session policy."""
        answer = await self._signed.call(
            "sts",
            "AssumeRole",
            {
                "RoleArn": role_arn,
                "RoleSessionName": session_name,
                "ExternalId": external_id,
                "DurationSeconds": duration_s,
                "Policy": policy,
            },
        )
        return _credentials_in(answer)


def _credentials_in(answer: Mapping[str, Any]) -> Credentials:
    session = answer["Credentials"]
    return Credentials(
        access_key_id=session["AccessKeyId"],
        secret_access_key=session["SecretAccessKey"],
        session_token=session["SessionToken"],
        expires_at=session["Expiration"],
    )
