"""The templates that docs/templates.md shows, rendered by the operator's code and read as their clients read them."""

import re
import subprocess
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import redis
import yaml
from tests.builders import user_manifest

from elasticache_iam.api.parse import parse_user
from elasticache_iam.api.user import UserCacheStatus
from elasticache_iam.core.mint import CacheTarget, MintOrder
from elasticache_iam.core.token import Credentials, Token, sign_token
from elasticache_iam.delivery import render_config_map, render_secret
from elasticache_iam.delivery.template import _FILTERS, TemplateCache

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE))
USER = "demo-checkout-1286e5f6"
NASTY = "A/b+c==,;'\"\\ $`&%\n#{}|<>é"
"""What no real session token holds; signed, it must not matter."""
TOKEN = sign_token(
    Credentials("ASIDEXAMPLE", "SECRETEXAMPLE", NASTY),
    service="elasticache",
    region="eu-west-1",
    cache_id="orders-prod",
    user_id=USER,
    now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)
CACHE: dict[str, Any] = {"arn": "arn", "service": "elasticache", "serverless": False, "region": "eu-west-1"}
MAIN = CacheTarget(
    **CACHE,
    alias="main",
    cache_id="orders-prod",
    host="orders.example",
    port=6379,
    reader_host="",
    secret_name="checkout",
    secret_uid="",
)


def shown(section: str, number: int = 0) -> Any:
    """Return the delivery that a section shows."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", SECTIONS[section], flags=re.DOTALL | re.MULTILINE)
    return yaml.safe_load(blocks[number])["delivery"]


def secret(section: str, number: int = 0, *, token: Token = TOKEN) -> dict[str, str]:
    """Return the keys of a Secret with the template that a section shows."""
    order = MintOrder(
        namespace="shop",
        name="checkout",
        uid="uid-1",
        user_id=USER,
        user_arn="arn:user",
        role_arn="arn:role",
        max_session_s=3600,
        service_account="checkout",
        caches=(MAIN,),
        refresh="",
        template=shown(section, number)["secret"]["template"],
    )
    body = render_secret(order, MAIN, token=token, owner="demo", ca_pem=None, templates=TemplateCache())
    return {key: b64decode(value).decode() for key, value in body["data"].items()}


def config_map(delivery: Any, *names: str) -> Any:
    caches = [
        UserCacheStatus(**CACHE, name=name, id=f"{name}-prod", host=f"{name}.example", port=6379) for name in names
    ]
    user = parse_user(user_manifest(delivery=delivery))
    return render_config_map(user, caches, user_id=USER, owner="demo", ca_pem=None, templates=TemplateCache())["data"]


def read_properties(text: str) -> dict[str, str]:
    """Read a file as java.util.Properties does: the first = or : or blank ends a key, a backslash escapes."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*([^=:\s\\]+)\s*[=:\s]\s*(.*)", line)
        assert match is not None, line
        found[match[1]] = re.sub(r"\\(.)", r"\1", match[2])
    return found


