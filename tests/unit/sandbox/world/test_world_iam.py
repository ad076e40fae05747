import json
from urllib.parse import unquote

import pytest
from tests.unit.sandbox.world.ground import (
    ACCOUNT,
    AUDIENCE,
    ISSUER,
    PROVIDER_ARN,
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


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def boundary(aws):
    text = document(allow("elasticache:Connect"))
    return aws.iam("CreatePolicy", PolicyName="boundary", PolicyDocument=text)["Policy"]["Arn"]


def test_a_role_is_told_with_path_tags_and_boundary(aws: Ground):
    arn = boundary(aws)

    aws.role(Tags=[{"Key": "a", "Value": "b"}], PermissionsBoundary=arn, Description="d", MaxSessionDuration=7200)
    role = aws.iam("GetRole", RoleName="checkout")["Role"]

    assert (role["Arn"], role["Path"], role["Description"], role["MaxSessionDuration"]) == (
        ROLE_ARN,
        "/apps/",
        "d",
        7200,
    )
    assert role["Tags"] == [{"Key": "a", "Value": "b"}]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == arn


def test_documents_are_url_encoded_json_as_on_the_wire(aws: Ground):
    created = aws.role(statements=[allow("elasticache:Connect")])
    policy = aws.iam("GetRolePolicy", RoleName="checkout", PolicyName="inline")

    assert json.loads(unquote(created["AssumeRolePolicyDocument"])) == json.loads(trust_issuer())
    assert json.loads(unquote(policy["PolicyDocument"])) == json.loads(document(allow("elasticache:Connect")))
    assert "{" not in policy["PolicyDocument"]


def test_role_names_are_unique_whatever_their_case_and_path(aws: Ground):
    aws.role("checkout")

    with pytest.raises(AwsError) as caught:
        aws.role("CHECKOUT", Path="/")

    assert (caught.value.code, caught.value.http_status) == ("EntityAlreadyExists", 409)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"RoleName": "a b"}, "ValidationError"),
        ({"RoleName": "a" * 65}, "ValidationError"),
        ({"Path": "apps"}, "ValidationError"),
        ({"MaxSessionDuration": 60}, "ValidationError"),
        ({"Description": "d" * 1001}, "ValidationError"),
        ({"AssumeRolePolicyDocument": "{}"}, "MalformedPolicyDocument"),
        ({"AssumeRolePolicyDocument": trust_aws(f"arn:aws:iam::{ACCOUNT}:role/nobody")}, "MalformedPolicyDocument"),
        ({"AssumeRolePolicyDocument": trust_aws("somebody")}, "MalformedPolicyDocument"),
        ({"AssumeRolePolicyDocument": trust_issuer(StringEquals={"x:sub": "y" * 2048})}, "LimitExceeded"),
        ({"PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/nothing"}, "NoSuchEntity"),
        ({"PermissionsBoundary": "arn:aws:iam::aws:policy/ReadOnlyAccess"}, "NotImplementedInSandbox"),
        ({"Tags": [{"Key": f"k{n}", "Value": ""} for n in range(51)]}, "LimitExceeded"),
    ],
)
def test_a_bad_creation_is_refused_with_its_code(aws: Ground, options, code: str):
    with refused(code):
        aws.iam("CreateRole", **{"RoleName": "r", "AssumeRolePolicyDocument": trust_issuer(), **options})


def test_an_unknown_principal_is_named(aws: Ground):
    with refused("MalformedPolicyDocument", "Invalid principal in policy"):
        aws.role(trust=trust_aws(f"arn:aws:iam::{ACCOUNT}:role/nobody"))


def test_a_trusted_role_that_was_deleted_shows_as_its_unique_id(aws: Ground):
    trusted = aws.role("first")
    aws.role("second", trust=trust_aws(trusted["Arn"]))
    aws.iam("DeleteRole", RoleName="first")
    aws.role("first")

    shown = aws.iam("GetRole", RoleName="second")["Role"]["AssumeRolePolicyDocument"]

    assert json.loads(unquote(shown))["Statement"][0]["Principal"]["AWS"] == trusted["RoleId"]


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("GetRole", {}),
        ("DeleteRole", {}),
        ("UpdateRole", {}),
        ("UpdateAssumeRolePolicy", {"PolicyDocument": "{}"}),
        ("PutRolePolicy", {"PolicyName": "p", "PolicyDocument": "{}"}),
        ("GetRolePolicy", {"PolicyName": "p"}),
        ("DeleteRolePolicy", {"PolicyName": "p"}),
        ("ListRolePolicies", {}),
        ("ListAttachedRolePolicies", {}),
        ("ListInstanceProfilesForRole", {}),
        ("TagRole", {"Tags": []}),
        ("UntagRole", {"TagKeys": []}),
        ("ListRoleTags", {}),
        ("PutRolePermissionsBoundary", {"PermissionsBoundary": "x"}),
        ("DeleteRolePermissionsBoundary", {}),
    ],
)
def test_a_missing_role_is_no_such_entity(aws: Ground, operation: str, parameters):
    with pytest.raises(AwsError) as caught:
        aws.iam(operation, RoleName="nobody", **parameters)

    assert (caught.value.code, caught.value.http_status) == ("NoSuchEntity", 404)


