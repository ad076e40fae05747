"""`elasticache-iam token`: a person's token, by the person's own AWS identity; nothing else is told of it."""

import json
import logging
import shlex
from urllib.parse import parse_qs, urlsplit

import pytest
from boto3.session import Session
from click.testing import CliRunner
from tests.builders import Nobody

from elasticache_iam.api.keys import API_VERSION
from elasticache_iam.cli.main import cli
from elasticache_iam.core.errors import ConfigurationError, NotFoundError
from elasticache_iam.runtime import personal

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
DIRECT = ["--user-id", "jane", "--cache-id", "orders-prod", "--region", "eu-central-1"]


class Cluster:
    """A connection that knows a user and its group."""

    def __init__(self):
        self.objects = {}

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def call(self, request):
        assert request.verb in {"get", "list"}
        assert request.resource != "secrets"
        if request.verb == "list":
            return {"items": []}
        try:
            return self.objects[request.resource, request.namespace, request.name]
        except KeyError:
            raise NotFoundError("not found") from None


def cache(name, **more):
    arn = f"arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:{name}-prod"
    return {"name": name, "id": f"{name}-prod", "arn": arn, "host": f"{name}.example", "port": 6379, **more}


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()

    async def connect(_kubeconfig, *, context):
        del context
        return made

    monkeypatch.setattr(personal, "open_connection", connect)
    return made


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    """A person who has logged in."""
    monkeypatch.setattr(
        personal,
        "Session",
        lambda profile_name=None: Session(aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="eu-west-1"),
    )


def put_user(cluster, *caches, name="jane", user_id="demo-jane-1", **status):
    spec = {
        "groups": [{"name": "orders", "namespace": "platform"}],
        "access": {"preset": "ReadOnly", "keys": ["*"]},
        "role": {"mode": "None"},
        "delivery": {"mode": "None"},
    }
    cluster.objects["elasticacheiamusers", "shop", name] = {
        "apiVersion": API_VERSION,
        "kind": "ElastiCacheIAMUser",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
        "status": {"id": user_id, "caches": list(caches), **status},
    }


def put_group(cluster, *caches, service="ElastiCache"):
    cluster.objects["usergroups", "platform", "orders"] = {
        "apiVersion": API_VERSION,
        "kind": "UserGroup",
        "metadata": {"name": "orders", "namespace": "platform"},
        "spec": {"engine": "redis", "service": service},
        "status": {"caches": list(caches)},
    }


def run(*arguments):
    return CliRunner().invoke(cli, ["token", *arguments])


def refused(*arguments):
    result = run(*arguments)
    assert isinstance(result.exception, ConfigurationError), result.output
    return result.exception.message


def signed(text):
    return {name: values[0] for name, values in parse_qs(urlsplit(f"//{text}").query).items()}


# -- without a cluster -------------------------------------------------------------------------------------------------


def test_only_the_token_is_on_the_output():
    result = run(*DIRECT, "-o", "token")

    (line,) = result.stdout.splitlines()
    assert line.startswith("orders-prod/?Action=connect")
    assert signed(line)["User"] == "jane"
    assert signed(line)["X-Amz-Credential"].startswith(f"{KEY}/")
    assert signed(line)["X-Amz-Expires"] == "900"


def test_how_long_it_is_good_is_told_beside_it():
    assert run(*DIRECT, "-o", "token").stderr.startswith("# user jane; good until 20")


def test_the_line_for_redis_cli_holds_no_token():
    result = run(*DIRECT, "--host", "orders.example", "--profile", "dev")

    assert result.stderr == ""
    assert result.stdout == (
        'REDISCLI_AUTH="$(cli token --user-id jane --cache-id orders-prod --region eu-central-1 --profile dev '
        '-o token)" '
        "redis-cli --tls -c -h orders.example -p 6379 --user jane\n"
    )


def test_what_the_line_calls_makes_the_token():
    line = run(*DIRECT, "--host", "orders.example").stdout
    call = shlex.split(line.partition('"$(')[2].partition(')"')[0])

    result = CliRunner().invoke(cli, call[1:])

    assert result.stdout.startswith("orders-prod/?Action=connect")


def test_env_is_for_a_shell():
    result = run(*DIRECT, "-o", "env")

    name, _, value = result.stdout.strip().removeprefix("export ").partition("=")
    assert name == "REDISCLI_AUTH"
    assert shlex.split(value)[0].startswith("orders-prod/?Action=connect")


