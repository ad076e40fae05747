"""The operator's AWS adapter against the sandbox's world, through real boto3."""

import asyncio
import contextlib
import json
import random
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from tests.fakes.kube import JwtSigner

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.group import Service
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.identity import get_account
from elasticache_iam.aws.places import AwsPlaces
from elasticache_iam.aws.sts import BotoSts
from elasticache_iam.core import names
from elasticache_iam.core.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BusyError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    QuotaExceededError,
    ThrottledError,
    UnavailableError,
)
from elasticache_iam.core.installation import Installation
from elasticache_iam.core.policy import operator_policy
from elasticache_iam.core.state import CacheKind, CacheRef, Place
from elasticache_iam_sandbox.wire import in_process
from elasticache_iam_sandbox.wire.in_process import InProcessAws
from elasticache_iam_sandbox.world.settings import Fault, WorldSettings
from elasticache_iam_sandbox.world.world import World

REGION = "eu-central-1"
ACCOUNT = "111122223333"
HOME = Place(Service.ELASTICACHE, ACCOUNT, REGION)
MEMORYDB = Place(Service.MEMORYDB, ACCOUNT, REGION)
ELSEWHERE = Place(Service.ELASTICACHE, ACCOUNT, "us-east-1")
ISSUER = "https://oidc.example/id/ABC"
TAGS = {"elasticache-iam.dev/owner": "demo", "elasticache-iam.dev/name": "checkout"}
CACHE = CacheRef(CacheKind.REPLICATION_GROUP, "orders-prod")
SERVERLESS = CacheRef(CacheKind.SERVERLESS_CACHE, "orders-sls")
CLUSTER = CacheRef(CacheKind.MEMORYDB_CLUSTER, "orders-mdb")
PATH = "/elasticache-iam/demo/"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example/id/ABC"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"oidc.example/id/ABC:sub": "system:serviceaccount:shop:checkout"}},
        }
    ],
}
OTHER_TRUST = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Sid": "Other"}]}
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "elasticache:Connect", "Resource": ["*"]}],
}
PASS = {
    ("elasticache", "DescribeUsers"): 1,
    ("elasticache", "DescribeUserGroups"): 1,
    ("elasticache", "DescribeReplicationGroups"): 1,
    ("elasticache", "DescribeServerlessCaches"): 1,
    ("iam", "ListRoles"): 1,
}
SLOW_PASS = {
    ("elasticache", "DescribeCacheClusters"): 1,
    ("iam", "GetAccountAuthorizationDetails"): 1,
    ("resourcegroupstaggingapi", "GetResources"): 1,
}


class Leader:
    def check(self):
        pass


class Clock:
    """Time that a test moves."""

    seconds = 0.0

    def now(self):
        return datetime.now(UTC)

    def monotonic(self):
        return self.seconds


class Ground:
    """A world with one account and one cache, an adapter that talks to it, and a client for what others do."""

    def __init__(self, region=REGION, partition="aws", **settings):
        self.region = region
        self.settings = WorldSettings(**settings)
        self.signer = JwtSigner(ISSUER)
        self.world = World(self.settings, now=lambda: datetime.now(UTC), get_jwks=lambda _: self.signer.jwks)
        self.world.add_account(ACCOUNT, partition=partition)
        self.world.add_replication_group(
            ACCOUNT, region, CACHE.id, engine="redis", engine_version="7.1", host="cache.example", port=6380
        )
        self.in_process = InProcessAws(self.world)
        self.keys = self.world.add_access_key(ACCOUNT, user_name="operator")
        self.bridge = Bridge()
        self.clock = Clock()
        self.aws = self.adapter()
        self.elasticache = self.in_process.client("elasticache", *self.keys, region)
        self.iam = self.in_process.client("iam", *self.keys, region)

    def session(self):
        return self.in_process.session(*self.keys, self.region)

    def adapter(self):
        return self.places()(HOME)

    def places(self, **config):
        settings = {"owner": "demo", "region": self.region, "account": ACCOUNT, **config}
        return AwsPlaces(
            self.session(),
            installation=Installation(OperatorConfig.model_validate(settings), self.region, ACCOUNT, ISSUER),
            bridge=self.bridge,
            fence=Leader(),
            clock=self.clock,
            new_session=self.session,
            service_per_s=0.0,
            iam_per_s=0.0,
        )

    def counts(self):
        """Return the calls since last asked."""
        counts = dict(self.world.call_counts())
        self.world.reset_call_counts()
        return counts

    async def look(self, *, max_age_s=300.0, slow_max_age_s=3600.0):
        return await self.aws.get_inventory(max_age_s=max_age_s, slow_max_age_s=slow_max_age_s)

    async def create_user(self, user_id="demo-a", **changes):
        arguments = {"engine": "redis", "access_string": "on ~* +@read", "tags": TAGS, **changes}
        return await self.aws.create_user(user_id, **arguments)

    async def create_group(self, *users, group_id="demo-g", **changes):
        """Create a redis group with its disabled default user."""
        default = f"{group_id}-default"
        await self.aws.create_default_user(default, engine="redis", tags=TAGS)
        arguments = {"engine": "redis", "user_ids": frozenset({default, *users}), "tags": TAGS, **changes}
        return await self.aws.create_group(group_id, **arguments)

    async def create_role(self, name="demo-a"):
        return await self.aws.create_role(
            name, path=PATH, trust=TRUST, tags=TAGS, boundary=None, max_session_s=43200, description="checkout"
        )

    def fail(self, service, operation, code="", *, times=1, latency_s=0.0, status=400):
        self.settings.faults.append(
            Fault(
                service,
                operation,
                error_code=code,
                error_message="by request",
                remaining=times,
                latency_s=latency_s,
                http_status=status,
            )
        )


@pytest.fixture
def ground():
    ground = Ground()
    yield ground
    ground.bridge.close()


# -- users, groups, caches --------------------------------------------------------------------------------------------


