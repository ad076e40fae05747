"""A probe that asks the sandbox's own checks: a refusal has a true cause, which the operator doesn't get to see."""

from dataclasses import dataclass, field

from tests.builders import ACCOUNT, REGION

from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.core.plan.attachment import has_iam
from elasticache_iam_sandbox.front.token import Refused, verify_token
from elasticache_iam_sandbox.world.call import CacheKind, CacheView
from elasticache_iam_sandbox.world.world import World


@dataclass(slots=True)
class WorldProbe:
    """Implements `ports.CacheProbe` without a socket.

    Attributes:
        world: Judges tokens.
        refusals: The true causes, in order; the operator only ever reads WRONGPASS.
        logins: Who logged in, in order.
        hidden_cause: Refuses everybody, for what the sandbox doesn't know.
    """

    world: World
    refusals: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    hidden_cause: str = ""

    async def login(self, *, host: str, port: int, username: str, password: str) -> LoginResult:
        """Log in to the cache at an endpoint."""
        where = f"{host}:{port}"
        view = self._find(host, port)
        if view is None or view.status in {"creating", "deleting"}:
            return LoginResult(LoginOutcome.UNREACHABLE, f"{where} can't be reached")
        region = self.world._state.accounts[ACCOUNT].region(REGION)
        node, user = region.caches.get(view.cache_id), region.users.get(username)
        if node is not None and not node.tls:
            return LoginResult(LoginOutcome.TLS_FAILED, f"{where}: no TLS connection")
        verdict = verify_token(
            password.encode(),
            username=username,
            view=view,
            now=self.world.now(),
            token_seconds=self.world.settings.token_seconds,
            signing_identity=self.world.signing_identity,
            decide_connect=lambda identity, user_id: self.world.decide_connect(
                identity, view, user_id, source_ip="10.0.0.1"
            ),
        )
        true_cause = verdict.reason.value if isinstance(verdict, Refused) else self.hidden_cause
        if node is not None and not has_iam(node.engine, node.engine_version):
            true_cause = "an engine that doesn't know IAM"
        if user is not None and user.status in {"creating", "deleting"}:
            true_cause = "a user that isn't there yet, or not any more"
        if true_cause:
            self.refusals.append(true_cause)
            return LoginResult(LoginOutcome.REFUSED, f"{where} answered WRONGPASS to the user {username}")
        self.logins.append(username)
        return LoginResult(LoginOutcome.LOGGED_IN)

    def _find(self, host: str, port: int) -> CacheView | None:
        """Return the cache that listens there."""
        account = self.world._state.accounts[ACCOUNT]
        for view in self.world.caches():
            kind: CacheKind = "serverlesscache" if view.serverless else "replicationgroup"
            cache = account.cache(view.region, "cluster" if view.service == "memorydb" else kind, view.cache_id)
            if (cache.host, cache.port) == (host, port):
                return view
        return None
