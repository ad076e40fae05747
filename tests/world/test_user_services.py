"""Users of serverless caches, of MemoryDB and of other accounts: what is signed for them, and where their role is."""

import json
from typing import Any

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, Manifest, group_manifest, user_manifest
from tests.world.harness import AUDIENCE, Ground, Operator

from elasticache_iam.core import names
from elasticache_iam.core.policy import operator_policy
from elasticache_iam.reconcile.queue import USERS

USER = (USERS, "shop", "checkout")
USER_ID = names.default_id(OWNER, "shop", "checkout")
QUICK = {"driftInterval": 0.3, "slowDriftInterval": 0.3}
OTHER = "444455556666"
OPERATOR_THERE = f"arn:aws:iam::{OTHER}:role/operator"
ALLOW = {"elasticache-iam.dev/allow": OWNER}
SERVERLESS = {"serverlessCache": "orders-now"}
CLUSTER = {"memoryDBCluster": "orders-db"}


def add_caches(world: Ground, account: str = ACCOUNT) -> None:
    at: dict[str, Any] = {"engine": "valkey", "host": "127.0.0.1", "port": 6379, "tags": ALLOW}
    world.world.add_serverless_cache(account, REGION, "orders-now", **at)
    world.world.add_memorydb_cluster(account, REGION, "orders-db", **at)


def add_account(world: Ground) -> Any:
    """Make another account with caches, an OIDC provider and a role for us; return its IAM."""
    world.world.add_account(OTHER)
    add_caches(world, OTHER)
    iam = world.aws.session(*world.world.add_access_key(OTHER, user_name="admin"), REGION).client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    iam.create_role(RoleName="operator", AssumeRolePolicyDocument=json.dumps(document))
    policy = operator_policy(owner=OWNER, partition="aws", account=OTHER, region=REGION, is_home=False)
    iam.put_role_policy(RoleName="operator", PolicyName="operator", PolicyDocument=json.dumps(policy))
    here = operator_policy(
        owner=OWNER, partition="aws", account=ACCOUNT, region=REGION, roles_elsewhere=(OPERATOR_THERE,)
    )
    world.operator_key = world.world.add_access_key(ACCOUNT, user_name="operator-of-accounts", policy=here)
    return iam


def group_on(cache: dict[str, str], **spec: Any) -> Manifest:
    manifest = group_manifest(engine="valkey", **spec)
    manifest["spec"]["caches"] = [{"name": "main", **cache}]
    return manifest


def memorydb(**spec: Any) -> Manifest:
    return group_on(CLUSTER, service="MemoryDB", **spec)


def password(world: Ground) -> str:
    secret = world.kube.secret("shop", "checkout")
    assert secret is not None
    return secret["password"]


def status(world: Ground) -> dict[str, Any]:
    found: dict[str, Any] = (world.kube.get(*USER) or {})["status"]
    return found


async def writes_nothing_more(world: Ground, operator: Operator) -> None:
    await world.until_quiet(operator)
    kube_writes, aws_writes = len(world.kube.writes), len(operator.tap.writes)
    for key in operator.plane.store.all_keys() * 2:
        await operator.work(key)
    assert len(world.kube.writes) == kube_writes
    assert operator.tap.writes[aws_writes:] == []


async def test_a_token_for_a_serverless_cache_says_so(world: Ground):
    add_caches(world)
    operator = await world.start(QUICK)

    world.apply(group_on(SERVERLESS), user_manifest())
    await world.until_ready()

    assert password(world).startswith(f"orders-now/?Action=connect&User={USER_ID}&ResourceType=ServerlessCache&")
    (policy,) = world.in_aws()["roles"][USER_ID][1].values()
    assert f"arn:aws:elasticache:{REGION}:{ACCOUNT}:serverlesscache:orders-now" in policy["Statement"][0]["Resource"]
    await writes_nothing_more(world, operator)


async def test_a_token_for_memorydb_is_signed_for_it(world: Ground):
    add_caches(world)
    operator = await world.start(QUICK)

    world.apply(memorydb(), user_manifest())
    await world.until_ready()

    assert password(world).startswith(f"orders-db/?Action=connect&User={USER_ID}&X-Amz")
    assert "%2Fmemorydb%2Faws4_request" in password(world)
    (policy,) = world.in_aws()["roles"][USER_ID][1].values()
    assert policy["Statement"][0] == {
        "Effect": "Allow",
        "Action": "memorydb:Connect",
        "Resource": [
            f"arn:aws:memorydb:{REGION}:{ACCOUNT}:cluster/orders-db",
            f"arn:aws:memorydb:{REGION}:{ACCOUNT}:user/{USER_ID}",
        ],
    }
    await writes_nothing_more(world, operator)


