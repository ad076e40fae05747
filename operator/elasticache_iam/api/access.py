"""Access: what a user may do, as a preset or a raw access string."""

from enum import StrEnum

from elasticache_iam.api.base import ApiModel


class Preset(StrEnum):
    """The access strings that we keep, by name."""

    READ_ONLY = "ReadOnly"
    READ_WRITE = "ReadWrite"
    ADMIN = "Admin"


class Access(ApiModel):
    """Exactly one of `preset` and `access_string`; keys and channels go with a preset."""

    preset: Preset | None = None
    access_string: str | None = None
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
