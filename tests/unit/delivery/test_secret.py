"""The Secret an application gets."""

import time
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

from elasticache_iam.core.mint import CacheTarget, MintOrder
from elasticache_iam.core.token import Credentials, Token, sign_token
from elasticache_iam.delivery import DeliveryTemplateError, render_secret
from elasticache_iam.delivery.secret import VARIABLES
from elasticache_iam.delivery.template import TemplateCache

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOKEN = sign_token(
    Credentials("ASIDEXAMPLE", "SECRETEXAMPLE", "SESSION/TOKEN+EXAMPLE=="),
    service="elasticache",
    region="eu-west-1",
    cache_id="orders-prod",
    user_id="prod-checkout-1286e5f6",
    now=NOW,
)


def target(**changes: Any) -> CacheTarget:
    fields: dict[str, Any] = {
        "alias": "main",
        "cache_id": "orders-prod",
        "arn": "arn:aws:elasticache:eu-west-1:111122223333:replicationgroup:orders-prod",
        "service": "elasticache",
        "serverless": False,
        "region": "eu-west-1",
        "host": "orders.example",
        "port": 6379,
        "reader_host": "",
        "secret_name": "checkout",
        "secret_uid": "",
    }
    return CacheTarget(**(fields | changes))


def order(**changes: Any) -> MintOrder:
    fields: dict[str, Any] = {
        "namespace": "shop",
        "name": "checkout",
        "uid": "uid-1",
        "user_id": "prod-checkout-1286e5f6",
        "user_arn": "arn:user",
        "role_arn": "arn:role",
        "max_session_s": 3600,
        "service_account": "checkout",
        "caches": (target(),),
        "refresh": "",
    }
    return MintOrder(**(fields | changes))


def secret(
    order_: MintOrder | None = None, target_: CacheTarget | None = None, *, token: Token = TOKEN, ca: str | None = None
) -> dict[str, Any]:
    return render_secret(
        order_ or order(), target_ or target(), token=token, owner="prod", ca_pem=ca, templates=TemplateCache()
    )


def content(body: Mapping[str, Any]) -> dict[str, str]:
    return {key: b64decode(value, validate=True).decode() for key, value in body["data"].items()}


def test_it_is_a_redis_service_binding_with_all_that_a_login_takes():
    body = secret()

    assert (body["apiVersion"], body["kind"], body["type"]) == ("v1", "Secret", "servicebinding.io/redis")
    assert content(body) == {
        "type": "redis",
        "provider": "elasticache",
        "host": "orders.example",
        "port": "6379",
        "username": "prod-checkout-1286e5f6",
        "password": TOKEN.text,
        "ssl": "true",
        "uri": f"rediss://prod-checkout-1286e5f6:{quote(TOKEN.text, safe='')}@orders.example:6379",
        "expires-at": "2026-01-02T03:19:05Z",
    }


def test_its_uri_gives_back_user_and_token():
    parts = urlsplit(content(secret())["uri"])

    assert (parts.scheme, parts.hostname, parts.port) == ("rediss", "orders.example", 6379)
    assert (parts.username, unquote(parts.password or "")) == ("prod-checkout-1286e5f6", TOKEN.text)


def test_an_ipv6_host_has_brackets_in_the_uri_alone():
    data = content(secret(target_=target(host="::1")))

    assert data["host"] == "::1"
    assert data["uri"].endswith("@[::1]:6379")


def test_reader_and_ca_are_there_where_the_cache_has_them():
    data = content(secret(target_=target(reader_host="reader.example"), ca="PEM"))

    assert (data["reader-host"], data["ca.crt"]) == ("reader.example", "PEM")


def test_it_belongs_to_its_resource():
    assert secret()["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "elasticache-iam.dev/v1alpha1",
            "kind": "ElastiCacheIAMUser",
            "name": "checkout",
            "uid": "uid-1",
            "controller": True,
            "blockOwnerDeletion": False,
        }
    ]


