"""Calls through real boto3, up to the socket: fence, retries, pages, what is sent."""

import json
import traceback
from io import BytesIO
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.group import Service
from elasticache_iam.aws.api import Api
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.identity import get_issuer
from elasticache_iam.aws.places import AwsPlaces
from elasticache_iam.aws.rate import TokenBucket
from elasticache_iam.aws.sts import BotoSts
from elasticache_iam.core.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    NotLeaderError,
    ThrottledError,
    UnavailableError,
)
from elasticache_iam.core.installation import Installation
from elasticache_iam.core.state import CacheKind, CacheRef, Place

REGION = "eu-central-1"
ACCOUNT = "111122223333"


class Fence:
    """Leadership that ends after so many checks."""

    def __init__(self, checks=1000):
        self.left = checks

    def check(self):
        if self.left == 0:
            raise NotLeaderError("not the leader")
        self.left -= 1


class Clock:
    def now(self):
        raise NotImplementedError

    def monotonic(self):
        return 0.0


class Wire:
    """What boto3 sends, and the answers it gets, in order; the last one is repeated."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request, **_):
        body = request.body or b""
        text = body.decode() if isinstance(body, bytes) else str(body)
        self.requests.append((request, {name: values[0] for name, values in parse_qs(text).items()}))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return AWSResponse(request.url, status, {"content-type": "text/xml"}, Raw(body.encode()))


class Raw(BytesIO):
    """A body as urllib3 hands it over."""

    def stream(self, *_, **__):
        yield self.read()


def xml(operation, inner=""):
    return 200, f"<{operation}Response><{operation}Result>{inner}</{operation}Result></{operation}Response>"


def refusal(code, message="", status=400):
    return status, (
        f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>r-1</RequestId></ErrorResponse>"
    )


USER = "<UserId>demo-a</UserId><Status>creating</Status><ARN>arn:demo-a</ARN>"


@pytest.fixture
def bridge():
    bridge = Bridge()
    yield bridge
    bridge.close()


def session(wire, **credentials):
    session = boto3.session.Session(region_name=REGION, **credentials)
    session.events.register("before-send", wire)
    return session


def signed(wire):
    return session(wire, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="SECRETEXAMPLE")


def boto_aws(wire, bridge, fence=None):
    config = OperatorConfig(owner="demo")
    places = AwsPlaces(
        signed(wire),
        installation=Installation(config, REGION, ACCOUNT, "https://oidc.example/id/ABC"),
        bridge=bridge,
        fence=fence or Fence(),
        clock=Clock(),
    )
    return places(Place(Service.ELASTICACHE, ACCOUNT, REGION))


async def test_without_leadership_nothing_is_written(bridge):
    wire = Wire(xml("DeleteUser", USER))
    aws = boto_aws(wire, bridge, Fence(checks=0))

    with pytest.raises(NotLeaderError):
        await aws.delete_user("demo-a")

    assert wire.requests == []


async def test_leadership_lost_between_two_attempts_stops_the_second(bridge):
    wire = Wire(refusal("InternalFailure", status=500))
    aws = boto_aws(wire, bridge, Fence(checks=1))

    with pytest.raises(NotLeaderError):
        await aws.delete_user("demo-a")

    assert len(wire.requests) == 1


async def test_reading_needs_no_leadership(bridge):
    wire = Wire(xml("ListTagsForResource", "<TagList><Tag><Key>a</Key><Value>1</Value></Tag></TagList>"))
    aws = boto_aws(wire, bridge, Fence(checks=0))

    assert await aws.list_tags("arn:aws:elasticache:eu-central-1:111122223333:user:demo-a") == {"a": "1"}


async def test_a_server_error_is_tried_three_times(bridge):
    wire = Wire(refusal("InternalFailure", "oops", status=500))
    aws = boto_aws(wire, bridge)

    with pytest.raises(UnavailableError, match="ElastiCache ModifyUser: InternalFailure: oops"):
        await aws.set_access_string("demo-a", "on ~* +@read")

    assert len(wire.requests) == 3


async def test_an_iam_user_has_its_id_as_name(bridge):
    wire = Wire(xml("CreateUser", USER))

    await boto_aws(wire, bridge).create_user("demo-a", engine="valkey", access_string="on ~* +@read", tags={"k": "v"})

    sent = wire.requests[0][1]
    assert sent["UserId"] == sent["UserName"] == "demo-a"
    assert sent["AuthenticationMode.Type"] == "iam"
    assert (sent["Tags.Tag.1.Key"], sent["Tags.Tag.1.Value"]) == ("k", "v")
    assert not any(name.startswith("Passwords") for name in sent)


async def test_the_default_user_gets_another_long_password_each_time(bridge):
    wire = Wire(xml("CreateUser", USER))
    aws = boto_aws(wire, bridge)

    for _ in range(2):
        await aws.create_default_user("demo-default", engine="redis", tags={})

    passwords = [sent["AuthenticationMode.Passwords.member.1"] for _, sent in wire.requests]
    assert {len(password) for password in passwords} == {64}
    assert len(set(passwords)) == 2
    assert wire.requests[0][1]["UserName"] == "default"
    assert wire.requests[0][1]["AccessString"] == "off ~* -@all"
    assert wire.requests[0][1]["AuthenticationMode.Type"] == "password"


async def test_a_password_that_aws_quotes_is_not_told(bridge):
    class Quoting(Wire):
        def __call__(self, request, **options):
            super().__call__(request, **options)
            self.answers = [refusal("InvalidParameterValue", f"Value '{self.passwords()[-1]}' at 'passwords' is bad")]
            return super().__call__(request, **options)

        def passwords(self):
            return [sent["AuthenticationMode.Passwords.member.1"] for _, sent in self.requests]

    wire = Quoting(xml("CreateUser", USER))

    with pytest.raises(InvalidSpecError, match=r"Value '\[…\]' at 'passwords' is bad") as caught:
        await boto_aws(wire, bridge).create_default_user("demo-default", engine="redis", tags={})

    assert wire.passwords()[0] not in "".join(traceback.format_exception(caught.value))


async def test_empty_lists_are_left_out(bridge):
    wire = Wire(xml("ModifyUserGroup", "<UserGroupId>demo-g</UserGroupId>"))

    await boto_aws(wire, bridge).modify_group("demo-g", add=frozenset({"demo-b", "demo-a"}), remove=frozenset())

    sent = wire.requests[0][1]
    assert (sent["UserIdsToAdd.member.1"], sent["UserIdsToAdd.member.2"]) == ("demo-a", "demo-b")
    assert not any(name.startswith("UserIdsToRemove") for name in sent)


async def test_attaching_applies_immediately(bridge):
    wire = Wire(xml("ModifyReplicationGroup"))

    await boto_aws(wire, bridge).attach_group(CacheRef(CacheKind.REPLICATION_GROUP, "orders-prod"), "demo-g")

    sent = wire.requests[0][1]
    assert sent["ApplyImmediately"] == "true"
    assert sent["UserGroupIdsToAdd.member.1"] == "demo-g"
    assert sent["ReplicationGroupId"] == "orders-prod"


async def test_attaching_what_is_attached_is_success(bridge):
    wire = Wire(refusal("InvalidParameterCombination", "No modifications were requested"))

    await boto_aws(wire, bridge).attach_group(CacheRef(CacheKind.REPLICATION_GROUP, "orders-prod"), "demo-g")

    assert len(wire.requests) == 1


async def test_an_auth_token_in_the_way_is_told(bridge):
    wire = Wire(refusal("InvalidParameterCombination", "User group can't be associated with auth token enabled."))
    aws = boto_aws(wire, bridge)

    with pytest.raises(InvalidSpecError, match="auth token enabled"):
        await aws.attach_group(CacheRef(CacheKind.REPLICATION_GROUP, "orders-prod"), "demo-g")


async def test_a_memorydb_cluster_is_refused_clearly(bridge):
    wire = Wire(xml("ModifyReplicationGroup"))
    aws = boto_aws(wire, bridge)

    with pytest.raises(InvalidSpecError, match="x is a MemoryDB cluster"):
        await aws.attach_group(CacheRef(CacheKind.MEMORYDB_CLUSTER, "x"), "demo-g")

    assert wire.requests == []


@pytest.mark.parametrize(
    ("code", "is_success"),
    [
        pytest.param("UserNotFound", True, id="a-missing-user-is-deleted"),
        pytest.param("ReplicationGroupNotFoundFault", False, id="another-thing-missing-is-an-error"),
    ],
)
async def test_deleting_a_user(bridge, code, is_success):
    aws = boto_aws(Wire(refusal(code, status=404)), bridge)

    outcome = await _outcome(aws.delete_user("demo-a"))

    assert (outcome is None) is is_success


async def _outcome(awaitable):
    try:
        await awaitable
    except Exception as error:  # noqa: BLE001  # the test compares it
        return error
    return None


async def test_a_call_outside_the_operators_policy_is_a_bug(bridge):
    api = Api(signed(Wire(xml("X"))), region=REGION, lane=bridge.control)

    with pytest.raises(LookupError, match="DeleteReplicationGroup"):
        await api.call("elasticache", "DeleteReplicationGroup", {"ReplicationGroupId": "orders-prod"})


async def test_pages_are_followed_to_the_end(bridge):
    wire = Wire(
        xml("DescribeUsers", "<Users><member><UserId>a</UserId></member></Users><Marker>more</Marker>"),
        xml("DescribeUsers", "<Users><member><UserId>b</UserId></member></Users>"),
    )
    api = Api(signed(wire), region=REGION, lane=bridge.control)

    pages = [page["Users"] async for page in api.pages("elasticache", "DescribeUsers", {"MaxRecords": 100})]

    assert [user["UserId"] for page in pages for user in page] == ["a", "b"]
    assert [sent.get("Marker") for _, sent in wire.requests] == [None, "more"]


async def test_a_service_beyond_its_pace_waits(bridge):
    wire = Wire(xml("DescribeUsers", "<Users></Users>"))
    bucket = TokenBucket(per_s=50.0, burst=1.0)
    api = Api(signed(wire), region=REGION, lane=bridge.control, paces={"elasticache": bucket})

    for _ in range(3):
        await api.call("elasticache", "DescribeUsers", {})

    assert bucket.reserve(0.0) > 0.0


async def test_calls_name_the_operator_to_aws(bridge):
    wire = Wire(xml("DescribeUsers", "<Users></Users>"))

    await Api(signed(wire), region=REGION, lane=bridge.control).call("elasticache", "DescribeUsers", {})

    assert b"elasticache-iam-operator/" in wire.requests[0][0].headers["User-Agent"]


async def test_the_usual_variable_moves_the_endpoint(bridge, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    wire = Wire(xml("DescribeUsers", "<Users></Users>"))

    await Api(signed(wire), region=REGION, lane=bridge.control).call("elasticache", "DescribeUsers", {})

    assert wire.requests[0][0].url == "http://127.0.0.1:4566/"


async def test_calls_are_observed(bridge):
    seen = []
    wire = Wire(refusal("UserNotFound", status=404))
    api = Api(signed(wire), region=REGION, lane=bridge.control, observe_call=lambda *call: seen.append(call))

    await _outcome(api.call("elasticache", "DeleteUser", {"UserId": "demo-a"}))

    ((service, operation, code, _, region),) = seen
    assert (service, operation, code, region) == ("elasticache", "DeleteUser", "UserNotFound", REGION)


SESSION_XML = (
    "<Credentials><AccessKeyId>ASIDEXAMPLE</AccessKeyId><SecretAccessKey>SECRETEXAMPLE</SecretAccessKey>"
    "<SessionToken>SESSION</SessionToken><Expiration>2026-01-02T15:04:05Z</Expiration></Credentials>"
)


def assume(sts, **changes):
    arguments = {
        "role_arn": f"arn:aws:iam::{ACCOUNT}:role/elasticache-iam/demo/demo-a",
        "session_name": "shop.checkout",
        "web_identity_token": "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
        "duration_s": 43200,
        "policy": json.dumps({"Version": "2012-10-17", "Statement": []}),
        **changes,
    }
    return sts.assume_role_with_web_identity(**arguments)


async def test_sts_needs_no_credentials_and_is_asked_in_its_region(bridge, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    wire = Wire(xml("AssumeRoleWithWebIdentity", SESSION_XML))

    credentials = await assume(BotoSts(session(wire), region=REGION, bridge=bridge))

    request, sent = wire.requests[0]
    assert request.url == f"https://sts.{REGION}.amazonaws.com/"
    assert "Authorization" not in request.headers
    assert sent["DurationSeconds"] == "43200"
    assert credentials.access_key_id == "ASIDEXAMPLE"
    assert credentials.expires_at is not None
    assert credentials.expires_at.tzinfo is not None


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "sts.us-east-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
        ("eusc-de-east-1", "sts.eusc-de-east-1.amazonaws.eu"),
    ],
)
async def test_sts_of_the_region_is_asked_in_every_partition(bridge, monkeypatch, region, host):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRETEXAMPLE")
    by_token, as_operator = Wire(xml("AssumeRoleWithWebIdentity", SESSION_XML)), Wire(xml("AssumeRole", SESSION_XML))

    await assume(BotoSts(session(by_token), region=region, bridge=bridge))
    await BotoSts(session(as_operator), region=region, bridge=bridge).assume_role(
        role_arn=f"arn:aws:iam::{ACCOUNT}:role/elasticache-iam/demo/demo-a",
        session_name="shop.checkout",
        external_id="demo/shop/checkout",
        duration_s=3600,
        policy="{}",
    )

    (request, _), (signed, sent) = by_token.requests[0], as_operator.requests[0]
    assert request.url == signed.url == f"https://{host}/"
    assert "Authorization" not in request.headers
    assert f"/{region}/sts/aws4_request" in str(signed.headers["Authorization"])
    assert sent["ExternalId"] == "demo/shop/checkout"


async def test_an_environment_that_asks_for_the_global_sts_changes_nothing(bridge, monkeypatch):
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    wire = Wire(xml("AssumeRoleWithWebIdentity", SESSION_XML))

    await assume(BotoSts(session(wire), region=REGION, bridge=bridge))

    assert wire.requests[0][0].url == f"https://sts.{REGION}.amazonaws.com/"


async def test_a_refused_session_shows_no_token(bridge):
    wire = Wire(refusal("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", status=403))

    with pytest.raises(AccessDeniedError) as caught:
        await assume(BotoSts(session(wire), region=REGION, bridge=bridge))

    assert "eyJ" not in str(caught.value)
    assert str(caught.value).startswith("STS AssumeRoleWithWebIdentity: AccessDenied: ")


async def test_a_throttled_sts_is_not_called_again_at_once(bridge):
    wire = Wire(refusal("Throttling", "Rate exceeded"))

    with pytest.raises(ThrottledError):
        await assume(BotoSts(session(wire), region=REGION, bridge=bridge))

    assert len(wire.requests) == 1


async def test_a_parameter_that_botocore_refuses_waits_for_an_edit(bridge):
    sts = BotoSts(session(Wire(xml("AssumeRoleWithWebIdentity", SESSION_XML))), region=REGION, bridge=bridge)

    with pytest.raises(InvalidSpecError, match="RoleSessionName"):
        await assume(sts, session_name="x")


async def test_the_issuer_is_the_clusters(bridge):
    answer = {"cluster": {"identity": {"oidc": {"issuer": "https://oidc.eks.example/id/ABC"}}}}
    wire = Wire((200, json.dumps(answer)))

    issuer = await get_issuer(signed(wire), region=REGION, bridge=bridge, cluster_name="prod")

    assert issuer == "https://oidc.eks.example/id/ABC"
    assert wire.requests[0][0].url.endswith("/clusters/prod")


async def test_a_cluster_without_issuer_says_so(bridge):
    wire = Wire((200, json.dumps({"cluster": {}})))

    with pytest.raises(NotFoundError, match="no OIDC issuer"):
        await get_issuer(signed(wire), region=REGION, bridge=bridge, cluster_name="prod")


async def test_an_inline_policy_that_vanished_does_not_keep_the_role(bridge):
    wire = Wire(
        xml("ListRolePolicies", "<PolicyNames><member>connect</member></PolicyNames><IsTruncated>false</IsTruncated>"),
        refusal("NoSuchEntity", status=404),
        xml("DeleteRole"),
    )

    await boto_aws(wire, bridge).delete_role("demo-a")

    assert [sent["Action"] for _, sent in wire.requests] == ["ListRolePolicies", "DeleteRolePolicy", "DeleteRole"]


async def test_managed_policies_of_others_are_left_and_told(bridge):
    wire = Wire(
        xml("ListRolePolicies", "<PolicyNames></PolicyNames><IsTruncated>false</IsTruncated>"),
        refusal("DeleteConflict", "Cannot delete entity, must detach all policies first.", status=409),
    )

    with pytest.raises(ConflictError, match="must detach all policies first"):
        await boto_aws(wire, bridge).delete_role("demo-a")

    assert [sent["Action"] for _, sent in wire.requests] == ["ListRolePolicies", "DeleteRole"]
