"""The AWS CLI against the sandbox's HTTPS endpoint. It takes a second to start, so a few calls stand for all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from elasticache_iam_sandbox.supervisor import BackgroundSandbox

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    with BackgroundSandbox(tmp_path_factory.mktemp("aws")) as running:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        yield kept | running.env() | {"AWS_CONFIG_FILE": os.devnull, "AWS_PAGER": ""}


def aws(env, *arguments):
    return subprocess.run(  # noqa: S603  # the AWS CLI of this environment
        [AWS, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_cli_creates_and_describes_a_user(env):
    created = aws(
        env, "elasticache", "create-user", "--user-id", "checkout", "--user-name", "checkout", "--engine", "valkey",
        "--access-string", "on ~* +@read", "--authentication-mode", "Type=iam", "--tags", "Key=team,Value=shop",
    )  # fmt: skip
    described = aws(
        env, "elasticache", "describe-users", "--query", "Users[?UserId=='checkout'].Status", "--output", "text"
    )

    assert json.loads(created.stdout)["ARN"].endswith(":user:checkout")
    assert described.stdout.strip() == "active"


def test_the_cli_says_who_it_is(env):
    answer = aws(env, "sts", "get-caller-identity")

    assert json.loads(answer.stdout)["Arn"] == "arn:aws:iam::111122223333:user/admin"


def test_the_cli_shows_an_error_as_awss(env):
    answer = aws(env, "eks", "describe-cluster", "--name", "nowhere")

    assert answer.returncode != 0
    assert "ResourceNotFoundException" in answer.stderr


def test_the_cli_with_a_wrong_secret_is_refused(env):
    answer = aws(env | {"AWS_SECRET_ACCESS_KEY": "WRONG"}, "elasticache", "describe-users")

    assert "SignatureDoesNotMatch" in answer.stderr
