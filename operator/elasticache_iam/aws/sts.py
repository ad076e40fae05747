"""Sessions of workloads, from STS, in a lane of their own."""

from boto3.session import Session

from elasticache_iam.aws.api import Api
from elasticache_iam.aws.bridge import Bridge, ObserveCall
from elasticache_iam.core.token import Credentials


class BotoSts:
    """Implements `ports.Sts`. The call is unsigned: the operator's own AWS identity plays no part in it.

    Args:
        session: For botocore's settings; no credentials are needed.
        region: STS's regional endpoint, the default of botocore, is there.
        bridge: Its STS lane carries the calls.
        observe_call: Told of each call.
    """

    def __init__(
        self, session: Session, *, region: str, bridge: Bridge, observe_call: ObserveCall | None = None
    ) -> None:
        self._api = Api(
            session,
            region=region,
            lane=bridge.sts,
            observe_call=observe_call,
            attempts=1,  # the token plane comes back by itself; two more tries would only throttle STS further
            unsigned=True,
        )

    async def assume_role_with_web_identity(
        self, *, role_arn: str, session_name: str, web_identity_token: str, duration_s: int, policy: str
    ) -> Credentials:
        """Trade a ServiceAccount's token for a session, narrowed by the session policy (JSON text, at most 2048)."""
        answer = await self._api.call(
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
        session = answer["Credentials"]
        return Credentials(
            access_key_id=session["AccessKeyId"],
            secret_access_key=session["SecretAccessKey"],
            session_token=session["SessionToken"],
            expires_at=session["Expiration"],
        )