async def test_a_created_user_is_in_the_inventory_with_its_tags(ground):
    await ground.look()

    created = await ground.create_user()
    inventory = await ground.look()

    user = inventory.users["demo-a"]
    assert (user.user_name, user.auth_mode, user.is_active) == ("demo-a", "iam", True)
    assert inventory.tags[created.arn] == TAGS


async def test_the_default_replacement_can_do_nothing(ground):
    await ground.aws.create_default_user("demo-default", engine="redis", tags=TAGS)

    user = (await ground.look()).users["demo-default"]

    assert (user.user_name, user.auth_mode, user.access_string) == ("default", "password", "off ~* -@all")


async def test_a_new_access_string_is_seen(ground):
    await ground.create_user()
    await ground.look()

    await ground.aws.set_access_string("demo-a", "on ~orders:* -@all +@read")

    assert (await ground.look()).users["demo-a"].access_string == "on ~orders:* -@all +@read"


async def test_a_deleted_user_is_gone_with_its_tags(ground):
    created = await ground.create_user()
    await ground.look()

    await ground.aws.delete_user("demo-a")
    inventory = await ground.look()

    assert "demo-a" not in inventory.users
    assert created.arn not in inventory.tags


async def test_deleting_what_is_not_there_is_success(ground):
    await ground.aws.delete_user("demo-none")
    await ground.aws.delete_group("demo-none")
    await ground.aws.delete_role("demo-none")

    assert (await ground.look()).groups == {}


async def test_members_change_in_one_call(ground):
    await ground.create_user("demo-a")
    await ground.create_user("demo-b")
    await ground.create_group("demo-a")
    ground.counts()

    await ground.aws.modify_group("demo-g", add=frozenset({"demo-b"}), remove=frozenset({"demo-a"}))

    assert ground.counts() == {("elasticache", "ModifyUserGroup"): 1}
    assert (await ground.look()).groups["demo-g"].future_user_ids == {"demo-g-default", "demo-b"}


async def test_an_attached_group_is_seen_from_both_sides(ground):
    await ground.create_group()
    await ground.look()

    await ground.aws.attach_group(CACHE, "demo-g")
    inventory = await ground.look()

    assert inventory.caches[CACHE].future_group_ids == {"demo-g"}
    assert inventory.groups["demo-g"].replication_group_ids == {"orders-prod"}


async def test_attaching_twice_is_success(ground):
    await ground.create_group()

    await ground.aws.attach_group(CACHE, "demo-g")
    await ground.aws.attach_group(CACHE, "demo-g")

    assert (await ground.look()).caches[CACHE].group_ids == {"demo-g"}


async def test_a_deleted_group_is_gone(ground):
    await ground.create_group()

    await ground.aws.delete_group("demo-g")

    assert (await ground.look()).groups == {}


async def test_a_cache_tells_version_endpoint_and_encryption(ground):
    cache = (await ground.look()).caches[CACHE]

    assert (cache.engine, cache.engine_version, cache.tls, cache.auth_token_enabled) == ("redis", "7.1", True, False)
    assert (cache.host, cache.port) == ("cache.example", 6380)


async def test_a_new_cache_has_its_version_at_once(ground):
    await ground.look()
    ground.world.add_replication_group(
        ACCOUNT, REGION, "new", engine="valkey", engine_version="8.0", host="new.example", port=6380
    )
    ground.clock.seconds += 300.0

    inventory = await ground.look()

    assert inventory.caches[CacheRef(CacheKind.REPLICATION_GROUP, "new")].engine_version == "8.0"


async def test_tags_are_read_now(ground):
    created = await ground.create_user()
    ground.elasticache.add_tags_to_resource(
        ResourceName=created.arn, Tags=[{"Key": "elasticache-iam.dev/allow", "Value": "demo"}]
    )

    tags = await ground.aws.list_tags(created.arn)

    assert tags == {**TAGS, "elasticache-iam.dev/allow": "demo"}
    assert (await ground.look()).tags[created.arn] == tags


async def test_tags_of_what_is_not_there_are_not_found(ground):
    with pytest.raises(NotFoundError):
        await ground.aws.list_tags(f"arn:aws:elasticache:{REGION}:{ACCOUNT}:usergroup:demo-none")


async def test_a_user_that_is_busy_or_gone_is_looked_at_again(ground):
    await ground.create_user()
    user = (await ground.look()).users["demo-a"]
    ground.elasticache.delete_user(UserId="demo-a")

    with pytest.raises(BusyError, match="not available for tagging"):
        await ground.aws.list_tags(user.arn)

    assert "demo-a" not in (await ground.look()).users


async def test_tags_of_a_user_are_added_replaced_and_taken_off(ground):
    created = await ground.create_user()

    await ground.aws.set_tags(created.arn, {"team": "shop", "cost": "1", "elasticache-iam.dev/name": "other"})
    await ground.aws.remove_tags(created.arn, frozenset({"cost", "missing"}))

    expected = {**TAGS, "elasticache-iam.dev/name": "other", "team": "shop"}
    assert (await ground.look()).tags[created.arn] == expected
    assert await ground.aws.list_tags(created.arn) == expected


async def test_our_change_of_tags_is_believed_until_the_index_shows_it(ground, monkeypatch):
    created = await ground.create_user()
    index = {"ResourceTagMappingList": [{"ResourceARN": created.arn, "Tags": [{"Key": "old", "Value": ""}]}]}
    dispatch = ground.world.dispatch
    monkeypatch.setattr(
        ground.world, "dispatch", lambda call: index if call.operation == "GetResources" else dispatch(call)
    )
    await ground.aws.set_tags(created.arn, {"team": "shop"})

    soon = await ground.look(slow_max_age_s=0.0)
    ground.clock.seconds += 601.0
    late = await ground.look()

    assert soon.tags[created.arn] == {**TAGS, "team": "shop"}
    assert late.tags[created.arn] == {"old": ""}


async def test_a_redis_group_becomes_a_valkey_one(ground):
    await ground.create_group()

    await ground.aws.set_group_engine("demo-g", "valkey")

    assert (await ground.look()).groups["demo-g"].engine == "valkey"


