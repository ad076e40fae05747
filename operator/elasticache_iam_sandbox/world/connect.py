"""The Connect decision: may this principal log in to this cache as this user? And if not, which link is broken."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from elasticache_iam_sandbox.world.accounts import AccessKey, IamUser
from elasticache_iam_sandbox.world.authorization import (
    Permissions,
    Refusal,
    find_refusal,
    find_session_role,
    permissions_of_role,
)
from elasticache_iam_sandbox.world.call import AwsError, CacheView, ConnectDecision
from elasticache_iam_sandbox.world.conditions import Context
from elasticache_iam_sandbox.world.request import resource_tags_context


def user_arn(view: CacheView, user_id: str) -> str:
    """Return a user's ARN: ElastiCache separates with a colon, MemoryDB with a slash."""
    separator = "/" if view.service == "memorydb" else ":"
    return f"{':'.join(view.arn.split(':')[:5])}:user{separator}{user_id}"


@dataclass(frozen=True, slots=True)
class Login:
    """Who wants to log in where, as whom, from where, when."""

    key: AccessKey
    view: CacheView
    cache_tags: Mapping[str, str]
    user_id: str
    user_tags: Mapping[str, str]
    source_ip: str
    now: datetime

    @property
    def context(self) -> Context:
        """Return the condition keys that Connect knows beside each resource's tags; all others are absent.

        aws:SourceVpc and aws:SourceVpce, which serverless caches know, are refused where a policy is written.

        Source: ElastiCache user guide, "Authenticating with IAM". For MemoryDB no list is known: taken as node-based.
        """
        if not self.view.serverless:
            return {"aws:sourceip": (self.source_ip,)}
        return {
            "aws:currenttime": (self.now.isoformat(),),
            "aws:epochtime": (str(int(self.now.timestamp())),),
            "aws:vpcsourceip": (self.source_ip,),
        }


def decide(login: Login) -> ConnectDecision:
    """Evaluate Connect on both ARNs."""
    key, view, now = login.key, login.view, login.now
    if key.account.account_id != view.account_id:
        return ConnectDecision(
            allowed=False,
            reason=f"{key.principal_arn} is of another account than the cache, {view.account_id}: "
            "Connect has no resource policy that could let it in",
        )
    if isinstance(key.owner, IamUser):
        permissions = Permissions(None if key.owner.policy is None else (key.owner.policy,))
        subject = f"IAM user {key.owner.name}"
        hint = ""
    else:
        subject = f"role {key.owner.role_name}"
        if key.owner.expires_at <= now:
            return ConnectDecision(allowed=False, reason=f"the session of {subject} expired at {key.owner.expires_at}")
        role = find_session_role(key, key.owner, now)
        if role is None:
            return ConnectDecision(
                allowed=False, reason=f"{subject} was deleted (and perhaps made anew): its old sessions are dead"
            )
        permissions = permissions_of_role(key.account, role, key.owner.policy)
        takes_effect_at = key.account.roles.next_visible_at(role.name, now)
        hint = f" (a change written to the role takes effect at {takes_effect_at})" if takes_effect_at else ""
    return _decide_both(login, permissions, subject, hint)


def _decide_both(login: Login, permissions: Permissions, subject: str, hint: str) -> ConnectDecision:
    view = login.view
    action = f"{view.service}:Connect"
    targets = (
        ("cache", view.arn, login.cache_tags),
        ("user", user_arn(view, login.user_id), login.user_tags),
    )
    for kind, arn, tags in targets:
        context = {**login.context, **resource_tags_context(tags)}
        try:
            refusal = find_refusal(permissions, action, arn, context)
        except AwsError as error:
            return ConnectDecision(allowed=False, reason=str(error))
        if refusal is not None:
            return ConnectDecision(allowed=False, reason=_explain(refusal, subject, action, kind, arn) + hint)
    return ConnectDecision(allowed=True, reason=f"{subject} may {action} on {targets[0][1]} and {targets[1][1]}")


def _explain(refusal: Refusal, subject: str, action: str, kind: str, arn: str) -> str:
    verb = "explicitly denies" if refusal.explicit else "does not allow"
    whose = {
        "identity-based policy": f"the policies of {subject}",
        "permissions boundary": f"the permissions boundary of {subject}",
        "session policy": f"the session policy of {subject}",
    }[refusal.policy_kind]
    if whose.startswith("the policies"):
        verb = "explicitly deny" if refusal.explicit else "do not allow"
    return f"{whose} {verb} {action} on the {kind} {arn}"
