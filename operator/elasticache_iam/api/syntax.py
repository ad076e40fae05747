"""The texts that end in an AWS id, an ARN, a signing host, an access string or a Kubernetes name, each with its syntax.

These patterns are a security boundary: an id becomes the host that a token is signed for, a key pattern becomes a part
of an access string, where a space would start a new rule.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import Field

from elasticache_iam.api.keys import GROUP, LABEL_MANAGED_BY
from elasticache_iam.api.schema import Pattern, Reason, Rule, cel_string

DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

DNS_LABEL_SAYS: Final = "must be lower-case letters, digits and hyphens, with a letter or digit at both ends, no dots"
DnsLabel: TypeAlias = Annotated[str, Field(max_length=63), Pattern(DNS_LABEL, DNS_LABEL_SAYS)]
"""The name of a resource of ours or of a namespace. Ours have no dots, so that `<name>.<alias>` is nobody else's."""

Alias: TypeAlias = Annotated[
    str,
    Field(max_length=63),
    Pattern(DNS_LABEL, "a cache's name must be lower-case letters, digits and hyphens: it ends the Secret's name"),
]

ServiceAccountName: TypeAlias = Annotated[
    str,
    Field(max_length=253),
    Pattern(DNS_SUBDOMAIN, "must be the name of a ServiceAccount in this namespace, without the namespace"),
]

SecretName: TypeAlias = Annotated[
    str,
    Field(max_length=189),  # 253 less a dot and an alias
    Pattern(DNS_SUBDOMAIN, "must be the name of a Secret: lower-case letters, digits, hyphens and dots"),
]

ConfigMapName: TypeAlias = Annotated[
    str,
    Field(max_length=253),
    Pattern(DNS_SUBDOMAIN, "must be the name of a ConfigMap: lower-case letters, digits, hyphens and dots"),
]

AWS_ID: Final = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
_AWS_ID_SAYS: Final = (
    "must start with a letter and hold only lower-case letters, digits and single hyphens, none at the end, "
    "40 characters at most: AWS stores it in lower case and tokens are signed for exactly this text"
)

AwsId: TypeAlias = Annotated[str, Field(max_length=40), Pattern(AWS_ID, _AWS_ID_SAYS)]
"""The id of a user, user group or cache. AWS allows upper case and lowers it silently; we don't."""

UserId: TypeAlias = Annotated[
    AwsId,
    Rule(
        cel="self != 'default'",
        message="'default' is the engine's built-in user and can't log in by IAM: choose another id",
        holds=lambda text: text != "default",
        reason=Reason.FORBIDDEN,
    ),
]

GroupId: TypeAlias = Annotated[
    AwsId,
    Rule(
        cel="!(self in ['default', 'open-access'])",
        message="'default' and 'open-access' belong to AWS: choose another id",
        holds=lambda text: text not in {"default", "open-access"},
        reason=Reason.FORBIDDEN,
    ),
]

UserIdGlob: TypeAlias = Annotated[
    str,
    Field(max_length=40),
    Pattern(r"^[a-z][a-z0-9*-]*$", "must be a user id or a pattern of ids as shop-*, starting with a letter"),
]

Region: TypeAlias = Annotated[
    str,
    Field(max_length=32),
    Pattern(r"^[a-z]{2,4}(-[a-z]{2,12}){1,3}-[0-9]{1,2}$", "must be an AWS region as eu-central-1"),
]

AccountId: TypeAlias = Annotated[
    str,
    Field(max_length=12),
    Pattern(r"^[0-9]{12}$", "must be the 12 digits of an AWS account, quoted in YAML"),
]

RoleArn: TypeAlias = Annotated[
    str,
    Field(max_length=640),
    Pattern(
        r"^arn:aws(-[a-z]{1,6}){0,2}:iam::[0-9]{12}:role/([A-Za-z0-9_+=,.@-]+/)*[A-Za-z0-9_+=,.@-]{1,64}$",
        "must be the ARN of one IAM role as arn:aws:iam::111122223333:role/path/name, without wildcards",
    ),
]

KeyPattern: TypeAlias = Annotated[
    str,
    Field(max_length=256),
    Pattern(
        r"^[!-~]+$",
        "a key pattern must be printable ASCII without spaces: it becomes one word of the access string",
    ),
]

ChannelPattern: TypeAlias = Annotated[
    str,
    Field(max_length=256),
    Pattern(
        r"^[!-~]+$",
        "a channel pattern must be printable ASCII without spaces: it becomes one word of the access string",
    ),
]

MOST_WORDS: Final = 128
"""Words of a raw access string. Redis and valkey have 21 categories and some 240 commands, so whoever needs more than
that with all its keys is better served by categories; and what is compared with limits in every pass stays small."""

MOST_SELECTORS: Final = 16
"""Selectors of a raw access string: each is compared with each of a limit's."""

_PASSWORD_RULE: Final = r"(?i)(^|[ (])([<>#!]|(nopass|reset|resetpass)([ )]|$))"  # noqa: S105  # what finds one

