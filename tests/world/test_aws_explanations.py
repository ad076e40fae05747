"""What AWS tells that explains a refused login: its time, and what it makes of all policies of a role."""

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.builders import ACCOUNT, REGION, group_manifest
from tests.world.harness import Ground

from elasticache_iam.aws.observe import observe_simulation
from elasticache_iam.core.errors import NotFoundError, OperatorError
from elasticache_iam.core.state import SimulatedConnect

USER_ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:user:app"
CACHE_ARN = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:orders-prod"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def policy(*resources: str, action: str = "elasticache:Connect") -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": list(resources)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def add_role(world: Ground, **options: Any) -> str:
    role = world.iam.create_role(RoleName="demo-app", AssumeRolePolicyDocument=json.dumps(TRUST), **options)
    return role["Role"]["Arn"]


@pytest.mark.parametrize("offset_s", [-420, 0, 90])
async def test_any_answer_tells_how_far_the_clocks_are_apart(world: Ground, offset_s: int):
    world.settings.clock_offset = timedelta(seconds=offset_s)
    operator = await world.start()
    assert operator.plane.get_ahead() is None

    world.apply(group_manifest())
    await world.until(lambda: operator.plane.get_ahead() is not None)

    ahead = operator.plane.get_ahead()
    assert ahead is not None
    assert abs(ahead.total_seconds() + offset_s) < 5.0


async def test_a_refusal_tells_the_time_too(world: Ground):
    operator = await world.start()
    world.fault("elasticache", "*", "AccessDenied", http_status=403)

    with pytest.raises(OperatorError):
        await operator.plane.aws(operator.plane.installation.home).get_inventory(max_age_s=0, slow_max_age_s=0)

    assert operator.plane.get_ahead() is not None


async def test_aws_says_on_which_arn_a_role_may_connect(world: Ground):
    operator = await world.start()
    arn = add_role(world)
    world.iam.put_role_policy(RoleName="demo-app", PolicyName="half", PolicyDocument=policy(USER_ARN))

    aws = operator.plane.aws(operator.plane.installation.home)
    told = await aws.simulate_connect(arn, (USER_ARN, CACHE_ARN), service="elasticache")

    assert told == {USER_ARN: SimulatedConnect(allowed=True), CACHE_ARN: SimulatedConnect(allowed=False)}


async def test_aws_says_that_it_is_the_boundary(world: Ground):
    operator = await world.start()
    narrow = world.iam.create_policy(PolicyName="narrow", PolicyDocument=policy("*", action="s3:GetObject"))
    arn = add_role(world, PermissionsBoundary=narrow["Policy"]["Arn"])
    world.iam.put_role_policy(RoleName="demo-app", PolicyName="all", PolicyDocument=policy("*"))

    aws = operator.plane.aws(operator.plane.installation.home)
    told = await aws.simulate_connect(arn, (USER_ARN,), service="elasticache")

    assert told == {USER_ARN: SimulatedConnect(allowed=False, within_boundary=False)}


async def test_a_role_that_is_gone_is_not_found(world: Ground):
    operator = await world.start()
    aws = operator.plane.aws(operator.plane.installation.home)

    with pytest.raises(NotFoundError):
        await aws.simulate_connect(f"arn:aws:iam::{ACCOUNT}:role/gone", (USER_ARN,), service="elasticache")


def test_a_refusal_for_want_of_a_conditions_value_proves_nothing():
    result = {"EvalDecision": "implicitDeny", "MissingContextValues": ["aws:SourceIp"]}

    assert observe_simulation(result) == SimulatedConnect(allowed=None)


def test_a_deny_and_the_organizations_word_are_told():
    result = {"EvalDecision": "explicitDeny", "OrganizationsDecisionDetail": {"AllowedByOrganizations": False}}

    assert observe_simulation(result) == SimulatedConnect(allowed=False, is_explicit=True, within_organization=False)
