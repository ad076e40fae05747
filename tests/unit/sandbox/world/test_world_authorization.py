import json

import pytest
from tests.unit.sandbox.world.ground import (
    ACCOUNT,
    IAM,
    NO_PASSWORD,
    REGION,
    ROLE_ARN,
    Ground,
    allow,
    arn,
    deny,
    document,
    trust_aws,
    trust_issuer,
)

from elasticache_iam_sandbox.world.call import AwsError

USER, GROUP, CACHE = arn("user", "demo-app"), arn("usergroup", "demo-orders"), arn("replicationgroup", "orders-prod")
OWNER_TAG = [{"Key": "owner", "Value": "demo"}]
CREATE_USER = {
    "UserId": "demo-app",
    "UserName": "demo-app",
    "Engine": "valkey",
    "AccessString": "off",
    "AuthenticationMode": IAM,
}
CREATE_ROLE = {"RoleName": "demo-app", "Path": "/demo/", "AssumeRolePolicyDocument": trust_issuer()}
BOUNDED = {"StringEquals": {"iam:PermissionsBoundary": "arn:aws:iam::1:policy/b"}}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/demo/demo-app"


def denied(match="", code="AccessDenied"):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def try_call(aws, key, service, operation, **parameters):
    """Return whether the caller may; that the call then fails for another reason counts as allowed."""
    try:
        aws.call(service, operation, key=key, **parameters)
    except AwsError as error:
        if error.code == "NotImplementedInSandbox":
            raise
        return not error.code.startswith("AccessDenied")
    return True


def test_an_implicit_deny_is_told_in_awss_words(aws: Ground):
    with pytest.raises(AwsError) as caught:
        aws.ec("CreateUser", key=aws.limited_key(allow("iam:*")), **CREATE_USER)

    assert caught.value.http_status == 403
    assert caught.value.message == (
        f"User: arn:aws:iam::{ACCOUNT}:user/limited is not authorized to perform: elasticache:CreateUser "
        f"on resource: {USER} because no identity-based policy allows the elasticache:CreateUser action"
    )


def test_an_explicit_deny_is_told_in_awss_words(aws: Ground):
    with denied(f"on resource: {USER} with an explicit deny in an identity-based policy$"):
        aws.ec("CreateUser", key=aws.limited_key(allow("*"), deny("elasticache:CreateUser")), **CREATE_USER)