async def test_a_serverless_cache_is_seen_and_attached(ground):
    ground.world.add_serverless_cache(
        ACCOUNT,
        REGION,
        SERVERLESS.id,
        engine="valkey",
        host="serverless.example",
        port=6379,
        reader_host="reader.example",
        reader_port=6380,
    )
    await ground.aws.create_group("demo-g", engine="valkey", user_ids=frozenset(), tags=TAGS)
    before = (await ground.look()).caches[SERVERLESS]

    await ground.aws.attach_group(SERVERLESS, "demo-g")
    await ground.aws.attach_group(SERVERLESS, "demo-g")
    after = await ground.look()

    assert (before.engine, before.engine_version, before.tls, before.group_ids) == ("valkey", "8.1", True, set())
    assert (before.host, before.port, before.reader_host) == ("serverless.example", 6379, "")
    assert after.caches[SERVERLESS].group_ids == {"demo-g"}
    assert after.groups["demo-g"].cache_refs == {SERVERLESS}


async def test_a_serverless_cache_that_got_another_group_meanwhile_keeps_it(ground):
    ground.world.add_serverless_cache(ACCOUNT, REGION, SERVERLESS.id, engine="valkey", host="x", port=6379)
    for group_id in ("demo-g", "theirs"):
        await ground.aws.create_group(group_id, engine="valkey", user_ids=frozenset(), tags=TAGS)
    ground.elasticache.modify_serverless_cache(ServerlessCacheName=SERVERLESS.id, UserGroupId="theirs")

    with pytest.raises(ConflictError, match="another group meanwhile: theirs"):
        await ground.aws.attach_group(SERVERLESS, "demo-g")

    assert (await ground.look()).caches[SERVERLESS].group_ids == {"theirs"}


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAction"])
async def test_where_serverless_caches_can_not_be_listed_the_others_are_and_it_costs_no_more(ground, code):
    ground.fail("elasticache", "DescribeServerlessCaches", code, times=None)

    first = await ground.look()
    ground.counts()
    await ground.look()

    assert first.caches.keys() == {CACHE}
    assert ground.counts() == {}


async def test_a_serverless_cache_in_use_does_not_vanish_with_the_right_to_list_it(ground):
    ground.world.add_serverless_cache(ACCOUNT, REGION, SERVERLESS.id, engine="valkey", host="x", port=6379)
    await ground.aws.create_group("demo-g", engine="valkey", user_ids=frozenset(), tags=TAGS)
    await ground.aws.attach_group(SERVERLESS, "demo-g")
    ground.fail("elasticache", "DescribeServerlessCaches", "AccessDenied", times=None)

    with pytest.raises(AccessDeniedError, match="DescribeServerlessCaches"):
        await ground.look()


async def test_a_cluster_mode_cache_is_reached_by_its_configuration_endpoint(ground):
    ground.world.add_replication_group(
        ACCOUNT, REGION, "clustered", engine="valkey", engine_version="8.0", host="cfg.example", port=6379, shards=2
    )

    cache = (await ground.look()).caches[CacheRef(CacheKind.REPLICATION_GROUP, "clustered")]

    assert (cache.host, cache.port, cache.reader_host) == ("cfg.example", 6379, "")


async def test_users_of_awss_own_are_not_in_the_inventory():
    ground = Ground(managed_iam_user=True)

    inventory = await ground.look()
    ground.bridge.close()

    assert not [object_id for object_id in (*inventory.users, *inventory.groups) if "." in object_id]


# -- MemoryDB ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def memorydb(ground):
    ground.world.add_memorydb_cluster(ACCOUNT, REGION, CLUSTER.id, engine="redis", host="mdb.example", port=6379)
    ground.aws = ground.places()(MEMORYDB)
    return ground


async def test_a_memorydb_user_lives_in_the_same_words(memorydb):
    await memorydb.look()

    created = await memorydb.create_user()
    seen = await memorydb.look()
    await memorydb.aws.set_access_string("demo-a", "on ~orders:* -@all +@read")
    changed = await memorydb.look()
    await memorydb.aws.delete_user("demo-a")
    await memorydb.aws.delete_user("demo-a")
    gone = await memorydb.look()

    user = seen.users["demo-a"]
    assert (user.user_name, user.engine, user.auth_mode, user.is_active) == ("demo-a", "", "iam", True)
    assert created.arn == f"arn:aws:memorydb:{REGION}:{ACCOUNT}:user/demo-a"
    assert seen.tags[created.arn] == TAGS
    assert "~orders:*" in changed.users["demo-a"].access_string
    assert (gone.users, gone.tags.get(created.arn)) == ({}, None)


async def test_an_acl_is_a_group(memorydb):
    await memorydb.create_user("demo-a")
    await memorydb.create_user("demo-b")

    created = await memorydb.aws.create_group("demo-g", engine="redis", user_ids=frozenset({"demo-a"}), tags=TAGS)
    await memorydb.aws.modify_group("demo-g", add=frozenset({"demo-b"}), remove=frozenset({"demo-a"}))
    inventory = await memorydb.look()

    assert created.arn == f"arn:aws:memorydb:{REGION}:{ACCOUNT}:acl/demo-g"
    assert inventory.groups["demo-g"].user_ids == {"demo-b"}
    assert inventory.users["demo-b"].group_ids == {"demo-g"}
    assert inventory.tags[created.arn] == TAGS


async def test_a_deleted_acl_is_gone(memorydb):
    await memorydb.aws.create_group("demo-g", engine="", user_ids=frozenset(), tags=TAGS)

    await memorydb.aws.delete_group("demo-g")
    await memorydb.aws.delete_group("demo-g")

    assert (await memorydb.look()).groups == {}


async def test_a_cluster_is_open_until_it_uses_our_acl(memorydb):
    await memorydb.aws.create_group("demo-g", engine="", user_ids=frozenset(), tags=TAGS)
    before = (await memorydb.look()).caches[CLUSTER]

    await memorydb.aws.attach_group(CLUSTER, "demo-g")
    await memorydb.aws.attach_group(CLUSTER, "demo-g")
    after = await memorydb.look()

    assert (before.group_ids, before.host, before.tls, before.engine) == (set(), "mdb.example", True, "redis")
    assert after.caches[CLUSTER].group_ids == {"demo-g"}
    assert after.groups["demo-g"].cache_refs == {CLUSTER}


