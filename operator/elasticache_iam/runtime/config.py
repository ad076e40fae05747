"""From the configuration file and the surroundings to an Installation; every failure is one line."""

import base64
import binascii
import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.words import say, suggest
from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.kube.service_account import SERVICE_ACCOUNT

_OPTIONS: Final = {
    "owner": "--owner",
    "region": "--region",
    "account": "--account",
    "oidcIssuer": "--issuer",
    "permissionsBoundary": "--boundary",
}
"""The settings that a command line can replace."""
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d{1,2}")
_ISSUER: Final = re.compile(r"https://[^\s/?#]+(/[^\s?#]*)?")
_PATTERNS: Final = {
    "owner": "must be 1 to 10 lower-case letters and digits, the first a letter",
    "account": "must be the account's id, 12 digits (in quotes)",
    "permissionsBoundary": "must be a policy's ARN; they look like arn:aws:iam::111122223333:policy/NAME",
}
"""What a setting must be, where its pattern alone would be no help."""


def load_config(path: Path) -> OperatorConfig:
    """Read the configuration file.

    `cacheCA` may be PEM text or a file's path.

    Raises:
        ConfigurationError: The file can't be read, isn't YAML, or a key is unknown or wrong; the text names it.
    """
    return _parse_config(read_settings(path), f"the configuration {path}")


def override_config(path: Path | None, settings: Mapping[str, str | None]) -> OperatorConfig:
    """Read the configuration file, if there is one, with some settings replaced: those that aren't None.

    Raises:
        ConfigurationError: As `load_config`, and where nobody says the owner.
    """
    if path is None:
        return override_settings({}, settings, what="the options")
    return override_settings(read_settings(path), settings, what=f"the configuration {path}")


def override_settings(
    document: Mapping[str, Any], settings: Mapping[str, str | None], *, what: str, way_out: str = ""
) -> OperatorConfig:
    """Return the configuration of a document, with some settings replaced: those that aren't None.

    Args:
        document: Settings by their names.
        settings: Those of the command line.
        what: The document, for people.
        way_out: What else to do where nobody says the owner, at the end of the message.

    Raises:
        ConfigurationError: As `override_config`.
    """
    said = {name: value for name, value in settings.items() if value is not None}
    if "owner" not in {**document, **said}:
        raise ConfigurationError(
            f"whose AWS objects are ours? set --owner, or --config with the operator's settings{way_out}"
        )
    for name, option in _OPTIONS.items():
        if name in said:
            _check_option(name, option, said[name])
    return _parse_config({**document, **said}, what)


def _check_option(name: str, option: str, value: str) -> None:
    """Raise ConfigurationError, in the words of the command line, for an option that can't be meant so."""
    try:
        OperatorConfig.model_validate({"owner": "any", name: value})
    except ValidationError as error:
        raise ConfigurationError(f"{option}: {_first_problem(error).partition(': ')[2]}") from error
    if (fault := setting_fault(name, value)) is not None:
        raise ConfigurationError(f"{option}: {fault}")


def setting_fault(name: str, value: str) -> str | None:
    """Return why a region or an issuer can't be one, None if it may be: AWS has the last word."""
    if name == "region" and not _REGION.fullmatch(value):
        return f"{value!r} is no AWS region; they look like eu-central-1"
    if name == "oidcIssuer" and not _ISSUER.fullmatch(value):
        return f"{value!r} is no OIDC issuer; it is an https:// URL, the `iss` of the cluster's tokens"
    return None


def read_settings(path: Path) -> dict[str, Any]:
    """Return what a configuration file says, unchecked. Raises ConfigurationError: it can't be read, or is none."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"can't read the configuration {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where is not None else ""
        raise ConfigurationError(f"the configuration {path} is not YAML{line}") from error
    except (ValueError, RecursionError) as error:  # no text, an impossible date, or very deep nesting
        raise ConfigurationError(f"the configuration {path} is not YAML") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"the configuration {path} must be a mapping of settings; it needs at least `owner`")
    return document


def _parse_config(document: Mapping[str, Any], what: str) -> OperatorConfig:
    try:
        config = OperatorConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(f"{what}: {_first_problem(error)}") from error
    return config.model_copy(update={"cache_ca": _read_ca(config.cache_ca)})


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "it"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in OperatorConfig.model_fields.items()]
        return f"unknown setting {where}{suggest(where, known)}{more}"
    return f"{where}: {_PATTERNS.get(where.rpartition('.')[2]) or say(first)}{more}"


def _read_ca(value: str | None) -> str | None:
    if value is None:
        return None
    if value.lstrip().startswith("-----BEGIN"):
        text, where = value, "the text"
    else:
        try:
            text, where = Path(value).read_text(encoding="ascii"), value
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cacheCA: can't read {value}") from error
    try:
        trust = ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"cacheCA: {where} holds no PEM certificate") from error
    if not trust.cert_store_stats()["x509"]:
        raise ConfigurationError(f"cacheCA: {where} holds no certificate")
    return text


def own_issuer() -> str | None:
    """Return the issuer in the Pod's own ServiceAccount token; None outside a Pod."""
    try:
        return str(token_claims((SERVICE_ACCOUNT / "token").read_text(encoding="ascii"))["iss"])
    except (OSError, KeyError, ValueError):
        return None


def token_claims(jwt: str) -> dict[str, Any]:
    """Return a JWT's claims without verifying them: it is our own. Raises ValueError."""
    if not re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]*", jwt.strip()):
        raise ValueError("not a JWT")
    payload = jwt.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not a JWT") from error
    if not isinstance(claims, dict):
        raise ValueError("not a JWT")  # noqa: TRY004  # the caller cares about one kind of failure
    return claims
