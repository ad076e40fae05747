"""The operator's policy, enforced by the sandbox's AWS: a whole life passes, a stolen operator's wishes don't."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from elasticache_iam.api.group import Service
from elasticache_iam.core import names
from elasticache_iam.core.policy import compact_json, connect_policy, operator_policy, same_policy, trust_policy
from elasticache_iam.core.state import Place
from elasticache_iam_sandbox.wire.in_process import InProcessAws
from elasticache_iam_sandbox.world.settings import WorldSettings
from elasticache_iam_sandbox.world.world import World

ACCOUNT, REGION, PATH = "111122223333", "eu-west-1", "/elasticache-iam/prod/"
PLACE = Place(Service.ELASTICACHE, ACCOUNT, REGION)
TAGS = [
    {"Key": key, "Value": value}
    for key, value in names.ownership_tags("prod", "ElastiCacheIAMUser", "shop", "checkout", "uid").items()
]
TRUST = trust_policy(
    provider_arn=names.oidc_provider_arn(REGION, ACCOUNT, "https://k8s.example"),
    issuer="https://k8s.example",
    audience="elasticache-iam.dev/sign",
    subjects=(("shop", "checkout"),),
)


@dataclass
class Clients:
    """What one identity has in its hands."""

    elasticache: Any
    iam: Any
    tagging: Any


@dataclass
class Aws:
    """An account with two caches, the operator and an administrator."""

    world: World
    operator: Clients
    admin: Clients

    def create_user(self, by: Clients, user_id: str, tags: list[dict[str, str]]) -> None:
        by.elasticache.create_user(
            UserId=user_id,
            UserName=user_id,
            Engine="valkey",
            AccessString="on ~* +@all",
            AuthenticationMode={"Type": "iam"},
            Tags=tags,
        )
        self.world.advance()


@pytest.fixture
def aws() -> Aws:
    world = World(WorldSettings(), now=lambda: datetime.now(UTC), get_jwks=lambda _: {"keys": []})
    world.add_account(ACCOUNT)
    for cache_id, consent in (("orders", "dev prod/shop"), ("foreign", "preprod prod2 dev/prod")):
        world.add_replication_group(
            ACCOUNT,
            REGION,
            cache_id,
            engine="valkey",
            engine_version="8.0",
            host="127.0.0.1",
            port=6379,
            tags={"elasticache-iam.dev/allow": consent},
        )
    in_process = InProcessAws(world)
    policy = operator_policy(owner="prod", partition="aws", account=ACCOUNT, region=REGION)

    def clients(name: str, policy: dict[str, Any] | None) -> Clients:
        key, secret = world.add_access_key(ACCOUNT, user_name=name, policy=policy)
        services = ("elasticache", "iam", "resourcegroupstaggingapi")
        return Clients(*(in_process.client(service, key, secret, REGION) for service in services))

    return Aws(world, operator=clients("operator", policy), admin=clients("admin", None))


def test_it_suffices_for_a_users_whole_life(aws: Aws):
    elasticache, iam = aws.operator.elasticache, aws.operator.iam
    user_arn = names.user_arn(PLACE, "prod-u")
    policy = connect_policy(user_arn, [f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:orders"])

    aws.create_user(aws.operator, "prod-u", TAGS)
    elasticache.create_user_group(UserGroupId="prod-g", Engine="valkey", UserIds=["prod-u"], Tags=TAGS)
    aws.world.advance()
    elasticache.modify_replication_group(
        ReplicationGroupId="orders", UserGroupIdsToAdd=["prod-g"], ApplyImmediately=True
    )
    aws.world.advance()
    elasticache.modify_user(UserId="prod-u", AccessString="on ~orders:* +@read")
    aws.world.advance()
    iam.create_role(RoleName="prod-u", Path=PATH, AssumeRolePolicyDocument=compact_json(TRUST), Tags=TAGS)
    iam.update_assume_role_policy(RoleName="prod-u", PolicyDocument=compact_json(TRUST))
    iam.put_role_policy(RoleName="prod-u", PolicyName="connect", PolicyDocument=compact_json(policy))

    role = iam.get_role(RoleName="prod-u")["Role"]
    assert same_policy(role["AssumeRolePolicyDocument"], TRUST)
    assert same_policy(iam.get_role_policy(RoleName="prod-u", PolicyName="connect")["PolicyDocument"], policy)
    assert elasticache.list_tags_for_resource(ResourceName=user_arn)["TagList"] == TAGS

    elasticache.modify_user_group(UserGroupId="prod-g", UserIdsToRemove=["prod-u"])
    aws.world.advance()
    iam.delete_role_policy(RoleName="prod-u", PolicyName="connect")
    iam.delete_role(RoleName="prod-u")
    elasticache.delete_user(UserId="prod-u")
    aws.world.advance()
    assert [user["UserId"] for user in elasticache.describe_users()["Users"]] == ["default"]


def test_it_suffices_to_see_everything(aws: Aws):
    operator = aws.operator

    assert operator.elasticache.describe_user_groups()["UserGroups"] == []
    assert len(operator.elasticache.describe_replication_groups()["ReplicationGroups"]) == 2
    assert operator.elasticache.describe_cache_clusters()["CacheClusters"]
    assert operator.iam.list_roles(PathPrefix=PATH)["Roles"] == []
    assert operator.iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"] == []
    assert operator.tagging.get_resources()["ResourceTagMappingList"]


def test_a_user_whose_owner_consents_can_be_adopted(aws: Aws):
    aws.create_user(aws.admin, "legacy", [{"Key": "elasticache-iam.dev/allow", "Value": "prod/shop"}])

    aws.operator.elasticache.add_tags_to_resource(ResourceName=names.user_arn(PLACE, "legacy"), Tags=TAGS)
    aws.operator.elasticache.modify_user(UserId="legacy", AccessString="off ~* -@all")

    aws.world.advance()
    (user,) = aws.admin.elasticache.describe_users(UserId="legacy")["Users"]
    assert user["AccessString"].startswith("off")


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param(
            lambda operator: operator.elasticache.modify_user(UserId="theirs", AccessString="on ~* +@all"),
            id="change-anothers-user",
        ),
        pytest.param(lambda operator: operator.elasticache.delete_user(UserId="theirs"), id="delete-anothers-user"),
        pytest.param(
            lambda operator: operator.elasticache.add_tags_to_resource(
                ResourceName=names.user_arn(PLACE, "theirs"), Tags=TAGS
            ),
            id="make-anothers-user-its-own",
        ),
        pytest.param(
            lambda operator: operator.elasticache.add_tags_to_resource(
                ResourceName=f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:foreign",
                Tags=[{"Key": "elasticache-iam.dev/allow", "Value": "prod"}],
            ),
            id="consent-in-anothers-place",
        ),
        pytest.param(
            lambda operator: operator.elasticache.modify_replication_group(
                ReplicationGroupId="foreign", UserGroupIdsToAdd=["prod-g"], ApplyImmediately=True
            ),
            id="attach-to-a-cache-that-did-not-consent",
        ),
        pytest.param(
            lambda operator: operator.elasticache.create_user(
                UserId="dev-x",
                UserName="dev-x",
                Engine="valkey",
                AccessString="on ~* +@all",
                AuthenticationMode={"Type": "iam"},
                Tags=TAGS,
            ),
            id="create-in-another-installations-name",
        ),
        pytest.param(
            lambda operator: operator.iam.create_role(
                RoleName="prod-x", Path="/", AssumeRolePolicyDocument=compact_json(TRUST)
            ),
            id="create-a-role-outside-its-path",
        ),
        pytest.param(
            lambda operator: operator.iam.update_assume_role_policy(
                RoleName="admin", PolicyDocument=compact_json(TRUST)
            ),
            id="become-another-role",
        ),
        pytest.param(
            lambda operator: operator.iam.put_role_policy(RoleName="admin", PolicyName="x", PolicyDocument="{}"),
            id="give-another-role-more",
        ),
        pytest.param(lambda operator: operator.iam.delete_role(RoleName="admin"), id="delete-another-role"),
    ],
)
def test_a_stolen_operator_is_refused(aws: Aws, wish: Callable[[Clients], object]):
    aws.create_user(aws.admin, "theirs", [{"Key": "team", "Value": "theirs"}])
    aws.admin.iam.create_role(RoleName="admin", AssumeRolePolicyDocument=compact_json(TRUST))
    aws.operator.elasticache.create_user_group(UserGroupId="prod-g", Engine="valkey", UserIds=["theirs"], Tags=TAGS)
    aws.world.advance()

    with pytest.raises(ClientError) as refusal:
        wish(aws.operator)

    assert refusal.value.response["Error"]["Code"] == "AccessDenied"
