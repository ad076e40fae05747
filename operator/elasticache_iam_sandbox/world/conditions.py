"""Condition blocks of IAM policies: operators and keys. What is not known here is refused when a policy is written."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

from elasticache_iam_sandbox.world.call import AwsError, not_implemented

Context = Mapping[str, tuple[str, ...] | None]
"""Keys in lower case. A key that is not there is absent from the request; None: the sandbox can't know its value."""

Test = Callable[[str], bool]

_KEYS = frozenset(
    key.lower()
    for key in [
        "aws:CurrentTime",
        "aws:EpochTime",
        "aws:PrincipalAccount",
        "aws:PrincipalArn",
        "aws:PrincipalType",
        "aws:RequestedRegion",
        "aws:SecureTransport",
        "aws:SourceIp",
        "aws:TagKeys",
        "aws:TokenIssueTime",
        "aws:ViaAWSService",
        "aws:VpcSourceIp",
        "aws:userid",
        "aws:username",
        "elasticache:AtRestEncryptionEnabled",
        "elasticache:AuthTokenEnabled",
        "elasticache:AutomaticFailoverEnabled",
        "elasticache:CacheNodeType",
        "elasticache:CacheParameterGroupName",
        "elasticache:EngineType",
        "elasticache:EngineVersion",
        "elasticache:KmsKeyId",
        "elasticache:MultiAZEnabled",
        "elasticache:NumNodeGroups",
        "elasticache:ReplicasPerNodeGroup",
        "elasticache:SnapshotRetentionLimit",
        "elasticache:TransitEncryptionEnabled",
        "elasticache:UserAuthenticationMode",
        "iam:PassedToService",
        "iam:PermissionsBoundary",
        "memorydb:UserAuthenticationMode",
        "sts:ExternalId",
        "sts:RoleSessionName",
    ]
)
_KEY_FAMILIES = ("aws:requesttag/", "aws:resourcetag/", "aws:principaltag/", "iam:resourcetag/")
_MULTIVALUED = frozenset({"aws:tagkeys"})
_WEB_IDENTITY_KEY = re.compile(r"[^:/]+\.?[^:/]*(:\d+)?(/.*)?:(sub|aud)")
_OPERATOR = re.compile(r"(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?")


@lru_cache(maxsize=4096)
def glob(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for IAM's wildcards: * for any text, ? for one character."""
    return re.compile("".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern), re.DOTALL)


@lru_cache(maxsize=4096)
def arn_glob(pattern: str) -> re.Pattern[str]:
    """Return the same for ARNs: a wildcard in one of the first five parts does not reach into the next.

    Raises:
        ValueError: The pattern is neither "*" nor six parts.
    """
    if pattern == "*":
        return re.compile(".*", re.DOTALL)
    parts = pattern.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn":  # noqa: PLR2004  # arn:partition:service:region:account:resource
        raise ValueError(f'Resource {pattern} must be in ARN format or "*".')
    wild = [{"*": "[^:]*", "?": "[^:]"}] * 5 + [{"*": ".*", "?": "."}]
    written = (
        "".join(names.get(char, re.escape(char)) for char in part) for part, names in zip(parts, wild, strict=True)
    )
    return re.compile(":".join(written), re.DOTALL)


def _equals(value: str) -> Test:
    return value.__eq__


def _equals_ignoring_case(value: str) -> Test:
    lowered = value.lower()
    return lambda candidate: candidate.lower() == lowered


def _like(value: str) -> Test:
    expression = glob(value)
    return lambda candidate: expression.fullmatch(candidate) is not None


def _arn_like(value: str) -> Test:
    expression = arn_glob(value)
    return lambda candidate: expression.fullmatch(candidate) is not None


def _in_network(value: str) -> Test:
    network = ip_network(value, strict=False)
    return lambda candidate: ip_address(candidate) in network


def _compare(read: Callable[[str], Any], holds: Callable[[Any, Any], bool]) -> Callable[[str], Test]:
    def prepare(value: str) -> Test:
        limit = read(value)
        return lambda candidate: holds(read(candidate), limit)

    return prepare


def _read_date(value: str) -> datetime:
    if value.isdigit():
        return datetime.fromtimestamp(int(value), UTC)
    return datetime.fromisoformat(value).astimezone(UTC)


