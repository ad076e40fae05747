"""Templates of Secrets and ConfigMaps: a small part of Liquid, so that a hostile template neither hangs nor explodes.

Liquid runs no code, but loops, ranges and chains of growing filters would do harm enough on the loop that keeps every
token fresh. So there are conditions, assignments and a list of filters, no loops, captures, includes or ranges, and
each value has a limit. A template's error is shown to people, and templates see the token: no message is ever built
from what happened while rendering.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, wraps
from typing import Any, Final

from liquid import Environment, StrictUndefined
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.context import RenderContext
from liquid.exceptions import LiquidError, UndefinedError
from liquid.expression import Expression
from liquid.template import BoundTemplate
from typing_extensions import override

from elasticache_iam.core.errors import PermanentError

MAX_TEMPLATE_CHARACTERS: Final = 8192
MAX_TEMPLATE_MARKS: Final = 64
MAX_MARK_CHARACTERS: Final = 1000
MAX_BRACKETS: Final = 8
"""The parser's time grows with the square of these, in seconds for what isn't closed; within them a template costs
milliseconds at worst, and once. A mark is `{{ ... }}` or `{% ... %}`."""

_OPENING: Final = re.compile(r"\{\{|\{%")
_LONG_GAP: Final = re.compile(r"\s{101}")

MAX_VALUE_CHARACTERS: Final = 65536
"""Of one rendered key, and of each value on the way to it. A Secret holds 1 MiB."""

_TAGS: Final = frozenset(
    {"content", "output", "illegal", "#", "comment", "doc", "raw", "if", "unless", "case", "assign"}
)
_FILTERS: Final = frozenset(
    {
        "append",
        "base64_encode",
        "base64_url_safe_encode",
        "default",
        "downcase",
        "escape",
        "lstrip",
        "prepend",
        "remove",
        "remove_first",
        "remove_last",
        "replace_first",
        "rstrip",
        "slice",
        "strip",
        "upcase",
        "url_encode",
    }
)
"""None of them makes a value more than a few times longer than its arguments together; `replace` would."""


class DeliveryTemplateError(PermanentError):
    """A template can't be parsed or rendered. The message names the key, never a value."""

    reason = "TemplateInvalid"


class _ValueTooLongError(LiquidError):
    """A filter's argument or result is beyond the limit."""


