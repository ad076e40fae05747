"""Logs: one JSON object a line on stderr, ours and every library's alike, with all that opens a door masked.

Masking is done twice: by key on what was passed, and by shape on the finished line, tracebacks included. It is the last
line of defence; nothing should log a credential in the first place.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from typing import Any, Final, TextIO

import structlog

MASK: Final = "[redacted]"

# Libraries that tell too much at the level asked for: kopf one line an event, botocore its requests with signatures
# and STS' answers, the Kubernetes client the bodies of answers.
QUIET_LOGGERS: Final[Mapping[str, int]] = {
    "kopf.objects": logging.WARNING,
    "kopf.activities": logging.WARNING,
    "kopf": logging.WARNING,
    "kopf._core.reactor.running": logging.ERROR,  # it warns of every clean stop: we cancel it, to be quick
    "botocore": logging.WARNING,
    "boto3": logging.WARNING,
    "urllib3": logging.INFO,
    "kubernetes": logging.INFO,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.INFO,
}

_SECRET_KEYS: Final = frozenset(
    {
        "authorization",
        "data",
        "password",
        "secret_access_key",
        "secretaccesskey",
        "session_token",
        "sessiontoken",
        "token",
        "uri",
        "web_identity_token",
        "webidentitytoken",
    }
)

# A value by its name in JSON, possibly JSON within JSON, in a Python dict or repr, and in XML.
_NAMED_VALUE: Final = re.compile(
    r"""(?<!/)\b((?:SecretAccessKey|SessionToken|WebIdentityToken|password|secret_access_key|session_token)"""
    r"""\\*["']?\s*[:=>]\s*\\*["']?)[^\s"'<>,}\\]+""",
    re.IGNORECASE,
)
_SHAPES: Final = (
    # A token is a presigned request; as a part of a URI it is percent-encoded, maybe twice.
    re.compile(r"""[a-z0-9-]+/?(?:/|%2F|%252F)(?:\?|%3F|%253F)Action[^\s"'<>\\]*""", re.IGNORECASE),
    re.compile(r"""(?<=X-Amz-)(?:Signature|Security-Token|Credential)(?:=|%3D|%253D)[^&\s"'<>\\]+""", re.IGNORECASE),
    re.compile(r"""(?<=://)[^\s/"'@<>\\]*:[^\s"'@<>\\]+(?=@)"""),  # rediss://user:password@host
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*){0,2}"),  # a JWT
    re.compile(r"""(?<=\bbearer\s)[^\s"'\\]+""", re.IGNORECASE),
)


class LogFormat(StrEnum):
    """How a line looks: for machines, or for people."""

    JSON = "json"
    TEXT = "text"


def redact(text: str) -> str:
    """Return a text with whatever looks like a credential masked. Doing it twice changes nothing."""
    for shape in _SHAPES:
        text = shape.sub(MASK, text)
    return _NAMED_VALUE.sub(rf"\1{MASK}", text)


def redact_keys(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask values that are credentials by their name, at any depth. A structlog processor."""
    for key, value in event.items():
        event[key] = _mask(key, value)
    return event


def configure(level: str = "info", form: LogFormat = LogFormat.JSON, stream: TextIO | None = None) -> None:
    """Send all logging of the process, structlog's and the standard library's, to one stream.

    Args:
        level: debug, info, warning or error: the least that is shown.
        form: JSON lines or text.
        stream: stderr if None.
    """
    lowest = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        _RedactingFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=["k8s_ref"]), _unfold_reference],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact_keys,
                *_renderers(form),
            ],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(lowest)
    for name, least in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(max(lowest, least))
    logging.captureWarnings(capture=True)


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Masks the finished line."""

    def format(self, record: logging.LogRecord) -> str:  # type: ignore[explicit-override]  # typing.override is 3.12's
        """Return the line."""
        return redact(super().format(record))


def _renderers(form: LogFormat) -> list[structlog.typing.Processor]:
    if form is LogFormat.TEXT:
        return [structlog.dev.ConsoleRenderer(colors=False, timestamp_key="ts")]
    return [
        structlog.processors.EventRenamer("msg"),
        _order,
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    ]


def _order(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put first what a reader looks for first."""
    first = ("ts", "level", "msg", "logger", "kind", "namespace", "name")
    return {**{key: event[key] for key in first if key in event}, **event}


def _unfold_reference(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn kopf's note of the object that a line is about into our fields."""
    reference = event.pop("k8s_ref", None) or {}
    for key in ("kind", "namespace", "name"):
        if reference.get(key):
            event[key] = reference[key]
    return event


def _mask(key: object, value: object) -> object:
    if isinstance(value, Mapping):
        if str(key).lower() in _SECRET_KEYS:
            return dict.fromkeys(value, MASK)  # the names may be told
        return {inner: _mask(inner, item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask(key, item) for item in value]
    return MASK if value and str(key).lower() in _SECRET_KEYS else value