async def test_a_cluster_that_is_about_to_get_an_acl_says_so(memorydb):
    await memorydb.aws.create_group("demo-g", engine="", user_ids=frozenset(), tags=TAGS)
    memorydb.settings.transition_s = 60.0

    await memorydb.aws.attach_group(CLUSTER, "demo-g")

    cache = (await memorydb.look()).caches[CLUSTER]
    assert (cache.group_ids, cache.future_group_ids) == (set(), {"demo-g"})


async def test_a_cluster_that_got_another_acl_meanwhile_keeps_it(memorydb):
    for name in ("demo-g", "theirs"):
        await memorydb.aws.create_group(name, engine="", user_ids=frozenset(), tags=TAGS)
    await memorydb.aws.attach_group(CLUSTER, "theirs")

    with pytest.raises(ConflictError, match="another group meanwhile: theirs"):
        await memorydb.aws.attach_group(CLUSTER, "demo-g")

    assert (await memorydb.look()).caches[CLUSTER].group_ids == {"theirs"}


async def test_memorydbs_own_user_and_acl_are_not_in_the_inventory(memorydb):
    inventory = await memorydb.look()

    assert (inventory.users, inventory.groups) == ({}, {})


async def test_tags_of_an_acl_are_changed(memorydb):
    acl = await memorydb.aws.create_group("demo-g", engine="", user_ids=frozenset(), tags=TAGS)

    await memorydb.aws.set_tags(acl.arn, {"team": "shop", "cost": "1"})
    await memorydb.aws.remove_tags(acl.arn, frozenset({"cost", "missing"}))

    assert (await memorydb.look()).tags[acl.arn] == {**TAGS, "team": "shop"}
    assert await memorydb.aws.list_tags(acl.arn) == {**TAGS, "team": "shop"}


async def test_what_memorydb_has_not_is_refused(memorydb):
    with pytest.raises(InvalidSpecError, match="no default user"):
        await memorydb.aws.create_default_user("demo-default", engine="redis", tags=TAGS)
    with pytest.raises(InvalidSpecError, match="no engine"):
        await memorydb.aws.set_group_engine("demo-g", "valkey")
    with pytest.raises(InvalidSpecError, match="is ElastiCache's"):
        await memorydb.aws.attach_group(CACHE, "demo-g")


@pytest.mark.parametrize(
    ("act", "error"),
    [
        pytest.param(lambda aws: aws.set_access_string("demo-none", "off -@all"), NotFoundError, id="missing-user"),
        pytest.param(lambda aws: aws.attach_group(CLUSTER, "demo-none"), NotFoundError, id="missing-acl"),
        pytest.param(
            lambda aws: aws.attach_group(CacheRef(CLUSTER.kind, "none"), "demo-g"), NotFoundError, id="missing-cluster"
        ),
        pytest.param(
            lambda aws: aws.create_group("demo-g", engine="", user_ids=frozenset(), tags={}),
            AlreadyExistsError,
            id="taken-name",
        ),
        pytest.param(
            lambda aws: aws.modify_group("demo-g", add=frozenset(), remove=frozenset({"demo-a"})),
            ConflictError,
            id="no-member",
        ),
    ],
)
async def test_memorydbs_refusals_mean_the_same(memorydb, act, error):
    await memorydb.create_user()
    await memorydb.aws.create_group("demo-g", engine="", user_ids=frozenset(), tags=TAGS)

    with pytest.raises(error):
        await act(memorydb.aws)


async def test_a_pass_over_memorydb_costs_its_pages(memorydb):
    memorydb.counts()

    await memorydb.look()
    first = memorydb.counts()
    memorydb.clock.seconds += 300.0
    await asyncio.gather(*(memorydb.look() for _ in range(20)))

    lists = {("memorydb", name): 1 for name in ("DescribeUsers", "DescribeACLs", "DescribeClusters")}
    assert first == {
        **lists,
        ("iam", "ListRoles"): 1,
        ("iam", "GetAccountAuthorizationDetails"): 1,
        ("resourcegroupstaggingapi", "GetResources"): 1,
    }
    assert memorydb.counts() == {**lists, ("iam", "ListRoles"): 1}


async def test_without_rights_to_memorydb_only_its_places_fail(ground):
    ground.fail("memorydb", "*", "AccessDeniedException", times=None)
    places = ground.places()

    with pytest.raises(AccessDeniedError, match="MemoryDB"):
        await places(MEMORYDB).get_inventory(max_age_s=300.0, slow_max_age_s=3600.0)

    assert CACHE in (await places(HOME).get_inventory(max_age_s=300.0, slow_max_age_s=3600.0)).caches


# -- places -----------------------------------------------------------------------------------------------------------


async def test_a_place_is_made_once(ground):
    places = ground.places()

    assert places(HOME) is places(HOME)
    assert places(HOME) is not places(ELSEWHERE)