class _Environment(Environment):
    """Liquid without what repeats or reads anything."""

    local_namespace_limit = MAX_VALUE_CHARACTERS
    output_stream_limit = MAX_VALUE_CHARACTERS
    loop_iteration_limit = 1

    @override
    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        self.tags = {name: tag for name, tag in self.tags.items() if name in _TAGS}
        self.filters = {name: _limited(function) for name, function in self.filters.items() if name in _FILTERS}


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that refuses long values before it works on them, and long results."""

    @wraps(function)
    def checked(*arguments: Any, **named: Any) -> Any:
        result = function(*map(_check_length, arguments), **named)
        return _check_length(result)

    return checked


def _check_length(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS:
        raise _ValueTooLongError("too long", token=None)
    return value


_ENVIRONMENT: Final = _Environment(undefined=StrictUndefined)


Variables = Mapping[str, str | Mapping[str, Mapping[str, str]]]
"""What a template may use: texts, and for ConfigMaps those of each cache by its name."""


def render_template(key: str, text: str, variables: Variables) -> str:
    """Return what a template makes of some variables.

    Args:
        key: The key of the Secret or ConfigMap, for messages.
        text: The Liquid text; parsed once, however many Secrets have it.
        variables: All that it may use.

    Raises:
        DeliveryTemplateError: It isn't valid, uses what isn't there, or becomes too long.
    """
    template = _parsed(text, frozenset(variables))
    if isinstance(template, str):
        raise DeliveryTemplateError(f"the template of key {key!r} {template}")
    failure = "can't be rendered"
    try:
        return template.render(**variables)
    except UndefinedError:
        failure = "uses a property of a variable that doesn't exist"
    except LiquidError as error:
        failure = f"can't be rendered ({type(error).__name__.lstrip('_')})"
    except Exception:  # noqa: BLE001, S110  # whatever a template provokes (RecursionError) is that template's fault
        pass
    # Outside of the handlers: the library's error, which may hold values, doesn't travel along as context.
    raise DeliveryTemplateError(f"the template of key {key!r} {failure}")


_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
MAX_TEMPLATED_BYTES: Final = 262144
"""All templated keys together: well below the 1 MiB that a Secret or ConfigMap may have, in base64 too."""


def render_templates(template: Mapping[str, str], variables: Variables, *, kind: str) -> dict[str, str]:
    """Return what templates make of some variables, by key.

    Args:
        template: Liquid texts, by key.
        variables: All that they may use.
        kind: Whose keys they are, for messages: Secret or ConfigMap.

    Raises:
        DeliveryTemplateError: One isn't valid, or they make too much; the message names the key.
    """
    rendered: dict[str, str] = {}
    remaining = MAX_TEMPLATED_BYTES
    for key, text in template.items():
        if not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            raise DeliveryTemplateError(f"{key!r} can't be a key of a {kind}: letters, digits, - . _ only")
        rendered[key] = render_template(key, text, variables)
        remaining -= len(rendered[key].encode())
        if remaining < 0:
            raise DeliveryTemplateError(
                f"the templates make more than {MAX_TEMPLATED_BYTES} bytes; key {key!r} is one too many"
            )
    return rendered


@lru_cache(maxsize=1024)
def _parsed(text: str, known: frozenset[str]) -> BoundTemplate | str:
    """Return a parsed template, or what is wrong with it: a broken one is looked at once, too.

    The answer may hold names out of the text: no value has been seen yet.
    """
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        return f"has {len(text)} characters, at most {MAX_TEMPLATE_CHARACTERS} are allowed"
    if wrong := _wrong_marks(text):
        return wrong
    try:
        template = _ENVIRONMENT.from_string(text)
        analysis = template.analyze(include_partials=False)
        has_range = any(isinstance(expression, RangeLiteral) for expression in _expressions(template))
    except (LiquidError, RecursionError) as error:
        # Its first argument alone: the whole text has several lines and quotes the template.
        return f"isn't valid: {str(error.args[0])[:200]}"
    if unknown := sorted(set(analysis.globals) - known):
        return f"uses {', '.join(unknown)}; there are only {', '.join(sorted(known))}"
    if unknown := sorted(set(analysis.filters) - _FILTERS):
        return f"uses the filters {', '.join(unknown)}; there are only {', '.join(sorted(_FILTERS))}"
    if has_range:
        return "uses a range, which isn't supported"
    return template


def _wrong_marks(text: str) -> str:
    """Say what is wrong with the marks of a text, in linear time, before the parser's regular expressions see it."""
    if text.count("[") > MAX_BRACKETS:
        return f"has more than {MAX_BRACKETS} brackets"
    if _LONG_GAP.search(text):
        return "has more than 100 blanks in a row"
    marks, position = 0, 0
    while opening := _OPENING.search(text, position):
        closing = text.find("}}" if opening[0] == "{{" else "%}", opening.end())
        if closing < 0:
            return f"isn't valid: a {opening[0]} isn't closed"
        if closing - opening.end() > MAX_MARK_CHARACTERS:
            return f"isn't valid: a {opening[0]} has more than {MAX_MARK_CHARACTERS} characters"
        marks, position = marks + 1, closing + 2
    return f"has more than {MAX_TEMPLATE_MARKS} marks" if marks > MAX_TEMPLATE_MARKS else ""


def _expressions(template: BoundTemplate) -> Iterator[Expression]:
    context = RenderContext(template)
    nodes = list(template.nodes)
    pending: list[Expression] = []
    while nodes:
        node = nodes.pop()
        nodes.extend(node.children(context, include_partials=False))
        pending.extend(node.expressions())
    while pending:
        expression = pending.pop()
        yield expression
        pending.extend(expression.children())
