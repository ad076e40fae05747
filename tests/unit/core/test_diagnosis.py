"""The chain of a login, link by link."""

import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elasticache_iam.api.group import Service
from elasticache_iam.api.user import UserCacheStatus
from elasticache_iam.core.diagnosis import (
    Cause,
    Diagnosis,
    Facts,
    Mark,
    SignedFor,
    TokenLife,
    diagnose,
    read_token,
)
from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.core.policy import Verdict, connect_policy
from elasticache_iam.core.state import (
    CacheKind,
    CacheRef,
    Inventory,
    ObservedCache,
    ObservedGroup,
    ObservedRole,
    ObservedUser,
    Place,
    SimulatedConnect,
)
from elasticache_iam.core.token import Credentials, sign_token

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLACE = Place(Service.ELASTICACHE, "111122223333", "eu-central-1")
ARN = "arn:aws:elasticache:eu-central-1:111122223333"
USER_ARN, CACHE_ARN = f"{ARN}:user:demo-app", f"{ARN}:replicationgroup:orders"
REF = CacheRef(CacheKind.REPLICATION_GROUP, "orders")
REFUSED = LoginResult(LoginOutcome.REFUSED, "orders:6379 answered WRONGPASS to the user demo-app")
LIFE = timedelta(seconds=900)

USER = ObservedUser("demo-app", "demo-app", USER_ARN, "redis", "active", "on ~* +@read", "iam")
GROUP = ObservedGroup("demo-orders", f"{ARN}:usergroup:demo-orders", "redis", "active", frozenset({"demo-app"}))
CACHE = ObservedCache(
    REF, CACHE_ARN, "available", "redis", "7.1.0",
    tls=True, auth_token_enabled=False, group_ids=frozenset({"demo-orders"}), pending_group_ids=frozenset(),
    host="orders.example", port=6379,
)  # fmt: skip
ROLE = ObservedRole(
    "demo-app", "arn:aws:iam::111122223333:role/elasticache-iam/demo/demo-app", "/elasticache-iam/demo/", {}, 43200,
    created_at=NOW - timedelta(days=1), policies={"connect": connect_policy(USER_ARN, [CACHE_ARN])}, tags={},
    managed_policies=frozenset(),
)  # fmt: skip
TARGET = UserCacheStatus(
    name="main", id="orders", arn=CACHE_ARN, region="eu-central-1", host="orders.example", port=6379
)


def inventory(
    user: ObservedUser | None = USER, group: ObservedGroup | None = GROUP, *caches: ObservedCache
) -> Inventory:
    return Inventory(
        users={user.user_id: user} if user else {},
        groups={group.group_id: group} if group else {},
        caches={cache.ref: cache for cache in caches or (CACHE,)},
    )


def facts(**changes: Any) -> Facts:
    """A login that is refused although all that can be seen is in order."""
    return Facts(
        **{
            "namespace": "shop",
            "name": "app",
            "place": PLACE,
            "user_id": "demo-app",
            "user_arn": USER_ARN,
            "group_id": "demo-orders",
            "target": TARGET,
            "inventory": inventory(),
            "role_arn": ROLE.arn,
            "role": ROLE,
            "trusted": Verdict.YES,
            "ahead": timedelta(),
            "now": NOW,
            "delivered_at": NOW - timedelta(hours=1),
            "token": TokenLife(NOW, NOW + LIFE, LIFE),
            "login": REFUSED,
            **changes,
        }
    )


def marks(found: Diagnosis, link: str) -> list[Mark]:
    return [check.mark for check in found.checks if check.link == link]


def serverless() -> ObservedCache:
    return replace(CACHE, ref=CacheRef(CacheKind.SERVERLESS_CACHE, "orders"))


def told(**answer: Any) -> dict[str, SimulatedConnect]:
    return {USER_ARN: SimulatedConnect(allowed=True), CACHE_ARN: SimulatedConnect(**answer)}