def test_it_has_the_targets_name_in_the_resources_namespace():
    metadata = secret(target_=target(alias="replica", secret_name="checkout.replica"))["metadata"]

    assert (metadata["namespace"], metadata["name"]) == ("shop", "checkout.replica")


def test_its_annotations_tell_its_life_and_keep_argo_cd_and_reloader_away():
    assert secret()["metadata"]["annotations"] == {
        "argocd.argoproj.io/ignore-resource-updates": "true",
        "reloader.stakater.com/ignore": "true",
        "elasticache-iam.dev/issued-at": "2026-01-02T03:04:05Z",
        "elasticache-iam.dev/expires-at": "2026-01-02T03:19:05Z",
    }


def test_labels_and_annotations_of_the_author_are_added():
    metadata = secret(order(secret_labels={"team": "shop"}, secret_annotations={"note": "x"}))["metadata"]

    assert metadata["labels"]["team"] == "shop"
    assert metadata["annotations"]["note"] == "x"


def test_labels_and_annotations_of_the_author_never_replace_ours():
    plain = secret()["metadata"]
    wishes = order(
        secret_labels=dict.fromkeys(plain["labels"], "mine"),
        secret_annotations=dict.fromkeys(plain["annotations"], "mine"),
    )

    metadata = secret(wishes)["metadata"]

    assert (metadata["labels"], metadata["annotations"]) == (plain["labels"], plain["annotations"])


def test_the_token_is_in_the_data_alone():
    body = secret(order(secret_labels={"a": "b"}))

    assert "X-Amz" not in str({key: value for key, value in body.items() if key != "data"})


def test_a_template_adds_a_key():
    text = "rediss://{{ username | url_encode }}:{{ password | url_encode }}@{{ host }}:{{ port }}/0"

    data = content(secret(order(template={"REDIS_URL": text})))

    assert data["REDIS_URL"] == data["uri"] + "/0"
    assert data["password"] == TOKEN.text


def test_a_template_may_replace_a_key_of_ours():
    assert content(secret(order(template={"host": "{{ host }}."})))["host"] == "orders.example."


def test_templates_see_every_variable():
    names = [
        *("type", "provider", "host", "port", "reader_host", "username", "password", "uri", "ca", "region"),
        *("cache_id", "service", "expires_at"),
    ]
    assert frozenset(names) == VARIABLES
    template = {name: f"{{{{ {name} }}}}" for name in names}

    data = content(secret(order(template=template), target(reader_host="reader.example"), ca="PEM"))

    assert data["reader_host"] == "reader.example"
    assert data["ca"] == "PEM"
    assert (data["region"], data["cache_id"], data["service"]) == ("eu-west-1", "orders-prod", "elasticache")
    assert data["expires_at"] == "2026-01-02T03:19:05Z"


def test_what_a_cache_does_not_have_is_empty_in_a_template():
    data = content(secret(order(template={"READER": "{{ reader_host | default: host }}"})))

    assert data["READER"] == "orders.example"


@pytest.mark.parametrize("key", ["", "a/b", "a b", "ä", "x" * 254, ".", "..data"])
def test_a_template_for_what_cannot_be_a_key_is_refused(key: str):
    with pytest.raises(DeliveryTemplateError, match="can't be a key"):
        secret(order(template={key: "x"}))


def test_templates_that_fill_the_secret_are_refused():
    large = "{% assign x = password | append: password | append: password %}" + "{{ x }}" * 14
    template = {f"key-{number}": large for number in range(20)}

    with pytest.raises(DeliveryTemplateError, match="one too many"):
        secret(order(template=template))


def test_a_secret_costs_less_than_a_fifth_of_a_millisecond():
    order_, target_, ca = order(), target(), "x" * 2000
    times = []
    for _ in range(200):
        start = time.process_time_ns()
        secret(order_, target_, ca=ca)
        times.append(time.process_time_ns() - start)

    assert sorted(times)[20] < 200_000
