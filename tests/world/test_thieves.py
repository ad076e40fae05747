"""Who takes what is another's: a tenant of the same installation, and another installation in the account.

Each of them asks for the user id, the role, the Secret, the group and the cache of shop/checkout, by every means that a
resource has. Nothing of the owner's changes. The other installation has its own rights and no more: the second table
calls AWS with them directly, as if its operator had no scruples.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError
from tests.builders import ACCOUNT, OWNER, REGION, Manifest, group_manifest, user_manifest
from tests.fakes.kube import FakeKube
from tests.world.scenarios import GROUP, USER, ready
from tests.world.virtual import VirtualGround, play, virtual_ground

from elasticache_iam.core import names
from elasticache_iam.reconcile.queue import GROUPS, USERS

RIVAL: Final = "rival"
USER_ID: Final = names.default_id(OWNER, "shop", "checkout")
GROUP_ID: Final = names.default_id(OWNER, "platform", "orders")
ROLE_ARN: Final = names.role_arn(REGION, ACCOUNT, names.role_path(OWNER), USER_ID)
ANY_ID: Final = [{"namespaces": {"names": ["shop", "thieves"]}, "limit": {"preset": "Admin"}, "ids": [USER_ID]}]


@dataclass(frozen=True)
class Theft:
    """What a thief applies, and how it is told that it gets nothing.

    Attributes:
        installation: Another one's operator does it in a cluster of its own; else the owner's own operator.
        same_cluster: The other installation is in the owner's cluster.
    """

    name: str
    manifests: tuple[Manifest, ...]
    told_to: tuple[str, str, str]
    condition: str
    reason: str
    installation: bool = False
    same_cluster: bool = False

    def __str__(self) -> str:
        return f"{'installation' if self.installation else 'tenant'}-takes-{self.name}"


THIEF: Final = (USERS, "thieves", "thief")
THEIR_GROUP: Final = (GROUPS, "thieves", "loot")
SECRET_THIEF: Final = (USERS, "shop", "thief")


def theirs(**spec: Any) -> Manifest:
    return group_manifest("loot", "thieves", **spec)


def existing(arn: str) -> dict[str, str]:
    return {"mode": "Existing", "arn": arn}


TENANTS: Final = (
    Theft(
        "the-user-id",
        (user_manifest("thief", "thieves", id=USER_ID, adoption="Adopt"),),
        THIEF,
        "UserSynced",
        "NotOwned",
    ),
    Theft(
        "the-role",
        (user_manifest("thief", "thieves", role=existing(ROLE_ARN)),),
        THIEF,
        "AccessGranted",
        "TrustMissing",
    ),
    Theft(
        "the-Secret",
        (user_manifest("thief", delivery={"mode": "Secret", "secret": {"name": "checkout"}}),),
        SECRET_THIEF,
        "TokenDelivered",
        "SecretConflict",
    ),
    Theft("the-group", (theirs(id=GROUP_ID, adoption="Adopt", caches=()),), THEIR_GROUP, "GroupSynced", "NotOwned"),
    Theft("the-cache", (theirs(),), THEIR_GROUP, "CachesAttached", "CacheClaimed"),
)
INSTALLATIONS: Final = (
    Theft(
        "the-user-id",
        (group_manifest(caches=(), admission=ANY_ID), user_manifest(id=USER_ID, adoption="Adopt")),
        USER,
        "UserSynced",
        "NotOwned",
        installation=True,
    ),
    Theft(
        "the-role",
        (group_manifest(caches=()), user_manifest(role=existing(ROLE_ARN))),
        USER,
        "AccessGranted",
        "PolicyMissing",
        installation=True,
    ),
    Theft(
        "the-Secret",
        (
            theirs(caches=("loot-prod",)),
            user_manifest(
                "thief",
                group="loot",
                group_namespace="thieves",
                delivery={"mode": "Secret", "secret": {"name": "checkout"}},
            ),
        ),
        SECRET_THIEF,
        "TokenDelivered",
        "SecretConflict",
        installation=True,
        same_cluster=True,
    ),
    Theft(
        "the-group",
        (group_manifest(id=GROUP_ID, adoption="Adopt", caches=()),),
        GROUP,
        "GroupSynced",
        "NotOwned",
        installation=True,
    ),
    Theft("the-cache", (group_manifest(),), GROUP, "CachesAttached", "ForeignGroup", installation=True),
)


@pytest.mark.parametrize("theft", [*TENANTS, *INSTALLATIONS], ids=str)
def test_nothing_is_taken(theft: Theft):
    play(_steal(theft))


async def _steal(theft: Theft) -> None:
    async with virtual_ground() as world:
        world.add_cache(allow=f"{OWNER}/platform")
        world.add_cache("loot-prod", allow=RIVAL)
        owner = await world.start()
        world.apply(group_manifest(admission=ANY_ID), user_manifest())
        await ready(world, GROUP, USER)
        before, cluster = _belongings(world), world.kube
        if theft.installation:
            await owner.kill()
            become_rival(world)
            if theft.same_cluster:  # its operator doesn't watch the owner's resources
                secret = world.kube.get("secrets", "shop", "checkout") or {}
                world.kube._remove(USER)
                world.kube._remove(GROUP)
                world.kube.put(secret)
                before = _belongings(world)
            else:
                world.kube = FakeKube(signer=world.signer, now=world.clock.now)
            await world.start({"owner": RIVAL})

        world.apply(*theft.manifests)
        await world.until(lambda: world.conditions(*theft.told_to).get(theft.condition, ("", ""))[1] == theft.reason)
        await asyncio.sleep(100.0)
        for plural, namespace, name in {theft.told_to} - {GROUP, USER}:
            world.kube.delete(plural, namespace, name)
        await asyncio.sleep(100.0)

        world.kube = cluster
        assert world.failures() == []
        assert _belongings(world) == before


def become_rival(world: VirtualGround) -> None:
    """Give operators to come the rights of another installation's."""
    world.grant(owner=RIVAL, existing_roles=True)


