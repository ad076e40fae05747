"""Identities that AWS doesn't take: each has its condition, and whoever is in order is served on time."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.builders import ACCOUNT, OWNER, REGION, group_manifest, user_manifest
from tests.fakes.kube import JwtSigner
from tests.world.harness import AUDIENCE, Ground, Operator

from elasticache_iam.core import names
from elasticache_iam.core.policy import trust_policy
from elasticache_iam.reconcile.queue import USERS

USER = (USERS, "shop", "checkout")
HEALTHY = (USERS, "shop", "billing")
QUICK = {"driftInterval": 0.3, "slowDriftInterval": 60.0}
THEIRS = f"arn:aws:iam::{ACCOUNT}:role/apps/checkout"


@pytest.fixture
async def operator(world: Ground) -> Operator:
    """One user in order, with a session in memory; the next one is the test's."""
    world.add_cache()
    started = await world.start(QUICK)
    world.apply(group_manifest(), user_manifest("billing", serviceAccounts=["billing"]))
    await world.until_ready(*HEALTHY)
    return started


def provider(world: Ground) -> str:
    return names.oidc_provider_arn(REGION, ACCOUNT, world.signer.issuer)


def reason(world: Ground, kind: str, of: tuple[str, str, str] = USER) -> str:
    return world.conditions(*of).get(kind, ("", ""))[1]


def issued_at(world: Ground, name: str = "billing") -> datetime:
    secret = world.kube.secret("shop", name) or {}
    return datetime.fromisoformat(secret["expires-at"]).astimezone(UTC) - timedelta(seconds=900)


async def serves_who_is_in_order(world: Ground) -> None:
    """The other user's token is replaced at its time."""
    world.pass_time(480)
    now = world.clock.now()
    await world.until(lambda: issued_at(world) >= now - timedelta(seconds=5))
    assert world.is_ready(*HEALTHY)


def trust(world: Ground, *accounts: str, audience: str = AUDIENCE) -> str:
    document = trust_policy(
        provider_arn=provider(world),
        issuer=world.signer.issuer,
        audience=audience,
        subjects=tuple(("shop", account) for account in accounts),
    )
    return json.dumps(document)


# -- the provider ---------------------------------------------------------------------------------------------------


async def test_an_audience_that_the_provider_does_not_know_is_named_with_the_command(world: Ground, operator: Operator):
    world.iam.remove_client_id_from_open_id_connect_provider(
        OpenIDConnectProviderArn=provider(world), ClientID=AUDIENCE
    )
    world.pass_time(150)  # what is known of the provider is two minutes old at most

    world.apply(user_manifest())

    await world.until(lambda: reason(world, "AccessGranted") == "AudienceMissing")
    message = world.condition(*USER, "AccessGranted")["message"]
    assert (
        f"aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {provider(world)}" in message
    )
    await serves_who_is_in_order(world)
    world.iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=provider(world), ClientID=AUDIENCE)
    await world.later(world.is_ready, step_s=30)


@pytest.mark.parametrize("gone", ["audience", "provider"])
async def test_an_audience_that_is_taken_away_later_is_told_by_who_needs_a_session(
    world: Ground, operator: Operator, gone: str
):
    world.apply(user_manifest())
    await world.until_ready()
    if gone == "provider":
        world.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider(world))
    else:
        world.iam.remove_client_id_from_open_id_connect_provider(
            OpenIDConnectProviderArn=provider(world), ClientID=AUDIENCE
        )
    await operator.kill()

    await world.start(QUICK)  # without sessions
    world.pass_time(480)

    await world.later(lambda: reason(world, "TokenDelivered") == "AudienceMissing", step_s=20)
    await world.later(lambda: reason(world, "AccessGranted") == "AudienceMissing", step_s=60)


# -- the issuer -----------------------------------------------------------------------------------------------------


def _other_cluster(_: str) -> Mapping[str, Any]:
    return JwtSigner().jwks


def _no_keys(_: str) -> Mapping[str, Any]:
    return {"keys": []}


def _unreachable(issuer: str) -> Mapping[str, Any]:
    raise LookupError(issuer)