async def test_regions_have_caches_of_their_own_and_share_roles(ground):
    ground.world.add_replication_group(
        ACCOUNT, ELSEWHERE.region, "far", engine="redis", engine_version="7.1", host="far.example", port=6379
    )
    places = ground.places()
    await places(HOME).create_role(
        "demo-a", path=PATH, trust=TRUST, tags=TAGS, boundary=None, max_session_s=3600, description=""
    )
    here = await places(HOME).get_inventory(max_age_s=300.0, slow_max_age_s=3600.0)
    ground.counts()

    there = await places(ELSEWHERE).get_inventory(max_age_s=300.0, slow_max_age_s=3600.0)

    assert [ref.id for ref in there.caches] == ["far"]
    assert (there.roles, len(here.roles)) == (here.roles, 1)
    assert not [operation for service, operation in ground.counts() if service == "iam"]


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), (REGION, "aws")]
)
async def test_every_partition_has_arns_of_its_own(region, partition):
    ground = Ground(region=region, partition=partition)
    place = Place(Service.ELASTICACHE, ACCOUNT, region)
    aws = ground.places()(place)

    user = await aws.create_user("demo-a", engine="redis", access_string="on ~* +@read", tags=TAGS)
    role = await aws.create_role(
        "demo-a", path=PATH, trust=trust_in(partition), tags=TAGS, boundary=None, max_session_s=3600, description=""
    )
    inventory = await aws.get_inventory(max_age_s=300.0, slow_max_age_s=3600.0)
    ground.bridge.close()

    assert user.arn == names.user_arn(place, "demo-a")
    assert user.arn.startswith(f"arn:{partition}:")
    assert role.arn == names.role_arn(region, ACCOUNT, PATH, "demo-a")
    assert inventory.caches[CACHE].arn == names.cache_arn(place, CACHE)


def trust_in(partition):
    return json.loads(json.dumps(TRUST).replace("arn:aws:", f"arn:{partition}:"))


OTHER_ACCOUNT = "444455556666"
OTHER = Place(Service.MEMORYDB, OTHER_ACCOUNT, REGION)
OTHER_ROLE = f"arn:aws:iam::{OTHER_ACCOUNT}:role/operator"


@pytest.fixture
def other(ground):
    """Return a second account with a cluster, and a role that trusts us if we name the external id."""
    ground.world.add_account(OTHER_ACCOUNT)
    ground.world.add_memorydb_cluster(OTHER_ACCOUNT, REGION, CLUSTER.id, engine="redis", host="mdb.example", port=6379)
    keys = ground.world.add_access_key(OTHER_ACCOUNT, user_name="admin")
    iam = ground.in_process.client("iam", *keys, REGION)
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "secret-handshake"}},
    }
    document = {"Version": "2012-10-17", "Statement": [trust]}
    iam.create_role(RoleName="operator", AssumeRolePolicyDocument=json.dumps(document))
    policy = operator_policy(owner="demo", partition="aws", account=OTHER_ACCOUNT, region=REGION, is_home=False)
    iam.put_role_policy(RoleName="operator", PolicyName="operator", PolicyDocument=json.dumps(policy))
    return SimpleNamespace(iam=iam)


def other_account(external_id="secret-handshake", **changes):
    entry = {"id": OTHER_ACCOUNT, "roleArn": OTHER_ROLE, "externalId": external_id, "namespaces": ["shop"], **changes}
    return {"accounts": [entry]}


async def test_another_account_is_entered_by_its_role(ground, other):
    aws = ground.places(**other_account())(OTHER)
    ground.counts()

    user = await aws.create_user("demo-a", engine="", access_string="on ~* +@read", tags=TAGS)
    role = await aws.create_role(
        "demo-a", path=PATH, trust=in_other_account(TRUST), tags=TAGS, boundary=None, max_session_s=3600, description=""
    )
    inventory = await aws.get_inventory(max_age_s=300.0, slow_max_age_s=3600.0)

    assert user.arn == f"arn:aws:memorydb:{REGION}:{OTHER_ACCOUNT}:user/demo-a"
    assert role.arn.startswith(f"arn:aws:iam::{OTHER_ACCOUNT}:role/elasticache-iam/demo/")
    assert (inventory.users.keys(), inventory.roles.keys()) == ({"demo-a"}, {"demo-a"})
    assert other.iam.get_role(RoleName="demo-a")["Role"]["Arn"] == role.arn
    assert ground.counts()["sts", "AssumeRole"] == 1


def in_other_account(document):
    return json.loads(json.dumps(document).replace(ACCOUNT, OTHER_ACCOUNT))


@pytest.mark.usefixtures("other")
async def test_places_of_another_account_share_its_session(ground):
    places = ground.places(**other_account())
    ground.counts()

    for service in Service:
        await places(Place(service, OTHER_ACCOUNT, REGION)).get_inventory(max_age_s=300.0, slow_max_age_s=3600.0)

    counts = ground.counts()
    assert (counts["sts", "AssumeRole"], counts["iam", "ListRoles"]) == (1, 1)


@pytest.mark.usefixtures("other")
async def test_a_role_that_does_not_trust_us_says_what_it_needs(ground):
    aws = ground.places(**other_account(external_id="not-the-handshake"))(OTHER)

    with pytest.raises(AccessDeniedError) as caught:
        await aws.create_user("demo-a", engine="", access_string="on ~* +@read", tags=TAGS)

    assert f"can't become {OTHER_ROLE}" in str(caught.value)
    assert "sts:ExternalId is the configured externalId" in str(caught.value)
    assert "not-the-handshake" not in str(caught.value)


@pytest.mark.usefixtures("other")
async def test_an_account_that_is_not_configured_is_never_entered(ground):
    places = ground.places()
    ground.counts()

    with pytest.raises(InvalidSpecError, match=f"account {OTHER_ACCOUNT} isn't in the operator's configuration"):
        places(OTHER)

    assert ground.counts() == {}


# -- roles ------------------------------------------------------------------------------------------------------------


async def test_what_we_wrote_to_a_role_is_known_without_reading(ground):
    await ground.look()
    await ground.create_role()
    await ground.aws.put_role_policy("demo-a", "connect", POLICY)
    await ground.aws.set_trust("demo-a", OTHER_TRUST)
    ground.counts()

    role = (await ground.look()).roles["demo-a"]

    assert (role.policies, role.trust, role.tags, role.max_session_s) == (
        {"connect": POLICY},
        OTHER_TRUST,
        TAGS,
        43200,
    )
    assert ground.counts() == {}


async def test_pages_tell_the_same_as_our_writes(ground):
    await ground.create_role()
    await ground.aws.put_role_policy("demo-a", "connect", POLICY)
    ours = (await ground.look()).roles["demo-a"]

    theirs = (await ground.look(max_age_s=0.0, slow_max_age_s=0.0)).roles["demo-a"]

    assert theirs == ours


