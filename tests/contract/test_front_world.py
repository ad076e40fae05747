"""The front before the real world: AWS's API by boto3 on one side, our own signer and a stock client on the other."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from tests.unit.sandbox.front.one_cache import ACCOUNT, ARN, CACHE, REGION, serve_world

from elasticache_iam.core.token import Credentials, sign_token
from elasticache_iam_sandbox.wire.in_process import InProcessAws
from elasticache_iam_sandbox.world.settings import WorldSettings
from elasticache_iam_sandbox.world.world import World

USER_ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:user:app"
ALLOW = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "elasticache:Connect", "Resource": [ARN, USER_ARN]}],
}


class Ground:
    """A world with one cache, an administrator and a workload."""

    def __init__(self, engine: str = "redis") -> None:
        self.engine = engine
        self.settings = WorldSettings()
        self.world = World(self.settings, now=lambda: datetime.now(UTC), get_jwks=lambda _: {"keys": []})
        self.world.add_account(ACCOUNT)
        self.world.add_replication_group(
            ACCOUNT, REGION, CACHE, engine=engine, engine_version="7.2", host="127.0.0.1", port=6379
        )
        admin = self.world.add_access_key(ACCOUNT, user_name="admin")
        self.aws = InProcessAws(self.world)
        self.elasticache = self.aws.session(*admin, REGION).client("elasticache")
        self.workload = self.world.add_access_key(ACCOUNT, user_name="workload", policy=ALLOW)

    def token(self, user: str = "app", *, key: tuple[str, str] | None = None, skew_s: float = 0) -> str:
        return sign_token(
            Credentials(*(key or self.workload)),
            service="elasticache",
            region=REGION,
            cache_id=CACHE,
            user_id=user,
            now=datetime.now(UTC) + timedelta(seconds=skew_s),
        ).text

    def harden(self) -> None:
        """Attach a group with the app's user and, where the engine needs one, a disabled default."""
        self.elasticache.create_user(
            UserId="app", UserName="app", Engine=self.engine, AccessString="on ~* +@all",
            AuthenticationMode={"Type": "iam"},
        )  # fmt: skip
        members = ["app"]
        if self.engine == "redis":
            self.elasticache.create_user(
                UserId="demo-default", UserName="default", Engine="redis", AccessString="off ~* -@all",
                AuthenticationMode={"Type": "password", "Passwords": ["nobody knows this one"]},
            )  # fmt: skip
            members.append("demo-default")
        self.elasticache.create_user_group(UserGroupId="orders", Engine=self.engine, UserIds=members)
        self.elasticache.modify_replication_group(
            ReplicationGroupId=CACHE, UserGroupIdsToAdd=["orders"], ApplyImmediately=True
        )


@pytest.fixture(params=["redis", "valkey"])
def ground(request):
    return Ground(request.param)


@pytest.fixture
async def served(ground, tmp_path):
    async with serve_world(tmp_path, ground.world, engine=ground.engine) as served:
        yield served


async def test_attaching_a_group_cuts_anonymous_clients_and_lets_the_iam_user_in(ground, served):
    async with served.client(single_connection_client=True) as anonymous:
        await anonymous.ping()
        ground.harden()
        await served.fronts.sync()

        with pytest.raises(RedisConnectionError):
            await anonymous.ping()
    async with served.client("app", ground.token()) as client:
        assert await client.acl_whoami() == "app"
    async with served.client() as late:
        with pytest.raises(AuthenticationError):
            await late.ping()


async def test_taking_a_user_out_of_the_group_cuts_it(ground, served):
    ground.harden()
    await served.fronts.sync()
    async with served.client("app", ground.token(), single_connection_client=True) as client:
        await client.ping()
        ground.elasticache.create_user(
            UserId="other", UserName="other", Engine=ground.engine, AccessString="on ~* +@all",
            AuthenticationMode={"Type": "iam"},
        )  # fmt: skip
        ground.elasticache.modify_user_group(UserGroupId="orders", UserIdsToAdd=["other"], UserIdsToRemove=["app"])

        await served.fronts.sync()

        with pytest.raises(RedisConnectionError):
            await client.ping()
    async with served.client("app", ground.token()) as late:
        with pytest.raises(AuthenticationError):
            await late.ping()
    assert served.reasons() == ["UserNotInGroup"]


async def test_a_new_access_string_holds_for_open_connections(ground, served):
    ground.harden()
    await served.fronts.sync()
    async with served.client("app", ground.token(), single_connection_client=True) as client:
        await client.set("k", "v")
        ground.elasticache.modify_user(UserId="app", AccessString="on ~* -@all +get")

        await served.fronts.sync()

        assert await client.get("k") == "v"
        with pytest.raises(Exception, match="permissions"):
            await client.set("k", "w")


@pytest.mark.parametrize("resource", [ARN, USER_ARN], ids=["cache-only", "user-only"])
async def test_connect_is_needed_on_both_the_cache_and_the_user(ground, served, resource):
    ground.harden()
    await served.fronts.sync()
    half = json.loads(json.dumps(ALLOW))
    half["Statement"][0]["Resource"] = [resource]
    key = ground.world.add_access_key(ACCOUNT, user_name="half", policy=half)

    async with served.client("app", ground.token(key=key)) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()

    assert served.reasons() == ["ConnectDenied"]


async def test_clocks_that_differ_too_much_are_told_apart(ground, served):
    ground.harden()
    await served.fronts.sync()

    for skew_s in (400, -901):
        async with served.client("app", ground.token(skew_s=skew_s)) as client:
            with pytest.raises(AuthenticationError):
                await client.ping()
    ground.settings.clock_offset = timedelta(seconds=400)
    async with served.client("app", ground.token(skew_s=400)) as client:
        assert await client.ping()

    assert served.reasons() == ["SignedInTheFuture", "TokenExpired"]
