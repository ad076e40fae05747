"""Whose credentials sign a workload's tokens: the ServiceAccount's own, or the operator's where that is configured."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.core import names
from elasticache_iam.core.policy import role_chain_trust, trust_policy
from elasticache_iam.reconcile.queue import USERS
from elasticache_iam_sandbox.front.token import Admitted, Reason, Refused, Verdict, verify_token

USER = (USERS, "shop", "checkout")
USER_ID = names.default_id(OWNER, "shop", "checkout")
QUICK = {"driftInterval": 0.3, "slowDriftInterval": 0.3}
EXTERNAL_ID = f"{OWNER}/shop/checkout"
AS_OPERATOR = {**QUICK, "signing": "AssumeRole"}
BY_STS_AUDIENCE = {**QUICK, "audience": "sts.amazonaws.com"}
THEIRS = f"arn:aws:iam::{ACCOUNT}:role/apps/checkout"


async def start(world: Ground, config: dict[str, Any] | None = None, **spec: Any) -> Operator:
    world.add_cache()
    operator = await world.start(config or QUICK)
    world.apply(group_manifest(), user_manifest(**spec))
    return operator


def trust_in_aws(world: Ground, role_name: str = USER_ID) -> Any:
    return world.iam.get_role(RoleName=role_name)["Role"]["AssumeRolePolicyDocument"]


def condition(world: Ground, kind: str = "AccessGranted") -> tuple[str, str]:
    return world.conditions(*USER).get(kind, ("", ""))


def expires_in(world: Ground) -> timedelta:
    """Return how long the delivered token is good for from now."""
    secret = world.kube.secret("shop", "checkout") or {}
    return datetime.fromisoformat(secret["expires-at"]).astimezone(UTC) - world.clock.now()


def verdict(
    world: Ground, cache_id: str = "orders-prod", *, region: str = REGION, name: str = "checkout", secret: str = ""
) -> Verdict:
    """Return what a cache's front says to the delivered token: it computes signatures by itself, with botocore."""
    found = world.kube.secret("shop", secret or name) or {}
    with world.aws.lock:
        view = world.world.cache_view(ACCOUNT, region, cache_id)
        assert view is not None
        return verify_token(
            found["password"].encode(),
            username=found["username"],
            view=view,
            now=world.world.now(),
            token_seconds=900,
            signing_identity=world.world.signing_identity,
            decide_connect=lambda identity, user_id: world.world.decide_connect(
                identity, view, user_id, source_ip="10.0.0.1"
            ),
        )


def session_ends(world: Ground) -> list[datetime]:
    """Return when the sessions of the user's role end, as AWS has them."""
    with world.aws.lock:
        keys = world.world._state.access_keys.values()
        return sorted(key.owner.expires_at for key in keys if getattr(key.owner, "role_name", "") == USER_ID)


# -- as the operator -----------------------------------------------------------------------------------------------


@pytest.fixture
def chained(world: Ground) -> Ground:
    """A cluster without an OIDC provider, whose operator has a role."""
    world.become_role(assume_role_signing=True)
    provider = names.oidc_provider_arn(REGION, ACCOUNT, world.signer.issuer)
    world.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)
    return world


async def test_without_an_oidc_provider_roles_trust_the_operator_for_one_user_each(chained: Ground):
    await start(chained, AS_OPERATOR)
    await chained.until_ready()

    assert trust_in_aws(chained) == role_chain_trust(principal_arn=chained.principal, external_id=EXTERNAL_ID)
    assert chained.principal.endswith(":role/platform/elasticache-iam-operator")
    assert chained.calls("AssumeRoleWithWebIdentity") == 0
    assert isinstance(verdict(chained), Admitted)
    assert "serviceaccounts/token" not in {call.resource for call in chained.kube.calls}


async def test_a_chained_session_lasts_an_hour_although_the_role_allows_twelve(chained: Ground):
    await start(chained, AS_OPERATOR)
    await chained.until_ready()

    (end,) = session_ends(chained)
    assert timedelta(minutes=59) < end - chained.clock.now() <= timedelta(hours=1)
    assert chained.iam.get_role(RoleName=USER_ID)["Role"]["MaxSessionDuration"] == 43200


async def test_tokens_never_outlive_a_chained_session(chained: Ground):
    await start(chained, AS_OPERATOR)
    await chained.until_ready()

    for _ in range(20):
        chained.pass_time(300)
        await chained.until(lambda: expires_in(chained) > timedelta(minutes=5))
        assert chained.clock.now() + expires_in(chained) <= session_ends(chained)[-1] + timedelta(seconds=1)

    assert 2 <= len(session_ends(chained)) <= 5


