"""When a group goes onto a cache: one ordered list of checks."""

from dataclasses import replace

import pytest
from tests.builders import observed_cache

from elasticache_iam.api.group import AttachmentPolicy, CacheSpec, Service
from elasticache_iam.core import commands
from elasticache_iam.core.plan.attachment import (
    HELD_STATES,
    STALLED_STATES,
    AttachmentState,
    Claim,
    cache_status,
    encryption_notes,
    has_iam,
    judge_attachment,
    judge_missing,
    ref_of_status,
)
from elasticache_iam.core.state import CacheKind, CacheRef, ObservedGroup, Place

GROUP = ObservedGroup("ours", "arn:ours", "redis", "active")
CACHE = observed_cache("orders")
OURS, THEIRS = frozenset({"ours"}), frozenset({"theirs"})


def judge(cache=CACHE, group=GROUP, **changes):
    options = {
        "consented": True,
        "consent": "demo/platform",
        "claimed_by": None,
        "policy": AttachmentPolicy.ATTACH,
        "was_attached": False,
    }
    return judge_attachment(cache, group, Claim(**{**options, **changes}))


@pytest.mark.parametrize(
    ("cache", "options", "state"),
    [
        pytest.param(CACHE, {}, AttachmentState.READY_TO_ATTACH, id="an-open-consenting-cache-is-attached"),
        pytest.param(replace(CACHE, group_ids=OURS), {}, AttachmentState.ATTACHED, id="attached-is-attached"),
        pytest.param(
            replace(CACHE, pending_group_ids=OURS), {}, AttachmentState.ATTACHING, id="pending-is-not-attached-yet"
        ),
        pytest.param(
            replace(CACHE, group_ids=THEIRS), {}, AttachmentState.FOREIGN_GROUP, id="a-foreign-group-is-never-replaced"
        ),
        pytest.param(
            replace(CACHE, pending_group_ids=THEIRS),
            {},
            AttachmentState.FOREIGN_GROUP,
            id="nor-one-that-is-being-attached",
        ),
        pytest.param(CACHE, {"claimed_by": "a/b"}, AttachmentState.CACHE_CLAIMED, id="an-older-claim-wins"),
        pytest.param(
            replace(CACHE, group_ids=OURS),
            {"claimed_by": "a/b"},
            AttachmentState.ATTACHED,
            id="but-not-over-a-group-that-is-on-it",
        ),
        pytest.param(replace(CACHE, tls=False), {}, AttachmentState.TLS_REQUIRED, id="tls-is-needed"),
        pytest.param(
            replace(CACHE, engine_version="6.2.6"), {}, AttachmentState.ENGINE_TOO_OLD, id="redis-6-knows-no-iam"
        ),
        pytest.param(CACHE, {"consented": False}, AttachmentState.CONSENT_MISSING, id="without-consent-never"),
        pytest.param(
            replace(CACHE, auth_token_enabled=True),
            {"consented": False},
            AttachmentState.CONSENT_MISSING,
            id="consent-is-asked-before-the-token-matters",
        ),
        pytest.param(
            replace(CACHE, auth_token_enabled=True), {}, AttachmentState.AUTH_TOKEN_ENABLED, id="an-auth-token-stops-it"
        ),
        pytest.param(
            CACHE,
            {"policy": AttachmentPolicy.REFUSE},
            AttachmentState.ATTACHMENT_REFUSED,
            id="an-open-cache-is-not-closed-unasked",
        ),
        pytest.param(
            CACHE,
            {"policy": AttachmentPolicy.REFUSE, "was_attached": True},
            AttachmentState.READY_TO_ATTACH,
            id="but-one-left-open-behind-our-back-is",
        ),
        pytest.param(
            CACHE,
            {"was_attached": True, "consented": False},
            AttachmentState.CONSENT_MISSING,
            id="not-against-a-withdrawn-consent",
        ),
        pytest.param(
            replace(CACHE, status="modifying"), {}, AttachmentState.CACHE_BUSY, id="a-busy-cache-is-waited-for"
        ),
        pytest.param(
            replace(CACHE, status="modifying"),
            {"policy": AttachmentPolicy.REFUSE},
            AttachmentState.ATTACHMENT_REFUSED,
            id="a-refusal-doesn't-wait-for-a-busy-cache",
        ),
        pytest.param(
            replace(CACHE, status="modifying"),
            {"policy": AttachmentPolicy.REFUSE, "was_attached": True},
            AttachmentState.CACHE_OPEN,
            id="one-left-open-that-is-busy-is-an-alarm",
        ),
        pytest.param(
            replace(CACHE, group_ids=OURS),
            {"consented": False},
            AttachmentState.CONSENT_MISSING,
            id="a-consent-withdrawn-is-told-and-nothing-is-detached",
        ),
        pytest.param(
            CACHE, {"is_group_ready": False}, AttachmentState.GROUP_NOT_READY, id="members-come-before-the-lock"
        ),
        pytest.param(
            CACHE,
            {"is_group_ready": False, "was_attached": True},
            AttachmentState.READY_TO_ATTACH,
            id="but-nothing-keeps-a-cache-open",
        ),
        pytest.param(CACHE, {"is_referenced": True}, AttachmentState.NOT_ATTACHED, id="a-lent-group-isn't-attached"),
        pytest.param(
            replace(CACHE, group_ids=OURS),
            {"is_referenced": True},
            AttachmentState.ATTACHED,
            id="a-lent-group-that-is-on-it-is-attached",
        ),
    ],
)
def test_verdict(cache, options, state):
    verdict = judge(cache, **options)

    assert verdict.state is state
    assert verdict.message or state in {AttachmentState.ATTACHED, AttachmentState.READY_TO_ATTACH}


