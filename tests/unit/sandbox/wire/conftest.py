"""A world that answers what a test tells it to: the wire is tested here, not AWS."""

from datetime import UTC, datetime, timedelta

import pytest

from elasticache_iam_sandbox.wire.in_process import InProcessAws
from elasticache_iam_sandbox.world.call import SigningIdentity
from elasticache_iam_sandbox.world.world import World

REGION = "eu-central-1"


class ScriptedWorld(World):
    """Remembers calls; answers with `answer`, which may be an exception to raise."""

    def __init__(self):
        self.calls = []
        self.answer = {}
        self.latency_s = 0.0
        self.identities = {
            "AKIDEXAMPLE": SigningIdentity(
                access_key_id="AKIDEXAMPLE",
                secret_access_key="SECRETEXAMPLE",
                session_token=None,
                expires_at=None,
                account_id="111122223333",
                principal_arn="arn:aws:iam::111122223333:user/admin",
            ),
            "ASIDEXAMPLE": SigningIdentity(
                access_key_id="ASIDEXAMPLE",
                secret_access_key="SECRETEXAMPLE",
                session_token="SESSION/TOKEN+EXAMPLE==",
                expires_at=datetime.now(UTC) + timedelta(hours=1),
                account_id="111122223333",
                principal_arn="arn:aws:sts::111122223333:assumed-role/r/s",
            ),
        }
        self.clock_offset = timedelta()

    def dispatch(self, call):
        self.calls.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def fault_latency_s(self, service, operation):
        return self.latency_s

    def signing_identity(self, access_key_id):
        return self.identities.get(access_key_id)

    def now(self):
        return datetime.now(UTC) + self.clock_offset


@pytest.fixture
def world():
    return ScriptedWorld()


@pytest.fixture
def aws(world):
    return InProcessAws(world)


@pytest.fixture
def session(aws):
    return aws.session("AKIDEXAMPLE", "SECRETEXAMPLE", REGION)
