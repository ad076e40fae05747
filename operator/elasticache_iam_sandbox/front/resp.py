"""Framing of RESP requests, the client's direction only: enough to find the few commands that a front must see.

Everything else passes through as it came, values without being held: of a forwarded command only the part up to its
name (and of each further argument the length line) is ever waited for.

Front and server must never disagree on where a command starts, or a client could hide one from the front. So the
framer accepts at most what the server accepts: what it finds wrong is replaced by bytes for which the server itself
answers the fitting protocol error, at its place among the replies, and closes. Limits that depend on the server's
state (10 arguments and 16 KiB before a login) are left to the server for the same reason.

Source: redis 7.0 src/networking.c (processInlineBuffer, processMultibulkBuffer), src/sds.c (sdssplitargs).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

MAX_LINE_BYTES: Final = 64 * 1024
"""Of an inline command, and of the line that carries a count or a length (PROTO_INLINE_MAX_SIZE)."""
MAX_ARGUMENTS: Final = 2**31 - 1
MAX_BULK_BYTES: Final = 512 * 1024 * 1024
"""proto-max-bulk-len's default."""
MAX_INSPECTED_ARGUMENTS: Final = 16
MAX_INSPECTED_BYTES: Final = 16 * 1024
"""Of one argument of an inspected command; a token is 2 KiB. A command with a longer one passes through as it is."""

_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_LONGEST_NAME: Final = 32
_ARRAY, _BULK = b"*$"

# What the server answers with the same error as what it replaces.
_BAD_COUNT: Final = b"*!\r\n"  # ERR Protocol error: invalid multibulk length
_BAD_LENGTH: Final = b"$!\r\n"  # ERR Protocol error: invalid bulk length
_BAD_QUOTES: Final = b'"\r\n'  # ERR Protocol error: unbalanced quotes in request


@dataclass(frozen=True, slots=True)
class Inspected:
    """The start of a command that was asked to be seen.

    Attributes:
        arguments: The command's name and what follows, as many as asked for or as there are.
        remaining: How many arguments follow in the stream and pass through.
        raw: The bytes to forward if nothing is to be changed.
    """

    arguments: tuple[bytes, ...] = field(repr=False)
    remaining: int
    raw: bytes = field(repr=False)

    @property
    def name(self) -> bytes:
        """The command's name in upper case."""
        return self.arguments[0].upper()

    def rewritten(self, arguments: Iterable[bytes]) -> bytes:
        """Return the bytes of the command with other arguments in place of the ones seen."""
        replaced = tuple(arguments)
        return b"*%d\r\n" % (len(replaced) + self.remaining) + b"".join(map(encode_bulk, replaced))


Piece: TypeAlias = bytes | Inspected


def encode_bulk(value: bytes) -> bytes:
    """Return a value as a bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def encode_command(*arguments: bytes) -> bytes:
    """Return a command as an array of bulk strings."""
    return b"*%d\r\n" % len(arguments) + b"".join(map(encode_bulk, arguments))


class RequestFramer:
    """Cuts a client's byte stream into what passes through and the commands to be seen.

    The pieces do not depend on how the stream was cut into reads, but for where a run of forwarded bytes is cut.

    Args:
        inspect: Names of commands in upper case, with how many leading arguments to show, the name included.

    Attributes:
        is_broken: The stream was not RESP; the server was told, and what follows is dropped.
    """

    def __init__(self, inspect: Mapping[bytes, int]) -> None:
        self.is_broken = False
        self._inspect = inspect
        self._held = b""
        self._payload_left = 0
        """Bytes of the current argument, its line end included, that pass through."""
        self._arguments_left = 0
        """Arguments of the current command that haven't begun."""

    @property
    def held_bytes(self) -> int:
        """How much waits for the rest of a line or of an inspected command."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Piece]:  # noqa: C901  # one flat loop, run for every read
        """Take the next bytes of the stream; return what can be dealt with now, in order."""
        if self.is_broken:
            return []
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[Piece] = []
        start = at = 0  # data[start:at] passes through
        size = len(data)
        try:
            while at < size:
                if self._payload_left:
                    step = min(self._payload_left, size - at)
                    self._payload_left -= step
                    at += step
                elif self._arguments_left:
                    argument = _length_line(data, at)
                    if argument is None:
                        break
                    length, at = argument
                    self._payload_left = length + 2
                    self._arguments_left -= 1
                else:
                    command = self._inline(data, at) if data[at] != _ARRAY else self._array(data, at)
                    if command is None:
                        break
                    if isinstance(command, Inspected):
                        pieces += [data[start:at], command]
                        at += len(command.raw)
                        start = at
                    else:
                        at = command
        except _ProtocolError as error:
            self.is_broken = True
            pieces += [data[start:at], error.provocation]
        else:
            self._held = data[at:]
            pieces.append(data[start:at])
        return [piece for piece in pieces if piece]

    def _inline(self, data: bytes, at: int) -> Inspected | int | None:
        """Return a command to be seen, or the end of what passes through; None if that can't be told yet."""
        end = data.find(b"\n", at, at + MAX_LINE_BYTES + 1)
        if end < 0:
            if len(data) - at > MAX_LINE_BYTES:
                raise _ProtocolError(data[at : at + MAX_LINE_BYTES + 1])  # ERR Protocol error: too big inline request
            return None
        line = data[at : end + 1]
        words = split_inline(line)
        if words is None:
            raise _ProtocolError(_BAD_QUOTES)
        if words and words[0].upper() in self._inspect:
            return Inspected(words, 0, line)
        return end + 1

    def _array(self, data: bytes, at: int) -> Inspected | int | None:
        """As `_inline`, for a command that is an array of bulk strings; notes how many arguments are to follow."""
        line = _line(data, at)
        if line is None:
            return None
        text, first = line
        count = _integer(text)
        if count is None or count > MAX_ARGUMENTS:
            raise _ProtocolError(_BAD_COUNT)
        if count <= 0:
            return first  # no command; the server skips it, too
        seen = self._head(data, first, count)
        if seen is None:
            return None
        if not seen:
            self._arguments_left = count
            return first
        arguments, end = seen
        self._arguments_left = count - len(arguments)
        return Inspected(arguments, self._arguments_left, data[at:end])

    def _head(self, data: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int] | tuple[()] | None:
        """Return a command's leading arguments and their end; () if it isn't to be seen, None as above."""
        arguments: list[bytes] = []
        wanted = 1
        while len(arguments) < wanted:
            try:
                argument = _length_line(data, at)
            except _ProtocolError:
                return ()  # it is found again as it passes through
            if argument is None:
                return None
            length, payload = argument
            if length > (MAX_INSPECTED_BYTES if arguments else _LONGEST_NAME):
                return ()
            at = payload + length + 2
            if at > len(data):
                return None
            arguments.append(data[payload : payload + length])
            if len(arguments) == 1:
                wanted = min(self._inspect.get(arguments[0].upper(), 0), count)
                if not 0 < wanted <= MAX_INSPECTED_ARGUMENTS:
                    return ()
        return tuple(arguments), at


