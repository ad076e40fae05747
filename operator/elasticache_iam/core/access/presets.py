"""The access strings that we keep, by name. Each command was checked with ACL DRYRUN on redis 7.0.15 and valkey 8.0.1.

There is no `resetchannels`: engines from 7 on start with no channel, and whether ElastiCache takes the word is
unproven.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from elasticache_iam.api.access import Access, Preset
from elasticache_iam.core.errors import InvalidSpecError

_CLIENT_BASICS: Final = "+cluster|slots +cluster|shards +cluster|nodes +command +acl|whoami +info"
"""What client libraries ask at start. INFO is @dangerous, so it stands behind `-@dangerous`."""

_SCRIPTS: Final = "-function +eval +evalsha +script|load +script|exists"
"""Scripts run with the user's own rights. Functions would stay behind for others to call."""

PRESET_COMMANDS: Final[Mapping[Preset, str]] = {
    Preset.READ_ONLY: f"-@all +@read +@connection +@transaction -@dangerous {_CLIENT_BASICS}",
    Preset.READ_WRITE: (
        f"-@all +@read +@connection +@transaction +@write +@pubsub -@dangerous {_CLIENT_BASICS} {_SCRIPTS}"
    ),
    Preset.ADMIN: "+@all",  # AWS itself refuses CONFIG, SHUTDOWN, ACL writes and the like to everybody
}

_WHITE_SPACE: Final = re.compile(r"\s")


def render_access_string(access: Access) -> str:
    """Return the access string to send to AWS; a raw one is sent as it is, but for the white space around it.

    Raises:
        InvalidSpecError: Not exactly one of preset and access string, keys missing, or keys with Admin. The API server
            refuses these too; here they would become another string than the one meant.
    """
    if (access.preset is None) == (access.access_string is None):
        raise InvalidSpecError("access needs exactly one of preset and accessString")
    if access.preset is None:
        if access.keys or access.channels:
            raise InvalidSpecError("keys and channels go with a preset; an access string holds its own")
        if not (raw := (access.access_string or "").strip()):
            raise InvalidSpecError("the access string is empty")
        return raw
    if access.preset is Preset.ADMIN:
        if access.keys or access.channels:
            raise InvalidSpecError("preset Admin covers every key and channel: it takes neither keys nor channels")
        return f"on ~* &* {PRESET_COMMANDS[Preset.ADMIN]}"
    if not access.keys:
        raise InvalidSpecError(f'preset {access.preset} needs keys; ["*"] means all')
    keys = [f"~{pattern}" for pattern in _checked(access.keys, "key pattern")]
    channels = [f"&{pattern}" for pattern in _checked(access.channels, "channel pattern")]
    return " ".join(["on", *keys, *channels, PRESET_COMMANDS[access.preset]])


def _checked(patterns: Iterable[str], what: str) -> Iterable[str]:
    """Return patterns that stay one word: white space would begin a rule of the author's own making.

    Behind `*` servers refuse any other pattern, so that stands alone.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not pattern or _WHITE_SPACE.search(pattern):
            raise InvalidSpecError(f"not a {what}: {pattern!r} (empty, or with white space)")
    return ("*",) if "*" in patterns else patterns
