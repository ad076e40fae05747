"""Stock boto3 against the sandbox's HTTPS endpoint: nothing here knows that it is not AWS."""

import json
import time

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from joserfc import jwt
from joserfc.jwk import RSAKey

from elasticache_iam_sandbox.supervisor import AccessKey, BackgroundSandbox
from elasticache_iam_sandbox.world.settings import Fault

ONCE = Config(retries={"total_max_attempts": 1})
ISSUER = "https://oidc.example/id/ONE"
IAM_USER = {"AuthenticationMode": {"Type": "iam"}, "Engine": "valkey"}


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    with BackgroundSandbox(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture
def account(aws):
    return aws.add_account()


@pytest.fixture
def session(aws, account):
    return aws.admin_session(account)


@pytest.fixture
def elasticache(session):
    return session.client("elasticache")


@pytest.fixture
def iam(session):
    return session.client("iam")


@pytest.fixture(scope="module")
def issuer_key(aws):
    key = RSAKey.generate_key(2048, {"kid": "one"})
    aws.add_issuer(ISSUER, {"keys": [key.as_dict(private=False)]})
    return key


def create_user(elasticache, user_id, **options):
    parameters = {"UserId": user_id, "UserName": user_id, "AccessString": "on ~* +@read"} | IAM_USER | options
    return elasticache.create_user(**parameters)


def error_of(call, **parameters):
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value


def test_a_user_lives_from_creation_to_deletion(elasticache):
    created = create_user(elasticache, "checkout")
    elasticache.modify_user(UserId="checkout", AccessString="on ~orders:* +@all")

    (user,) = elasticache.describe_users(UserId="checkout")["Users"]
    elasticache.delete_user(UserId="checkout")

    assert created["UserName"] == "checkout"
    assert user["Authentication"]["Type"] == "iam"
    assert user["Status"] == "active"
    assert "~orders:*" in user["AccessString"]
    assert type(error_of(elasticache.describe_users, UserId="checkout")).__name__ == "UserNotFoundFault"


def test_a_group_takes_in_and_lets_go(elasticache):
    create_user(elasticache, "checkout")
    create_user(elasticache, "billing")
    elasticache.create_user_group(UserGroupId="orders", Engine="valkey", UserIds=["checkout"])

    elasticache.modify_user_group(UserGroupId="orders", UserIdsToAdd=["billing"], UserIdsToRemove=["checkout"])

    (group,) = elasticache.describe_user_groups(UserGroupId="orders")["UserGroups"]
    assert group["UserIds"] == ["billing"]
    (user,) = elasticache.describe_users(UserId="billing")["Users"]
    assert user["UserGroupIds"] == ["orders"]


def test_lists_come_in_pages(elasticache):
    for number in range(25):
        create_user(elasticache, f"user-{number:02}")

    pages = list(elasticache.get_paginator("describe_users").paginate(PaginationConfig={"PageSize": 20}))

    assert len(pages) == 2
    ids = [user["UserId"] for page in pages for user in page["Users"]]
    assert {f"user-{number:02}" for number in range(25)} <= set(ids)
    assert len(ids) == len(set(ids))


def test_tags_of_the_creation_are_listed_and_found(elasticache, session):
    arn = create_user(elasticache, "checkout", Tags=[{"Key": "elasticache-iam.dev/owner", "Value": "demo"}])["ARN"]
    create_user(elasticache, "other", Tags=[{"Key": "elasticache-iam.dev/owner", "Value": "another"}])

    elasticache.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "team", "Value": "shop"}])

    listed = {tag["Key"]: tag["Value"] for tag in elasticache.list_tags_for_resource(ResourceName=arn)["TagList"]}
    assert listed == {"elasticache-iam.dev/owner": "demo", "team": "shop"}
    tagging = session.client("resourcegroupstaggingapi").get_paginator("get_resources")
    pages = tagging.paginate(TagFilters=[{"Key": "elasticache-iam.dev/owner", "Values": ["demo"]}])
    assert [found["ResourceARN"] for page in pages for found in page["ResourceTagMappingList"]] == [arn]


def test_modelled_errors_are_botocores_exceptions(elasticache):
    create_user(elasticache, "checkout")

    with pytest.raises(elasticache.exceptions.UserAlreadyExistsFault) as caught:
        create_user(elasticache, "checkout")

    assert caught.value.response["Error"]["Code"] == "UserAlreadyExists"
    assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]


def test_a_redis_group_needs_a_default_user(elasticache):
    create_user(elasticache, "checkout", Engine="redis")

    with pytest.raises(elasticache.exceptions.DefaultUserRequired):
        elasticache.create_user_group(UserGroupId="orders", Engine="redis", UserIds=["checkout"])


