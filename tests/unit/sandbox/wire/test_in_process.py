"""The transport without a socket."""

import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from elasticache_iam_sandbox.world.call import AwsError

ONCE = Config(retries={"total_max_attempts": 1})


def test_clients_that_somebody_else_makes_from_a_hooked_session_are_answered(world, aws):
    session = boto3.session.Session(
        aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="SECRETEXAMPLE", region_name="eu-central-1"
    )
    aws.hook(session)

    world.answer = {"Roles": [], "IsTruncated": False}
    assert session.client("iam").list_roles()["Roles"] == []


def test_an_outage_is_a_connection_closed_without_an_answer(world, session):
    world.answer = ConnectionError("Outage")

    with pytest.raises(ConnectionClosedError):
        session.client("sts", config=ONCE).get_caller_identity()


def test_throttling_is_retried_by_boto3_itself(world, session):
    world.answer = AwsError("Throttling", "Rate exceeded")
    client = session.client("sts", config=Config(retries={"mode": "standard", "total_max_attempts": 2}))

    with pytest.raises(ClientError) as caught:
        client.get_caller_identity()

    assert caught.value.response["Error"]["Code"] == "Throttling"
    assert len(world.calls) == 2


def test_latency_is_waited_out_without_holding_up_others(world, aws, session, monkeypatch):
    world.latency_s = 3.0
    waits = []
    monkeypatch.setattr("time.sleep", lambda seconds: waits.append((seconds, aws.lock.locked())))

    session.client("sts").get_caller_identity()

    assert waits == [(3.0, False)]


def test_a_fault_of_the_sandbox_is_a_servers_error(world, session, caplog):
    world.answer = {"Colour": "red"}

    with pytest.raises(ClientError) as caught:
        session.client("sts", config=ONCE).get_caller_identity()

    assert caught.value.response["Error"]["Code"] == "InternalFailure"
    assert "sts:GetCallerIdentity" in caplog.text


def test_threads_take_turns(world, session):
    inside, overlaps = [], []

    def dispatch(call):
        inside.append(call)
        overlaps.append(len(inside))
        inside.pop()
        return {}

    world.dispatch = dispatch
    client = session.client("sts")
    threads = [threading.Thread(target=client.get_caller_identity) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert overlaps == [1, 1, 1, 1]