async def test_a_restarted_operator_reads_the_same(ground):
    await ground.create_role()
    await ground.aws.put_role_policy("demo-a", "connect", POLICY)
    ours = (await ground.look()).roles["demo-a"]

    assert (await ground.adapter().get_inventory(max_age_s=1, slow_max_age_s=1)).roles["demo-a"] == ours
    assert await ground.adapter().get_role("demo-a") == ours


async def test_a_role_with_policies_is_deleted(ground):
    await ground.create_role()
    await ground.aws.put_role_policy("demo-a", "connect", POLICY)
    await ground.aws.put_role_policy("demo-a", "another", POLICY)
    await ground.look()

    await ground.aws.delete_role("demo-a")

    assert (await ground.look()).roles == {}
    assert await ground.aws.get_role("demo-a") is None


async def test_after_a_lost_answer_one_role_is_read_alone(ground):
    await ground.create_role()
    await ground.aws.put_role_policy("demo-a", "connect", POLICY)
    await ground.look()
    ground.fail("iam", "UpdateAssumeRolePolicy", "ServiceFailure", times=3, status=500)
    with pytest.raises(UnavailableError):
        await ground.aws.set_trust("demo-a", OTHER_TRUST)
    ground.counts()

    role = (await ground.look()).roles["demo-a"]

    assert role.trust == TRUST
    assert ground.counts() == {
        ("iam", "GetRole"): 1,
        ("iam", "ListRolePolicies"): 1,
        ("iam", "GetRolePolicy"): 1,
        ("iam", "ListAttachedRolePolicies"): 1,
    }


async def test_many_callers_read_an_unclear_role_once(ground):
    await ground.create_role()
    await ground.look()
    ground.fail("iam", "UpdateAssumeRolePolicy", "ServiceFailure", times=3, status=500)
    with pytest.raises(UnavailableError):
        await ground.aws.set_trust("demo-a", OTHER_TRUST)
    ground.counts()

    await asyncio.gather(*(ground.look() for _ in range(20)))

    assert ground.counts()["iam", "GetRole"] == 1


async def test_a_role_made_by_another_replica_is_read_alone(ground):
    await ground.look()
    await ground.adapter().create_role(
        "demo-b", path=PATH, trust=TRUST, tags=TAGS, boundary=None, max_session_s=3600, description=""
    )
    ground.clock.seconds += 300.0
    ground.counts()

    role = (await ground.look()).roles["demo-b"]

    assert (role.tags, role.policies) == (TAGS, {})
    assert ground.counts() == {
        **PASS,
        ("iam", "GetRole"): 1,
        ("iam", "ListRolePolicies"): 1,
        ("iam", "ListAttachedRolePolicies"): 1,
    }


async def test_too_many_unknown_roles_are_read_in_pages(ground):
    await ground.look()
    other = ground.adapter()
    for number in range(30):
        await other.create_role(
            f"demo-{number}", path=PATH, trust=TRUST, tags=TAGS, boundary=None, max_session_s=3600, description=""
        )
    ground.clock.seconds += 300.0
    ground.counts()

    roles = (await ground.look()).roles

    assert {role.policies is not None for role in roles.values()} == {True}
    assert ground.counts() == {**PASS, ("iam", "GetAccountAuthorizationDetails"): 1}


async def test_roles_of_others_are_not_in_the_inventory(ground):
    ground.iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=json.dumps(TRUST))

    inventory = await ground.look()

    assert inventory.roles == {}
    theirs = await ground.aws.get_role("theirs")
    assert theirs is not None
    assert theirs.path == "/"


async def test_the_providers_audiences_are_told_and_kept(ground):
    ground.iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["elasticache-iam.dev/sign"])
    ground.counts()

    answers = [await ground.aws.get_oidc_audiences(ISSUER) for _ in range(5)]

    assert answers == [{"elasticache-iam.dev/sign"}] * 5
    assert ground.counts() == {("iam", "GetOpenIDConnectProvider"): 1}


async def test_a_missing_provider_is_none_and_asked_again_later(ground):
    before = await ground.aws.get_oidc_audiences(ISSUER)
    ground.iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["a"])
    ground.clock.seconds += 121.0

    after = await ground.aws.get_oidc_audiences(ISSUER)

    assert (before, after) == (None, {"a"})


async def test_boundary_session_tags_and_policies_of_a_role_are_changed(ground):
    await ground.create_role()
    await ground.aws.put_role_policy("demo-a", "connect", POLICY)
    await ground.look()
    boundary = ground.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(POLICY))["Policy"]["Arn"]

    await ground.aws.set_boundary("demo-a", boundary)
    await ground.aws.set_max_session("demo-a", 7200)
    await ground.aws.tag_role("demo-a", {"team": "shop", "cost": "1"})
    await ground.aws.untag_role("demo-a", frozenset({"cost", "missing"}))
    await ground.aws.delete_role_policy("demo-a", "connect")
    ground.counts()
    role = (await ground.look()).roles["demo-a"]

    assert (role.boundary, role.max_session_s, role.tags, role.policies) == (
        boundary,
        7200,
        {**TAGS, "team": "shop"},
        {},
    )
    assert ground.counts() == {}
    assert await ground.adapter().get_role("demo-a") == role


async def test_a_policy_that_is_gone_with_its_role_is_deleted(ground):
    await ground.aws.delete_role_policy("demo-none", "connect")

    assert await ground.aws.get_role("demo-none") is None


async def test_a_policy_on_anothers_role_costs_no_reads_afterwards(ground):
    ground.iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=json.dumps(TRUST))
    await ground.aws.put_role_policy("theirs", "connect", POLICY)
    await ground.look()
    ground.counts()

    inventory = await ground.look()

    assert inventory.roles == {}
    assert ground.counts() == {}
    assert (await ground.aws.get_role("theirs")).policies == {"connect": POLICY}


# -- what a pass costs ------------------------------------------------------------------------------------------------


async def test_the_first_pass_reads_each_list_once(ground):
    ground.counts()

    await ground.look()

    assert ground.counts() == {**PASS, **SLOW_PASS}