AccessString: TypeAlias = Annotated[
    str,
    Field(max_length=4096),
    Pattern(
        r"^[ -~]*[!-~][ -~]*$",
        "accessString must be one line of printable ASCII: no line breaks (in YAML use quotes or >-), tabs or accents",
    ),
    Rule(
        cel=f"!self.matches({cel_string(_PASSWORD_RULE)})",
        message="accessString must not hold password rules (>, <, #, !, nopass, resetpass) or reset: "
        "AWS refuses them, and an IAM user has no password; remove them",
        holds=lambda text: re.search(_PASSWORD_RULE, text) is None,
        reason=Reason.FORBIDDEN,
    ),
    Rule(
        cel=f"size(self.split(' ')) <= {MOST_WORDS} && size(self.split('(')) <= {MOST_SELECTORS + 1}",
        message=f"accessString must have at most {MOST_WORDS} words, one blank between them, and {MOST_SELECTORS} "
        "selectors: allow categories (+@read) instead of commands one by one",
        holds=lambda text: text.count(" ") < MOST_WORDS and text.count("(") <= MOST_SELECTORS,
    ),
]

TagValue: TypeAlias = Annotated[str, Field(max_length=256, pattern=r"^[\p{L}\p{N} _.:/=+@-]*$")]


_TAG_KEY: Final = r"^[\p{L}\p{N} _.:/=+@-]+$"  # for CEL: Python's re knows no \p


def _is_tag_key(key: str) -> bool:
    return 1 <= len(key) <= 128 and all(char.isalnum() or char in " _.:/=+@-" for char in key)  # noqa: PLR2004  # AWS's


def is_reserved_tag_key(key: str) -> bool:
    """Whether no resource may have the tag: it is the operator's or AWS's."""
    return key.startswith(f"{GROUP}/") or key.lower().startswith("aws:")


def _all_keys(is_good: Callable[[str], object]) -> Callable[[Mapping[str, str]], bool]:
    return lambda entries: all(is_good(key) for key in entries)


Tags: TypeAlias = Annotated[
    Mapping[str, TagValue],
    Field(max_length=40),  # AWS allows 50; five are ours
    Rule(
        cel=f"self.all(key, size(key) <= 128 && key.matches({cel_string(_TAG_KEY)}))",
        message="a tag's key must be 1 to 128 letters, digits, spaces and _ . : / = + - @",
        holds=_all_keys(_is_tag_key),
    ),
    Rule(
        cel=f"self.all(key, !key.startsWith('{GROUP}/') && !key.matches('^(?i)aws:'))",
        message=f"tags must not use keys that start with {GROUP}/ (the operator's) or aws: (AWS's): remove them",
        holds=_all_keys(lambda key: not is_reserved_tag_key(key)),
        reason=Reason.FORBIDDEN,
    ),
]

QUALIFIED_NAME: Final = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
QUALIFIED_NAME_SIZE: Final = 317  # a DNS subdomain, a slash, 63 characters
_IS_QUALIFIED = _all_keys(lambda key: len(key) <= QUALIFIED_NAME_SIZE and re.fullmatch(QUALIFIED_NAME, key))
_QUALIFIED_KEYS: Final = Rule(
    cel=f"self.all(key, size(key) <= {QUALIFIED_NAME_SIZE} && key.matches({cel_string(QUALIFIED_NAME)}))",
    message="labels and annotations need keys as name or example.com/name",
    holds=_IS_QUALIFIED,
)
_FOREIGN_KEYS: Final = Rule(
    cel=f"self.all(key, !key.startsWith('{GROUP}/') && key != '{LABEL_MANAGED_BY}')",
    message=f"labels and annotations of the Secret must not use {GROUP}/ or {LABEL_MANAGED_BY}: "
    "the operator knows its own Secrets by them; remove them",
    holds=_all_keys(lambda key: not key.startswith(f"{GROUP}/") and key != LABEL_MANAGED_BY),
    reason=Reason.FORBIDDEN,
)

LABEL_VALUE: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LABEL_VALUE_SAYS: Final = "a label's value must be letters, digits and - _ . with a letter or digit at both ends"
LabelValue: TypeAlias = Annotated[str, Field(max_length=63), Pattern(LABEL_VALUE, LABEL_VALUE_SAYS)]
LabelKey: TypeAlias = Annotated[
    str,
    Field(max_length=QUALIFIED_NAME_SIZE),
    Pattern(QUALIFIED_NAME, "must be a label's key as name or example.com/name"),
]
AnnotationValue: TypeAlias = Annotated[str, Field(max_length=4096)]

MatchLabels: TypeAlias = Annotated[Mapping[str, LabelValue], Field(max_length=16), _QUALIFIED_KEYS]
SecretLabels: TypeAlias = Annotated[Mapping[str, LabelValue], Field(max_length=32), _QUALIFIED_KEYS, _FOREIGN_KEYS]
SecretAnnotations: TypeAlias = Annotated[
    Mapping[str, AnnotationValue], Field(max_length=32), _QUALIFIED_KEYS, _FOREIGN_KEYS
]

_DATA_KEY: Final = r"^[-._a-zA-Z0-9]{1,253}$"

Template: TypeAlias = Annotated[
    Mapping[str, Annotated[str, Field(max_length=8192)]],
    Field(max_length=32),
    Rule(
        cel=f"self.all(key, key.matches({cel_string(_DATA_KEY)}) && key != '.' && !key.startsWith('..'))",
        message="a template's keys must be 1 to 253 letters, digits and - _ . (not . or .. at the start): "
        "they become keys of the Secret or ConfigMap",
        holds=_all_keys(
            lambda key: re.fullmatch(_DATA_KEY, key) is not None and key != "." and not key.startswith("..")
        ),
    ),
]
