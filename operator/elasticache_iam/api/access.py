"""Access: what a user may do, as a preset or a raw access string."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from elasticache_iam.api.base import ApiModel
from elasticache_iam.api.schema import EMPTY_LIST, Reason, Rule
from elasticache_iam.api.syntax import AccessString, ChannelPattern, KeyPattern


class Preset(StrEnum):
    """The access strings that we keep, by name."""

    READ_ONLY = "ReadOnly"
    READ_WRITE = "ReadWrite"
    ADMIN = "Admin"


class Access(ApiModel):
    """Exactly one of `preset` and `access_string`; keys and channels go with a preset."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.preset) != has(self.accessString)",
            message="set exactly one of preset and accessString",
            holds=lambda access: (access.preset is None) != (access.access_string is None),
        ),
        Rule(
            cel="!has(self.preset) || self.preset == 'Admin' || (has(self.keys) && size(self.keys) > 0)",
            message='keys is required with the presets ReadOnly and ReadWrite; ["*"] stands for all keys',
            holds=lambda access: access.preset in {None, Preset.ADMIN} or bool(access.keys),
            field=".keys",
            reason=Reason.REQUIRED,
        ),
        Rule(
            cel="!has(self.preset) || self.preset != 'Admin' || ((!has(self.keys) || size(self.keys) == 0) "
            "&& (!has(self.channels) || size(self.channels) == 0))",
            message="preset Admin reaches all keys and channels: remove keys and channels, or use ReadWrite",
            holds=lambda access: access.preset is not Preset.ADMIN or not (access.keys or access.channels),
            field=".preset",
            reason=Reason.FORBIDDEN,
        ),
        Rule(
            cel="!has(self.accessString) || ((!has(self.keys) || size(self.keys) == 0) "
            "&& (!has(self.channels) || size(self.channels) == 0))",
            message="accessString names its own ~keys and &channels: remove keys and channels, or use a preset",
            holds=lambda access: access.access_string is None or not (access.keys or access.channels),
            field=".accessString",
            reason=Reason.FORBIDDEN,
        ),
    )

    preset: Preset | None = None
    """A named set of commands, checked against real servers: ReadOnly, ReadWrite or Admin (everything AWS allows).
    The limited ones leave out dangerous commands such as FLUSHALL and CONFIG."""

    access_string: AccessString | None = None
    """A raw access string instead of a preset, as in "on ~orders:* +@read". Rules apply from left to right;
    without "on" the user can't log in."""

    keys: Annotated[tuple[KeyPattern, ...], Field(max_length=64)] = ()
    """Key patterns, as "orders:*". Required with ReadOnly and ReadWrite; ["*"] for all keys."""

    channels: Annotated[tuple[ChannelPattern, ...], Field(max_length=64), EMPTY_LIST] = ()
    """Pub/sub channel patterns, as "orders:*". None by default."""
