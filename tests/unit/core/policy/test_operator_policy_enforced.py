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
MEMORYDB = Place(Service.MEMORYDB, ACCOUNT, REGION)
CONNECT = names.user_arn(PLACE, "prod-u"), [f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:orders"]
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
    memorydb: Any


@dataclass
class Aws:
    """An account with two caches, the operator and an administrator."""

    world: World
    clients: Callable[..., Clients]
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
        tags = {"elasticache-iam.dev/allow": consent}
        world.add_serverless_cache(
            ACCOUNT, REGION, f"{cache_id}-sls", engine="valkey", host="127.0.0.1", port=6379, tags=tags
        )
        world.add_memorydb_cluster(
            ACCOUNT, REGION, f"{cache_id}-mdb", engine="valkey", host="127.0.0.1", port=6379, tags=tags
        )
    in_process = InProcessAws(world)
    policy = operator_policy(owner="prod", partition="aws", account=ACCOUNT, region=REGION, existing_roles=True)

    def clients(name: str, policy: dict[str, Any] | None, *, region: str = REGION) -> Clients:
        key, secret = world.add_access_key(ACCOUNT, user_name=name, policy=policy)
        services = ("elasticache", "iam", "resourcegroupstaggingapi", "memorydb")
        return Clients(*(in_process.client(service, key, secret, region) for service in services))

    return Aws(world, clients, operator=clients("operator", policy), admin=clients("admin", None))


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


def test_it_suffices_for_a_users_whole_life_in_memorydb(aws: Aws):
    memorydb = aws.operator.memorydb

    memorydb.create_user(UserName="prod-u", AccessString="on ~* +@all", AuthenticationMode={"Type": "iam"}, Tags=TAGS)
    user_arn = names.user_arn(MEMORYDB, "prod-u")
    aws.world.advance()
    memorydb.create_acl(ACLName="prod-g", UserNames=["prod-u"], Tags=TAGS)
    aws.world.advance()
    memorydb.update_cluster(ClusterName="orders-mdb", ACLName="prod-g")
    aws.world.advance()
    memorydb.update_user(UserName="prod-u", AccessString="on ~orders:* +@read")
    aws.world.advance()
    memorydb.tag_resource(ResourceArn=user_arn, Tags=[{"Key": "team", "Value": "shop"}])
    memorydb.untag_resource(ResourceArn=user_arn, TagKeys=["team"])

    assert memorydb.list_tags(ResourceArn=user_arn)["TagList"] == TAGS
    assert [cluster["ACLName"] for cluster in memorydb.describe_clusters(ClusterName="orders-mdb")["Clusters"]] == [
        "prod-g"
    ]

    memorydb.update_acl(ACLName="prod-g", UserNamesToRemove=["prod-u"])
    aws.world.advance()
    memorydb.delete_user(UserName="prod-u")
    aws.admin.memorydb.update_cluster(ClusterName="orders-mdb", ACLName="open-access")
    aws.world.advance()
    memorydb.delete_acl(ACLName="prod-g")
    aws.world.advance()
    assert [user["Name"] for user in memorydb.describe_users()["Users"]] == ["default"]
    assert [acl["Name"] for acl in memorydb.describe_acls()["ACLs"]] == ["open-access"]


def test_it_suffices_to_attach_to_a_serverless_cache(aws: Aws):
    aws.operator.elasticache.create_user_group(UserGroupId="prod-g", Engine="valkey", Tags=TAGS)
    aws.world.advance()

    aws.operator.elasticache.modify_serverless_cache(ServerlessCacheName="orders-sls", UserGroupId="prod-g")

    aws.world.advance()
    (cache,) = aws.operator.elasticache.describe_serverless_caches(ServerlessCacheName="orders-sls")["ServerlessCaches"]
    assert cache["UserGroupId"] == "prod-g"


def test_it_suffices_to_keep_a_role_in_order(aws: Aws):
    iam = aws.operator.iam
    iam.create_role(RoleName="prod-u", Path=PATH, AssumeRolePolicyDocument=compact_json(TRUST), Tags=TAGS)

    iam.update_role(RoleName="prod-u", MaxSessionDuration=7200)
    iam.tag_role(RoleName="prod-u", Tags=[{"Key": "team", "Value": "shop"}])
    iam.untag_role(RoleName="prod-u", TagKeys=["team"])

    role = iam.get_role(RoleName="prod-u")["Role"]
    assert (role["MaxSessionDuration"], role["Tags"]) == (7200, TAGS)
    assert iam.list_attached_role_policies(RoleName="prod-u")["AttachedPolicies"] == []


def test_a_boundary_that_somebody_put_on_is_not_taken_off(aws: Aws):
    aws.operator.iam.create_role(RoleName="prod-u", Path=PATH, AssumeRolePolicyDocument=compact_json(TRUST), Tags=TAGS)
    policy = aws.admin.iam.create_policy(PolicyName="any", PolicyDocument=compact_json(connect_policy(*CONNECT)))
    aws.admin.iam.put_role_permissions_boundary(RoleName="prod-u", PermissionsBoundary=policy["Policy"]["Arn"])

    with pytest.raises(ClientError, match="AccessDenied"):
        aws.operator.iam.delete_role_permissions_boundary(RoleName="prod-u")


def test_with_a_boundary_configured_it_is_put_on_a_role_that_lacks_it(aws: Aws):
    aws.admin.iam.create_role(RoleName="prod-u", Path=PATH, AssumeRolePolicyDocument=compact_json(TRUST), Tags=TAGS)
    made = [
        aws.admin.iam.create_policy(PolicyName=name, PolicyDocument=compact_json(connect_policy(*CONNECT)))["Policy"]
        for name in ("boundary", "wider")
    ]
    boundary, wider = (policy["Arn"] for policy in made)
    policy = operator_policy(owner="prod", partition="aws", account=ACCOUNT, region=REGION, boundary=boundary)
    iam = aws.clients("bounded", policy).iam

    with pytest.raises(ClientError, match="AccessDenied"):
        iam.put_role_permissions_boundary(RoleName="prod-u", PermissionsBoundary=wider)
    iam.put_role_permissions_boundary(RoleName="prod-u", PermissionsBoundary=boundary)
    with pytest.raises(ClientError, match="AccessDenied"):
        iam.delete_role_permissions_boundary(RoleName="prod-u")

    assert iam.get_role(RoleName="prod-u")["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary


def test_a_role_whose_owner_consents_gets_its_inline_policy_and_loses_it(aws: Aws):
    tags = [{"Key": "elasticache-iam.dev/allow", "Value": "prod/shop"}]
    aws.admin.iam.create_role(RoleName="workload", AssumeRolePolicyDocument=compact_json(TRUST), Tags=tags)
    policy = compact_json(connect_policy(*CONNECT))

    aws.operator.iam.put_role_policy(RoleName="workload", PolicyName="connect", PolicyDocument=policy)
    aws.operator.iam.delete_role_policy(RoleName="workload", PolicyName="connect")

    assert aws.operator.iam.list_role_policies(RoleName="workload")["PolicyNames"] == []


def test_the_policy_holds_in_every_named_region_and_in_no_other(aws: Aws):
    policy = operator_policy(owner="prod", partition="aws", account=ACCOUNT, region=REGION, more_regions=("us-east-1",))

    def create_in(region: str) -> None:
        aws.clients(region, policy, region=region).memorydb.create_user(
            UserName="prod-u", AccessString="on ~* +@all", AuthenticationMode={"Type": "iam"}, Tags=TAGS
        )

    create_in(REGION)
    create_in("us-east-1")
    with pytest.raises(ClientError, match="AccessDenied"):
        create_in("us-west-2")


@pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_it_works_in_other_partitions(region: str, partition: str):
    world = World(WorldSettings(), now=lambda: datetime.now(UTC), get_jwks=lambda _: {"keys": []})
    world.add_account(ACCOUNT, partition=partition)
    policy = operator_policy(owner="prod", partition=partition, account=ACCOUNT, region=region)
    key = world.add_access_key(ACCOUNT, user_name="operator", policy=policy)
    in_process = InProcessAws(world)

    user = in_process.client("memorydb", *key, region).create_user(
        UserName="prod-u", AccessString="on ~* +@all", AuthenticationMode={"Type": "iam"}, Tags=TAGS
    )["User"]

    assert user["ARN"] == names.user_arn(Place(Service.MEMORYDB, ACCOUNT, region), "prod-u")


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
        pytest.param(
            lambda operator: operator.iam.update_role(RoleName="admin", MaxSessionDuration=43200),
            id="lengthen-anothers-sessions",
        ),
        pytest.param(
            lambda operator: operator.elasticache.modify_serverless_cache(
                ServerlessCacheName="foreign-sls", UserGroupId="prod-g"
            ),
            id="attach-to-a-serverless-cache-that-did-not-consent",
        ),
        pytest.param(
            lambda operator: operator.memorydb.update_cluster(ClusterName="foreign-mdb", ACLName="prod-acl"),
            id="attach-to-a-cluster-that-did-not-consent",
        ),
        pytest.param(
            lambda operator: operator.memorydb.update_cluster(ClusterName="orders-mdb", ACLName="open-access"),
            id="open-a-cluster",
        ),
        pytest.param(
            lambda operator: operator.memorydb.update_user(UserName="theirs", AccessString="on ~* +@all"),
            id="change-anothers-memorydb-user",
        ),
        pytest.param(
            lambda operator: operator.memorydb.tag_resource(ResourceArn=names.user_arn(MEMORYDB, "theirs"), Tags=TAGS),
            id="make-anothers-memorydb-user-its-own",
        ),
        pytest.param(
            lambda operator: operator.memorydb.create_user(
                UserName="dev-x", AccessString="on ~* +@all", AuthenticationMode={"Type": "iam"}, Tags=TAGS
            ),
            id="create-in-another-installations-name-in-memorydb",
        ),
        pytest.param(
            lambda operator: operator.memorydb.untag_resource(
                ResourceArn=f"arn:aws:memorydb:{REGION}:{ACCOUNT}:acl/prod-acl",
                TagKeys=["elasticache-iam.dev/owner"],
            ),
            id="take-the-owner-off",
        ),
        pytest.param(
            lambda operator: operator.elasticache.remove_tags_from_resource(
                ResourceName=f"arn:aws:elasticache:{REGION}:{ACCOUNT}:usergroup:prod-g",
                TagKeys=["team", "elasticache-iam.dev/namespace"],
            ),
            id="take-the-namespace-off",
        ),
    ],
)
def test_a_stolen_operator_is_refused(aws: Aws, wish: Callable[[Clients], object]):
    aws.create_user(aws.admin, "theirs", [{"Key": "team", "Value": "theirs"}])
    aws.admin.iam.create_role(RoleName="admin", AssumeRolePolicyDocument=compact_json(TRUST))
    aws.admin.memorydb.create_user(UserName="theirs", AccessString="on ~* +@read", AuthenticationMode={"Type": "iam"})
    aws.operator.elasticache.create_user_group(UserGroupId="prod-g", Engine="valkey", UserIds=["theirs"], Tags=TAGS)
    aws.operator.memorydb.create_acl(ACLName="prod-acl", Tags=TAGS)
    aws.world.advance()

    with pytest.raises(ClientError) as refusal:
        wish(aws.operator)

    assert refusal.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}
