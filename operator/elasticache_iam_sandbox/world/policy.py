"""IAM policies: parsed once when written, evaluated as AWS does. An explicit deny wins, then an allow, else nothing."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from elasticache_iam_sandbox.world.call import AwsError, not_implemented
from elasticache_iam_sandbox.world.conditions import Condition, Context, arn_glob, glob, parse_conditions

_ELEMENTS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_ACTION = re.compile(r"\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+")
_DOCUMENT = re.compile(r"[\u0009\u000A\u000D\u0020-\u00FF]+")
_TRUST_ACTIONS = frozenset(
    {"sts:assumerole", "sts:assumerolewithwebidentity", "sts:assumerolewithsaml", "sts:tagsession",
     "sts:setsourceidentity", "sts:*"}
)  # fmt: skip


class Effect(Enum):
    """What a set of policies says about one action on one resource."""

    ALLOW = "allow"
    DENY = "deny"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Matcher:
    """Names with wildcards; exact ones are looked up, not searched."""

    exact: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]
    negated: bool
    """NotAction, NotResource."""

    def matches(self, name: str) -> bool:
        """Return whether the element applies to the name."""
        found = name in self.exact or any(pattern.fullmatch(name) for pattern in self.patterns)
        return found != self.negated


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `resources` is None in trust policies, `principals` in all others."""

    effect: Effect
    actions: Matcher
    resources: Matcher | None
    principals: tuple[tuple[str, str], ...] | None
    """Pairs like (AWS, arn:…) or (Federated, arn:…); (*, *) is everybody."""
    conditions: tuple[Condition, ...]

    def applies(self, action: str, resource: str, context: Context) -> bool:
        """Return whether the statement speaks about this request. `action` is in lower case."""
        return (
            self.actions.matches(action)
            and (self.resources is None or self.resources.matches(resource))
            and all(condition.holds(context) for condition in self.conditions)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy and the text it was written as."""

    text: str
    statements: tuple[Statement, ...]


def evaluate(policies: Iterable[Policy], action: str, resource: str, context: Context) -> Effect:
    """Return what the policies, taken together, say.

    Args:
        policies: Of one kind: all identity-based ones, or the boundary, or the session policy.
        action: As elasticache:CreateUser; matched without regard to case.
        resource: An ARN, or "*" for actions that know no resources.
        context: Condition keys in lower case.
    """
    lowered = action.lower()
    effect = Effect.NOTHING
    for policy in policies:
        for statement in policy.statements:
            if (statement.effect is Effect.DENY or effect is Effect.NOTHING) and statement.applies(
                lowered, resource, context
            ):
                if statement.effect is Effect.DENY:
                    return Effect.DENY
                effect = Effect.ALLOW
    return effect


def parse_policy(text: str) -> Policy:
    """Return an identity-based, boundary or session policy.

    Raises:
        AwsError: MalformedPolicyDocument, or NotImplementedInSandbox for what is not known here.
    """
    statements = _read_statements(text)
    return Policy(text, tuple(_parse_identity_statement(statement) for statement in statements))


def parse_trust_policy(text: str) -> Policy:
    """Return a role's trust policy. Raises as `parse_policy`."""
    statements = _read_statements(text)
    return Policy(text, tuple(_parse_trust_statement(statement) for statement in statements))


def malformed(message: str) -> AwsError:
    """Return AWS's error for a policy that can't be read."""
    return AwsError("MalformedPolicyDocument", message)


def _read_statements(text: str) -> list[dict[str, Any]]:
    if not _DOCUMENT.fullmatch(text):
        raise malformed("The policy contains characters that are not allowed.")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise malformed("This policy contains invalid Json") from error
    if not isinstance(document, dict) or document.keys() - {"Version", "Id", "Statement"}:
        raise malformed("Syntax errors in policy.")
    if document.get("Version", "2008-10-17") not in {"2012-10-17", "2008-10-17"}:
        raise malformed("Syntax errors in policy.")
    statements = document.get("Statement")
    statements = statements if isinstance(statements, list) else [statements]
    if not statements or not all(isinstance(statement, dict) for statement in statements):
        raise malformed("Syntax errors in policy.")
    sids = [statement["Sid"] for statement in statements if "Sid" in statement]
    if len(sids) != len(set(sids)):
        raise malformed("Statement IDs (SID) in a single policy must be unique.")
    return statements


def _parse_identity_statement(statement: dict[str, Any]) -> Statement:
    if statement.keys() & {"Principal", "NotPrincipal"}:
        raise malformed("Policy document should not specify a principal.")
    effect, actions, conditions = _parse_common(statement)
    values, negated = _one_of(statement, "Resource", "NotResource")
    for value in values:
        if "${" in value:
            raise not_implemented(f"policy variables ({value})")
    try:
        patterns = tuple(arn_glob(value) for value in values if "*" in value or "?" in value)
        for value in values:
            arn_glob(value)
    except ValueError as error:
        raise malformed(str(error)) from error
    exact = frozenset(value for value in values if "*" not in value and "?" not in value)
    return Statement(effect, actions, Matcher(exact, patterns, negated), None, conditions)


def _parse_trust_statement(statement: dict[str, Any]) -> Statement:
    if statement.keys() & {"Resource", "NotResource"}:
        raise malformed("Has prohibited field Resource")
    if "NotPrincipal" in statement:
        raise not_implemented("NotPrincipal")
    if "Principal" not in statement:
        raise malformed("Missing required field Principal")
    effect, actions, conditions = _parse_common(statement)
    values, _ = _one_of(statement, "Action", "NotAction")
    if {value.lower() for value in values} - _TRUST_ACTIONS:
        raise malformed("AssumeRole policy may only specify STS AssumeRole actions.")
    return Statement(effect, actions, None, _parse_principals(statement["Principal"]), conditions)


def _parse_common(statement: dict[str, Any]) -> tuple[Effect, Matcher, tuple[Condition, ...]]:
    if statement.keys() - _ELEMENTS or statement.get("Effect") not in {"Allow", "Deny"}:
        raise malformed("Syntax errors in policy.")
    values, negated = _one_of(statement, "Action", "NotAction")
    for value in values:
        if not _ACTION.fullmatch(value):
            raise malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    lowered = [value.lower() for value in values]
    actions = Matcher(
        frozenset(value for value in lowered if "*" not in value and "?" not in value),
        tuple(glob(value) for value in lowered if "*" in value or "?" in value),
        negated,
    )
    effect = Effect.ALLOW if statement["Effect"] == "Allow" else Effect.DENY
    return effect, actions, parse_conditions(statement.get("Condition", {}))


def _one_of(statement: dict[str, Any], element: str, negated_element: str) -> tuple[list[str], bool]:
    negated = negated_element in statement
    if negated == (element in statement):
        raise malformed(f"Policy statement must contain {element.lower()}s.")
    values = statement[negated_element if negated else element]
    values = values if isinstance(values, list) else [values]
    if not values or not all(isinstance(value, str) and value for value in values):
        raise malformed("Syntax errors in policy.")
    return values, negated


def _parse_principals(principal: Any) -> tuple[tuple[str, str], ...]:
    if principal == "*":
        return (("*", "*"),)
    if not isinstance(principal, dict) or not principal:
        raise malformed("Syntax errors in policy.")
    pairs: list[tuple[str, str]] = []
    for kind, values in principal.items():
        if kind not in {"AWS", "Federated", "Service"}:
            raise malformed("Syntax errors in policy.")
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str):
                raise malformed("Syntax errors in policy.")
            pairs.append((kind, value))
    return tuple(pairs)