async def test_a_memorydb_user_is_put_right_and_goes_with_its_resource(world: Ground):
    add_caches(world)
    await world.start(QUICK)
    world.apply(memorydb(), user_manifest())
    await world.until_ready()
    client = world.admin.client("memorydb")

    client.update_user(UserName=USER_ID, AccessString="on ~* +@all")
    await world.until(lambda: "~orders:*" in client.describe_users(UserName=USER_ID)["Users"][0]["AccessString"])
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert USER_ID not in {user["Name"] for user in client.describe_users()["Users"]}
    assert world.in_aws()["roles"] == {}


async def test_a_memorydb_user_of_somebody_else_is_adopted_with_consent(world: Ground):
    add_caches(world)
    client = world.admin.client("memorydb")
    client.create_user(UserName="legacy", AuthenticationMode={"Type": "iam"}, AccessString="on ~* +@all")
    arn = client.describe_users(UserName="legacy")["Users"][0]["ARN"]
    operator = await world.start(QUICK)
    rule = {"namespaces": {"names": ["shop"]}, "limit": {"preset": "Admin"}, "ids": ["legacy"]}
    world.apply(memorydb(admits=(), admission=[rule]), user_manifest(id="legacy", adoption="Adopt"))

    await world.until(lambda: world.conditions(*USER).get("UserSynced") == ("False", "ConsentMissing"))
    message = world.condition(*USER, "UserSynced")["message"]
    assert f"aws memorydb tag-resource --region eu-central-1 --resource-arn {arn}" in message
    client.tag_resource(ResourceArn=arn, Tags=[{"Key": "elasticache-iam.dev/allow", "Value": f"{OWNER}/shop"}])

    await world.later(world.is_ready, step_s=10)
    assert "~orders:*" in client.describe_users(UserName="legacy")["Users"][0]["AccessString"]
    await writes_nothing_more(world, operator)


@pytest.mark.parametrize("service", ["ElastiCache", "MemoryDB"])
async def test_the_role_is_in_the_caches_account(world: Ground, service: str):
    iam = add_account(world)
    iam.create_open_id_connect_provider(Url=world.signer.issuer, ClientIDList=[AUDIENCE], ThumbprintList=[])
    operator = await world.start(
        {**QUICK, "accounts": [{"id": OTHER, "roleArn": OPERATOR_THERE, "namespaces": ["platform"]}]}
    )
    cache = CLUSTER if service == "MemoryDB" else SERVERLESS

    world.apply(group_on(cache, service=service, account=OTHER), user_manifest())
    await world.until_ready()

    assert status(world)["role"]["arn"] == f"arn:aws:iam::{OTHER}:role/elasticache-iam/{OWNER}/{USER_ID}"
    assert world.in_aws()["roles"] == {}
    assert password(world).startswith(f"{next(iter(cache.values()))}/?Action=connect")
    await writes_nothing_more(world, operator)
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)
    assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == ["operator"]


async def test_the_oidc_provider_of_the_caches_account_counts(world: Ground):
    add_account(world)
    await world.start({**QUICK, "accounts": [{"id": OTHER, "roleArn": OPERATOR_THERE, "namespaces": ["platform"]}]})

    world.apply(group_on(SERVERLESS, account=OTHER), user_manifest())

    await world.until(lambda: world.conditions(*USER).get("AccessGranted") == ("False", "AudienceMissing"))
    assert f"in account {OTHER}" in world.condition(*USER, "AccessGranted")["message"]


async def test_nobody_gets_into_an_account_that_the_group_may_not_use(world: Ground):
    add_account(world)
    await world.start({**QUICK, "accounts": [{"id": OTHER, "roleArn": OPERATOR_THERE, "namespaces": ["elsewhere"]}]})

    world.apply(group_on(SERVERLESS, account=OTHER), user_manifest())
    await world.until(lambda: world.conditions(*USER).get("UserSynced") == ("False", "WaitingForGroup"))

    assert world.calls("AssumeRole") == 0