def test_json_is_for_programs():
    document = json.loads(run(*DIRECT, "-o", "json", "--host", "orders.example").stdout)

    assert (document["username"], document["host"], document["port"]) == ("jane", "orders.example", 6379)
    assert document["password"].startswith("orders-prod/?Action=connect")
    assert document["expiresAt"].endswith("Z")


def test_a_serverless_cache_is_signed_as_one():
    assert signed(run(*DIRECT, "--serverless", "-o", "token").stdout)["ResourceType"] == "ServerlessCache"


def test_memorydb_is_signed_for_memorydb():
    assert "/memorydb/" in signed(run(*DIRECT, "--memorydb", "-o", "token").stdout)["X-Amz-Credential"]


def test_the_region_of_the_profile_will_do():
    result = run("--user-id", "jane", "--cache-id", "orders-prod", "-o", "token")

    assert "/eu-west-1/" in signed(result.stdout)["X-Amz-Credential"]


def test_the_region_may_stand_in_the_environment(monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setattr(
        personal, "Session", lambda profile_name=None: Session(aws_access_key_id=KEY, aws_secret_access_key=SECRET)
    )

    result = run("--user-id", "jane", "--cache-id", "orders-prod", "-o", "token")

    assert "/eu-north-1/" in signed(result.stdout)["X-Amz-Credential"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["jane", "--user-id", "jane"], ["--user-id", "jane"]],
    ids=["neither", "both", "no-cache"],
)
def test_what_does_not_say_whom_is_wrong_usage(arguments):
    assert run(*arguments).exit_code == 2


def test_an_endpoint_is_no_cache_id():
    message = refused("--user-id", "jane", "--cache-id", "orders.example:6379", "--region", "eu-central-1")

    assert message.startswith("this can't be signed: ")


def test_nobody_logged_in_is_told_how(monkeypatch):
    monkeypatch.setattr(personal, "Session", lambda profile_name=None: Nobody())

    assert "log in (aws sso login), or choose a profile: --profile" in refused(*DIRECT, "-o", "token")


def test_a_profile_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(personal, "Session", Session)

    assert "nobody" in refused(*DIRECT, "--profile", "nobody")


def test_the_token_is_in_no_log(caplog):
    caplog.set_level(logging.DEBUG)

    text = run(*DIRECT, "-o", "token").stdout

    assert signed(text)["X-Amz-Signature"] not in caplog.text
    assert SECRET not in caplog.text


# -- by the resource ---------------------------------------------------------------------------------------------------


def test_the_resource_tells_user_and_cache(cluster):
    put_user(cluster, cache("main", region="eu-north-1"))

    text = run("jane", "-n", "shop", "-o", "token").stdout

    assert text.startswith("main-prod/")
    assert signed(text)["User"] == "demo-jane-1"
    assert "/eu-north-1/" in signed(text)["X-Amz-Credential"]


def test_a_user_without_a_role_is_found_by_its_group(cluster):
    put_user(cluster)
    put_group(cluster, cache("main"))

    line = run("jane", "-n", "shop").stdout

    assert "-h main.example -p 6379 --user demo-jane-1" in line


def test_one_of_several_caches_is_chosen(cluster):
    put_user(cluster, cache("main", region="eu-central-1"), cache("sessions", region="eu-central-1"))

    assert run("jane", "-n", "shop", "--cache", "sessions", "-o", "token").stdout.startswith("sessions-prod/")
    assert run("jane", "-n", "shop", "-o", "token").stdout.startswith("main-prod/")
    assert "shop/jane has no cache x, but main, sessions" in refused("jane", "-n", "shop", "--cache", "x")


def test_of_several_caches_without_a_main_one_must_be_said(cluster):
    put_user(cluster, cache("orders", region="eu-central-1"), cache("sessions", region="eu-central-1"))

    assert "which cache? shop/jane has orders, sessions; say --cache" in refused("jane", "-n", "shop")


def test_a_user_that_is_not_there_is_told(cluster):
    assert refused("nobody", "-n", "shop").startswith("there is no ElastiCacheIAMUser shop/nobody")


def test_a_user_that_is_not_in_aws_yet_is_told(cluster):
    put_user(cluster, user_id="")

    assert "no user or no cache in AWS yet; see: elasticache-iam status -n shop" in refused("jane", "-n", "shop")