def test_a_users_transitions_take_their_time(aws, elasticache):
    aws.settings.transition_s = 0.3
    try:
        created = create_user(elasticache, "checkout")
        deadline = time.monotonic() + 30
        while (status := elasticache.describe_users(UserId="checkout")["Users"][0]["Status"]) != "active":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        aws.settings.transition_s = 0.0

    assert created["Status"] == "creating"
    assert status == "active"


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Federated": "PROVIDER"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    "oidc.example/id/ONE:sub": "system:serviceaccount:shop:checkout",
                    "oidc.example/id/ONE:aud": "sts.amazonaws.com",
                }
            },
        }
    ],
}


@pytest.fixture
def role(iam, issuer_key):
    provider = iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["sts.amazonaws.com"])
    trust = json.dumps(TRUST).replace("PROVIDER", provider["OpenIDConnectProviderArn"])
    created = iam.create_role(RoleName="checkout", Path="/elasticache-iam/demo/", AssumeRolePolicyDocument=trust)
    return created["Role"]


def web_identity(key, **claims):
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": ["sts.amazonaws.com"],
        "sub": "system:serviceaccount:shop:checkout",
        "iat": now,
        "exp": now + 600,
    } | claims
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)


def assume(aws, role, token):
    sts = boto3.session.Session(region_name="eu-central-1").client(
        "sts", endpoint_url=aws.aws_url, verify=str(aws.ca_file), config=Config(signature_version=UNSIGNED)
    )
    return sts.assume_role_with_web_identity(
        RoleArn=role["Arn"], RoleSessionName="checkout", WebIdentityToken=token, DurationSeconds=900
    )


def test_policies_come_back_as_documents(iam, role):
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "elasticache:Connect", "Resource": "*"}],
    }
    iam.put_role_policy(RoleName="checkout", PolicyName="connect", PolicyDocument=json.dumps(policy))

    found = iam.get_role_policy(RoleName="checkout", PolicyName="connect")["PolicyDocument"]
    trust = iam.get_role(RoleName="checkout")["Role"]["AssumeRolePolicyDocument"]

    assert found == policy
    assert trust["Statement"][0]["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert role["Path"] == "/elasticache-iam/demo/"


def test_roles_and_providers_are_listed(iam, role):
    pages = iam.get_paginator("list_roles").paginate(PathPrefix="/elasticache-iam/demo/")
    (provider,) = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]

    assert [found["RoleName"] for page in pages for found in page["Roles"]] == ["checkout"]
    described = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
    assert described["ClientIDList"] == ["sts.amazonaws.com"]


def test_a_service_account_becomes_its_role(aws, account, role, issuer_key):
    credentials = assume(aws, role, web_identity(issuer_key))["Credentials"]

    sts = boto3.session.Session(
        credentials["AccessKeyId"],
        credentials["SecretAccessKey"],
        credentials["SessionToken"],
        "eu-central-1",
    ).client("sts", endpoint_url=aws.aws_url, verify=str(aws.ca_file))
    caller = sts.get_caller_identity()

    assert caller["Arn"] == f"arn:aws:sts::{account.account_id}:assumed-role/checkout/checkout"
    assert credentials["Expiration"].tzinfo is not None


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"aud": ["another"]}, "InvalidIdentityToken"),
        ({"sub": "system:serviceaccount:shop:thief"}, "AccessDenied"),
        ({"exp": 1}, "ExpiredTokenException"),
        ({"iss": "https://oidc.example/id/TWO"}, "InvalidIdentityToken"),
    ],
    ids=["wrong-audience", "wrong-subject", "expired", "unknown-issuer"],
)
def test_a_wrong_identity_token_is_refused(aws, role, issuer_key, claims, code):
    error = error_of(assume, aws=aws, role=role, token=web_identity(issuer_key, **claims))

    assert error.response["Error"]["Code"] == code


def test_a_wrong_secret_is_a_wrong_signature(aws, account):
    session = aws.session(AccessKey(account.admin.access_key_id, "WRONG"))

    error = error_of(session.client("elasticache", config=ONCE).describe_users)

    assert error.response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_an_unknown_key_is_an_invalid_token(aws):
    session = aws.session(AccessKey("AKIANOBODY0000000000", "WRONG"))

    assert error_of(session.client("iam", config=ONCE).list_roles).response["Error"]["Code"] == "InvalidClientTokenId"