_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda candidate, limit: candidate == limit,
    "LessThan": lambda candidate, limit: candidate < limit,
    "LessThanEquals": lambda candidate, limit: candidate <= limit,
    "GreaterThan": lambda candidate, limit: candidate > limit,
    "GreaterThanEquals": lambda candidate, limit: candidate >= limit,
}
_POSITIVE: Mapping[str, Callable[[str], Test]] = {
    "StringEquals": _equals,
    "StringEqualsIgnoreCase": _equals_ignoring_case,
    "StringLike": _like,
    "ArnEquals": _arn_like,  # AWS: ArnEquals and ArnLike behave identically
    "ArnLike": _arn_like,
    "Bool": _equals_ignoring_case,
    "IpAddress": _in_network,
    **{f"Numeric{name}": _compare(float, holds) for name, holds in _ORDER.items()},
    **{f"Date{name}": _compare(_read_date, holds) for name, holds in _ORDER.items()},
}
_NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of one operator."""

    key: str
    tests: tuple[Test, ...]
    quantifier: str
    """ForAllValues, ForAnyValue, or empty."""
    negated: bool
    if_exists: bool
    null: bool | None = None
    """For the Null operator: whether the key must be absent. Else None."""

    def holds(self, context: Context) -> bool:
        """Return whether the request's context meets the condition."""
        candidates = context.get(self.key, ())
        if candidates is None:
            raise not_implemented(f"the condition key {self.key} in this place")
        if self.null is not None:
            return self.null == (not candidates)
        if not candidates:
            return self.if_exists or self.quantifier == "ForAllValues" or (self.negated and not self.quantifier)
        if self.quantifier == "ForAllValues":
            return all(self._matches(candidate) for candidate in candidates)
        if self.quantifier == "ForAnyValue" or not self.negated:
            return any(self._matches(candidate) for candidate in candidates)
        return all(self._matches(candidate) for candidate in candidates)

    def _matches(self, candidate: str) -> bool:
        return any(test(candidate) for test in self.tests) != self.negated


def parse_conditions(block: Any) -> tuple[Condition, ...]:
    """Return the conditions of a statement, all of which must hold.

    Raises:
        AwsError: MalformedPolicyDocument; NotImplementedInSandbox for an operator or key that is not known here.
    """
    if not isinstance(block, dict):
        raise AwsError("MalformedPolicyDocument", "Syntax errors in policy.")
    conditions: list[Condition] = []
    for operator, entries in block.items():
        if not isinstance(entries, dict):
            raise AwsError("MalformedPolicyDocument", "Syntax errors in policy.")
        conditions.extend(_parse_condition(operator, key, values) for key, values in entries.items())
    return tuple(conditions)


def _parse_condition(operator: str, key: str, values: Any) -> Condition:
    lowered = key.lower()
    if lowered not in _KEYS and not lowered.startswith(_KEY_FAMILIES) and not _WEB_IDENTITY_KEY.fullmatch(lowered):
        raise not_implemented(f"the condition key {key}")
    found = _OPERATOR.fullmatch(operator)
    if not found:
        raise not_implemented(f"the condition operator {operator}")
    quantifier, base, if_exists = found[1] or "", found[2], bool(found[3])
    texts = [_read_value(value) for value in (values if isinstance(values, list) else [values])]
    if base == "Null":
        if quantifier or if_exists or len(texts) != 1:
            raise AwsError("MalformedPolicyDocument", "Syntax errors in policy.")
        return Condition(lowered, (), "", negated=False, if_exists=False, null=texts[0].lower() == "true")
    prepare = _POSITIVE.get(_NEGATED.get(base, base))
    if prepare is None:
        raise not_implemented(f"the condition operator {operator}")
    if lowered in _MULTIVALUED and not quantifier:
        raise not_implemented(f"the key {key}, which has many values, without ForAllValues or ForAnyValue")
    try:
        tests = tuple(prepare(text) for text in texts)
    except ValueError as error:
        raise AwsError("MalformedPolicyDocument", f"Invalid value for {operator} on {key}.") from error
    return Condition(lowered, tests, quantifier, negated=base in _NEGATED, if_exists=if_exists)


def _read_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise AwsError("MalformedPolicyDocument", "Syntax errors in policy.")
    text = str(value)
    if "${" in text:
        raise not_implemented(f"policy variables ({text})")
    return text