def read_connection_string(text: str) -> tuple[list[str], dict[str, str]]:
    """Read a text as StackExchange.Redis does: parts between commas, trimmed; those with = are options."""
    hosts, options = [], {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, is_option, value = part.partition("=")
        if is_option:
            options[key.strip().lower()] = value.strip()
        else:
            hosts.append(part)
    return hosts, options


def test_a_token_consists_of_what_the_page_says():
    (listed,) = re.findall(r"letters, digits and `([^`]+)`", SECTIONS["What to escape"])

    assert re.sub(r"[A-Za-z0-9]", "", "".join(sorted(set(TOKEN.text)))).strip(listed.replace(" ", "")) == ""


def test_the_page_lists_all_filters():
    (listed,) = re.findall(r"^Filters: (.*?)\n\n", PAGE, flags=re.DOTALL | re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", listed)) == _FILTERS


def test_redis_py_reads_the_url():
    pool = redis.Redis.from_url(secret("redis-py and others that take a URL")["REDIS_URL"]).connection_pool

    assert pool.connection_class is redis.SSLConnection
    assert {key: pool.connection_kwargs[key] for key in ("host", "port", "username", "password", "db")} == {
        "host": "orders.example",
        "port": 6379,
        "username": USER,
        "password": TOKEN.text,
        "db": 0,
    }


def test_a_url_is_taken_apart_and_decoded_as_node_does():
    url = urlsplit(secret("redis-py and others that take a URL")["REDIS_URL"])

    assert (url.scheme, url.hostname, url.port, url.path) == ("rediss", "orders.example", 6379, "/0")
    assert (unquote(url.username or ""), unquote(url.password or "")) == (USER, TOKEN.text)
    assert url.query == ""


def test_spring_boot_reads_the_properties():
    assert read_properties(secret("Lettuce, Spring Boot")["application.properties"]) == {
        "spring.data.redis.host": "orders.example",
        "spring.data.redis.port": "6379",
        "spring.data.redis.username": USER,
        "spring.data.redis.password": TOKEN.text,
        "spring.data.redis.ssl.enabled": "true",
    }


def test_spring_boot_reads_the_yaml():
    assert yaml.safe_load(secret("Lettuce, Spring Boot", 1)["application.yaml"])["spring"]["data"]["redis"] == {
        "host": "orders.example",
        "port": 6379,
        "username": USER,
        "password": TOKEN.text,
        "ssl": {"enabled": True},
    }


def test_stack_exchange_reads_the_connection_string():
    hosts, options = read_connection_string(secret("StackExchange.Redis")["redis.connection"])

    assert hosts == ["orders.example:6379"]
    assert options == {"user": USER, "password": TOKEN.text, "ssl": "true", "abortconnect": "false"}


def test_a_shell_reads_the_environment_of_redis_cli(tmp_path: Path):
    (tmp_path / "redis.env").write_text(secret("redis-cli")["redis.env"])
    stub = "redis-cli() { printf '%s\\n' \"$@\"; }"
    command = f"{stub}; . {tmp_path}/redis.env; printf '%s\\n' \"$REDISCLI_AUTH\"; redis ping"

    said = subprocess.run(["/bin/bash", "-euc", command], capture_output=True, text=True, check=True).stdout  # noqa: S603

    arguments = ["--tls", "-h", "orders.example", "-p", "6379", "--user", USER, "ping"]
    assert said.split("\n") == [TOKEN.text, *arguments, ""]


def test_settings_hold_no_token_and_name_each_cache():
    assert config_map(shown("Settings without a token"), "main", "reports") == {
        "REDIS_HOST": "main.example",
        "REDIS_PORT": "6379",
        "REDIS_READER_HOST": "main.example",
        "REDIS_USERNAME": USER,
        "REDIS_PASSWORD_FILE": "/var/run/secrets/elasticache-iam/password",
        "REPORTS_HOST": "reports.example",
    }


@pytest.mark.parametrize("prefix", ["TFE_REDIS_", "TFE_REDIS_SIDEKIQ_"])
def test_terraform_enterprises_settings_are_those_of_the_walkthrough(prefix: str):
    example = ROOT / "examples" / "terraform-enterprise" / "user.yaml"
    _, user = yaml.safe_load_all(example.read_text(encoding="utf-8"))

    found = config_map(user["spec"]["delivery"], "main")

    assert len(found) == 16
    assert {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}.items() >= {
        "HOST": "main.example:6379",
        "USER": USER,
        "USE_TLS": "true",
        "USE_AUTH": "true",
        "PASSWORDLESS_AWS_USE_INSTANCE_PROFILE": "true",
        "PASSWORDLESS_AWS_REGION": "eu-west-1",
        "PASSWORDLESS_AWS_HOST_NAME": "main-prod",
        "PASSWORDLESS_AWS_SERVICE_NAME": "elasticache",
    }.items()