def test_a_missing_right_is_named(aws, account):
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "elasticache:Describe*", "Resource": "*"}],
    }
    key = aws.add_access_key("reader", account_id=account.account_id, policy=policy)
    elasticache = aws.session(key).client("elasticache")

    elasticache.describe_users()
    error = error_of(elasticache.delete_user, UserId="checkout").response["Error"]

    assert error["Code"] == "AccessDenied"
    assert "elasticache:DeleteUser" in error["Message"]


def test_accounts_do_not_see_each_other(aws, elasticache):
    create_user(elasticache, "checkout")
    other = aws.admin_session(aws.add_account()).client("elasticache")

    assert type(error_of(other.describe_users, UserId="checkout")).__name__ == "UserNotFoundFault"


def test_a_throttled_call_is_retried_by_boto3(aws, session):
    fault = Fault(service="elasticache", operation="DescribeUserGroups", error_code="Throttling", remaining=1)
    aws.settings.faults.append(fault)
    try:
        answer = session.client("elasticache", config=Config(retries={"mode": "standard"})).describe_user_groups()
    finally:
        aws.settings.faults.remove(fault)

    assert answer["ResponseMetadata"]["RetryAttempts"] == 1


def test_a_created_cache_gets_a_live_front(aws, elasticache):
    elasticache.create_replication_group(
        ReplicationGroupId="orders",
        ReplicationGroupDescription="orders",
        Engine="valkey",
        CacheNodeType="cache.t4g.micro",
        TransitEncryptionEnabled=True,
    )
    aws.settle()

    (group,) = elasticache.describe_replication_groups(ReplicationGroupId="orders")["ReplicationGroups"]

    assert group["Status"] == "available"
    assert group["NodeGroups"][0]["PrimaryEndpoint"]["Port"] > 0
    assert "orders" in {cache.id for cache in aws.caches()}


def test_a_cache_whose_creations_answer_was_lost_gets_a_front_too(aws, account, elasticache):
    fault = Fault(service="elasticache", operation="CreateReplicationGroup", error_code="LostAnswer", remaining=1)
    aws.settings.faults.append(fault)
    try:
        with pytest.raises(elasticache.exceptions.ReplicationGroupAlreadyExistsFault):
            elasticache.create_replication_group(
                ReplicationGroupId="lost",
                ReplicationGroupDescription="lost",
                Engine="valkey",
                CacheNodeType="cache.t4g.micro",
                TransitEncryptionEnabled=True,
            )
    finally:
        aws.settings.faults.remove(fault)
    aws.settle()

    assert [cache.id for cache in aws.caches() if cache.account == account.account_id] == ["lost"]


@pytest.fixture
def memorydb(session):
    return session.client("memorydb")


def create_memorydb_user(memorydb, name, **options):
    parameters = {"UserName": name, "AccessString": "on ~* +@read", "AuthenticationMode": {"Type": "iam"}} | options
    return memorydb.create_user(**parameters)["User"]


def test_memorydb_users_join_and_leave_an_acl_that_a_cluster_uses(aws, account, memorydb):
    def add_cluster(world):
        world.add_memorydb_cluster(
            account.account_id, "eu-central-1", "carts", engine="valkey", host="127.0.0.1", port=6379
        )

    aws.run(add_cluster)
    for name in ("reader", "writer"):
        create_memorydb_user(memorydb, name)
    memorydb.create_acl(ACLName="orders", UserNames=["reader"])
    memorydb.update_cluster(ClusterName="carts", ACLName="orders")

    memorydb.update_acl(ACLName="orders", UserNamesToAdd=["writer"], UserNamesToRemove=["reader"])

    (acl,) = memorydb.describe_acls(ACLName="orders")["ACLs"]
    (cluster,) = memorydb.describe_clusters(ClusterName="carts", ShowShardDetails=True)["Clusters"]
    (user,) = memorydb.describe_users(UserName="writer")["Users"]
    assert (acl["UserNames"], acl["Clusters"]) == (["writer"], ["carts"])
    assert (cluster["ACLName"], cluster["ClusterEndpoint"]["Port"]) == ("orders", 6379)
    assert (user["ACLNames"], user["AccessString"]) == (["orders"], "on ~* resetchannels -@all +@read")


def test_memorydb_errors_are_botocores_exceptions_with_whole_names(memorydb):
    create_memorydb_user(memorydb, "checkout")

    with pytest.raises(memorydb.exceptions.UserAlreadyExistsFault) as caught:
        create_memorydb_user(memorydb, "checkout")
    with pytest.raises(memorydb.exceptions.InvalidParameterValueException):
        create_memorydb_user(memorydb, "other", AccessString="on +nonsense")

    assert caught.value.response["Error"]["Code"] == "UserAlreadyExistsFault"
    assert type(error_of(memorydb.describe_acls, ACLName="nothing")).__name__ == "ACLNotFoundFault"


