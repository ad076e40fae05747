from datetime import UTC, datetime

import pytest

from elasticache_iam.core.events import LONGEST_NOTE, event_body

POD = {"apiVersion": "v1", "kind": "Pod", "namespace": "operators", "name": "a", "uid": "u"}


def note_of(note: str) -> str:
    body = event_body(
        POD,
        name="a.1",
        at=datetime(2026, 11, 21, 9, tzinfo=UTC),
        instance="a",
        action="Reconcile",
        reason="Ready",
        note=note,
        is_warning=False,
    )
    return str(body["note"])


def test_a_short_note_stays_as_it_is():
    assert note_of("größer als …") == "größer als …"


@pytest.mark.parametrize("sign", ["x", "ö", "…", "🦊"])
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_long_note_is_cut_by_bytes_and_between_characters(sign, before):
    cut = note_of(before + sign * LONGEST_NOTE)

    assert LONGEST_NOTE - len(sign.encode()) < len(cut.encode()) <= LONGEST_NOTE
    assert cut.rstrip(sign) == before


def test_a_note_with_half_a_character_from_elsewhere_is_readable_all_the_same():
    assert note_of("a\ud83eb") == "a?b"