async def test_an_unchanged_world_costs_its_pages_and_nothing_else(ground):
    for name in ("demo-a", "demo-b", "demo-c"):
        await ground.create_user(name)
        await ground.create_role(name)
    await ground.look()
    ground.clock.seconds += 300.0
    ground.counts()

    await asyncio.gather(*(ground.look() for _ in range(100)))

    assert ground.counts() == PASS


async def test_a_young_inventory_costs_nothing(ground):
    await ground.look()
    ground.clock.seconds += 299.0
    ground.counts()

    await ground.look()

    assert ground.counts() == {}


async def test_the_slow_clock_reads_tags_policies_and_versions(ground):
    await ground.look()
    ground.clock.seconds += 3600.0
    ground.counts()

    await ground.look()

    assert ground.counts() == {**PASS, **SLOW_PASS}


async def test_users_are_read_in_pages_of_a_hundred(ground):
    for number in range(120):
        ground.elasticache.create_user(
            UserId=f"u-{number}",
            UserName=f"u-{number}",
            Engine="redis",
            AccessString="on ~* +@read",
            AuthenticationMode={"Type": "iam"},
        )
    ground.counts()

    inventory = await ground.look()

    assert len(inventory.users) == 121  # with AWS's own default user
    assert ground.counts()["elasticache", "DescribeUsers"] == 2


async def test_an_hour_of_a_thousand_users_costs_few_calls(ground):
    for number in range(1000):
        ground.elasticache.create_user(
            UserId=f"demo-{number}",
            UserName=f"demo-{number}",
            Engine="valkey",
            AccessString="on ~* +@read",
            AuthenticationMode={"Type": "iam"},
            Tags=[{"Key": key, "Value": value} for key, value in TAGS.items()],
        )
    for number in range(20):
        ground.elasticache.create_user_group(
            UserGroupId=f"demo-g{number}",
            Engine="valkey",
            UserIds=[f"demo-{member}" for member in range(50 * number, 50 * number + 50)],
        )
    await ground.look()
    ground.counts()

    for _ in range(12):
        ground.clock.seconds += 300.0
        await ground.look()

    calls = ground.counts()
    elasticache = sum(count for (service, _), count in calls.items() if service == "elasticache")
    others = sum(calls.values()) - elasticache
    assert (elasticache <= 200, others <= 130) == (True, True), calls


async def test_a_write_makes_only_its_own_lists_stale(ground):
    await ground.look()
    await ground.create_user()
    ground.counts()

    await ground.look()

    assert ground.counts() == {("elasticache", "DescribeUsers"): 1}


async def test_a_slow_page_does_not_bring_the_past_back(ground):
    await ground.look()
    ground.clock.seconds += 300.0
    ground.fail("elasticache", "DescribeUsers", latency_s=0.3)
    slow = asyncio.create_task(ground.look())
    await asyncio.sleep(0.05)

    await ground.create_user()
    inventory = await ground.look()
    await slow

    assert "demo-a" in inventory.users
    assert "demo-a" in (await ground.look()).users


# -- failures ---------------------------------------------------------------------------------------------------------


async def test_after_a_lost_answer_the_creation_is_recognised_by_its_tags(ground, monkeypatch):
    lost = _lose_answer(ground, monkeypatch, "CreateUser")

    with pytest.raises(AlreadyExistsError) as caught:  # botocore's second try
        await ground.create_user()
    inventory = await ground.look()

    assert lost == ["CreateUser"]
    assert caught.value.code == "UserAlreadyExists"
    assert inventory.tags[inventory.users["demo-a"].arn] == TAGS


def _lose_answer(ground, monkeypatch, operation):
    """Carry out the next call of an operation, and close the connection instead of answering."""
    lost = []
    dispatch = ground.world.dispatch

    def dispatch_and_lose(call):
        answer = dispatch(call)
        if call.operation == operation and not lost:
            lost.append(operation)
            raise ConnectionError("by request")
        return answer

    monkeypatch.setattr(ground.world, "dispatch", dispatch_and_lose)
    return lost


async def test_a_taken_id_says_so(ground):
    await ground.create_user()

    with pytest.raises(AlreadyExistsError, match="UserAlreadyExists"):
        await ground.create_user()


async def test_a_busy_user_is_busy(ground):
    ground.settings.transition_s = 60.0
    await ground.create_user()

    with pytest.raises(BusyError, match="InvalidUserState"):
        await ground.aws.set_access_string("demo-a", "off -@all")


async def test_removing_who_is_no_member_asks_for_a_new_look(ground):
    await ground.create_user()
    await ground.create_group()

    with pytest.raises(ConflictError, match="is not a member of user group"):
        await ground.aws.modify_group("demo-g", add=frozenset(), remove=frozenset({"demo-a"}))


async def test_a_redis_group_without_default_is_refused(ground):
    with pytest.raises(InvalidSpecError, match="DefaultUserRequired"):
        await ground.aws.create_group("demo-g", engine="redis", user_ids=frozenset(), tags=TAGS)


async def test_a_full_quota_says_so(ground):
    ground.settings.users = 1
    await ground.create_user("demo-b")

    with pytest.raises(QuotaExceededError, match="UserQuotaExceeded"):
        await ground.create_user("demo-a")


async def test_a_missing_cache_is_not_found(ground):
    await ground.create_group()

    with pytest.raises(NotFoundError, match="ReplicationGroupNotFoundFault"):
        await ground.aws.attach_group(CacheRef(CacheKind.REPLICATION_GROUP, "none"), "demo-g")


async def test_throttling_that_lasts_is_told(ground):
    ground.fail("elasticache", "DescribeUsers", "Throttling", times=None)

    with pytest.raises(ThrottledError, match="ElastiCache DescribeUsers: Throttling: by request"):
        await ground.look()


async def test_throttling_that_passes_is_not_noticed(ground):
    ground.fail("elasticache", "DescribeUsers", "Throttling", times=1)

    assert (await ground.look()).users


