"""What is to be minted is read out of the resource alone."""

import copy

import pytest
from tests.builders import user_manifest

from elasticache_iam.api.keys import ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY
from elasticache_iam.api.parse import parse_user
from elasticache_iam.core.mint import mint_order

CACHE = {
    "name": "main",
    "id": "orders-prod",
    "arn": "arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders-prod",
    "region": "eu-central-1",
    "host": "h",
    "port": 6379,
    "secret": {"name": "checkout", "uid": "s-1"},
}
STATUS = {
    "id": "demo-checkout-1",
    "arn": "arn:aws:elasticache:eu-central-1:111122223333:user:demo-checkout-1",
    "role": {"arn": "arn:aws:iam::111122223333:role/r", "maxSessionSeconds": 43200},
    "caches": [CACHE],
}


def order_of(status=STATUS, metadata=None, **spec):
    manifest = copy.deepcopy(user_manifest(**spec))
    meta = {**manifest["metadata"], "uid": "u-1", "generation": 3, **(metadata or {})}
    return mint_order(parse_user({**manifest, "metadata": meta, "status": status}))


def verified(status, generation):
    condition = {"type": "Verified", "status": status, "reason": "X", "message": "", "observedGeneration": generation}
    return {**STATUS, "conditions": [condition]}


def test_an_order_says_all_that_minting_takes():
    order = order_of()

    assert order is not None
    assert (order.key, order.uid, order.generation) == (("shop", "checkout"), "u-1", 3)
    assert (order.user_id, order.role_arn) == (STATUS["id"], STATUS["role"]["arn"])
    assert (order.max_session_s, order.service_account) == (43200, "checkout")
    (target,) = order.caches
    assert (target.alias, target.cache_id, target.secret_name, target.secret_uid) == (
        "main",
        "orders-prod",
        "checkout",
        "s-1",
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"metadata": {"deletionTimestamp": "2026-11-21T09:00:00Z"}}, id="being-deleted"),
        pytest.param({"suspend": True}, id="suspended"),
        pytest.param({"delivery": {"mode": "None"}}, id="signing-for-itself"),
        pytest.param({"status": {**STATUS, "caches": []}}, id="without-a-cache"),
        pytest.param({"status": {**STATUS, "id": ""}}, id="without-a-user"),
        pytest.param({"status": {**STATUS, "role": None}}, id="without-a-role"),
        pytest.param({"status": {**STATUS, "role": {"arn": ""}}}, id="without-a-roles-arn"),
        pytest.param({"status": {}}, id="without-a-status"),
    ],
)
def test_nothing_is_minted(options):
    assert order_of(**options) is None


@pytest.mark.parametrize("hold", [ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY])
@pytest.mark.parametrize("spec", [{"suspend": True}, {"delivery": {"mode": "None"}}], ids=["suspend", "self-signing"])
def test_what_would_end_the_tokens_of_a_resource_on_hold_ends_none(hold, spec):
    assert order_of(metadata={"annotations": {hold: "true"}}, **spec) is not None


@pytest.mark.parametrize("hold", [ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY])
def test_who_signs_for_itself_gets_no_token_by_being_put_on_hold(hold):
    status = {**STATUS, "caches": [{**CACHE, "secret": None}]}

    assert order_of(status, {"annotations": {hold: "true"}}, delivery={"mode": "None"}) is None


@pytest.mark.parametrize(
    ("status", "needed"),
    [
        pytest.param(STATUS, True, id="never-tried"),
        pytest.param(verified("True", 3), False, id="seen-to-work"),
        pytest.param(verified("True", 2), True, id="seen-to-work-before-an-edit"),
        pytest.param(verified("False", 3), True, id="seen-to-fail"),
        pytest.param(verified("Unknown", 3), True, id="out-of-reach"),
    ],
)
def test_a_login_is_tried_until_it_was_seen_to_work(status, needed):
    order = order_of(status)

    assert order is not None
    assert order.needs_verify is needed


@pytest.mark.parametrize(
    ("chain", "needed"),
    [
        pytest.param(None, False, id="not-known-yet"),
        pytest.param({"seen": "a.0", "proven": "a.0"}, False, id="proven"),
        pytest.param({"seen": "b.0", "proven": "a.0"}, True, id="changed"),
        pytest.param({"seen": "b.0"}, True, id="changed-before-the-first-proof"),
    ],
)
def test_a_chain_that_no_login_has_proven_asks_for_one(chain, needed):
    order = order_of({**verified("True", 3), **({"chain": chain} if chain else {})})

    assert order is not None
    assert order.needs_verify is needed


def test_tokens_are_signed_as_the_first_service_account():
    order = order_of(serviceAccounts=["worker", "checkout"])

    assert order is not None
    assert order.service_account == "worker"


def test_secrets_are_named_after_the_resource_or_as_asked():
    second = {**CACHE, "name": "sessions", "secret": None}
    status = {**STATUS, "caches": [CACHE, second]}

    default, asked = order_of(status), order_of(status, delivery={"secret": {"name": "redis"}})

    assert default is not None
    assert asked is not None
    assert [target.secret_name for target in default.caches] == ["checkout", "checkout.sessions"]
    assert [target.secret_name for target in asked.caches] == ["redis", "redis.sessions"]
    assert [target.secret_uid for target in default.caches] == ["s-1", ""]


def test_the_refresh_annotation_is_passed_on():
    order = order_of(metadata={"annotations": {"elasticache-iam.dev/refresh": "2026"}})

    assert order is not None
    assert order.refresh == "2026"


@pytest.mark.parametrize(
    "changes",
    [
        {"arn": "\x8f"},
        {"arn": "arn:aws:elasticache:eu-central-1:111122223333:user:*"},
        {"role": {"arn": "nobody", "maxSessionSeconds": 43200}},
        {"caches": [{**CACHE, "arn": "orders-prod"}]},
    ],
    ids=["user", "wildcard", "role", "cache"],
)
def test_a_status_that_names_what_cannot_be_asks_for_nothing(changes):
    assert order_of(status={**STATUS, **changes}) is None
