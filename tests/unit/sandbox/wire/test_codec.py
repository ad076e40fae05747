"""Every protocol, through real boto3 clients: what goes in comes out."""

from datetime import UTC, datetime

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from moto.core.utils import get_service_model

from elasticache_iam_sandbox.wire.codec import _routes, identify, parse_parameters, render_error, render_result
from elasticache_iam_sandbox.wire.signature import HttpRequest
from elasticache_iam_sandbox.world.call import AwsError


def form(body, **headers):
    headers = {"host": "127.0.0.1", "content-type": "application/x-www-form-urlencoded", **headers}
    return HttpRequest("POST", "https://127.0.0.1/", headers, body.encode())


def test_a_query_call_arrives_as_boto3_sent_it(world, session):
    world.answer = {"UserId": "checkout", "Status": "creating", "UserGroupIds": []}

    answer = session.client("elasticache").create_user(
        UserId="checkout",
        UserName="checkout",
        Engine="valkey",
        AccessString="on ~orders:* +@read",
        AuthenticationMode={"Type": "iam"},
        Tags=[{"Key": "elasticache-iam.dev/owner", "Value": "demo"}, {"Key": "b", "Value": ""}],
    )

    (call,) = world.calls
    assert (call.service, call.operation, call.region) == ("elasticache", "CreateUser", "eu-central-1")
    assert call.access_key_id == "AKIDEXAMPLE"
    assert call.parameters == {
        "UserId": "checkout",
        "UserName": "checkout",
        "Engine": "valkey",
        "AccessString": "on ~orders:* +@read",
        "AuthenticationMode": {"Type": "iam"},
        "Tags": [{"Key": "elasticache-iam.dev/owner", "Value": "demo"}, {"Key": "b", "Value": ""}],
    }
    assert answer["UserId"] == "checkout"
    assert answer["UserGroupIds"] == []


def test_an_empty_list_is_not_an_absent_one():
    request = form("Action=ModifyUserGroup&Version=2015-02-02&UserGroupId=g&UserIdsToAdd=&UserIdsToRemove.member.1=a")

    parameters = parse_parameters(request, identify(request, default_region="eu-central-1"))

    assert parameters == {"UserGroupId": "g", "UserIdsToAdd": [], "UserIdsToRemove": ["a"]}


def test_numbers_booleans_and_documents_keep_their_type(world, session):
    document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a&b=c+d", "Resource": "*"}]}'
    world.answer = {"Role": {**ROLE, "AssumeRolePolicyDocument": "%7B%7D"}}

    session.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=document, MaxSessionDuration=43200)

    assert world.calls[0].parameters == {
        "RoleName": "r",
        "AssumeRolePolicyDocument": document,
        "MaxSessionDuration": 43200,
    }


ROLE = {
    "Path": "/elasticache-iam/demo/",
    "RoleName": "r",
    "RoleId": "AROA",
    "Arn": "arn:aws:iam::111122223333:role/r",
    "CreateDate": datetime(2026, 11, 21, 8, 0, tzinfo=UTC),
}


def test_times_come_back_as_aware_datetimes(world, session):
    world.answer = {"Role": ROLE}

    role = session.client("iam").get_role(RoleName="r")["Role"]

    assert role["CreateDate"] == datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


ANSWERED_CALLS = {
    "json": (
        ("resourcegroupstaggingapi", "get_resources"),
        {"ResourcesPerPage": 50, "TagFilters": [{"Key": "k", "Values": ["v", "w"]}]},
        {"PaginationToken": "", "ResourceTagMappingList": [{"ResourceARN": "a", "Tags": [{"Key": "k", "Value": "v"}]}]},
    ),
    "json-nested": (
        ("memorydb", "describe_users"),
        {"UserName": "checkout", "MaxResults": 20},
        {"Users": [{"Name": "checkout", "ACLNames": ["a"], "Authentication": {"Type": "iam", "PasswordCount": 0}}]},
    ),
    "rest-json-path": (
        ("eks", "describe_cluster"),
        {"name": "local"},
        {
            "cluster": {
                "name": "local",
                "createdAt": datetime(2026, 1, 2, tzinfo=UTC),
                "identity": {"oidc": {"issuer": "https://issuer.example"}},
            }
        },
    ),
    "rest-json-query": (
        ("eks", "list_pod_identity_associations"),
        {"clusterName": "local", "namespace": "shop", "maxResults": 5},
        {"associations": []},
    ),
    "rest-json-body": (
        ("eks", "create_pod_identity_association"),
        {
            "clusterName": "local",
            "namespace": "shop",
            "serviceAccount": "checkout",
            "roleArn": "arn",
            "tags": {"a": "b"},
            "clientRequestToken": "t",
        },
        {"association": {"associationId": "a-1"}},
    ),
    "query-without-parameters": (
        ("sts", "get_caller_identity"),
        {},
        {"UserId": "AIDA", "Account": "111122223333", "Arn": "arn"},
    ),
}