class _ProtocolError(Exception):
    """The stream isn't RESP. `provocation` makes the server say so."""

    def __init__(self, provocation: bytes) -> None:
        super().__init__()
        self.provocation = provocation


def _line(data: bytes, at: int) -> tuple[bytes, int] | None:
    """Return the text of the line at `at` behind its type, and where the next starts; None if it isn't whole."""
    end = data.find(b"\r\n", at, at + MAX_LINE_BYTES + 2)
    if end >= 0:
        return data[at + 1 : end], end + 2
    if len(data) - at > MAX_LINE_BYTES + 1:
        # ERR Protocol error: too big mbulk count string, too big bulk count string
        raise _ProtocolError(data[at : at + 1].replace(b"\r", b"?") + b"1" * (MAX_LINE_BYTES + 1))
    return None


def _length_line(data: bytes, at: int) -> tuple[int, int] | None:
    """Return an argument's length and where it starts; None if its line isn't whole."""
    line = _line(data, at)
    if line is None:
        return None
    text, payload = line
    if data[at] != _BULK:
        raise _ProtocolError(b"%c\r\n" % (data[at] or 0x3F))  # ERR Protocol error: expected '$', got '…'
    length = _integer(text)
    if length is None or not 0 <= length <= MAX_BULK_BYTES:
        raise _ProtocolError(_BAD_LENGTH)
    return length, payload


def _integer(text: bytes) -> int | None:
    """Return a decimal as the server reads it: no blanks, no plus sign, no leading zeros."""
    return int(text) if _INTEGER.fullmatch(text) else None


_ESCAPES: Final = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}  # \n \r \t \b \a
_HEX: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")
_BLANKS: Final = b" \n\r\t\v\f"
_WORD_ENDS: Final = b" \n\r\t"
_ODD: Final = re.compile(rb"[\"'\v\f]")
_DOUBLE, _SINGLE, _BACKSLASH = b"\"'\\"


def split_inline(line: bytes) -> tuple[bytes, ...] | None:
    """Split an inline command into words as the server does; None if quotes are unbalanced.

    A NUL ends the line for parts of the server's code and not for others: it counts as unbalanced.
    """
    if b"\0" in line:
        return None
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if not _ODD.search(line):
        return tuple(line.split())
    words: list[bytes] = []
    at = 0
    while True:
        while at < len(line) and line[at] in _BLANKS:
            at += 1
        if at == len(line):
            return tuple(words)
        found = _word(line, at)
        if found is None:
            return None
        word, at = found
        words.append(word)


def _word(line: bytes, at: int) -> tuple[bytes, int] | None:
    word = bytearray()
    quote = 0
    while at < len(line):
        char = line[at]
        at += 1
        if quote:
            if char == quote:
                # A closing quote must be followed by a blank or nothing at all.
                return (bytes(word), at) if at == len(line) or line[at] in _BLANKS else None
            if char == _BACKSLASH and quote == _DOUBLE and at < len(line):
                escaped = _HEX.match(line, at - 1)
                word.append(int(escaped[1], 16) if escaped else _ESCAPES.get(line[at], line[at]))
                at = escaped.end() if escaped else at + 1
            elif char == _BACKSLASH and quote == _SINGLE and line[at : at + 1] == b"'":
                word.append(_SINGLE)
                at += 1
            else:
                word.append(char)
        elif char in _WORD_ENDS:
            return bytes(word), at
        elif char in (_DOUBLE, _SINGLE):
            quote = char  # also in the middle of a word
        else:
            word.append(char)
    return None if quote else (bytes(word), at)
