"""The user's plan."""

from dataclasses import replace

import pytest

from elasticache_iam.api.user import AccessStringStatus
from elasticache_iam.core.errors import BusyError, InvalidSpecError
from elasticache_iam.core.plan.user import (
    CreateUser,
    DesiredUser,
    SetAccessString,
    SetIamMode,
    is_access_in_sync,
    judge_adoption,
    plan_user,
)
from elasticache_iam.core.state import ObservedUser

DESIRED = DesiredUser("u", "redis", "on ~orders:* +@read", {"k": "v"})
LIVE = ObservedUser("u", "u", "arn:u", "redis", "active", "on ~orders:* -@all +@read", "iam")


@pytest.mark.parametrize(
    ("observed", "recorded", "actions"),
    [
        pytest.param(None, None, (CreateUser(DESIRED),), id="a-missing-user-is-created"),
        pytest.param(LIVE, None, (), id="aws-rewriting-is-no-drift"),
        pytest.param(
            replace(LIVE, access_string="on ~* +@all"),
            None,
            (SetAccessString("u", DESIRED.access_string),),
            id="another-access-string-is-replaced",
        ),
        pytest.param(
            replace(LIVE, access_string="strange"),
            AccessStringStatus(sent=DESIRED.access_string, returned="strange"),
            (),
            id="what-aws-made-of-ours-is-believed",
        ),
        pytest.param(
            replace(LIVE, access_string="edited"),
            AccessStringStatus(sent=DESIRED.access_string, returned="strange"),
            (SetAccessString("u", DESIRED.access_string),),
            id="a-console-edit-is-seen",
        ),
        pytest.param(
            replace(LIVE, access_string="strange"),
            AccessStringStatus(sent="on ~old:* +@read", returned="strange"),
            (SetAccessString("u", DESIRED.access_string),),
            id="a-record-of-another-string-proves-nothing",
        ),
        pytest.param(
            replace(LIVE, access_string="strange"),
            AccessStringStatus(sent=DESIRED.access_string),
            (),
            id="what-comes-back-first-is-taken-as-the-rewriting",
        ),
        pytest.param(replace(LIVE, status="modifying"), None, (), id="a-busy-user-in-sync-is-fine"),
        pytest.param(replace(LIVE, engine=""), None, (), id="a-memorydb-user-has-no-engine"),
        pytest.param(replace(LIVE, engine="valkey"), None, (InvalidSpecError,), id="a-valkey-user-fits-no-redis-group"),
    ],
)
def test_plan(observed, recorded, actions):
    if actions == (InvalidSpecError,):
        with pytest.raises(InvalidSpecError):
            plan_user(DESIRED, observed, recorded)
        return

    assert plan_user(DESIRED, observed, recorded) == actions


@pytest.mark.parametrize(
    ("observed", "error"),
    [
        pytest.param(replace(LIVE, status="deleting"), BusyError, id="a-user-being-deleted-is-waited-for"),
        pytest.param(
            replace(LIVE, status="modifying", access_string="off"), BusyError, id="a-busy-user-is-not-modified"
        ),
        pytest.param(
            replace(LIVE, status="modifying", auth_mode="password"), BusyError, id="a-busy-users-mode-is-not-put-back"
        ),
    ],
)
def test_what_can_not_be_planned_now(observed, error):
    with pytest.raises(error):
        plan_user(DESIRED, observed, None)


@pytest.mark.parametrize("mode", ["password", "no-password"])
def test_a_changed_mode_is_put_back_before_anything_else(mode):
    assert plan_user(DESIRED, replace(LIVE, auth_mode=mode, access_string="off"), None) == (SetIamMode("u"),)


def test_a_redis_user_fits_a_valkey_group():
    assert plan_user(replace(DESIRED, engine="valkey"), LIVE, None) == ()


def test_a_plan_that_was_applied_is_empty():
    (action,) = plan_user(DESIRED, replace(LIVE, access_string="off"), None)

    applied = replace(LIVE, access_string=action.access_string)

    assert plan_user(DESIRED, applied, None) == ()
    assert is_access_in_sync(DESIRED.access_string, applied.access_string, None)


@pytest.mark.parametrize(
    ("observed", "consents", "owner", "reason"),
    [
        pytest.param(LIVE, True, "", None, id="with-consent-it-is-adopted"),
        pytest.param(LIVE, False, "", "ConsentMissing", id="without-it-is-not"),
        pytest.param(LIVE, True, "rival", "NotOwned", id="nor-is-one-that-is-somebodys"),
        pytest.param(replace(LIVE, auth_mode="password"), True, "", "NotAdoptable", id="nor-one-with-a-password"),
        pytest.param(replace(LIVE, user_name="v"), True, "", "NotAdoptable", id="nor-one-with-another-name"),
    ],
)
def test_adoption(observed, consents, owner, reason):
    refusal = judge_adoption(DESIRED, observed, consents=consents, owner=owner)

    assert (refusal.reason if refusal is not None else None) == reason


def test_who_is_asked_for_consent_learns_what_would_change():
    other = replace(LIVE, access_string="on ~* +@all")

    changed = judge_adoption(DESIRED, other, consents=False, owner="")
    same = judge_adoption(DESIRED, LIVE, consents=False, owner="")

    assert changed is not None
    assert 'from "on ~* +@all" to "on ~orders:* +@read"' in changed.message
    assert same is not None
    assert "stay as it is" in same.message
