"""The framer: what passes, what is shown, what is refused, however the stream is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticache_iam_sandbox.front.resp import (
    MAX_BULK_BYTES,
    MAX_INSPECTED_BYTES,
    MAX_LINE_BYTES,
    Inspected,
    RequestFramer,
    encode_command,
    split_inline,
)

INSPECT = {b"AUTH": 4, b"HELLO": 16, b"ACL": 2}


def frame(stream: bytes, *cuts: int) -> tuple[list[object], bool, bytes]:
    """Return the pieces with neighbouring bytes joined, whether the stream broke, and what still waits."""
    framer = RequestFramer(INSPECT)
    pieces: list[object] = []
    edges = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(edges):
        for piece in framer.feed(stream[start:end]):
            if isinstance(piece, bytes) and pieces and isinstance(pieces[-1], bytes):
                pieces[-1] += piece
            else:
                pieces.append(piece)
    return pieces, framer.is_broken, framer._held


WORDS = st.one_of(st.sampled_from([b"AUTH", b"hello", b"ACL", b"SETUSER", b"GET", b""]), st.binary(max_size=40))
COMMANDS = st.lists(WORDS, min_size=1, max_size=6).map(lambda words: encode_command(*words))
INLINE = st.sampled_from([b"PING\r\n", b"AUTH a b\n", b"auth \"x y\" 'z'\r\n", b"\r\n", b"\n", b'"a\r\n', b"a\0b\n"])
GARBAGE = st.one_of(
    st.binary(max_size=30),
    st.text(alphabet="*$-0123456789\r\nAUTH \"'", max_size=30).map(str.encode),
)
STREAMS = st.lists(st.one_of(COMMANDS, COMMANDS, INLINE, GARBAGE), max_size=8).map(b"".join)


@given(stream=STREAMS, data=st.data())
def test_any_cut_of_the_stream_frames_identically(stream, data):
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))

    assert frame(stream, *cuts) == frame(stream)


@given(stream=STREAMS)
def test_a_stream_fed_byte_by_byte_frames_identically(stream):
    assert frame(stream, *range(len(stream))) == frame(stream)


@given(stream=st.lists(COMMANDS, max_size=8).map(b"".join))
def test_what_is_well_formed_passes_unchanged(stream):
    pieces, is_broken, held = frame(stream)

    assert b"".join(piece.raw if isinstance(piece, Inspected) else piece for piece in pieces) == stream
    assert (is_broken, held) == (False, b"")


def test_a_value_streams_through_without_being_held():
    framer = RequestFramer(INSPECT)
    framer.feed(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$104857600\r\n")

    passed = [framer.feed(b"x" * 65536) for _ in range(1600)]

    assert passed == [[b"x" * 65536]] * 1600
    assert framer.held_bytes == 0


@pytest.mark.parametrize(
    ("stream", "arguments", "remaining"),
    [
        pytest.param(encode_command(b"AUTH", b"u", b"t"), (b"AUTH", b"u", b"t"), 0, id="array"),
        pytest.param(encode_command(b"aUtH", b"t"), (b"aUtH", b"t"), 0, id="any-case"),
        pytest.param(b"AUTH u t\r\n", (b"AUTH", b"u", b"t"), 0, id="inline"),
        pytest.param(b"AUTH \"u\\x41\" 'it\\'s'\n", (b"AUTH", b"uA", b"it's"), 0, id="inline-quoted"),
        pytest.param(encode_command(b"ACL", b"SETUSER", b"x", b"on"), (b"ACL", b"SETUSER"), 2, id="only-the-start"),
    ],
)
def test_a_command_to_be_seen_is_shown(stream, arguments, remaining):
    pieces, _, _ = frame(stream)

    assert [(piece.arguments, piece.remaining) for piece in pieces[:1]] == [(arguments, remaining)]


def test_an_argument_too_long_for_a_token_passes_unseen():
    stream = encode_command(b"AUTH", b"x" * (MAX_INSPECTED_BYTES + 1))

    assert frame(stream)[0] == [stream]


def test_a_rewritten_command_counts_the_arguments_that_follow():
    command = Inspected((b"ACL", b"SETUSER"), 2, b"")

    assert command.rewritten((b"X", b"SETUSER")) == b"*4\r\n$1\r\nX\r\n$7\r\nSETUSER\r\n"


def test_a_secret_is_in_no_repr():
    assert "hunter2" not in repr(Inspected((b"AUTH", b"hunter2"), 0, b"AUTH hunter2\n"))


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"*x\r\n", id="count-is-no-number"),
        pytest.param(b"*+1\r\n", id="count-with-a-plus"),
        pytest.param(b"*01\r\n", id="count-with-a-zero-in-front"),
        pytest.param(b"*2147483648\r\n", id="count-too-large"),
        pytest.param(b"*1\r\n+OK\r\n", id="not-a-bulk-string"),
        pytest.param(b"*1\r\n$-1\r\n", id="negative-length"),
        pytest.param(f"*1\r\n${MAX_BULK_BYTES + 1}\r\n".encode(), id="length-too-large"),
        pytest.param(b"*" + b"1" * (MAX_LINE_BYTES + 2), id="count-line-too-long"),
        pytest.param(b"*1\r\n$" + b"1" * (MAX_LINE_BYTES + 2), id="length-line-too-long"),
        pytest.param(b"P" * (MAX_LINE_BYTES + 1), id="inline-too-long"),
        pytest.param(b'PING "\r\n', id="unbalanced-quotes"),
        pytest.param(b"PING \0\r\n", id="nul-in-a-line"),
    ],
)
def test_what_is_not_resp_breaks_the_stream(stream):
    framer = RequestFramer(INSPECT)
    framer.feed(stream)

    assert framer.is_broken
    assert framer.feed(encode_command(b"AUTH", b"u", b"t")) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(b"", (), id="nothing"),
        pytest.param(b"  a\t b \r", (b"a", b"b"), id="blanks"),
        pytest.param(b'a"b"', (b"ab",), id="quote-in-a-word"),
        pytest.param(b'"\\n\\x00\\q"', (b"\n\0q",), id="escapes"),
        pytest.param(b"'\\n'", (b"\\n",), id="no-escapes-in-single-quotes"),
        pytest.param(b'""', (b"",), id="empty-word"),
        pytest.param(b'"a"b', None, id="no-blank-after-a-quote"),
        pytest.param(b"'a", None, id="open-quote"),
        pytest.param(b"a\vb", (b"a\vb",), id="vertical-tab-ends-no-word"),
    ],
)
def test_an_inline_command_is_split_as_the_server_does(line, words):
    assert split_inline(line) == words
