"""Text that others wrote, on its way to a terminal or to a CI's log, both of which obey some of it."""

import re
from typing import Final

_LOG_COMMAND: Final = re.compile(r"^\s*:(?=:)|(?<=#)#(?=\w*\[)")
"""How GitHub's and Azure's runners know a command: `::` at the start of a line, `##[` and `##vso[` anywhere in it."""


def shown(text: str) -> str:
    r"""Return a text with its control characters spelled out: a terminal obeys them, a reader takes them for ours.

    The same goes for what a CI's runner would obey. A command to copy keeps its meaning but for an argument that holds
    such a character, which stays one argument.

    Args:
        text: One line; a line break becomes `\x0a`.
    """
    return _LOG_COMMAND.sub(_spell, "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text))


def _spell(match: re.Match[str]) -> str:
    sign = match.group()[-1]
    return f"{match.group()[:-1]}\\x{ord(sign):02x}"
