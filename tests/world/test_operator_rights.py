"""The operator's rights against the calls that it really makes: all stories are played once under its own policy.

What is missing fails the story that needs it. What nobody uses shows here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import pytest
from tests.builders import ACCOUNT, OWNER, REGION
from tests.world.disturbances import rehearse
from tests.world.scenarios import SCENARIOS
from tests.world.virtual import BridgeInPlace, play, virtual_ground

from elasticache_iam.aws.identity import get_account, get_issuer
from elasticache_iam.core.policy import operator_policy
from elasticache_iam.core.policy.operator import _VIA_ELASTICACHE, _VIA_SERVERLESS, CALLS
from elasticache_iam.ports import Kube, TokenKube

ELSEWHERE: Final = "arn:aws:iam::444455556666:role/operator"
BOUNDARY: Final = f"arn:aws:iam::{ACCOUNT}:policy/boundary"

UNSEEN: Final[Mapping[tuple[str, str], str]] = {}
"""Calls that no story makes, and why."""
UNASKED: Final = frozenset({*_VIA_ELASTICACHE, *_VIA_SERVERLESS})
"""ElastiCache asks for them on its own way to EC2, which the sandbox doesn't go."""
KUBERNETES_WRITES: Final = sorted(
    method
    for method in {*vars(Kube), *vars(TokenKube)}
    if not method.startswith(("_", "create_event", "get_", "is_", "list_", "load_"))
    and method != "reclaim_config_map"  # only a crash makes it needed: the stories are told without one
)


@dataclass(frozen=True)
class Seen:
    """What the operator did in all stories, and at its start."""

    called: frozenset[tuple[str, str]]
    asked: frozenset[str]
    """Actions that AWS looked for in its policy."""
    steps: frozenset[str]
    """Calls at which it was made to die, and to fail."""


@cache
def seen() -> Seen:
    called, asked = play(_start_up())
    rehearsals = [rehearse(scenario) for scenario in SCENARIOS.values()]
    return Seen(
        called.union(*(rehearsal.end.called for rehearsal in rehearsals)),
        asked.union(*(rehearsal.end.asked for rehearsal in rehearsals)),
        frozenset(step.name for rehearsal in rehearsals for step in rehearsal.steps),
    )


async def _start_up() -> tuple[set[tuple[str, str]], set[str]]:
    """Ask what the operator asks before there is anything to operate."""
    async with virtual_ground() as world:
        world.world.add_cluster(ACCOUNT, REGION, "main", world.signer.issuer)
        session, bridge = world.aws.session(*world.operator_key, REGION), BridgeInPlace()
        assert await get_account(session, region=REGION, bridge=bridge) == ACCOUNT
        assert await get_issuer(session, region=REGION, bridge=bridge, cluster_name="main") == world.signer.issuer
        return world.called, world.asked


def test_every_call_of_the_table_is_made_and_no_other():
    assert set(CALLS) - seen().called - set(UNSEEN) == set()
    assert seen().called - set(CALLS) == set()


def test_every_right_that_is_given_is_asked_for_by_a_call_that_is_made():
    policy = operator_policy(
        owner=OWNER,
        partition="aws",
        account=ACCOUNT,
        region=REGION,
        boundary=BOUNDARY,
        trusted_caches=("arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders",),
        existing_roles=True,
        roles_elsewhere=(ELSEWHERE,),
        assume_role_signing=True,
        pod_identity_cluster="main",
    )

    granted = {action for statement in policy["Statement"] for action in statement["Action"]}

    unseen = {action for call in UNSEEN for action in CALLS[call]}
    assert granted - seen().asked - UNASKED - unseen == set()


def test_the_table_says_of_no_call_that_it_needs_more_than_aws_asks_for():
    needed = {action for call in seen().called for action in CALLS[call]}

    assert needed - seen().asked - UNASKED == set()


WRITES: Final = tuple(
    f"{service} {operation}"
    for service, operation in CALLS
    if (service, operation) not in UNSEEN
    and service != "sts"  # on the way to another call, or a token's: no step of the control plane
    and not operation.startswith(("Describe", "Get", "List", "Simulate"))
)


@pytest.mark.parametrize("call", [*WRITES, *(f"kubernetes {method}" for method in KUBERNETES_WRITES)])
def test_the_operator_dies_and_fails_at_every_write(call: str):
    assert call in seen().steps