def test_a_valkey_group_needs_a_valkey_cache():
    group = replace(GROUP, engine="valkey")

    assert judge(CACHE, group).state is AttachmentState.ENGINE_MISMATCH
    assert judge(replace(CACHE, engine="valkey", engine_version="8.0"), group).state is AttachmentState.READY_TO_ATTACH


def test_a_redis_group_goes_onto_a_valkey_cache():
    cache = replace(CACHE, engine="valkey", engine_version="8.0")

    assert judge(cache).state is AttachmentState.READY_TO_ATTACH


def test_a_group_needs_a_cache_that_knows_its_access_strings():
    group = replace(GROUP, minimum_engine_version="7.10")

    assert judge(replace(CACHE, engine_version="7.2"), group).state is AttachmentState.ENGINE_TOO_OLD
    assert judge(replace(CACHE, engine_version="7.10"), group).state is AttachmentState.READY_TO_ATTACH


def test_versions_of_redis_and_valkey_are_not_compared():
    group = replace(GROUP, minimum_engine_version="7.10")
    cache = replace(CACHE, engine="valkey", engine_version="7.2")

    assert judge(cache, group).state is AttachmentState.READY_TO_ATTACH


def test_an_acl_has_no_engine_to_mismatch():
    acl = replace(GROUP, engine="", minimum_engine_version="7.0")
    cluster = replace(CACHE, ref=CacheRef(CacheKind.MEMORYDB_CLUSTER, "orders"), engine="valkey", engine_version="7.2")

    assert judge(cluster, acl).state is AttachmentState.READY_TO_ATTACH


def test_a_missing_cache_is_told_with_where_it_was_looked_for():
    place = Place(Service.ELASTICACHE, "111122223333", "eu-central-1")

    verdict = judge_missing(CacheRef(CacheKind.REPLICATION_GROUP, "orders"), place, (), elsewhere={})

    assert verdict.state is AttachmentState.CACHE_NOT_FOUND
    assert "no replicationGroup orders in eu-central-1 of account 111122223333" in verdict.message
    assert "spec.region" in verdict.message


def test_a_cache_of_another_kind_is_pointed_out():
    place = Place(Service.ELASTICACHE, "111122223333", "eu-central-1")
    there = [CacheRef(CacheKind.SERVERLESS_CACHE, "orders")]

    verdict = judge_missing(CacheRef(CacheKind.REPLICATION_GROUP, "orders"), place, there, elsewhere={})

    assert "there is a serverlessCache of that name" in verdict.message


