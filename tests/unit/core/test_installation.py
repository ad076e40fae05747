"""What this installation calls its objects in AWS, and whether a resource's object was made as somebody else."""

import pytest
from tests.builders import ACCOUNT, REGION, group_manifest

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.group import UserGroup
from elasticache_iam.core.installation import Installation

INSTALLATION = Installation(OperatorConfig(owner="demo"), REGION, ACCOUNT, "https://oidc.example/id/ABC")


def group_that_was(**status: str) -> UserGroup:
    body = {**group_manifest(), "status": status}
    body["metadata"] = {**body["metadata"], "uid": "u", "generation": 1}
    return UserGroup.model_validate(body)


def test_a_group_that_another_owner_made_has_moved():
    moved = INSTALLATION.find_move(group_that_was(id="before-orders-f36c0d91"))

    assert moved is not None
    assert "before-orders-f36c0d91" in moved


@pytest.mark.parametrize("made_up", ["a\nb", "-", "Orders", "orders--prod", "\u202eorders", "../../etc/passwd", "a\n"])
def test_what_is_no_id_in_aws_says_nothing_about_the_past(made_up: str):
    assert INSTALLATION.find_move(group_that_was(id=made_up)) is None


def test_a_group_in_its_own_place_has_not_moved():
    group = group_that_was(id="demo-orders-1", arn=f"arn:aws:elasticache:{REGION}:{ACCOUNT}:usergroup:demo-orders-1")

    assert INSTALLATION.find_move(group) is None


def test_a_group_in_another_account_has_moved():
    moved = INSTALLATION.find_move(group_that_was(arn=f"arn:aws:elasticache:{REGION}:444455556666:usergroup:g"))

    assert moved is not None
    assert "444455556666" in moved