async def test_the_role_of_one_user_is_not_to_be_had_for_another(chained: Ground):
    await start(chained, AS_OPERATOR)
    await chained.until_ready()
    access_key_id, secret, token = chained.operator_key
    sts = chained.aws.client("sts", access_key_id, secret, REGION, token)
    role = chained.iam.get_role(RoleName=USER_ID)["Role"]["Arn"]

    for external_id in ({}, {"ExternalId": f"{OWNER}/shop/other"}):
        with pytest.raises(ClientError, match="AccessDenied"):
            sts.assume_role(RoleArn=role, RoleSessionName="thief", **external_id)

    assert sts.assume_role(RoleArn=role, RoleSessionName="thief", ExternalId=EXTERNAL_ID)


async def test_a_role_of_others_must_name_the_operator_and_the_external_id(chained: Ground):
    wrong = role_chain_trust(principal_arn=chained.principal, external_id=f"{OWNER}/shop/other")
    chained.iam.create_role(RoleName="checkout", Path="/apps/", AssumeRolePolicyDocument=json.dumps(wrong))
    connect = {"Effect": "Allow", "Action": "elasticache:Connect", "Resource": "*"}
    chained.iam.put_role_policy(
        RoleName="checkout",
        PolicyName="connect",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [connect]}),
    )

    await start(chained, AS_OPERATOR, role={"mode": "External", "arn": THEIRS})
    await chained.until(lambda: condition(chained) == ("False", "TrustMissing"))
    right = role_chain_trust(principal_arn=chained.principal, external_id=EXTERNAL_ID)
    body = chained.kube.get(*USER)
    assert body is not None
    assert body["status"]["role"]["trust"] == right["Statement"]
    chained.iam.update_assume_role_policy(RoleName="checkout", PolicyDocument=json.dumps(right))

    await chained.later(chained.is_ready, step_s=10)


async def test_an_installation_changes_over_from_web_identity(world: Ground):
    first = await start(world)
    await world.until_ready()
    await first.kill()
    world.become_role(assume_role_signing=True)

    await world.start(AS_OPERATOR)

    expected = role_chain_trust(principal_arn=world.principal, external_id=EXTERNAL_ID)
    await world.until(lambda: trust_in_aws(world) == expected)
    await world.until_ready()
    world.pass_time(500)
    await world.until(lambda: expires_in(world) > timedelta(minutes=10))


# -- by the audience of everybody's tokens -----------------------------------------------------------------------------


async def test_the_audience_of_irsa_works_where_it_is_chosen(world: Ground):
    await start(world, BY_STS_AUDIENCE)
    await world.until_ready()

    issuer = world.signer.issuer
    assert trust_in_aws(world) == trust_policy(
        provider_arn=names.oidc_provider_arn(REGION, ACCOUNT, issuer),
        issuer=issuer,
        audience="sts.amazonaws.com",
        subjects=(("shop", "checkout"),),
    )
    assert len(trust_in_aws(world)["Statement"]) == 1
    assert isinstance(verdict(world), Admitted)


async def test_an_irsa_role_of_others_serves_as_it_is_with_that_audience(world: Ground):
    irsa = trust_policy(
        provider_arn=names.oidc_provider_arn(REGION, ACCOUNT, world.signer.issuer),
        issuer=world.signer.issuer,
        audience="sts.amazonaws.com",
        subjects=(("shop", "checkout"),),
    )
    world.iam.create_role(
        RoleName="checkout",
        Path="/apps/",
        AssumeRolePolicyDocument=json.dumps(irsa),
        Tags=[{"Key": "elasticache-iam.dev/allow", "Value": OWNER}],
    )

    await start(world, BY_STS_AUDIENCE, role={"mode": "Existing", "arn": THEIRS})
    await world.until_ready()

    assert trust_in_aws(world, "checkout") == irsa


# -- for each kind of cache --------------------------------------------------------------------------------------------

ALLOW = {"elasticache-iam.dev/allow": OWNER}
SERVED = {"engine": "valkey", "host": "127.0.0.1", "port": 6379, "tags": ALLOW}