def test_memorydb_lists_come_in_pages(memorydb):
    for number in range(5):
        create_memorydb_user(memorydb, f"user-{number}")

    pages = list(memorydb.get_paginator("describe_users").paginate(PaginationConfig={"PageSize": 2}))

    names = [user["Name"] for page in pages for user in page["Users"]]
    assert (len(pages), names) == (3, ["default", *(f"user-{number}" for number in range(5))])


def test_memorydb_tags_are_listed_and_found(memorydb, session):
    arn = create_memorydb_user(memorydb, "checkout", Tags=[{"Key": "owner", "Value": "demo"}])["ARN"]

    memorydb.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "shop"}])
    memorydb.untag_resource(ResourceArn=arn, TagKeys=["owner"])

    assert memorydb.list_tags(ResourceArn=arn)["TagList"] == [{"Key": "team", "Value": "shop"}]
    found = session.client("resourcegroupstaggingapi").get_resources(ResourceTypeFilters=["memorydb:user"])
    assert [entry["ResourceARN"] for entry in found["ResourceTagMappingList"]] == [arn]


def test_a_missing_right_in_memorydb_is_named(aws, account):
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "memorydb:Describe*", "Resource": "*"}],
    }
    key = aws.add_access_key("memorydb-reader", account_id=account.account_id, policy=policy)
    memorydb = aws.session(key).client("memorydb")

    memorydb.describe_users()
    error = error_of(memorydb.delete_user, UserName="checkout").response

    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("AccessDeniedException", 400)
    assert "memorydb:DeleteUser" in error["Error"]["Message"]


def test_a_serverless_cache_gets_a_group_and_loses_it(aws, account, elasticache):
    def add_cache(world):
        world.add_serverless_cache(
            account.account_id, "eu-central-1", "carts", engine="valkey", host="127.0.0.1", port=6379
        )

    aws.run(add_cache)
    create_user(elasticache, "checkout")
    elasticache.create_user_group(UserGroupId="orders", Engine="valkey", UserIds=["checkout"])

    elasticache.modify_serverless_cache(ServerlessCacheName="carts", UserGroupId="orders")
    (attached,) = elasticache.describe_serverless_caches(ServerlessCacheName="carts")["ServerlessCaches"]
    elasticache.modify_serverless_cache(ServerlessCacheName="carts", RemoveUserGroup=True)
    (detached,) = elasticache.describe_serverless_caches()["ServerlessCaches"]

    assert (attached["UserGroupId"], attached["Endpoint"]["Port"]) == ("orders", 6379)
    assert "UserGroupId" not in detached
    error = error_of(elasticache.modify_serverless_cache, ServerlessCacheName="carts", RemoveUserGroup=True)
    assert error.response["Error"]["Code"] == "InvalidParameterCombination"
    missing = error_of(elasticache.describe_serverless_caches, ServerlessCacheName="nothing")
    assert isinstance(missing, elasticache.exceptions.ServerlessCacheNotFoundFault)


def test_a_throttled_call_to_memorydb_is_retried_by_boto3(aws, session):
    fault = Fault(service="memorydb", operation="DescribeACLs", error_code="Throttling", remaining=1)
    aws.settings.faults.append(fault)
    try:
        answer = session.client("memorydb", config=Config(retries={"mode": "standard"})).describe_acls()
    finally:
        aws.settings.faults.remove(fault)

    assert answer["ResponseMetadata"]["RetryAttempts"] == 1


def test_a_service_account_is_associated_with_a_role(aws, account, session, iam):
    def add_cluster(world):
        world.add_cluster(account.account_id, "eu-central-1", "prod", ISSUER)

    aws.run(add_cluster)
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    role = iam.create_role(RoleName="pods", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    eks = session.client("eks")

    created = eks.create_pod_identity_association(
        clusterName="prod", namespace="shop", serviceAccount="checkout", roleArn=role, tags={"owner": "demo"}
    )["association"]

    pages = eks.get_paginator("list_pod_identity_associations").paginate(clusterName="prod", namespace="shop")
    listed = [one["associationId"] for page in pages for one in page["associations"]]
    described = eks.describe_pod_identity_association(clusterName="prod", associationId=listed[0])["association"]
    eks.delete_pod_identity_association(clusterName="prod", associationId=listed[0])
    assert listed == [created["associationId"]]
    assert (described["roleArn"], described["tags"]) == (role, {"owner": "demo"})
    assert eks.list_pod_identity_associations(clusterName="prod")["associations"] == []
