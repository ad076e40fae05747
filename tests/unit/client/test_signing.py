"""The provider that signs for itself, and what importing the client needs."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from elasticache_iam.client import CredentialsUnavailableError, IamCredentialProvider

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
# Signed by botocore with the same inputs.
BOTOCORES_SIGNATURE = "3b1b53f29db1e50162899b2239f5046d13c0bf853ddfee1796e6c10ad669129c"


class Role:
    """Credentials as boto3 gives them; counts how often they were frozen."""

    def __init__(self):
        self.frozen = 0

    def get_frozen_credentials(self):
        self.frozen += 1
        return SimpleNamespace(access_key="ASIDEXAMPLE", secret_key="SECRETEXAMPLE", token="SESSION/TOKEN+EXAMPLE==")


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


@pytest.fixture
def role():
    return Role()


@pytest.fixture
def clock():
    return Clock()


def provider(role, clock, **changes):
    arguments = {"user_id": "orders-app", "cache_id": "orders-cache", "region": "eu-west-1", "now": clock, **changes}
    return IamCredentialProvider(role, **arguments)


def test_the_token_is_the_one_that_botocore_signs(role, clock):
    username, token = provider(role, clock).get_credentials()

    assert username == "orders-app"
    assert token.endswith(f"X-Amz-Signature={BOTOCORES_SIGNATURE}")


def test_names_are_lower_cased_as_aws_stores_them(role, clock):
    expected = provider(role, clock).get_credentials()

    assert provider(role, clock, user_id="Orders-App", cache_id="Orders-Cache").get_credentials() == expected


def test_a_serverless_cache_is_signed_as_one(role, clock):
    _, token = provider(role, clock, serverless=True).get_credentials()

    assert "ResourceType=ServerlessCache" in token


def test_a_token_is_reused_for_sixty_percent_of_its_life(role, clock):
    signing = provider(role, clock)
    first = signing.get_credentials()
    clock.now = START + timedelta(seconds=539)

    assert signing.get_credentials() == first
    assert role.frozen == 1


def test_then_a_new_one_is_signed(role, clock):
    signing = provider(role, clock)
    first = signing.get_credentials()
    clock.now = START + timedelta(seconds=540)

    assert signing.get_credentials() != first
    assert role.frozen == 2


def test_a_wall_clock_set_back_keeps_no_token_from_the_future(role, clock):
    signing = provider(role, clock)
    first = signing.get_credentials()
    clock.now = START - timedelta(hours=1)

    assert signing.get_credentials() != first
    assert signing.get_credentials() == signing.get_credentials()


def test_a_wall_clock_set_back_by_little_keeps_no_token_beyond_its_life(role, clock):
    tick = SimpleNamespace(now=0.0)
    signing = provider(role, clock, monotonic=lambda: tick.now)
    signing.get_credentials()
    clock.now, tick.now = START + timedelta(seconds=10), 540.0  # it was set back meanwhile

    signing.get_credentials()

    assert role.frozen == 2


def test_a_role_that_gives_no_credentials_is_an_error_of_the_connection(role, clock, monkeypatch):
    signing = provider(role, clock)

    def fail():
        raise TimeoutError

    monkeypatch.setattr(role, "get_frozen_credentials", fail)

    with pytest.raises(CredentialsUnavailableError, match="the role gives no credentials: TimeoutError"):
        signing.get_credentials()


async def test_the_async_client_gets_the_same_token(role, clock):
    signing = provider(role, clock)

    assert await signing.get_credentials_async() == signing.get_credentials()


def test_an_id_that_would_change_the_signing_host_is_refused(role, clock):
    with pytest.raises(ValueError, match="not a valid cache id"):
        provider(role, clock, cache_id="evil.example/")


def test_the_client_needs_neither_pydantic_nor_boto3_nor_any_other_extra():
    blocked = ("pydantic", "boto3", "botocore", "kubernetes", "kopf", "aiohttp", "yaml", "click", "typing_extensions")
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"  # None: importing it raises ImportError
        "from elasticache_iam.client import IamCredentialProvider, SecretFileCredentialProvider\n"
        "print(sorted(m for m in sys.modules if m.startswith('elasticache_iam')))\n"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603  # ours

    assert answer.stderr == ""
    assert "elasticache_iam.core.token" in answer.stdout
    assert "elasticache_iam.api" not in answer.stdout
