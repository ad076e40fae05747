import ast
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.sandbox.world.ground import ACCOUNT, OTHER_ACCOUNT, REGION, Ground, allow, document, model, trust_aws

from elasticache_iam_sandbox import world as world_package
from elasticache_iam_sandbox.world.call import AwsError, Call
from elasticache_iam_sandbox.world.settings import Fault
from elasticache_iam_sandbox.world.world import OPERATIONS

COMMON_CODES = {
    # Not modelled per operation: "Common errors" of the query protocol, and of the services that speak JSON.
    "AccessDenied", "AccessDeniedException", "ExpiredToken", "InvalidClientTokenId", "MissingAuthenticationToken",
    "Throttling", "ValidationError",
    # The sandbox's own.
    "NotImplementedInSandbox",
}  # fmt: skip
SERVICES = ("elasticache", "memorydb", "iam", "sts", "resourcegroupstaggingapi", "eks")


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def codes_in_the_source():
    for path in Path(next(iter(world_package.__path__))).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="AwsError"), args=[ast.Constant(value=code), *_]):
                    yield code


def test_every_error_code_is_in_botocores_models():
    modelled = {error.error_code for service in SERVICES for error in model(service).error_shapes}

    assert set(codes_in_the_source()) - modelled - COMMON_CODES == set()


def test_the_guard_sees_codes():
    assert {"UserNotFound", "NoSuchEntity", "ReplicationGroupNotFoundFault"} <= set(codes_in_the_source())


@pytest.mark.parametrize(("service", "name"), OPERATIONS, ids="-".join)
def test_every_operation_has_the_parameters_of_botocores_model(service: str, name: str):
    operation = OPERATIONS[service, name]
    shape = model(service).operation_model(name).input_shape
    members = set(shape.members) if shape else set()
    required = set(shape.required_members) if shape else set()

    assert operation.parameters <= members
    assert operation.required == required


def test_an_unknown_operation_is_refused_by_name(aws: Ground):
    with refused("NotImplementedInSandbox", "elasticache:RebootCacheCluster"):
        aws.world.dispatch(Call("elasticache", "RebootCacheCluster", {}, REGION, aws.admin))


def test_an_unknown_parameter_is_refused_by_name(aws: Ground):
    with pytest.raises(AwsError, match="SnapshotWindow") as caught:
        aws.ec("ModifyReplicationGroup", ReplicationGroupId="x", SnapshotWindow="x")

    assert (caught.value.code, caught.value.http_status) == ("NotImplementedInSandbox", 501)


def test_a_missing_parameter_is_a_validation_error(aws: Ground):
    with refused("ValidationError", "UserGroupId"):
        aws.ec("CreateUserGroup", Engine="valkey")


def test_an_unsigned_call_is_refused(aws: Ground):
    with refused("MissingAuthenticationToken"):
        aws.world.dispatch(Call("elasticache", "DescribeUsers", {}, REGION, None))


def test_calls_are_counted_whatever_becomes_of_them(aws: Ground):
    aws.ec("DescribeUsers")
    with refused("UserNotFound"):
        aws.ec("DescribeUsers", UserId="nobody")
    with refused("AccessDenied"):
        aws.ec("DescribeUsers", key=aws.limited_key(allow("iam:*")))

    assert aws.world.call_counts() == {("elasticache", "DescribeUsers"): 3}
    aws.world.reset_call_counts()
    assert aws.world.call_counts() == {}


def test_a_fault_refuses_as_often_as_it_says(aws: Ground):
    aws.settings.faults.append(Fault("elasticache", "DescribeUsers", error_code="Throttling", remaining=2))

    for _ in range(2):
        with refused("Throttling", "Rate exceeded"):
            aws.ec("DescribeUsers")
    assert aws.ec("DescribeUsers")["Users"]


def test_a_fault_without_a_count_lasts_until_it_is_removed(aws: Ground):
    aws.settings.faults.append(Fault("elasticache", "*", error_code="ServiceUnavailable", http_status=503))

    for operation in ("DescribeUsers", "DescribeUserGroups"):
        with pytest.raises(AwsError) as caught:
            aws.ec(operation)
        assert (caught.value.code, caught.value.http_status) == ("ServiceUnavailable", 503)
    aws.settings.faults.clear()
    assert aws.ec("DescribeUsers")["Users"]


def test_a_fault_of_one_service_leaves_others_alone(aws: Ground):
    aws.settings.faults.append(Fault("iam", "*", error_code="Throttling"))

    assert aws.ec("DescribeUsers")["Users"]


def test_an_outage_does_nothing_and_answers_nothing(aws: Ground):
    aws.settings.faults.append(Fault("elasticache", "CreateUser", error_code="Outage", remaining=1))

    with pytest.raises(ConnectionError):
        aws.user()
    assert len(aws.ec("DescribeUsers")["Users"]) == 1


def test_a_lost_answer_does_everything_and_answers_nothing(aws: Ground):
    aws.settings.faults.append(Fault("elasticache", "CreateUser", error_code="LostAnswer", remaining=1))

    with pytest.raises(ConnectionError):
        aws.user()
    assert aws.describe_user()["Status"] == "active"


def test_latencies_add_up_and_are_the_carriers_business(aws: Ground):
    aws.settings.faults += [
        Fault("sts", "*", latency_s=0.5),
        Fault("sts", "GetCallerIdentity", latency_s=1.0, remaining=1),
    ]

    before = aws.world.fault_latency_s("sts", "GetCallerIdentity")
    aws.sts("GetCallerIdentity")

    assert before == 1.5
    assert aws.world.fault_latency_s("sts", "GetCallerIdentity") == 0.5