@pytest.mark.parametrize(("operation", "parameters", "answer"), ANSWERED_CALLS.values(), ids=ANSWERED_CALLS.keys())
def test_each_protocol_carries_parameters_and_answers(world, session, operation, parameters, answer):
    world.answer = answer
    service, method = operation

    received = getattr(session.client(service), method)(**parameters)

    assert world.calls[0].service == service
    assert world.calls[0].parameters == parameters
    del received["ResponseMetadata"]
    assert received == answer


def cbor_request(operation, parameters):
    model = get_service_model("resourcegroupstaggingapi").operation_model(operation)
    serialized = RpcV2CBORSerializer().serialize_to_request(parameters, model)
    url = f"https://127.0.0.1{serialized['url_path']}"
    return HttpRequest("POST", url, {"smithy-protocol": "rpc-v2-cbor"}, bytes(serialized["body"]))


def cbor_answer(response, operation="GetResources"):
    shape = get_service_model("resourcegroupstaggingapi").operation_model(operation).output_shape
    headers = {name.lower(): value for name, value in response.headers.items()}
    return RpcV2CBORParser().parse({"status_code": response.status, "headers": headers, "body": response.body}, shape)


def test_cbor_is_understood_beside_json():
    parameters = {"ResourcesPerPage": 50, "TagFilters": [{"Key": "k", "Values": ["v"]}]}
    found = {"PaginationToken": "next", "ResourceTagMappingList": [{"ResourceARN": "arn", "Tags": []}]}
    request = cbor_request("GetResources", parameters)
    target = identify(request, default_region="eu-central-1")

    answer = cbor_answer(render_result(target, found))

    assert target.protocol == "smithy-rpc-v2-cbor"
    assert parse_parameters(request, target) == parameters
    del answer["ResponseMetadata"]
    assert answer == found


def test_an_error_in_cbor_is_read_as_one():
    target = identify(cbor_request("GetResources", {}), default_region="eu-central-1")

    answer = cbor_answer(render_error(target, AwsError("AccessDenied", "no", 403)))

    assert answer["Error"] == {"Code": "AccessDeniedException", "Message": "no"}
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [(bytes.fromhex("a166436f6c6f757263726564"), "ValidationException"), (b"\xff\x00", "MalformedInput")],
    ids=["unknown-parameter", "no-cbor"],
)
def test_wrong_cbor_is_refused(body, code):
    good = cbor_request("GetResources", {})
    request = HttpRequest(good.method, good.url, good.headers, body)
    target = identify(request, default_region="eu-central-1")

    with pytest.raises(AwsError) as caught:
        parse_parameters(request, target)

    assert caught.value.code == code


def test_every_operation_of_eks_is_found_by_its_own_path():
    routes = _routes("eks")

    for method, pattern, operation in routes:
        path = pattern.pattern.replace("\\", "")
        for name in pattern.groupindex:
            path = path.replace(f"(?P<{name}>[^/]+)", "x")
        request = HttpRequest(method, f"https://eks.eu-central-1.amazonaws.com{path}", {}, b"")
        assert identify(request, default_region="").operation == operation


def test_web_identity_needs_no_signature_and_takes_the_hosts_region(world, aws):
    world.answer = {}
    session = boto3.session.Session(region_name="eu-west-1")
    aws.hook(session)

    session.client("sts", config=Config(signature_version=UNSIGNED)).assume_role_with_web_identity(
        RoleArn="arn:aws:iam::111122223333:role/r", RoleSessionName="checkout", WebIdentityToken="a.b.c"
    )

    assert world.calls[0].access_key_id is None
    assert world.calls[0].region == "eu-west-1"


def test_an_unsigned_call_to_the_sandboxs_own_address_takes_the_default_region():
    request = form("Action=AssumeRoleWithWebIdentity&Version=2011-06-15")

    assert identify(request, default_region="eu-central-1").region == "eu-central-1"