def role_key(aws, *statements, policy=None, **options):
    aws.role(trust=trust_aws(ACCOUNT), statements=statements, **options)
    more = {"Policy": policy} if policy else {}
    answer = aws.sts("AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="session", **more)
    return answer["Credentials"]["AccessKeyId"]


def test_a_session_is_named_as_the_assumed_role(aws: Ground):
    with denied(f"User: arn:aws:sts::{ACCOUNT}:assumed-role/checkout/session is not authorized"):
        aws.ec("DescribeUsers", key=role_key(aws, allow("iam:*")))


def test_a_session_policy_narrows_the_role(aws: Ground):
    key = role_key(aws, allow("elasticache:*"), policy=document(allow("elasticache:DescribeUsers")))

    assert aws.ec("DescribeUsers", key=key)["Users"]
    with denied("because no session policy allows the elasticache:DescribeUserGroups action"):
        aws.ec("DescribeUserGroups", key=key)


def test_a_session_policy_grants_nothing_by_itself(aws: Ground):
    key = role_key(aws, allow("iam:*"), policy=document(allow("*")))

    with denied("because no identity-based policy allows"):
        aws.ec("DescribeUsers", key=key)


def test_a_boundary_narrows_the_role(aws: Ground):
    text = document(allow("elasticache:DescribeUsers"), deny("elasticache:DescribeUserGroups"))
    boundary = aws.iam("CreatePolicy", PolicyName="b", PolicyDocument=text)["Policy"]["Arn"]
    key = role_key(aws, allow("elasticache:*"), PermissionsBoundary=boundary)

    assert aws.ec("DescribeUsers", key=key)["Users"]
    with denied("because no permissions boundary allows the elasticache:DescribeCacheClusters action"):
        aws.ec("DescribeCacheClusters", key=key)
    with denied("with an explicit deny in a permissions boundary"):
        aws.ec("DescribeUserGroups", key=key)


def test_a_policy_takes_effect_after_iam_has_propagated():
    aws = Ground(iam_propagation_s=10)
    aws.role(trust=trust_aws(ACCOUNT))
    aws.wait(10)
    key = aws.sts("AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="session")["Credentials"]["AccessKeyId"]
    aws.put_policy(allow("elasticache:*"))

    with denied():
        aws.ec("DescribeUsers", key=key)
    aws.wait(10)
    assert aws.ec("DescribeUsers", key=key)["Users"]


def test_services_that_speak_json_say_access_denied_exception(aws: Ground):
    key = aws.limited_key(allow("iam:*"))

    with pytest.raises(AwsError) as tagging:
        aws.call("resourcegroupstaggingapi", "GetResources", key=key)
    with pytest.raises(AwsError) as eks:
        aws.call("eks", "DescribeCluster", key=key, name="prod")

    assert (tagging.value.code, tagging.value.http_status) == ("AccessDeniedException", 400)
    assert (eks.value.code, eks.value.http_status) == ("AccessDeniedException", 403)
    assert f"on resource: arn:aws:eks:{REGION}:{ACCOUNT}:cluster/prod " in eks.value.message


@pytest.mark.parametrize(
    ("statements", "call", "parameters", "verdict"),
    [
        pytest.param(
            [allow("elasticache:CreateUser")], "elasticache:CreateUser", CREATE_USER, "allowed", id="without-tags"
        ),
        pytest.param(
            [allow("elasticache:CreateUser")],
            "elasticache:CreateUser", {**CREATE_USER, "Tags": OWNER_TAG}, "denied",
            id="a-creation-with-tags-needs-the-right-to-tag",
        ),
        pytest.param(
            [allow(["elasticache:CreateUser", "elasticache:AddTagsToResource"], arn("user", "demo-*"))],
            "elasticache:CreateUser", {**CREATE_USER, "Tags": OWNER_TAG}, "allowed",
            id="fenced-by-prefix",
        ),
        pytest.param(
            [allow(["elasticache:CreateUser", "elasticache:AddTagsToResource"], arn("user", "other-*"))],
            "elasticache:CreateUser", CREATE_USER, "denied",
            id="outside-the-prefix",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"StringEquals": {"aws:RequestTag/owner": "demo"}})],
            "elasticache:CreateUser", {**CREATE_USER, "Tags": OWNER_TAG}, "allowed",
            id="request-tag",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"StringEquals": {"aws:RequestTag/owner": "demo"}})],
            "elasticache:CreateUser", CREATE_USER, "denied",
            id="request-tag-missing",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}})],
            "elasticache:CreateUser", {**CREATE_USER, "Tags": OWNER_TAG}, "denied",
            id="tag-keys",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"StringEquals": {"elasticache:UserAuthenticationMode": "iam"}})],
            "elasticache:CreateUser", CREATE_USER, "allowed",
            id="authentication-mode",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"StringEquals": {"elasticache:UserAuthenticationMode": "iam"}})],
            "elasticache:CreateUser", {**CREATE_USER, "AuthenticationMode": NO_PASSWORD}, "denied",
            id="another-authentication-mode",
        ),
        pytest.param(
            [allow("elasticache:DescribeUsers", arn("user", "demo-*"))],
            "elasticache:DescribeUsers", {}, "denied",
            id="describing-all-users-needs-all-users",
        ),
        pytest.param(
            [allow("elasticache:DescribeUsers", arn("user", "demo-*"))],
            "elasticache:DescribeUsers", {"UserId": "demo-app"}, "allowed",
            id="describing-one-needs-one",
        ),
        pytest.param(
            [allow("elasticache:CreateUserGroup", arn("usergroup", "demo-*"))],
            "elasticache:CreateUserGroup", {"UserGroupId": "demo-x", "Engine": "valkey", "UserIds": ["a"]}, "denied",
            id="creating-a-group-needs-its-users-too",
        ),
        pytest.param(
            [allow("elasticache:CreateUserGroup", [arn("usergroup", "demo-*"), arn("user", "*")])],
            "elasticache:CreateUserGroup", {"UserGroupId": "demo-x", "Engine": "valkey", "UserIds": ["a"]}, "allowed",
            id="group-and-users",
        ),
        pytest.param(
            [allow("elasticache:ModifyUserGroup", GROUP)],
            "elasticache:ModifyUserGroup", {"UserGroupId": "demo-orders", "UserIdsToRemove": ["demo-app"]}, "denied",
            id="modifying-a-group-needs-the-users-it-names",
        ),
        pytest.param(
            [allow("elasticache:ModifyUserGroup", [GROUP, USER])],
            "elasticache:ModifyUserGroup", {"UserGroupId": "demo-orders", "UserIdsToRemove": ["demo-app"]}, "allowed",
            id="and-no-others",
        ),
        pytest.param(
            [allow("elasticache:ModifyReplicationGroup", CACHE)],
            "elasticache:ModifyReplicationGroup",
            {"ReplicationGroupId": "orders-prod", "UserGroupIdsToAdd": ["demo-orders"]}, "denied",
            id="attaching-needs-the-group-too",
        ),
        pytest.param(
            [allow("elasticache:ModifyReplicationGroup", [CACHE, GROUP])],
            "elasticache:ModifyReplicationGroup",
            {"ReplicationGroupId": "orders-prod", "UserGroupIdsToAdd": ["demo-orders"]}, "allowed",
            id="cache-and-group",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"StringEqualsIfExists": {"aws:ResourceTag/allow": "demo"}})],
            "elasticache:ModifyReplicationGroup",
            {"ReplicationGroupId": "orders-prod", "UserGroupIdsToAdd": ["demo-orders"]}, "allowed",
            id="consent-by-tag",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"Null": {"elasticache:EngineVersion": "true"}})],
            "elasticache:ModifyReplicationGroup",
            {"ReplicationGroupId": "orders-prod", "EngineVersion": "9.0"}, "denied",
            id="parameters-can-be-forbidden-by-null",
        ),
        pytest.param(
            [allow("elasticache:CreateReplicationGroup", CACHE)],
            "elasticache:CreateReplicationGroup",
            {"ReplicationGroupId": "orders-prod", "ReplicationGroupDescription": "x"}, "denied",
            id="a-cache-needs-its-parameter-group-too",
        ),
        pytest.param(
            [allow("elasticache:ListTagsForResource", USER)],
            "elasticache:ListTagsForResource", {"ResourceName": USER}, "allowed",
            id="list-tags",
        ),
        pytest.param(
            [allow("elasticache:AddTagsToResource", Condition={"ForAnyValue:StringLike": {"aws:TagKeys": "own*"}})],
            "elasticache:AddTagsToResource", {"ResourceName": USER, "Tags": OWNER_TAG}, "allowed",
            id="add-tags",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": "x"}})],
            "elasticache:RemoveTagsFromResource", {"ResourceName": USER, "TagKeys": ["owner"]}, "denied",
            id="remove-tags",
        ),
        pytest.param(
            [allow("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/demo/demo-*")],
            "iam:CreateRole", CREATE_ROLE, "allowed",
            id="roles-are-fenced-by-path",
        ),
        pytest.param(
            [allow("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/demo/demo-*")],
            "iam:CreateRole", {**CREATE_ROLE, "Path": "/"}, "denied",
            id="outside-the-path",
        ),
        pytest.param(
            [allow("iam:CreateRole")], "iam:CreateRole", {**CREATE_ROLE, "Tags": OWNER_TAG}, "denied",
            id="a-role-with-tags-needs-tag-role",
        ),
        pytest.param(
            [allow(["iam:CreateRole", "iam:TagRole"])], "iam:CreateRole", {**CREATE_ROLE, "Tags": OWNER_TAG}, "allowed",
            id="create-and-tag-role",
        ),
        pytest.param(
            [allow("iam:CreateRole", Condition=BOUNDED)],
            "iam:CreateRole", CREATE_ROLE, "denied",
            id="a-required-boundary-is-missing",
        ),
        pytest.param(
            [allow("iam:CreateRole", Condition=BOUNDED)],
            "iam:CreateRole", {**CREATE_ROLE, "PermissionsBoundary": "arn:aws:iam::1:policy/b"}, "allowed",
            id="a-required-boundary-is-there",
        ),
        pytest.param(
            [allow("iam:UpdateAssumeRolePolicy", Condition={"Null": {"iam:PermissionsBoundary": "false"}})],
            "iam:UpdateAssumeRolePolicy", {"RoleName": "bounded", "PolicyDocument": "{}"}, "denied",
            id="the-boundary-key-does-not-apply-to-trust",
        ),
        pytest.param(
            [allow("iam:PutRolePolicy", Condition={"Null": {"iam:PermissionsBoundary": "false"}})],
            "iam:PutRolePolicy", {"RoleName": "bounded", "PolicyName": "p", "PolicyDocument": "{}"}, "allowed",
            id="but-to-inline-policies",
        ),
        pytest.param(
            [allow("iam:TagRole", Condition={"StringEquals": {"aws:ResourceTag/owner": "demo"}})],
            "iam:TagRole", {"RoleName": "bounded", "Tags": OWNER_TAG}, "allowed",
            id="resource-tag-of-a-role",
        ),
        pytest.param(
            [allow("iam:ListRoles", f"arn:aws:iam::{ACCOUNT}:role/*")], "iam:ListRoles", {}, "denied",
            id="lists-know-no-resource",
        ),
        pytest.param([allow("tag:GetResources")], "resourcegroupstaggingapi:GetResources", {}, "allowed", id="tagging"),
        pytest.param(
            [allow("elasticache:*", Condition={"StringEquals": {"aws:RequestedRegion": "us-west-2"}})],
            "elasticache:DescribeUsers", {}, "denied",
            id="region",
        ),
        pytest.param(
            [allow("elasticache:*", Condition={"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/lim*"}})],
            "elasticache:DescribeUsers", {}, "allowed",
            id="principal",
        ),
    ],
)  # fmt: skip
def test_policies_decide(aws: Ground, statements, call: str, parameters, verdict: str):
    aws.user("demo-app", Tags=OWNER_TAG)
    aws.group("demo-app", group_id="demo-orders")
    aws.cache(tags={"allow": "demo"})
    boundary = aws.iam("CreatePolicy", PolicyName="b", PolicyDocument=document(allow("*")))["Policy"]["Arn"]
    aws.role("bounded", PermissionsBoundary=boundary, Tags=OWNER_TAG)
    key = aws.limited_key(*statements)

    assert try_call(aws, key, *call.split(":"), **parameters) is (verdict == "allowed")