def test_aws_has_a_clock_of_its_own(aws: Ground):
    aws.settings.clock_offset = timedelta(minutes=-5)

    assert aws.world.now() == aws.at - timedelta(minutes=5)


def test_the_next_transition_tells_when_to_advance(slow_aws: Ground):
    slow_aws.user()

    assert slow_aws.world.next_transition_at() == slow_aws.at + timedelta(seconds=10)
    slow_aws.world.advance()
    assert slow_aws.world.advance() is False
    slow_aws.wait(10)
    assert slow_aws.world.advance() is True
    assert slow_aws.world.next_transition_at() is None


def test_advance_reports_what_calls_have_changed_since_it_was_asked(aws: Ground):
    aws.user()

    assert aws.world.advance() is True
    assert aws.world.advance() is False


def test_without_delay_a_change_is_done_on_return_though_the_answer_says_creating(aws: Ground):
    assert aws.user()["Status"] == "creating"
    assert aws.world.next_transition_at() is None


def test_an_account_can_be_added_once(aws: Ground):
    with pytest.raises(ValueError):
        aws.world.add_account(ACCOUNT)


def test_an_unknown_account_is_an_error_of_the_test(aws: Ground):
    with pytest.raises(LookupError):
        aws.world.add_access_key("000000000000", user_name="x")


def test_other_partitions_have_other_arns(aws: Ground):
    aws.world.add_account("777788889999", partition="aws-cn")
    key, _ = aws.world.add_access_key("777788889999", user_name="admin")

    (user,) = aws.ec("DescribeUsers", key=key, region="cn-north-1")["Users"]

    assert user["ARN"] == "arn:aws-cn:elasticache:cn-north-1:777788889999:user:default"


def test_secrets_are_not_in_a_signing_identitys_repr(aws: Ground):
    identity = aws.world.signing_identity(aws.admin)

    assert identity is not None
    assert identity.secret_access_key not in repr(identity)


@pytest.mark.parametrize("api", ["elasticache", "elasticache:DescribeUsers"])
def test_calls_beyond_twice_the_rate_at_once_are_throttled_until_time_passes(aws: Ground, api: str):
    aws.settings.calls_per_s[api] = 1.0

    aws.ec("DescribeUsers")
    aws.ec("DescribeUsers")
    with pytest.raises(AwsError) as caught:
        aws.ec("DescribeUsers")
    aws.wait(1)

    assert (caught.value.code, caught.value.message, caught.value.http_status) == ("Throttling", "Rate exceeded", 400)
    assert aws.ec("DescribeUsers")["Users"]


def test_a_throttle_is_of_one_account_region_and_api(aws: Ground):
    aws.settings.calls_per_s["elasticache:DescribeUsers"] = 0.5
    aws.world.add_account(OTHER_ACCOUNT)
    other, _ = aws.world.add_access_key(OTHER_ACCOUNT, user_name="admin")
    aws.ec("DescribeUsers")

    with refused("Throttling"):
        aws.ec("DescribeUsers")
    assert aws.ec("DescribeUsers", region="us-east-1")["Users"]
    assert aws.ec("DescribeUsers", key=other)["Users"]
    assert aws.ec("DescribeUserGroups") == {"UserGroups": []}


def test_eks_alone_says_too_many_requests(aws: Ground):
    aws.world.add_cluster(ACCOUNT, REGION, "prod", "https://oidc.example/id/X")
    aws.settings.calls_per_s["eks"] = 0.1
    aws.call("eks", "DescribeCluster", name="prod")

    with pytest.raises(AwsError) as caught:
        aws.call("eks", "DescribeCluster", name="prod")

    assert (caught.value.code, caught.value.http_status) == ("Throttling", 429)


@pytest.mark.parametrize(
    ("partition", "region"), [("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1"), ("aws", "eu-west-1")]
)
def test_arns_are_of_the_accounts_partition(partition: str, region: str):
    aws = Ground()
    account = "777788889999"
    aws.world.add_account(account, partition=partition)
    key, _ = aws.world.add_access_key(account, user_name="admin")
    place = {"key": key, "region": region}
    aws.world.add_cluster(account, region, "prod", "https://oidc.example/id/X")
    aws.world.add_serverless_cache(account, region, "carts", engine="valkey", host="127.0.0.1", port=1)

    role = aws.iam("CreateRole", **place, RoleName="r", AssumeRolePolicyDocument=trust_aws(account))["Role"]
    session = aws.sts("AssumeRole", **place, RoleArn=role["Arn"], RoleSessionName="session")
    provider = aws.iam("CreateOpenIDConnectProvider", **place, Url="https://oidc.example/id/X")
    policy = aws.iam("CreatePolicy", **place, PolicyName="b", PolicyDocument=document(allow("*")))["Policy"]
    (memorydb_user,) = aws.call("memorydb", "DescribeUsers", **place)["Users"]

    arns = {
        "role": role["Arn"],
        "session": session["AssumedRoleUser"]["Arn"],
        "provider": provider["OpenIDConnectProviderArn"],
        "policy": policy["Arn"],
        "user": aws.ec("DescribeUsers", **place)["Users"][0]["ARN"],
        "memorydb": memorydb_user["ARN"],
        "serverless": aws.ec("DescribeServerlessCaches", **place)["ServerlessCaches"][0]["ARN"],
        "eks": aws.call("eks", "DescribeCluster", **place, name="prod")["cluster"]["arn"],
        "caller": aws.sts("GetCallerIdentity", **place)["Arn"],
    }
    assert {name for name, text in arns.items() if text.split(":")[1] != partition} == set()


def test_keys_of_one_partition_are_unknown_in_another(aws: Ground):
    with refused("InvalidClientTokenId"):
        aws.ec("DescribeUsers", region="cn-north-1")
