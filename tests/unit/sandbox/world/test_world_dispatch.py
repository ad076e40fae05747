import ast
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.sandbox.world.ground import ACCOUNT, REGION, Ground, allow, model

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