def _belongings(world: VirtualGround) -> dict[str, Any]:
    """Return all that is the owner's."""
    there = world.in_aws()
    secret = world.kube.get("secrets", "shop", "checkout") or {}
    return {
        "user": there["users"][USER_ID],
        "role": (there["roles"][USER_ID], there["roles' limits"][USER_ID]),
        "group": there["groups"][GROUP_ID],
        "cache": there["caches"]["orders-prod"],
        "secret": (secret["metadata"]["uid"], secret["metadata"]["labels"], secret["data"]["username"]),
    }


CALLS: Final[dict[str, Callable[[Any, Any], object]]] = {
    "user-access": lambda elasticache, _: elasticache.modify_user(UserId=USER_ID, AccessString="on ~* +@all"),
    "user-deletion": lambda elasticache, _: elasticache.delete_user(UserId=USER_ID),
    "user-tags": lambda elasticache, _: elasticache.add_tags_to_resource(
        ResourceName=f"arn:aws:elasticache:{REGION}:{ACCOUNT}:user:{USER_ID}",
        Tags=[{"Key": "elasticache-iam.dev/owner", "Value": RIVAL}],
    ),
    "group-members": lambda elasticache, _: elasticache.modify_user_group(
        UserGroupId=GROUP_ID, UserIdsToRemove=[USER_ID]
    ),
    "group-deletion": lambda elasticache, _: elasticache.delete_user_group(UserGroupId=GROUP_ID),
    "cache-attachment": lambda elasticache, _: elasticache.modify_replication_group(
        ReplicationGroupId="orders-prod", RemoveUserGroups=True
    ),
    "role-policy": lambda _, iam: iam.put_role_policy(RoleName=USER_ID, PolicyName="p", PolicyDocument=OPEN),
    "role-trust": lambda _, iam: iam.update_assume_role_policy(RoleName=USER_ID, PolicyDocument=OPEN),
    "role-deletion": lambda _, iam: iam.delete_role(RoleName=USER_ID),
    "role-tags": lambda _, iam: iam.tag_role(RoleName=USER_ID, Tags=[{"Key": "a", "Value": "b"}]),
}
OPEN: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


@pytest.mark.parametrize("call", CALLS)
def test_another_installations_rights_reach_nothing_of_ours(call: str):
    async def story() -> str:
        async with virtual_ground() as world:
            world.add_cache(allow=OWNER)
            await world.start()
            world.apply(group_manifest(), user_manifest())
            await ready(world, GROUP, USER)
            become_rival(world)
            session = world.aws.session(*world.operator_key, REGION)
            before = _belongings(world)
            with pytest.raises(ClientError) as refused:
                CALLS[call](session.client("elasticache"), session.client("iam"))
            assert _belongings(world) == before
            return str(refused.value.response["Error"]["Code"])

    assert play(story()) == "AccessDenied"
