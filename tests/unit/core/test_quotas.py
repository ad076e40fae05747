"""Quotas near their end: told in few words that seldom change."""

from typing import Any, cast

import pytest

from elasticache_iam.api.group import Service
from elasticache_iam.core.quotas import find_near_end
from elasticache_iam.core.state import Inventory, Place

HERE = Place(Service.ELASTICACHE, "111122223333", "eu-central-1")
THERE = Place(Service.MEMORYDB, "111122223333", "eu-central-1")


def some(count: int) -> Any:
    """Return so many objects, of which nothing but their number counts."""
    return cast("Any", dict.fromkeys(range(count)))


def told(place: Place = HERE, *, users: int = 0, groups: int = 0, roles: int = 0) -> list[str]:
    return [str(one) for one in find_near_end(Inventory(some(users), some(groups), roles=some(roles)), place)]


def test_there_is_nothing_to_tell_of_half_a_quota():
    assert told(users=899, groups=89, roles=899) == []


@pytest.mark.parametrize(
    ("users", "share"), [(900, "at least 90 %"), (949, "at least 90 %"), (950, "at least 95 %"), (1000, "all")]
)
def test_the_share_is_told_in_few_steps(users: int, share: str):
    (message,) = told(users=users)

    assert message == (
        f"{share} of the 1000 users that ElastiCache allows by default in eu-central-1 of account 111122223333 are "
        "taken: have the quota raised before AWS refuses more"
    )


def test_a_quota_that_is_exceeded_was_raised():
    assert told(users=1001) == []


def test_groups_and_roles_are_counted_too():
    groups, roles = told(groups=90, roles=900)

    assert "of the 100 user groups that ElastiCache allows" in groups
    assert "of the 1000 roles that IAM allows by default in account 111122223333 are the operator's" in roles


def test_memorydb_has_quotas_of_its_own():
    users, acls = told(THERE, users=1800, groups=180)

    assert "of the 2000 users that MemoryDB allows" in users
    assert "of the 200 ACLs that MemoryDB allows" in acls
