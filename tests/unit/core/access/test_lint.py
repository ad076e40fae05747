"""Warnings: what an access string does that its author may not think."""

import pytest

from elasticache_iam.api.access import Access, Preset
from elasticache_iam.core.access import lint, render_access_string


def test_the_literal_of_many_guides_wipes_and_refuses_ping():
    wipes, refuses = lint("on ~orders:* +@read +@write")

    assert "allows FLUSHALL, FLUSHDB, SWAPDB, FUNCTION FLUSH: " in wipes
    assert refuses.startswith("refuses PING, SELECT, MULTI, CLUSTER SLOTS, COMMAND, ACL WHOAMI")


@pytest.mark.parametrize(
    "access",
    [
        Access(preset=Preset.READ_ONLY, keys=("a",)),
        Access(preset=Preset.READ_WRITE, keys=("a",)),
        Access(preset=Preset.ADMIN),
    ],
)
def test_no_preset_is_warned_of(access: Access):
    assert lint(render_access_string(access)) == ()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param("~a +@all", "neither on nor off", id="disabled-by-omission"),
        pytest.param("on +@all", "no key pattern", id="no-key"),
        pytest.param("on ~a", "allows no command", id="no-command"),
        pytest.param("on ~a +@all nopass", "AWS refuses NOPASS", id="a-word-aws-refuses"),
        pytest.param(
            "on ~a +@write -flushdb -flushall", "allows SWAPDB, FUNCTION FLUSH:", id="what-is-left-of-the-dangerous"
        ),
        pytest.param("on ~a +@connection +@read +@transaction", "refuses CLUSTER SLOTS, ACL WHOAMI", id="cluster"),
    ],
)
def test_a_surprise_is_named(text: str, warning: str):
    assert any(warning in line for line in lint(text))


def test_off_on_purpose_is_no_surprise():
    assert not any("neither" in line for line in lint("off ~* -@all"))


def test_no_password_is_in_a_warning():
    assert "hunter2" not in " ".join(lint("on >hunter2 ~a +@all")).lower()
