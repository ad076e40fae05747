"""Warnings: what an access string does that its author may not think."""

import re
from pathlib import Path

import pytest

from elasticache_iam.api.access import Access, Preset
from elasticache_iam.core.access import find_catalogue, find_surprises, lint, render_access_string


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


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        pytest.param("off ~a +get", "disabled", None, id="off"),
        pytest.param("on ~a +get >hunter2", "refused-word", 12, id="a-password"),
        pytest.param("on ~a +get orders:*", "not-a-rule", 12, id="a-bare-pattern"),
        pytest.param("on ~a +gte", "unknown-command", 7, id="no-such-command"),
        pytest.param("on ~a +client|kil", "unknown-command", 7, id="no-such-sub-command"),
        pytest.param("on ~a (~b +gte)", "unknown-command", 11, id="in-a-selector"),
        pytest.param("on ~a +@reads", "unknown-category", 7, id="no-such-category"),
        pytest.param("on ~a +@all -select|0", "denied-argument", 13, id="an-argument-denied"),
        pytest.param("on ~a +select|0", "first-argument", 7, id="an-argument-allowed"),
        pytest.param("on +get", "no-keys", None, id="no-keys"),
        pytest.param("on ~a", "no-commands", None, id="no-commands"),
        pytest.param("on ~a +@all", "all-commands", 7, id="keys-that-don't-hold"),
        pytest.param("on ~a allcommands", "all-commands", 7, id="by-another-name"),
        pytest.param("on ~a +@dangerous", "dangerous", 7, id="dangerous"),
        pytest.param("on ~a +@write", "wipes-data", None, id="flushall"),
        pytest.param("on ~a +get", "blocks-clients", None, id="no-ping"),
        pytest.param("on ~a -@dangerous +@write", "idle-rule", 7, id="a-minus-too-early"),
        pytest.param("on ~a +@read -get +@string", "idle-rule", 14, id="a-minus-undone"),
        pytest.param("on ~a +config|get", "aws-refuses", 7, id="config"),
    ],
)
def test_a_finding_has_a_code_and_a_place(text: str, code: str, column: int | None):
    assert (code, column) in {(finding.code, finding.column) for finding in find_surprises(text)}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("on ~a +json.get +@json -ft.search", "unknown-", id="of-elasticache's-modules"),
        pytest.param("on ~a +@all -config|get", "denied-", id="a-sub-command-denied"),
        pytest.param("on ~* +@all", "all-commands", id="all-keys"),
        pytest.param("on ~a +@read -@dangerous +info", "idle-", id="a-minus-where-it-works"),
        pytest.param("on ~a +waitaof", "unknown-", id="a-command-of-one-engine"),
        pytest.param("on ~a +@all -config", "aws-refuses", id="taken-away"),
    ],
)
def test_what_is_well_is_not_warned_of(text: str, code: str):
    assert not any(finding.code.startswith(code) for finding in find_surprises(text))


def test_a_command_is_unknown_to_an_engine_that_lacks_it():
    found = find_surprises("on ~a +waitaof", catalogue=find_catalogue("redis", "7.0"))

    assert "no redis 7.0 has WAITAOF" in [finding.message for finding in found]


def test_long_access_strings_are_linted_soon():
    assert lint("on ~a " + "+get -@write " * 300)


def test_every_code_is_explained():
    root = Path(__file__).parents[4]
    source = (root / "operator/elasticache_iam/core/access/lint.py").read_text(encoding="utf-8")
    page = (root / "docs/access-strings.md").read_text(encoding="utf-8")

    assert set(re.findall(r'Finding\(\s*"([a-z-]+)"', source)) == set(
        re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    )