@pytest.mark.parametrize("name", ["a/b", "a" * 65, "a b", "ø", "a\n", "a\x15"], ids=ascii)
@pytest.mark.parametrize("operation", ["GetRole", "DeleteRole"])
def test_what_cannot_be_a_roles_name_is_refused_before_any_right_is_looked_at(aws: Ground, operation: str, name: str):
    with refused("ValidationError", "roleName"):
        aws.iam(operation, RoleName=name)


def test_a_role_with_inline_policies_cannot_be_deleted(aws: Ground):
    aws.role(statements=[allow("elasticache:Connect")])

    with refused("DeleteConflict"):
        aws.iam("DeleteRole", RoleName="checkout")
    aws.iam("DeleteRolePolicy", RoleName="checkout", PolicyName="inline")
    aws.iam("DeleteRole", RoleName="checkout")

    with refused("NoSuchEntity"):
        aws.iam("GetRole", RoleName="checkout")


def test_a_role_made_anew_has_another_id(aws: Ground):
    first = aws.role()
    aws.iam("DeleteRole", RoleName="checkout")

    assert aws.role()["RoleId"] != first["RoleId"]


def test_an_inline_policy_is_replaced_and_listed(aws: Ground):
    aws.role(statements=[allow("elasticache:Connect")])
    aws.put_policy(allow("elasticache:DescribeUsers"))

    assert aws.iam("ListRolePolicies", RoleName="checkout")["PolicyNames"] == ["inline"]
    text = unquote(aws.iam("GetRolePolicy", RoleName="checkout", PolicyName="inline")["PolicyDocument"])
    assert json.loads(text)["Statement"][0]["Action"] == "elasticache:DescribeUsers"


def test_inline_policies_have_a_total_size(aws: Ground):
    aws.role()

    with refused("LimitExceeded"):
        aws.put_policy(*(allow("elasticache:Connect", f"arn:aws:s3:::{number:0>100}") for number in range(100)))


def test_a_policy_with_an_unknown_condition_operator_is_refused_loudly(aws: Ground):
    aws.role()

    with refused("NotImplementedInSandbox", "BinaryEquals"):
        aws.put_policy(allow("elasticache:Connect", Condition={"BinaryEquals": {"aws:PrincipalArn": "x"}}))