@pytest.mark.parametrize(
    ("get_jwks", "told"),
    [
        pytest.param(_other_cluster, "IdentityRefused", id="keys-of-another-cluster"),
        pytest.param(_no_keys, "IdentityRefused", id="keys-that-were-taken-back"),
        pytest.param(_unreachable, "IssuerUnreachable", id="an-issuer-that-aws-can-not-reach"),
    ],
)
async def test_an_issuer_whose_keys_do_not_fit_is_told_and_heals_by_itself(
    world: Ground, operator: Operator, get_jwks: Callable[[str], Mapping[str, Any]], told: str
):
    world.get_jwks = get_jwks

    world.apply(user_manifest())

    await world.until(lambda: reason(world, "TokenDelivered") == told)
    assert world.kube.secret("shop", "checkout") is None
    await serves_who_is_in_order(world)
    world.get_jwks = lambda _: world.signer.jwks
    await world.later(world.is_ready, step_s=30)


async def test_a_clock_far_ahead_of_awss_is_no_excuse_for_others(world: Ground, operator: Operator):
    world.settings.clock_offset = timedelta(minutes=-2)  # the token is of the future

    world.apply(user_manifest())

    await world.until(lambda: reason(world, "TokenDelivered") == "IdentityRefused")
    await serves_who_is_in_order(world)
    world.settings.clock_offset = timedelta()
    await world.later(world.is_ready, step_s=30)


# -- the role -------------------------------------------------------------------------------------------------------


@pytest.fixture
def their_role(world: Ground) -> str:
    world.iam.create_role(RoleName="checkout", Path="/apps/", AssumeRolePolicyDocument=trust(world, "checkout"))
    connect = {"Effect": "Allow", "Action": "elasticache:Connect", "Resource": "*"}
    world.iam.put_role_policy(
        RoleName="checkout",
        PolicyName="connect",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [connect]}),
    )
    return THEIRS


async def test_a_role_that_stops_trusting_us_is_named_at_the_next_session(
    world: Ground, operator: Operator, their_role: str
):
    world.apply(user_manifest(role={"mode": "External", "arn": their_role}))
    await world.until_ready()
    world.iam.update_assume_role_policy(
        RoleName="checkout", PolicyDocument=trust(world, "checkout", audience="sts.amazonaws.com")
    )
    await operator.kill()

    await world.start({**QUICK, "slowDriftInterval": 3600.0})
    world.pass_time(480)

    await world.later(lambda: reason(world, "AccessGranted") == "TrustMissing", step_s=60)
    assert f"with the audience {AUDIENCE}" in world.condition(*USER, "AccessGranted")["message"]
    assert world.is_ready(*HEALTHY)
    world.iam.update_assume_role_policy(RoleName="checkout", PolicyDocument=trust(world, "checkout"))
    await world.later(world.is_ready, step_s=60)


async def test_a_managed_role_whose_trust_somebody_breaks_trusts_us_again(world: Ground, operator: Operator):
    user_id = names.default_id(OWNER, "shop", "checkout")
    world.apply(user_manifest())
    await world.until_ready()
    good = world.iam.get_role(RoleName=user_id)["Role"]["AssumeRolePolicyDocument"]

    world.iam.update_assume_role_policy(RoleName=user_id, PolicyDocument=trust(world, "intruder"))

    await world.until(
        lambda: world.iam.get_role(RoleName=user_id)["Role"]["AssumeRolePolicyDocument"] == good, timeout_s=30
    )
    await serves_who_is_in_order(world)


async def test_a_trust_that_was_just_changed_is_waited_for(world: Ground, operator: Operator):
    """A role's news takes AWS a while: until then it isn't told as a missing right."""
    world.settings.iam_propagation_s = 60.0
    seen: set[str] = set()

    world.apply(user_manifest())
    for _ in range(30):
        await world.until_quiet(operator)
        seen.add(reason(world, "TokenDelivered"))
        if world.is_ready():
            break
        world.pass_time(10)

    await world.later(world.is_ready, step_s=10)
    assert "AccessDenied" not in seen
    assert reason(world, "AccessGranted") == "Granted"