def test_a_missing_role_has_no_path_so_a_policy_fenced_by_path_denies(aws: Ground):
    key = aws.limited_key(allow("iam:GetRole", f"arn:aws:iam::{ACCOUNT}:role/demo/*"))

    with denied("on resource: role demo-app because"):
        aws.iam("GetRole", key=key, RoleName="demo-app")


def test_resource_tags_are_those_of_each_resource(aws: Ground):
    aws.user("ours", Tags=OWNER_TAG)
    aws.user("theirs")
    aws.group(group_id="group", Tags=OWNER_TAG)
    owned = {"StringEquals": {"aws:ResourceTag/owner": "demo"}}
    key = aws.limited_key(allow("elasticache:ModifyUserGroup", Condition=owned))

    assert aws.ec("ModifyUserGroup", key=key, UserGroupId="group", UserIdsToAdd=["ours"])
    with denied(f"on resource: {arn('user', 'theirs')}"):
        aws.ec("ModifyUserGroup", key=key, UserGroupId="group", UserIdsToAdd=["theirs"])


def test_the_mode_of_an_existing_user_counts_unless_the_call_changes_it(aws: Ground):
    aws.user("demo-app")
    aws.default_user("demo-closed")
    iam_only = {"StringEquals": {"elasticache:UserAuthenticationMode": "iam"}}
    key = aws.limited_key(allow("elasticache:ModifyUser", Condition=iam_only))

    assert aws.ec("ModifyUser", key=key, UserId="demo-app", AccessString="off -@all")
    with denied():
        aws.ec("ModifyUser", key=key, UserId="demo-closed", AccessString="off -@all")
    with denied():
        aws.ec("ModifyUser", key=key, UserId="demo-app", AuthenticationMode=NO_PASSWORD)


def test_a_denied_call_changes_nothing(aws: Ground):
    with denied():
        aws.ec("CreateUser", key=aws.limited_key(allow("iam:*")), **CREATE_USER)

    assert len(aws.ec("DescribeUsers")["Users"]) == 1


def test_a_key_that_a_call_cannot_know_fails_loudly(aws: Ground):
    key = aws.limited_key(allow("elasticache:*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}))

    with denied("aws:sourceip", code="NotImplementedInSandbox"):
        aws.ec("DescribeUsers", key=key)


def test_an_unknown_access_key_is_an_invalid_token_id(aws: Ground):
    with denied(code="InvalidClientTokenId"):
        aws.ec("DescribeUsers", key="AKIAUNKNOWN")


def test_a_policy_with_an_unknown_key_is_refused_when_the_access_key_is_made(aws: Ground):
    policy = json.loads(document(allow("*", Condition={"StringEquals": {"aws:SourceVpce": "x"}})))

    with denied(code="NotImplementedInSandbox"):
        aws.world.add_access_key(ACCOUNT, user_name="x", policy=policy)