def test_description_and_session_length_can_change(aws: Ground):
    aws.role()

    aws.iam("UpdateRole", RoleName="checkout", Description="new", MaxSessionDuration=43200)

    role = aws.iam("GetRole", RoleName="checkout")["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("new", 43200)


def test_the_trust_policy_can_change(aws: Ground):
    aws.role()

    aws.iam("UpdateAssumeRolePolicy", RoleName="checkout", PolicyDocument=trust_aws(ACCOUNT))

    text = unquote(aws.iam("GetRole", RoleName="checkout")["Role"]["AssumeRolePolicyDocument"])
    assert json.loads(text)["Statement"][0]["Principal"] == {"AWS": ACCOUNT}


def test_role_tags_are_added_removed_and_listed_in_pages(aws: Ground):
    aws.role(Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    aws.iam("TagRole", RoleName="checkout", Tags=[{"Key": "c", "Value": "3"}])
    aws.iam("UntagRole", RoleName="checkout", TagKeys=["a", "not-there"])

    first = aws.iam("ListRoleTags", RoleName="checkout", MaxItems=1)
    second = aws.iam("ListRoleTags", RoleName="checkout", MaxItems=1, Marker=first["Marker"])

    assert first["Tags"] == [{"Key": "b", "Value": "2"}]
    assert (second["Tags"], second["IsTruncated"]) == ([{"Key": "c", "Value": "3"}], False)


def test_a_boundary_is_set_and_removed(aws: Ground):
    arn = boundary(aws)
    aws.role()

    aws.iam("PutRolePermissionsBoundary", RoleName="checkout", PermissionsBoundary=arn)
    used = aws.iam("GetPolicy", PolicyArn=arn)["Policy"]["PermissionsBoundaryUsageCount"]
    aws.iam("DeleteRolePermissionsBoundary", RoleName="checkout")

    assert used == 1
    assert "PermissionsBoundary" not in aws.iam("GetRole", RoleName="checkout")["Role"]


def test_a_policy_shows_its_only_version(aws: Ground):
    arn = boundary(aws)

    version = aws.iam("GetPolicyVersion", PolicyArn=arn, VersionId="v1")["PolicyVersion"]

    assert json.loads(unquote(version["Document"])) == json.loads(document(allow("elasticache:Connect")))
    with refused("NoSuchEntity"):
        aws.iam("GetPolicyVersion", PolicyArn=arn, VersionId="v2")
    with refused("EntityAlreadyExists"):
        boundary(aws)


def test_list_roles_by_path_tells_trust_but_neither_tags_nor_boundary(aws: Ground):
    aws.role("inside", Path="/apps/demo/", Tags=[{"Key": "a", "Value": "b"}], PermissionsBoundary=boundary(aws))
    aws.role("outside", Path="/other/")

    (role,) = aws.iam("ListRoles", PathPrefix="/apps/")["Roles"]

    assert role["RoleName"] == "inside"
    assert role["AssumeRolePolicyDocument"]
    assert not role.keys() & {"Tags", "PermissionsBoundary"}


@pytest.mark.parametrize("prefix", [None, "/apps/"])
def test_roles_are_listed_in_pages(aws: Ground, prefix: str | None):
    for name in "abc":
        aws.role(name)
    more = {"PathPrefix": prefix} if prefix else {}

    first = aws.iam("ListRoles", MaxItems=2, **more)
    second = aws.iam("ListRoles", MaxItems=2, Marker=first["Marker"], **more)

    assert [role["RoleName"] for role in first["Roles"] + second["Roles"]] == ["a", "b", "c"]
    assert (first["IsTruncated"], second["IsTruncated"]) == (True, False)


def test_authorization_details_tell_inline_policies_and_boundaries_in_pages(aws: Ground):
    arn = boundary(aws)
    aws.role("a", statements=[allow("elasticache:Connect")], PermissionsBoundary=arn)
    aws.role("b", Tags=[{"Key": "k", "Value": "v"}])

    first = aws.iam("GetAccountAuthorizationDetails", Filter=["Role"], MaxItems=1)
    second = aws.iam("GetAccountAuthorizationDetails", Filter=["Role"], MaxItems=1, Marker=first["Marker"])

    (a,), (b,) = first["RoleDetailList"], second["RoleDetailList"]
    assert a["RolePolicyList"][0]["PolicyName"] == "inline"
    assert a["PermissionsBoundary"]["PermissionsBoundaryArn"] == arn
    assert b["Tags"] == [{"Key": "k", "Value": "v"}]
    assert second["IsTruncated"] is False


def test_authorization_details_tell_users_and_policies_too(aws: Ground):
    boundary(aws)
    aws.limited_key(allow("iam:*"))

    details = aws.iam("GetAccountAuthorizationDetails")

    assert [user["UserName"] for user in details["UserDetailList"]] == ["admin", "limited"]
    assert [policy["PolicyName"] for policy in details["Policies"]] == ["boundary"]


@pytest.mark.parametrize("parameters", [{"MaxItems": 0}, {"MaxItems": 1001}, {"Marker": "bm9uc2Vuc2U="}])
def test_bad_paging_is_a_validation_error(aws: Ground, parameters):
    with refused("ValidationError"):
        aws.iam("ListRoles", **parameters)


def test_an_oidc_provider_is_told_without_its_scheme(aws: Ground):
    created = aws.provider("sts.amazonaws.com", AUDIENCE)
    provider = aws.iam("GetOpenIDConnectProvider", OpenIDConnectProviderArn=PROVIDER_ARN)

    assert created["OpenIDConnectProviderArn"] == PROVIDER_ARN
    assert provider["Url"] == ISSUER.removeprefix("https://")
    assert provider["ClientIDList"] == ["sts.amazonaws.com", AUDIENCE]
    assert aws.iam("ListOpenIDConnectProviders") == {"OpenIDConnectProviderList": [{"Arn": PROVIDER_ARN}]}


def test_client_ids_are_added_and_removed_and_repeating_is_no_error(aws: Ground):
    aws.provider("one")
    for _ in range(2):
        aws.iam("AddClientIDToOpenIDConnectProvider", OpenIDConnectProviderArn=PROVIDER_ARN, ClientID="two")
    for _ in range(2):
        aws.iam("RemoveClientIDFromOpenIDConnectProvider", OpenIDConnectProviderArn=PROVIDER_ARN, ClientID="one")

    assert aws.iam("GetOpenIDConnectProvider", OpenIDConnectProviderArn=PROVIDER_ARN)["ClientIDList"] == ["two"]


def test_a_provider_has_at_most_a_hundred_client_ids(aws: Ground):
    with refused("LimitExceeded"):
        aws.provider(*(f"client-{number}" for number in range(101)))


def test_a_provider_can_be_made_once(aws: Ground):
    aws.provider()

    with refused("EntityAlreadyExists"):
        aws.provider()


@pytest.mark.parametrize("url", ["http://oidc.example", "oidc.example", "https://"])
def test_a_provider_needs_an_https_url(aws: Ground, url: str):
    with refused("InvalidInput"):
        aws.iam("CreateOpenIDConnectProvider", Url=url)


def test_a_deleted_provider_is_no_such_entity(aws: Ground):
    aws.provider()
    aws.iam("DeleteOpenIDConnectProvider", OpenIDConnectProviderArn=PROVIDER_ARN)

    with refused("NoSuchEntity"):
        aws.iam("GetOpenIDConnectProvider", OpenIDConnectProviderArn=PROVIDER_ARN)


def test_the_quota_of_roles_is_kept():
    aws = Ground(roles=1)
    aws.role("first", trust=trust_aws(ACCOUNT))

    with refused("LimitExceeded", "RolesPerAccount: 1"):
        aws.role("second", trust=trust_aws(ACCOUNT))


def test_the_quota_of_oidc_providers_is_kept():
    aws = Ground(oidc_providers=1)
    aws.provider()

    with refused("LimitExceeded", "OpenIdConnectProvidersPerAccount: 1"):
        aws.iam("CreateOpenIDConnectProvider", Url="https://oidc.example/id/OTHER")


def test_the_quota_of_tags_is_a_setting():
    aws = Ground(tags_per_resource=1)
    two = [{"Key": key, "Value": ""} for key in "ab"]

    with refused("LimitExceeded", "TagsPerRole: 1"):
        aws.role(trust=trust_aws(ACCOUNT), Tags=two)
    with refused("TagQuotaPerResourceExceeded"):
        aws.user(Tags=two)


def simulate(aws, actions, *resources, source=ROLE_ARN, **options):
    answer = aws.iam(
        "SimulatePrincipalPolicy", PolicySourceArn=source, ActionNames=actions, ResourceArns=list(resources), **options
    )
    return [result["EvalDecision"] for result in answer["EvaluationResults"]]


def test_a_simulation_says_what_a_roles_policies_say_of_each_resource(aws: Ground):
    connect = "elasticache:Connect"
    aws.role(trust=trust_aws(ACCOUNT), statements=[allow(connect, arn("user", "*")), deny(connect, arn("user", "bad"))])

    decisions = simulate(aws, [connect], arn("user", "app"), arn("user", "bad"), arn("replicationgroup", "x"))

    assert decisions == ["allowed", "explicitDeny", "implicitDeny"]


def test_a_simulation_considers_the_boundary_and_tells_it(aws: Ground):
    aws.role(trust=trust_aws(ACCOUNT), statements=[allow("*")], PermissionsBoundary=boundary(aws))

    answer = aws.iam("SimulatePrincipalPolicy", PolicySourceArn=ROLE_ARN, ActionNames=["iam:GetRole"])

    (result,) = answer["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"
    assert result["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}


def test_a_simulation_takes_condition_keys_from_the_caller(aws: Ground):
    condition = {"StringEquals": {"aws:ResourceTag/stage": "prod"}}
    aws.role(trust=trust_aws(ACCOUNT), statements=[allow("elasticache:Connect", Condition=condition)])
    entry = {"ContextKeyName": "aws:ResourceTag/stage", "ContextKeyValues": ["prod"], "ContextKeyType": "string"}

    without = simulate(aws, ["elasticache:Connect"], arn("user", "app"))
    given = simulate(aws, ["elasticache:Connect"], arn("user", "app"), ContextEntries=[entry])

    assert (without, given) == (["implicitDeny"], ["allowed"])


def test_a_simulation_of_nobody_is_no_such_entity(aws: Ground):
    with refused("NoSuchEntity"):
        simulate(aws, ["elasticache:Connect"], "*", source=f"arn:aws:iam::{ACCOUNT}:role/nobody")