def test_a_parameter_that_the_model_does_not_know_is_refused():
    request = form("Action=DescribeUsers&Version=2015-02-02&Colour=red")
    target = identify(request, default_region="eu-central-1")

    with pytest.raises(AwsError, match="Colour") as caught:
        parse_parameters(request, target)

    assert caught.value.code == "UnknownParameter"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (form("Action=Dance&Version=2015-02-02"), "InvalidAction"),
        (form("Action=DescribeUsers&Version=1999-01-01"), "InvalidAction"),
        (HttpRequest("GET", "https://127.0.0.1/favicon.ico", {}, b""), "UnknownOperationException"),
        (
            HttpRequest("POST", "https://127.0.0.1/", {"x-amz-target": "DynamoDB.Get"}, b"{}"),
            "UnknownOperationException",
        ),
    ],
    ids=["unknown-operation", "unknown-version", "no-api-call", "unknown-service"],
)
def test_what_is_not_ours_is_refused(request_, code):
    with pytest.raises(AwsError) as caught:
        identify(request_, default_region="eu-central-1")

    assert caught.value.code == code


ERRORS = {
    "elasticache-not-found": (
        ("elasticache", "delete_user", {"UserId": "u"}),
        AwsError("UserNotFound", "User u <or so> & more not found.", 404),
        "UserNotFoundFault",
    ),
    "elasticache-busy": (
        ("elasticache", "delete_user", {"UserId": "u"}),
        AwsError("InvalidUserState", "busy"),
        "InvalidUserStateFault",
    ),
    "iam": (("iam", "get_role", {"RoleName": "r"}), AwsError("NoSuchEntity", "none", 404), "NoSuchEntityException"),
    "eks": (
        ("eks", "describe_cluster", {"name": "c"}),
        AwsError("ResourceNotFoundException", "none", 404),
        "ResourceNotFoundException",
    ),
    "tagging": (
        ("resourcegroupstaggingapi", "get_resources", {}),
        AwsError("InvalidParameterException", "no"),
        "InvalidParameterException",
    ),
}


@pytest.mark.parametrize(("call", "error", "exception"), ERRORS.values(), ids=ERRORS.keys())
def test_modelled_errors_become_botocores_own_exceptions(world, session, call, error, exception):
    world.answer = error
    service, operation, parameters = call
    client = session.client(service)

    with pytest.raises(getattr(client.exceptions, exception)) as caught:
        getattr(client, operation)(**parameters)

    assert caught.value.response["Error"]["Code"] == error.code
    assert caught.value.response["Error"]["Message"] == error.message
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == error.http_status
    assert caught.value.response["ResponseMetadata"]["RequestId"]


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("elasticache", "describe_users", "AccessDenied"),
        ("eks", "list_clusters", "AccessDeniedException"),
        ("resourcegroupstaggingapi", "get_resources", "AccessDeniedException"),
    ],
)
def test_common_errors_are_worded_as_each_protocol_does(world, session, service, operation, code):
    world.answer = AwsError("AccessDenied", "User is not authorized", 403)

    with pytest.raises(ClientError) as caught:
        getattr(session.client(service), operation)()

    assert caught.value.response["Error"]["Code"] == code


def test_an_error_without_a_service_is_xml():
    response = render_error(None, AwsError("InvalidAction", "what?"))

    assert response.headers["Content-Type"] == "text/xml"
    assert b"<Code>InvalidAction</Code>" in response.body


HOSTILE = "a\x00b\x15c\ufffed\U00081383e<&>"


def test_an_error_in_xml_can_be_read_whatever_it_quotes(world, session):
    world.answer = AwsError("NoSuchEntity", f"The role with name {HOSTILE} cannot be found.", 404)

    with pytest.raises(ClientError) as caught:
        session.client("iam").get_role(RoleName="any")

    assert "name a\ufffdb\ufffdc\ufffdd\U00081383e<&> cannot" in str(caught.value)


def test_an_answer_in_xml_can_be_read_whatever_it_holds(world, session):
    world.answer = {"UserId": "checkout", "AccessString": HOSTILE}

    answer = session.client("elasticache").modify_user(UserId="checkout")

    assert answer["AccessString"] == "a\ufffdb\ufffdc\ufffdd\U00081383e<&>"


def test_an_answer_that_the_model_does_not_know_fails_loudly_and_without_values():
    target = identify(form("Action=DescribeUsers&Version=2015-02-02"), default_region="eu-central-1")

    with pytest.raises(TypeError, match="Colour") as caught:
        render_result(target, {"Colour": "red", "Marker": {"secret": "hunter2"}})

    assert "hunter2" not in str(caught.value)