@pytest.mark.parametrize(
    ("its_place", "fields"),
    [
        (Place(Service.ELASTICACHE, "111122223333", "us-east-1"), 'spec.region: "us-east-1"'),
        (Place(Service.ELASTICACHE, "444455556666", "eu-central-1"), 'spec.account: "444455556666"'),
        (
            Place(Service.MEMORYDB, "444455556666", "us-east-1"),
            'spec.service: "MemoryDB", spec.region: "us-east-1", spec.account: "444455556666"',
        ),
    ],
    ids=["region", "account", "all"],
)
def test_a_cache_in_another_place_is_pointed_out(its_place, fields):
    place = Place(Service.ELASTICACHE, "111122223333", "eu-central-1")
    wanted = CacheRef(CacheKind.REPLICATION_GROUP, "orders")
    elsewhere = {its_place: [CacheRef(CacheKind.SERVERLESS_CACHE, "x"), wanted]}

    verdict = judge_missing(wanted, place, (), elsewhere=elsewhere)

    assert f"of that name in {its_place.region} of account {its_place.account}" in verdict.message
    assert f"make a new UserGroup with {fields}" in verdict.message


def test_what_a_cache_does_not_encrypt_is_noted():
    notes = list(encryption_notes(replace(CACHE, transit_mode="preferred", at_rest_encryption=False)))

    assert [note.split(" ", 2)[2][:20] for note in notes] == ["also takes clients w", "isn't encrypted at r"]


@pytest.mark.parametrize("at_rest", [True, None], ids=["encrypted", "not-told"])
def test_what_is_encrypted_or_not_told_is_no_note(at_rest):
    assert list(encryption_notes(replace(CACHE, at_rest_encryption=at_rest))) == []


@pytest.mark.parametrize("kind", CacheKind)
def test_each_kind_of_cache_has_a_command_for_another_group(kind):
    command = commands.exchange(CacheRef(kind, "orders"), "eu-central-1", "ours")

    assert command.startswith("aws ")
    assert "orders" in command
    assert "OTHER" in command


def test_a_missing_consent_is_told_with_the_command():
    message = judge(consented=False).message

    assert f"aws elasticache add-tags-to-resource --region eu-central-1 --resource-name {CACHE.arn}" in message
    assert "Value=demo/platform" in message


def test_what_waits_for_something_is_not_stalled():
    waiting = {
        AttachmentState.ATTACHED,
        AttachmentState.ATTACHING,
        AttachmentState.READY_TO_ATTACH,
        AttachmentState.CACHE_NOT_FOUND,
        AttachmentState.CACHE_BUSY,
        AttachmentState.CONSENT_MISSING,
        AttachmentState.CACHE_OPEN,
        AttachmentState.GROUP_NOT_READY,
        AttachmentState.NOT_ATTACHED,
    }

    assert waiting >= HELD_STATES
    assert set(AttachmentState) - waiting == STALLED_STATES


@pytest.mark.parametrize(
    ("engine", "version", "known"),
    [
        ("redis", "7.0.7", True),
        ("redis", "7.1.0", True),
        ("redis", "6.2.6", False),
        ("redis", "7", True),
        ("valkey", "7.2", True),
        ("valkey", "8.0.1", True),
        ("valkey", "7.1", False),
        ("redis", "10.0", True),
        ("redis", "latest", True),
        ("redis", "", True),
        ("memcached", "1.6", False),
    ],
)
def test_engines_that_know_iam(engine, version, known):
    assert has_iam(engine, version) is known


HERE = Place(Service.ELASTICACHE, "111122223333", "eu-central-1")


def test_a_cache_that_is_there_is_told_with_all_its_endpoints():
    wanted = CacheSpec(name="main", replication_group="orders")

    told = cache_status(wanted, HERE, replace(CACHE, reader_host="r"))

    assert (told.name, told.id, told.arn) == ("main", "orders", CACHE.arn)
    assert (told.host, told.port, told.reader_host) == ("h", 6379, "r")


def test_a_cache_that_is_not_there_yet_is_told_without_an_endpoint():
    told = cache_status(CacheSpec(name="main", replication_group="orders"), HERE, None)

    assert (told.arn, told.host, told.port, told.reader_host) == (CACHE.arn, "", 0, "")


@pytest.mark.parametrize(
    ("service", "field", "kind"),
    [
        (Service.ELASTICACHE, "replication_group", CacheKind.REPLICATION_GROUP),
        (Service.ELASTICACHE, "serverless_cache", CacheKind.SERVERLESS_CACHE),
        (Service.MEMORYDB, "memory_db_cluster", CacheKind.MEMORYDB_CLUSTER),
    ],
)
def test_a_status_says_which_cache_it_is_of(service, field, kind):
    wanted = CacheSpec.model_validate({"name": "main", field: "orders"})

    told = cache_status(wanted, replace(HERE, service=service), None)

    assert ref_of_status(told) == CacheRef(kind, "orders")
