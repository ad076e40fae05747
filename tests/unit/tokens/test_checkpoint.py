"""The checkpoint saves work and can't do harm, whatever is in it."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam.core.refresh import next_refresh
from elasticache_iam.tokens.checkpoint import MAX_BYTES, Life, decode, encode

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LIFE = Life(NOW - timedelta(seconds=100), NOW + timedelta(seconds=800))


def packed(document):
    return gzip.compress(json.dumps(document).encode())


def document(**changes):
    written = int(NOW.timestamp())
    return {"version": 1, "writtenAt": written, "users": {"u": {"main": [written - 10, written + 10]}}, **changes}


@given(
    st.dictionaries(
        st.tuples(st.text(max_size=40), st.text(max_size=20)),
        st.tuples(st.integers(1, 900), st.integers(1, 900)).map(
            lambda ages: Life(NOW - timedelta(seconds=ages[0]), NOW + timedelta(seconds=ages[1]))
        ),
        max_size=20,
    )
)
def test_what_is_written_is_read_back(lives):
    assert decode(encode(lives, now=NOW), token_s=900, now=NOW) == lives


def test_the_same_lives_are_the_same_bytes():
    lives = {("b", "main"): LIFE, ("a", "main"): LIFE}

    assert encode(lives, now=NOW) == encode(dict(reversed(lives.items())), now=NOW)


def test_an_expiry_is_clamped_to_a_tokens_life_from_the_writing():
    far = {("u", "main"): Life(NOW, NOW + timedelta(days=1000))}

    (life,) = decode(encode(far, now=NOW), token_s=900, now=NOW).values()

    assert life.expires_at == NOW + timedelta(seconds=900)


@pytest.mark.parametrize("ahead_s", [0, 60, 179, 10**6], ids=["now", "a-minute-ahead", "just-so", "far-ahead"])
def test_no_checkpoint_puts_off_a_refresh_beyond_what_an_honest_one_could(ahead_s):
    at = NOW + timedelta(seconds=ahead_s)
    forged = encode({("u", "main"): Life(at, at + timedelta(days=1))}, now=at)

    lives = decode(forged, token_s=900, now=NOW)

    for life in lives.values():
        assert next_refresh(life.issued_at, life.expires_at, spread=0.99) <= NOW + timedelta(seconds=450)


def test_a_token_signed_by_a_clock_that_was_ahead_is_due_now():
    at = NOW + timedelta(hours=3)
    content = encode({("u", "main"): Life(at, at + timedelta(seconds=900))}, now=at)

    assert decode(content, token_s=900, now=NOW) == {}


def test_another_nodes_clock_may_differ_a_little():
    at = NOW + timedelta(minutes=2)
    content = encode({("u", "main"): Life(at, at + timedelta(seconds=900))}, now=at)

    (life,) = decode(content, token_s=900, now=NOW).values()

    assert life == Life(NOW, NOW + timedelta(seconds=900))


def test_a_stale_one_is_due_now():
    content = encode({("u", "main"): LIFE}, now=NOW)

    (life,) = decode(content, token_s=900, now=NOW + timedelta(days=30)).values()

    assert life.expires_at < NOW + timedelta(days=30)


def test_a_token_that_was_issued_after_the_writing_counts_from_the_writing():
    odd = {("u", "main"): Life(NOW + timedelta(minutes=1), NOW + timedelta(days=2))}

    (life,) = decode(encode(odd, now=NOW), token_s=900, now=NOW).values()

    assert life.issued_at == NOW


@given(st.integers(0, 200))
def test_a_truncated_one_is_none(length):
    content = encode({("u", "main"): LIFE}, now=NOW)

    assert decode(content[: min(length, len(content) - 1)], token_s=900, now=NOW) == {}


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(content):
    assert decode(content, token_s=900, now=NOW) == {}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(packed(document(version=2)), id="another-version"),
        pytest.param(packed({}), id="nothing-in-it"),
        pytest.param(packed([]), id="a-list"),
        pytest.param(packed(None), id="null"),
        pytest.param(packed(document(users=[])), id="users-as-a-list"),
        pytest.param(packed(document(users={"u": {"main": [1]}})), id="half-a-life"),
        pytest.param(packed(document(users={"u": {"main": ["a", "b"]}})), id="words-for-times"),
        pytest.param(packed(document(users={"u": {"main": [0, 10**30]}})), id="a-time-beyond-all-calendars"),
        pytest.param(packed(document(writtenAt=None)), id="no-time-of-writing"),
        pytest.param(gzip.compress(b"{"), id="no-json"),
        pytest.param(gzip.compress(b"\xff\xfe"), id="no-text"),
        pytest.param(json.dumps(document()).encode(), id="not-compressed"),
        pytest.param(gzip.compress(b" " * (MAX_BYTES + 1)), id="a-bomb"),
        pytest.param(gzip.compress(gzip.compress(b" " * 10**8)), id="a-bomb-in-a-bomb"),
        pytest.param(gzip.compress(b"[" * 1_000_000), id="lists-without-end"),
        pytest.param(packed(document(users={"u": {"main": [0, 9, 9]}})), id="too-many-times"),
        pytest.param(packed(document(users={"u": {"main": [float("inf"), 9]}})), id="an-infinite-time"),
        pytest.param(packed(document(users={"u": {"main": [-(10**15), 10**15]}})), id="times-before-all-calendars"),
        pytest.param(packed(document(users={"u": ["main"]})), id="aliases-as-a-list"),
        pytest.param(packed(document(writtenAt=10**30)), id="written-beyond-all-calendars"),
        pytest.param(packed(document(version="1")), id="a-version-in-words"),
    ],
)
def test_what_is_no_checkpoint_is_empty(content):
    assert decode(content, token_s=900, now=NOW) == {}


def test_ten_thousand_users_fit():
    lives = {(f"{number:08}-aaaa-bbbb-cccc-dddddddddddd", "main"): LIFE for number in range(10_000)}

    content = encode(lives, now=NOW)

    assert len(content) < 1_000_000
    assert len(decode(content, token_s=900, now=NOW)) == 10_000