def add(world: Ground, kind: str, cache_id: str, region: str = REGION) -> None:
    match kind:
        case "memoryDBCluster":
            world.world.add_memorydb_cluster(ACCOUNT, region, cache_id, shards=2, **SERVED)
        case "serverlessCache":
            world.world.add_serverless_cache(ACCOUNT, region, cache_id, **SERVED)
        case _:
            world.world.add_replication_group(ACCOUNT, region, cache_id, engine_version="8.0", shards=2, **SERVED)


@pytest.mark.parametrize(
    ("kind", "signed"),
    [
        pytest.param("replicationGroup", {"service": "elasticache", "more": set()}, id="cluster-mode"),
        pytest.param("serverlessCache", {"service": "elasticache", "more": {"ResourceType"}}, id="serverless"),
        pytest.param("memoryDBCluster", {"service": "memorydb", "more": set()}, id="memorydb"),
    ],
)
@pytest.mark.parametrize("signing", ["WebIdentity", "AssumeRole"])
async def test_a_token_is_signed_for_the_caches_id_and_kind(
    world: Ground, kind: str, signed: dict[str, Any], signing: str
):
    world.become_role(assume_role_signing=True)
    add(world, kind, "orders-x")
    group = group_manifest(engine="valkey", service="MemoryDB" if kind == "memoryDBCluster" else "ElastiCache")
    group["spec"]["caches"] = [{"name": "main", kind: "orders-x"}]
    await world.start({**QUICK, "signing": signing})
    world.apply(group, user_manifest())
    await world.until_ready()

    assert isinstance(verdict(world, "orders-x"), Admitted)
    secret = world.kube.secret("shop", "checkout") or {}
    url = urlsplit(f"https://{secret['password']}")
    query = parse_qs(url.query)
    assert (url.netloc, url.path) == ("orders-x", "/")
    assert query["Action"] == ["connect"]
    assert query["User"] == [USER_ID] == [secret["username"]]
    assert query["X-Amz-Credential"][0].split("/")[2:] == [REGION, signed["service"], "aws4_request"]
    assert {key for key in query if not key.startswith("X-Amz-")} == {"Action", "User"} | signed["more"]
    assert query.get("ResourceType", ["ServerlessCache"]) == ["ServerlessCache"]


async def test_a_cache_in_another_region_is_signed_for_there_by_a_session_from_here(world: Ground):
    world.become_role(more_regions=("us-east-1",))
    add(world, "replicationGroup", "orders-far", "us-east-1")
    group = group_manifest(engine="valkey", caches=("orders-far",), region="us-east-1")
    await world.start(QUICK)
    world.apply(group, user_manifest())
    await world.until_ready()

    assert isinstance(verdict(world, "orders-far", region="us-east-1"), Admitted)


async def test_each_cache_of_a_group_has_a_token_that_opens_no_other(world: Ground):
    for cache_id in ("orders-prod", "orders-next"):
        world.add_cache(cache_id)
    await world.start(QUICK)
    world.apply(group_manifest(caches=("orders-prod", "orders-next")), user_manifest())
    await world.until_ready()

    assert isinstance(verdict(world, "orders-prod"), Admitted)
    assert isinstance(verdict(world, "orders-next", secret="checkout.cache2"), Admitted)
    refused = verdict(world, "orders-next")
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.WRONG_CACHE


# -- how long a session lasts ------------------------------------------------------------------------------------------


async def test_a_role_whose_sessions_are_short_is_asked_for_no_longer_ones(world: Ground):
    await start(world, {**QUICK, "maxSessionSeconds": 3600})
    await world.until_ready()

    (end,) = session_ends(world)
    assert end - world.clock.now() <= timedelta(hours=1)
    for _ in range(16):
        world.pass_time(300)
        await world.until(lambda: expires_in(world) > timedelta(minutes=5))
        assert isinstance(verdict(world), Admitted)


async def test_a_role_whose_sessions_somebody_shortens_goes_on_with_short_ones(world: Ground):
    operator = await start(world, {"driftInterval": 3600.0, "slowDriftInterval": 3600.0})
    await world.until_ready()
    world.iam.update_role(RoleName=USER_ID, MaxSessionDuration=3600)
    await operator.kill()

    await world.start({"driftInterval": 3600.0, "slowDriftInterval": 3600.0, "maxSessionSeconds": 3600})
    world.pass_time(500)

    await world.until(lambda: expires_in(world) > timedelta(minutes=10))
    assert isinstance(verdict(world), Admitted)
    assert session_ends(world)[0] - world.clock.now() <= timedelta(hours=1)