async def test_an_outage_is_unavailable_and_over_when_it_is_over(ground):
    ground.fail("iam", "*", "Outage", times=None)
    with pytest.raises(UnavailableError):
        await ground.look()
    ground.settings.faults.clear()

    assert CACHE in (await ground.look()).caches


async def test_a_user_with_tags_that_the_index_lacks_keeps_the_tags_we_sent(ground, monkeypatch):
    created = await ground.create_user()
    dispatch = ground.world.dispatch
    monkeypatch.setattr(
        ground.world,
        "dispatch",
        lambda call: {"ResourceTagMappingList": []} if call.operation == "GetResources" else dispatch(call),
    )

    inventory = await ground.look(slow_max_age_s=0.0)

    assert inventory.tags[created.arn] == TAGS


async def test_a_cancelled_write_still_makes_stale(ground, monkeypatch):
    await ground.look()
    sent, may_go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(in_process, "time", SimpleNamespace(sleep=lambda _: (sent.set(), may_go_on.wait(30))))
    ground.fail("elasticache", "CreateUser", latency_s=1.0)
    write = asyncio.create_task(ground.create_user())
    await asyncio.to_thread(sent.wait, 30)
    write.cancel()
    await asyncio.wait((write,))
    may_go_on.set()

    async with asyncio.timeout(30):
        while "demo-a" not in (await ground.look()).users:  # noqa: ASYNC110  # nothing tells that the worker has ended
            await asyncio.sleep(0.01)

    assert ground.counts()["elasticache", "CreateUser"] == 1


# -- sessions of workloads --------------------------------------------------------------------------------------------


async def workload(ground):
    """Create provider and role; return what trades a token of a ServiceAccount for a session."""
    ground.iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["elasticache-iam.dev/sign"])
    role = await ground.create_role()
    sts = BotoSts(ground.session(), region=REGION, bridge=ground.bridge)

    async def assume(service_account="checkout"):
        token = ground.signer("shop", service_account, "elasticache-iam.dev/sign", datetime.now(UTC), 600)
        return await sts.assume_role_with_web_identity(
            role_arn=role.arn,
            session_name=f"shop.{service_account}",
            web_identity_token=token,
            duration_s=43200,
            policy=json.dumps(POLICY),
        )

    return assume


async def test_a_trusted_service_account_gets_a_session(ground):
    assume = await workload(ground)

    credentials = await assume()

    assert credentials.session_token
    assert 43100 < (credentials.expires_at - datetime.now(UTC)).total_seconds() <= 43200


async def test_another_service_account_is_denied(ground):
    assume = await workload(ground)

    with pytest.raises(AccessDeniedError, match="AccessDenied") as caught:
        await assume("another")

    assert "eyJ" not in str(caught.value)


async def test_a_provider_that_is_missing_is_no_edit_of_the_resource(ground):
    assume = await workload(ground)
    ground.iam.delete_open_id_connect_provider(
        OpenIDConnectProviderArn=f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example/id/ABC"
    )

    with pytest.raises(AccessDeniedError, match="InvalidIdentityToken"):
        await assume()


async def test_a_throttled_session_is_throttled(ground):
    assume = await workload(ground)
    ground.fail("sts", "AssumeRoleWithWebIdentity", "Throttling", times=None)

    with pytest.raises(ThrottledError):
        await assume()


async def test_sessions_do_not_wait_for_a_stuck_control_plane(ground, monkeypatch):
    assume = await workload(ground)
    is_stuck, may_go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(in_process, "time", SimpleNamespace(sleep=lambda _: (is_stuck.set(), may_go_on.wait(30))))
    ground.fail("elasticache", "DescribeUsers", latency_s=1.0)
    stuck = asyncio.create_task(ground.look())
    await asyncio.to_thread(is_stuck.wait, 30)

    await asyncio.wait_for(assume(), timeout=30)

    assert not stuck.done()
    may_go_on.set()
    await stuck


async def test_the_account_is_the_credentials(ground):
    assert await get_account(ground.session(), region=REGION, bridge=ground.bridge) == ACCOUNT


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_was_written_at_once_the_inventory_ends_up_true(ground, seed):
    """Writers and readers at the same time, slow pages, callers that go away."""
    chance = random.Random(seed)  # noqa: S311  # a repeatable mix, no secret
    await ground.look()
    ground.fail("elasticache", "DescribeUsers", latency_s=0.02, times=5)
    ground.fail("iam", "ListRoles", latency_s=0.02, times=5)
    ground.fail("iam", "UpdateAssumeRolePolicy", latency_s=0.02, times=5)

    async def write(name):
        await ground.create_user(name)
        await ground.create_role(name)
        for _ in range(3):
            await asyncio.sleep(chance.random() / 50)
            change = chance.choice(["trust", "policy", "access", "lost", "look", "delete role"])
            if change == "trust":
                await ground.aws.set_trust(name, chance.choice([TRUST, OTHER_TRUST]))
            elif change == "policy":
                await ground.aws.put_role_policy(name, chance.choice(["connect", "another"]), POLICY)
            elif change == "access":
                await ground.aws.set_access_string(name, f"on ~{chance.random()} -@all +@read")
            elif change == "lost":
                asyncio.get_running_loop().call_later(0.005, asyncio.current_task().cancel)
                with contextlib.suppress(asyncio.CancelledError):
                    await ground.aws.set_trust(name, OTHER_TRUST)
                    await asyncio.sleep(1)
            elif change == "look":
                ground.clock.seconds += chance.choice([0.0, 300.0, 3600.0])
                await ground.look()
            else:
                await ground.aws.delete_role(name)
                break

    await asyncio.gather(*(write(f"demo-{number}") for number in range(10)))
    async with asyncio.timeout(30):
        while ground.bridge.control._inside:  # noqa: ASYNC110  # calls that nobody waits for any more
            await asyncio.sleep(0.01)

    seen = await ground.look()

    truth = await ground.adapter().get_inventory(max_age_s=1.0, slow_max_age_s=1.0)
    assert seen.users == truth.users
    assert seen.roles == truth.roles
    assert seen.tags == truth.tags