BROKEN: dict[str, tuple[dict[str, Any], Cause]] = {
    "clock ahead": ({"ahead": timedelta(minutes=6)}, Cause.CLOCK_SKEW),
    "clock behind": ({"ahead": -timedelta(minutes=15)}, Cause.CLOCK_SKEW),
    "a member as host": (
        {"target": TARGET.model_copy(update={"id": "orders-001"})},
        Cause.WRONG_SIGNING_HOST,
    ),
    "a shard's node as host": (
        {"target": TARGET.model_copy(update={"id": "orders-0001-002"})},
        Cause.WRONG_SIGNING_HOST,
    ),
    "another region": (
        {"target": TARGET.model_copy(update={"region": "us-east-1"})},
        Cause.WRONG_SIGNING_PARAMETERS,
    ),
    "serverless by now": ({"inventory": inventory(USER, GROUP, serverless())}, Cause.WRONG_SIGNING_PARAMETERS),
    "no user": ({"inventory": inventory(None)}, Cause.USER_NOT_FOUND),
    "user being made": ({"inventory": inventory(replace(USER, status="creating"))}, Cause.USER_NOT_ACTIVE),
    "user with a password": ({"inventory": inventory(replace(USER, auth_mode="password"))}, Cause.USER_NOT_IN_IAM_MODE),
    "user's name": ({"inventory": inventory(replace(USER, user_name="app"))}, Cause.USER_NAME_DIFFERS),
    "user off": ({"inventory": inventory(replace(USER, access_string="on off ~* +@all"))}, Cause.USER_OFF),
    "user never on": ({"inventory": inventory(replace(USER, access_string="~* +@all"))}, Cause.USER_OFF),
    "no group": ({"inventory": inventory(USER, None)}, Cause.GROUP_NOT_FOUND),
    "group being made": ({"inventory": inventory(USER, replace(GROUP, status="creating"))}, Cause.GROUP_NOT_ACTIVE),
    "not a member": ({"inventory": inventory(USER, replace(GROUP, user_ids=frozenset()))}, Cause.NOT_IN_GROUP),
    "only joining": (
        {"inventory": inventory(USER, replace(GROUP, user_ids=frozenset(), pending_add=frozenset({"demo-app"})))},
        Cause.NOT_IN_GROUP,
    ),
    "leaving": (
        {"inventory": inventory(USER, replace(GROUP, pending_remove=frozenset({"demo-app"})))},
        Cause.NOT_IN_GROUP,
    ),
    "no cache": ({"target": TARGET.model_copy(update={"id": "gone"})}, Cause.CACHE_GONE),
    "cache being made": (
        {"inventory": inventory(USER, GROUP, replace(CACHE, status="creating"))},
        Cause.CACHE_NOT_AVAILABLE,
    ),
    "no group on it": (
        {"inventory": inventory(USER, GROUP, replace(CACHE, group_ids=frozenset()))},
        Cause.GROUP_NOT_ATTACHED,
    ),
    "old engine": (
        {"inventory": inventory(USER, GROUP, replace(CACHE, engine_version="6.2.6"))},
        Cause.ENGINE_TOO_OLD,
    ),
    "no TLS": ({"inventory": inventory(USER, GROUP, replace(CACHE, tls=False))}, Cause.TLS_DISABLED),
    "moved": ({"inventory": inventory(USER, GROUP, replace(CACHE, host="elsewhere"))}, Cause.WRONG_ENDPOINT),
    "no role": ({"role": None}, Cause.ROLE_NOT_FOUND),
    "no policy": ({"role": replace(ROLE, policies={})}, Cause.POLICY_DENIES),
    "only the cache": (
        {"role": replace(ROLE, policies={"connect": connect_policy(CACHE_ARN, [CACHE_ARN])})},
        Cause.POLICY_DENIES,
    ),
    "AWS says no": ({"simulated": told(allowed=False)}, Cause.POLICY_DENIES),
    "boundary": ({"simulated": told(allowed=False, within_boundary=False)}, Cause.BOUNDARY_DENIES),
    "organization": ({"simulated": told(allowed=False, within_organization=False)}, Cause.ORGANIZATION_DENIES),
    "trust": ({"trusted": Verdict.NO}, Cause.TRUST_MISSING),
    "audience": ({"lacks_audience": "aws iam add-client-id …"}, Cause.AUDIENCE_MISSING),
    "token's end": (
        {"token": TokenLife(NOW - LIFE, NOW, LIFE)},
        Cause.TOKEN_EXPIRED,
    ),
    "session's end": (
        {"token": TokenLife(NOW - timedelta(seconds=300), NOW - timedelta(seconds=1), LIFE)},
        Cause.SESSION_ENDED,
    ),
    "role made anew": ({"role": replace(ROLE, created_at=NOW - timedelta(minutes=10))}, Cause.ROLE_REPLACED),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_link_is_named(name: str):
    changes, cause = BROKEN[name]

    assert diagnose(facts(**changes)).cause is cause


def test_every_cause_but_a_bare_refusal_is_tried_here():
    tried = {cause for _, cause in BROKEN.values()}

    assert set(Cause) - tried == {Cause.LOGIN_REFUSED, Cause.TLS_FAILED}


def test_where_nothing_is_broken_what_was_looked_at_is_told():
    found = diagnose(facts())

    assert found.cause is None
    assert found.broken is not None
    assert found.broken.cause is Cause.LOGIN_REFUSED
    assert "in order: clock, signature, user, group, cache, role, session" in found.summary("WRONGPASS")


def test_the_first_broken_link_is_the_cause():
    found = diagnose(facts(inventory=inventory(replace(USER, auth_mode="password"), None), role=None))

    assert found.cause is Cause.USER_NOT_IN_IAM_MODE
    assert "modify-user" in found.summary("WRONGPASS")


def test_a_login_that_works_leaves_nothing_open():
    found = diagnose(facts(login=LoginResult(LoginOutcome.LOGGED_IN)))

    assert found.broken is None
    assert found.untold == ()


def test_a_refusal_in_no_trial_is_not_claimed():
    found = diagnose(facts(login=None))

    assert marks(found, "login") == [Mark.UNTOLD]
    assert found.broken is None


UNTOLD: dict[str, tuple[dict[str, Any], str]] = {
    "an attached policy may allow it": (
        {"role": replace(ROLE, policies={}, managed_policies=frozenset({"arn:aws:iam::aws:policy/Any"}))},
        "by a managed policy",
    ),
    "policies weren't read": ({"role": replace(ROLE, policies=None)}, "by a managed policy"),
    "a condition that only AWS can judge": ({"trusted": Verdict.UNKNOWN}, "only AWS can judge"),
    "a boundary that isn't read": ({"role": replace(ROLE, boundary="arn:aws:iam::1:policy/b")}, "boundary"),
    "a role that can't be read": ({"role": None, "is_role_known": False}, "can't be read"),
    "a young role": ({"role": replace(ROLE, created_at=NOW), "delivered_at": NOW}, "younger than 2 minutes"),
    "a young grant": ({"granted_at": NOW - timedelta(seconds=30)}, "younger than 2 minutes"),
    "a user at work": ({"inventory": inventory(replace(USER, status="modifying"))}, "AWS is at work on the user"),
    "a group at work": (
        {"inventory": inventory(USER, replace(GROUP, status="modifying"))},
        "AWS is at work on the group",
    ),
    "a clock a little off": ({"ahead": timedelta(minutes=2)}, "120 s ahead of AWS's"),
    "a clock nobody has compared": ({"ahead": None}, "can't be compared"),
    "the organization": ({}, "a policy of the organization"),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_what_can_not_be_told_is_said_to_be_so(name: str):
    changes, says = UNTOLD[name]

    found = diagnose(facts(**changes))

    assert found.cause is None
    assert says in found.summary("WRONGPASS")


@pytest.mark.parametrize(
    ("outcome", "cause"), [(LoginOutcome.UNREACHABLE, Cause.CACHE_GONE), (LoginOutcome.TLS_FAILED, Cause.CACHE_GONE)]
)
def test_a_cache_that_is_gone_explains_every_failure(outcome: LoginOutcome, cause: Cause):
    found = diagnose(facts(login=LoginResult(outcome, "no"), target=TARGET.model_copy(update={"id": "gone"})))

    assert found.cause is cause


def test_in_memorydb_the_commands_are_memorydbs():
    place = Place(Service.MEMORYDB, PLACE.account, PLACE.region)
    ref = CacheRef(CacheKind.MEMORYDB_CLUSTER, "orders")
    arn = "arn:aws:memorydb:eu-central-1:111122223333"
    broken = inventory(
        replace(USER, auth_mode="password", engine=""),
        replace(GROUP, user_ids=frozenset()),
        replace(CACHE, ref=ref, group_ids=frozenset()),
    )

    found = diagnose(
        facts(place=place, user_arn=f"{arn}:user/demo-app", inventory=broken, target=TARGET.model_copy(
            update={"service": "memorydb", "arn": f"{arn}:cluster/orders"}
        ), role=replace(ROLE, policies={}))
    )  # fmt: skip

    repairs = [check.repair for check in found.checks if check.mark is Mark.BROKEN and check.repair]
    assert [repair.partition(" --")[0] for repair in repairs] == [
        "aws memorydb update-user",
        "aws memorydb update-acl",
        "aws memorydb update-cluster",
        "aws iam put-role-policy",
        "aws iam put-role-policy",
    ]
    assert "memorydb:Connect" in repairs[-1]


# -- what a token says of itself ---------------------------------------------------------------------------------------

CREDENTIALS = Credentials("ASIDEXAMPLE", "SECRETEXAMPLE", "SESSION/TOKEN+EXAMPLE==")


def token(**changes: Any) -> str:
    asked: dict[str, Any] = {
        "service": "elasticache", "region": "eu-central-1", "cache_id": "orders", "user_id": "demo-app", "now": NOW,
    }  # fmt: skip
    return sign_token(CREDENTIALS, **{**asked, **changes}).text


def test_a_token_is_read_without_its_secrets():
    found = read_token(token())

    assert found == SignedFor("orders", "elasticache", "eu-central-1", "demo-app", False, "20260102T030405Z")  # noqa: FBT003
    for secret in ("ASIDEXAMPLE", "SESSION", token()[-64:]):
        assert secret not in repr(found)


@pytest.mark.parametrize("text", ["", "a-password", "orders/?Action=connect", "orders/?X-Amz-Credential=a/b/c"])
def test_what_is_no_token_is_not_read(text: str):
    assert read_token(text) is None


@pytest.mark.parametrize(
    ("changes", "cause", "says"),
    [
        ({"cache_id": "orders-001"}, Cause.WRONG_SIGNING_HOST, "never an endpoint"),
        ({"region": "us-east-1"}, Cause.WRONG_SIGNING_PARAMETERS, "region is us-east-1"),
        ({"service": "memorydb"}, Cause.WRONG_SIGNING_PARAMETERS, "service is memorydb"),
        ({"user_id": "demo-other"}, Cause.WRONG_SIGNING_PARAMETERS, "User is demo-other"),
        ({"serverless": True}, Cause.WRONG_SIGNING_PARAMETERS, "has to be left out"),
    ],
)
def test_a_token_for_something_else_is_seen(changes: dict[str, Any], cause: Cause, says: str):
    found = diagnose(facts(signed=read_token(token(**changes))))

    assert found.cause is cause
    assert says in found.summary("WRONGPASS")


def test_a_token_for_just_this_is_in_order():
    assert marks(diagnose(facts(signed=read_token(token()))), "signature") == [Mark.WHOLE]


def test_who_asks_to_be_off_is_told_to_edit_the_spec_and_shown_no_command():
    hostile = "off ~orders:';touch${IFS}/tmp/pwned;' +get"

    broken = diagnose(facts(inventory=inventory(replace(USER, access_string=hostile)), is_off_by_spec=True)).broken

    assert broken is not None
    assert broken.cause is Cause.USER_OFF
    assert "edit spec.access" in broken.says
    assert broken.repair == ""


def test_the_rights_of_a_user_that_somebody_switched_off_reach_the_command_as_one_argument():
    hostile = "off ~orders:';touch${IFS}/tmp/pwned;' +get"

    broken = diagnose(facts(inventory=inventory(replace(USER, access_string=hostile)))).broken

    assert broken is not None
    assert shlex.split(broken.repair)[-1] == "on ~orders:';touch${IFS}/tmp/pwned;' +get"
