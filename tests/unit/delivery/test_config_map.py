"""The ConfigMap an application gets: settings, and never a token."""

from typing import Any

import pytest
from tests.builders import user_manifest

from elasticache_iam.api.parse import parse_user
from elasticache_iam.api.user import ElastiCacheIAMUser, UserCacheStatus
from elasticache_iam.delivery import DeliveryTemplateError, digest_of, render_config_map
from elasticache_iam.delivery.config_map import VARIABLES
from elasticache_iam.delivery.template import TemplateCache

CA = "-----BEGIN CERTIFICATE-----\n"


def cache(name: str = "main", **changes: Any) -> UserCacheStatus:
    fields = {"name": name, "id": f"{name}-prod", "arn": "arn", "region": "eu-west-1", "host": f"{name}.example"}
    return UserCacheStatus.model_validate({**fields, "port": 6379, **changes})


def user(**template: str) -> ElastiCacheIAMUser:
    body = user_manifest(delivery={"configMap": {"name": "settings", "template": template}})
    body["metadata"]["uid"] = "uid-1"
    return parse_user(body)


def rendered(*caches: UserCacheStatus, ca: str | None = None, **template: str) -> dict[str, Any]:
    return render_config_map(
        user(**template),
        caches or (cache(),),
        user_id="demo-checkout-1",
        owner="demo",
        ca_pem=ca,
        templates=TemplateCache(),
    )


def data(*caches: UserCacheStatus, ca: str | None = None, **template: str) -> Any:
    return rendered(*caches, ca=ca, **template)["data"]


def test_it_is_the_users_own_and_goes_with_it():
    metadata = rendered()["metadata"]

    assert (metadata["namespace"], metadata["name"]) == ("shop", "settings")
    assert metadata["labels"] == {
        "app.kubernetes.io/managed-by": "elasticache-iam-operator",
        "elasticache-iam.dev/owner": "demo",
        "elasticache-iam.dev/user": "checkout",
    }
    assert [(one["kind"], one["uid"], one["controller"]) for one in metadata["ownerReferences"]] == [
        ("ElastiCacheIAMUser", "uid-1", True)
    ]


def test_what_watches_secrets_less_watches_settings():
    assert "annotations" not in rendered()["metadata"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("type", "redis"),
        ("provider", "elasticache"),
        ("service", "elasticache"),
        ("host", "main.example"),
        ("port", "6379"),
        ("reader_host", ""),
        ("username", "demo-checkout-1"),
        ("region", "eu-west-1"),
        ("cache_id", "main-prod"),
        ("ca", CA),
    ],
)
def test_templates_use_what_is_no_secret(variable: str, value: str):
    assert data(ca=CA, KEY=f"{{{{ {variable} }}}}") == {"KEY": value}


def test_templates_may_use_what_is_known_and_nothing_else_is():
    assert data(KEY="".join(f"{{% if {name} %}}.{{% endif %}}" for name in sorted(VARIABLES))) == {"KEY": "." * 11}


@pytest.mark.parametrize("variable", ["password", "uri", "expires_at"])
def test_there_is_no_variable_with_a_token_or_its_life(variable: str):
    with pytest.raises(DeliveryTemplateError, match=f"key 'KEY' uses {variable}; there are only"):
        rendered(KEY=f"{{{{ {variable} }}}}")


def test_templates_speak_of_main_wherever_it_stands():
    assert data(cache("reports"), cache(), HOST="{{ host }}") == {"HOST": "main.example"}


def test_templates_speak_of_the_first_cache_where_none_is_called_main():
    assert data(cache("reports"), cache("carts"), HOST="{{ host }}") == {"HOST": "reports.example"}


def test_each_cache_is_there_by_its_name():
    template = {"A": "{{ caches.main.cache_id }}", "B": '{{ caches["read-only"].host }}', "C": "{{ caches.x.port }}"}

    found = data(cache(), cache("read-only"), cache("x", port=7000), **template)

    assert found == {"A": "main-prod", "B": "read-only.example", "C": "7000"}


def test_a_cache_that_is_not_there_is_a_fault_of_that_key():
    with pytest.raises(DeliveryTemplateError, match="key 'HOST' uses a property of a variable that doesn't exist"):
        rendered(HOST="{{ caches.none.host }}")


def test_settings_have_a_limit():
    with pytest.raises(DeliveryTemplateError, match="more than 262144 bytes; key 'K6' is one too many"):
        rendered(ca="é" * 20000, **{f"K{number}": "{{ ca }}" for number in range(10)})


def test_the_digest_tells_whether_a_setting_has_changed():
    before = digest_of(rendered(HOST="{{ host }}"))

    assert digest_of(rendered(HOST="{{ host }}")) == before
    assert digest_of(rendered(cache(host="other.example"), HOST="{{ host }}")) != before


def test_without_a_cache_there_is_nothing_to_render():
    with pytest.raises(ValueError, match="nothing to render"):
        render_config_map(user(), (), user_id="a", owner="demo", ca_pem=None, templates=TemplateCache())
