"""IAM's managed policies, which the operator itself never reads: for people, by their own rights."""

from collections.abc import Mapping
from typing import Any, Final

from boto3.session import Session

from elasticache_iam.aws.api import Api
from elasticache_iam.aws.bridge import Lane
from elasticache_iam.core.errors import NotFoundError

CALLS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("iam", "GetPolicy"): ("iam:GetPolicy",),
    ("iam", "GetPolicyVersion"): ("iam:GetPolicyVersion",),
}
"""As `core.policy.operator.CALLS`; the operator's own policy gives none of these."""


class ManagedPolicies:
    """Managed policies of one account.

    Args:
        session: Whose rights to read with.
        region: The region of IAM's partition that credentials are good for.
        lane: Where the calls run.
    """

    def __init__(self, session: Session, *, region: str, lane: Lane) -> None:
        self._api = Api(session, region=region, lane=lane, calls=CALLS)

    async def is_there(self, arn: str) -> bool:
        """Whether there is such a policy. Raises core.errors."""
        try:
            await self._api.call("iam", "GetPolicy", {"PolicyArn": arn})
        except NotFoundError:
            return False
        return True

    async def get_document(self, arn: str) -> Mapping[str, Any]:
        """Return what a policy says today. Raises core.errors."""
        policy = await self._api.call("iam", "GetPolicy", {"PolicyArn": arn})
        which = {"PolicyArn": arn, "VersionId": policy["Policy"]["DefaultVersionId"]}
        version = await self._api.call("iam", "GetPolicyVersion", which)
        document: Mapping[str, Any] = version["PolicyVersion"]["Document"]
        return document
