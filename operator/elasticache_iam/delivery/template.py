"""Templates of Secrets and ConfigMaps: a small part of Liquid, so that a hostile template neither hangs nor explodes.

They are rendered on the loop that keeps every token fresh, by the same thread: what one costs, all others wait. So
there are conditions, assignments and a list of filters, no loops, captures, includes or ranges; what is parsed has
limits, each value has one, and a rendering has a budget of work for all keys together. A template's error is shown to
people, and templates see the token: no message is ever built from what happened while rendering.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from io import StringIO
from typing import Any, Final, NoReturn, TextIO

from liquid import Environment, StrictUndefined
from liquid.builtin.expressions.filtered import FilteredExpression
from liquid.builtin.expressions.logical import ContainsExpression
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.tags.case_tag import CaseNode, CaseTag, MultiExpressionBlockNode
from liquid.context import RenderContext
from liquid.exceptions import LiquidError, UndefinedError
from liquid.expression import Expression
from liquid.template import BoundTemplate
from liquid.token import Token
from liquid.undefined import UNDEFINED
from typing_extensions import override

from elasticache_iam.core.errors import PermanentError

MAX_TEMPLATE_CHARACTERS: Final = 8192
MAX_TEMPLATE_MARKS: Final = 64
MAX_MARK_CHARACTERS: Final = 1000
MAX_BRACKETS: Final = 8
"""The parser's time grows with the square of these, in seconds for what isn't closed; within them a template costs
milliseconds at worst, and once. A mark is `{{ ... }}` or `{% ... %}`."""

MAX_ALL_CHARACTERS: Final = 32768
"""All templates of a Secret or ConfigMap together; the resource's own limit is the same, for both together."""
MAX_ALL_MARK_CHARACTERS: Final = 4096
"""In the marks of all templates together, with their braces: what costs time to parse, 5 us a character, and memory to
keep."""
_KEPT_BYTES_OF_A_CHARACTER: Final = 250
"""In a mark, as parsed; at worst, measured."""
MAX_FILTERS: Final = 10
"""In one mark."""

_OPENING: Final = re.compile(r"\{\{|\{%")
_LONG_GAP: Final = re.compile(r"\s{101}")

MAX_VALUE_CHARACTERS: Final = 65536
"""Of each value; and the bytes of one rendered key. A Secret holds 1 MiB."""
MAX_SOUGHT_CHARACTERS: Final = 64
"""Of what is looked for in a value: Python's search takes the product of both lengths at worst, 12 ns a character of
the value within this limit."""

MAX_WORK: Final = 1_000_000
"""Of a rendering of all keys together, in characters that are read, given to filters, made by them, and written. One
takes 15 ns at worst, so a rendering 15 ms; all of a Secret's own keys are 5,000 of them."""
_WORK_OF_A_STEP: Final = 100
"""Of reading a variable or calling a filter, however short: 1.5 us."""

_TAGS: Final = frozenset(
    {"content", "output", "illegal", "#", "comment", "doc", "raw", "if", "unless", "case", "assign"}
)
_WORK_OF_FILTERS: Final = {
    "append": 1,
    "base64_encode": 1,
    "base64_url_safe_encode": 1,
    "default": 1,
    "downcase": 1,
    "escape": 1,
    "lstrip": 1,
    "prepend": 1,
    "remove": 1,
    "remove_first": 1,
    "remove_last": 1,
    "replace_first": 1,
    "rstrip": 1,
    "slice": 1,
    "strip": 1,
    "upcase": 1,
    "url_encode": 4,
}
"""By filter, of a character of its arguments. None of them makes a value more than a few times longer than its
arguments together; `replace` would."""
_FILTERS: Final = frozenset(_WORK_OF_FILTERS)
_SEARCHES: Final = frozenset({"remove", "remove_first", "remove_last", "replace_first"})


class DeliveryTemplateError(PermanentError):
    """A template can't be parsed or rendered. The message names the key, never a value."""

    reason = "TemplateInvalid"


class _ValueTooLongError(LiquidError):
    """A filter's argument or result, what is looked for, or what is written is beyond its limit."""


class _NoTextError(LiquidError):
    """What has properties is used where a text is needed."""


class _TooMuchWorkError(LiquidError):
    """A rendering has used up its work."""


@dataclass(slots=True)
class Work:
    """What is left to one rendering."""

    remaining: int = MAX_WORK

    def take(self, value: object, *, times: int = 1) -> None:
        """Count a step and each character of a value, before anything is done with it."""
        self.remaining -= _WORK_OF_A_STEP
        if isinstance(value, str):
            self.remaining -= times * len(value)
        if self.remaining < 0:
            raise _TooMuchWorkError("too much work", token=None)


class _Properties(dict[str, Any]):
    """What has properties, as `caches`. As a text it would be all of them, made anew at each use."""

    @override
    def __str__(self) -> NoReturn:
        raise _NoTextError("no text", token=None)

    __repr__ = __str__


class _Context(RenderContext):
    """Counts what is read."""

    __slots__ = ("work",)

    def __init__(self, template: BoundTemplate, *, variables: Mapping[str, object], work: Work) -> None:
        super().__init__(template, globals=variables)
        self.work = work

    @override
    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        value = super().get(path, token=token, default=default)
        self.work.take(value)
        return value


class _Output(StringIO):
    """Counts what is written, and ends at the limit of a value."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self._bytes = 0

    @override
    def write(self, text: str, /) -> int:
        self._work.take(text)
        self._bytes += len(text.encode())
        if self._bytes > MAX_VALUE_CHARACTERS:
            raise _ValueTooLongError("too long", token=None)
        return super().write(text)


class _Sought(Expression):
    """The right side of `contains`: a short text."""

    __slots__ = ("inner",)

    def __init__(self, inner: Expression) -> None:
        super().__init__(inner.token)
        self.inner = inner

    @override
    def evaluate(self, context: RenderContext) -> object:
        return _check_sought(self.inner.evaluate(context))

    @override
    def children(self) -> list[Expression]:
        return [self.inner]


class _WhenNode(MultiExpressionBlockNode):
    """A `when`, rendered once.

    The library's is rendered once for each of its values that match: one within the other they make a loop.
    """

    __slots__ = ()

    @override
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return self.block.render(context, buffer) if any(self.expression.evaluate(context)) else -1


class _CaseNode(CaseNode):
    __slots__ = ()

    def __init__(self, token: Token, expression: Expression, blocks: list[Any]) -> None:
        once = [
            _WhenNode(block.token, block.block, block.expression)
            if isinstance(block, MultiExpressionBlockNode)
            else block
            for block in blocks
        ]
        super().__init__(token, expression, once)


class _CaseTag(CaseTag):
    node_class = _CaseNode


class _Environment(Environment):
    """Liquid without what repeats or reads anything."""

    local_namespace_limit = MAX_VALUE_CHARACTERS
    loop_iteration_limit = 1

    @override
    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        self.add_tag(_CaseTag)
        self.tags = {name: tag for name, tag in self.tags.items() if name in _TAGS}
        self.filters = {name: _limited(name, self.filters[name]) for name in _WORK_OF_FILTERS}


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that counts, and refuses long values, before it works on them; and long results."""
    times = _WORK_OF_FILTERS[name]

    @wraps(function)
    def checked(*arguments: Any, context: _Context, **named: Any) -> Any:
        for argument in (*arguments, *named.values()):
            # What isn't ASCII has up to four bytes a character.
            is_wide = isinstance(argument, str) and not argument.isascii()
            context.work.take(_check_length(argument), times=4 * times if is_wide else times)
        if name in _SEARCHES and len(arguments) > 1:
            _check_sought(arguments[1])
        result = _check_length(function(*arguments, **named))
        context.work.take(result)
        return result

    checked.with_context = True  # type: ignore[attr-defined]  # how the library is asked for the context
    return checked


def _check_length(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS:
        raise _ValueTooLongError("too long", token=None)
    return value


def _check_sought(value: object) -> object:
    if isinstance(value, str) and len(value) > MAX_SOUGHT_CHARACTERS:
        raise _ValueTooLongError("too long", token=None)
    return value


_ENVIRONMENT: Final = _Environment(undefined=StrictUndefined)


Variables = Mapping[str, str | Mapping[str, Mapping[str, str]]]
"""What a template may use: texts, and for ConfigMaps those of each cache by its name."""


_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
MAX_TEMPLATED_BYTES: Final = 262144
"""All templated keys together: well below the 1 MiB that a Secret or ConfigMap may have, in base64 too."""


@dataclass(frozen=True, slots=True)
class ParsedTemplates:
    """The templates of one Secret or ConfigMap, ready to render.

    Attributes:
        texts: Liquid texts, by key.
        templates: What they are, by key; none if something is wrong.
        wrong: What is wrong with one of them, and which; empty if nothing is.
        known: The variables that they may use.
    """

    texts: Mapping[str, str]
    templates: Mapping[str, BoundTemplate]
    wrong: str
    known: frozenset[str]

    @property
    def weight(self) -> int:
        """About how many bytes they hold."""
        in_marks = 0 if self.wrong else sum(sum(_marks(text)[0]) for text in self.texts.values())
        return 1000 + 2 * sum(map(len, self.texts.values())) + _KEPT_BYTES_OF_A_CHARACTER * in_marks


def parse_templates(texts: Mapping[str, str], known: frozenset[str], *, kind: str) -> ParsedTemplates:
    """Return templates ready to render, or what is wrong with one of them: that costs a look once, too.

    Args:
        texts: Liquid texts, by key.
        known: The names of all variables that they may use.
        kind: Whose keys they are, for messages: Secret or ConfigMap.
    """
    wrong = _wrong_keys(texts, kind) or _wrong_amount(texts)
    templates: dict[str, BoundTemplate] = {}
    for key, text in texts.items():
        if wrong:
            return ParsedTemplates(texts, {}, wrong, known)
        template = _parsed(text, known)
        if isinstance(template, str):
            wrong = f"the template of key {key!r} {template}"
        else:
            templates[key] = template
    return ParsedTemplates(texts, {} if wrong else templates, wrong, known)


def render_templates(parsed: ParsedTemplates, variables: Variables, *, work: Work | None = None) -> dict[str, str]:
    """Return what templates make of some variables, by key.

    Args:
        parsed: The templates.
        variables: All that they may use.
        work: What they may do; the limit by default.

    Raises:
        DeliveryTemplateError: One isn't valid, uses what isn't there, makes or does too much; the message names the
            key.
    """
    if parsed.wrong:
        raise DeliveryTemplateError(parsed.wrong)
    work = Work() if work is None else work
    usable = {name: _usable(value) for name, value in variables.items()}
    rendered: dict[str, str] = {}
    remaining = MAX_TEMPLATED_BYTES
    for key, template in parsed.templates.items():
        rendered[key] = _rendered(key, template, usable, work)
        remaining -= len(rendered[key].encode())
        if remaining < 0:
            raise DeliveryTemplateError(
                f"the templates make more than {MAX_TEMPLATED_BYTES} bytes; key {key!r} is one too many"
            )
    return rendered


def _usable(value: str | Mapping[str, Mapping[str, str]]) -> str | _Properties:
    if isinstance(value, str):
        return value
    return _Properties({name: _Properties(properties) for name, properties in value.items()})


def _rendered(key: str, template: BoundTemplate, variables: Mapping[str, object], work: Work) -> str:
    output = _Output(work)
    try:
        template.render_with_context(_Context(template, variables=variables, work=work), output)
        return output.getvalue()
    except UndefinedError:
        failure = "uses a property of a variable that doesn't exist"
    except _TooMuchWorkError:
        failure = "is too much work, all keys together: use fewer filters and shorter values"
    except _NoTextError:
        failure = "uses as a text what has properties: name one of them"
    except _ValueTooLongError:
        failure = (
            f"makes a value of more than {MAX_VALUE_CHARACTERS} characters, or looks for more than "
            f"{MAX_SOUGHT_CHARACTERS}"
        )
    except LiquidError as error:
        failure = f"can't be rendered ({type(error).__name__.lstrip('_')})"
    except Exception:  # noqa: BLE001  # whatever a template provokes (RecursionError) is that template's fault
        failure = "can't be rendered"
    # Outside of the handlers: the library's error, which may hold values, doesn't travel along as context.
    raise DeliveryTemplateError(f"the template of key {key!r} {failure}")


MAX_KEPT_BYTES: Final = 33_554_432


@dataclass(slots=True)
class TemplateCache:
    """The parsed templates of many users, each parsed once for each edit.

    Beyond `max_bytes` the heaviest goes first: whoever has large ones, under however many names, has their own parsed
    again, and not others' small ones. Not thread-safe: each loop has its own.
    """

    max_bytes: int = MAX_KEPT_BYTES
    _kept: dict[tuple[str, str], ParsedTemplates] = field(default_factory=dict)
    _weights: dict[tuple[str, str], int] = field(default_factory=dict)
    _bytes: int = 0

    def get(
        self, user: tuple[str, str], texts: Mapping[str, str], known: frozenset[str], *, kind: str
    ) -> ParsedTemplates:
        """Return a user's templates ready to render: as kept, or parsed now.

        Args:
            user: Namespace and name; it has one Secret's or ConfigMap's templates here, not both.
            texts: See `parse_templates`.
            known: See `parse_templates`.
            kind: See `parse_templates`.
        """
        kept = self._kept.get(user)
        if kept is not None and kept.known == known and kept.texts == texts:
            return kept
        self.forget(user)
        parsed = parse_templates(texts, known, kind=kind)
        self._kept[user], self._weights[user] = parsed, parsed.weight
        self._bytes += parsed.weight
        while self._bytes > self.max_bytes:
            self.forget(max(self._weights, key=self._weights.__getitem__))
        return parsed

    def forget(self, user: tuple[str, str]) -> None:
        """Drop what is kept for a user, if anything is."""
        if self._kept.pop(user, None) is not None:
            self._bytes -= self._weights.pop(user)

    def __len__(self) -> int:
        return len(self._kept)


def _wrong_keys(texts: Mapping[str, str], kind: str) -> str:
    for key in texts:
        if not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            return f"{key!r} can't be a key of a {kind}: letters, digits, - . _ only"
    return ""


def _wrong_amount(texts: Mapping[str, str]) -> str:
    """Say whether all templates together are too long, with the key that is one too many."""
    remaining, in_marks = MAX_ALL_CHARACTERS, MAX_ALL_MARK_CHARACTERS
    for key, text in texts.items():
        remaining -= len(text)
        if remaining < 0:
            return f"the templates have more than {MAX_ALL_CHARACTERS} characters; key {key!r} is one too many"
        in_marks -= sum(_marks(text)[0])
        if in_marks < 0:
            return (
                f"the templates have more than {MAX_ALL_MARK_CHARACTERS} characters in "
                f"{{{{ }}}} and {{% %}}; key {key!r} is one too many"
            )
    return ""


def _parsed(text: str, known: frozenset[str]) -> BoundTemplate | str:
    """Return a parsed template, or what is wrong with it.

    The answer may hold names out of the text: no value has been seen yet.
    """
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        return f"has {len(text)} characters, at most {MAX_TEMPLATE_CHARACTERS} are allowed"
    if wrong := _wrong_marks(text):
        return wrong
    try:
        template = _ENVIRONMENT.from_string(text)
        analysis = template.analyze(include_partials=False)
        wrong = _guard(template)
    except (LiquidError, RecursionError) as error:
        # Its first argument alone: the whole text has several lines and quotes the template.
        return f"isn't valid: {str(error.args[0])[:200]}"
    if unknown := sorted(set(analysis.globals) - known):
        return f"uses {', '.join(unknown)}; there are only {', '.join(sorted(known))}"
    if unknown := sorted(set(analysis.filters) - _FILTERS):
        return f"uses the filters {', '.join(unknown)}; there are only {', '.join(sorted(_FILTERS))}"
    return wrong or template


def _wrong_marks(text: str) -> str:
    """Say what is wrong with the marks of a text, in linear time, before the parser's regular expressions see it."""
    if text.count("[") > MAX_BRACKETS:
        return f"has more than {MAX_BRACKETS} brackets"
    if _LONG_GAP.search(text):
        return "has more than 100 blanks in a row"
    lengths, unclosed = _marks(text)
    if unclosed:
        return f"isn't valid: a {unclosed} isn't closed"
    if max(lengths, default=0) > MAX_MARK_CHARACTERS:
        return f"isn't valid: a mark has more than {MAX_MARK_CHARACTERS} characters"
    return f"has more than {MAX_TEMPLATE_MARKS} marks" if len(lengths) > MAX_TEMPLATE_MARKS else ""


def _marks(text: str) -> tuple[list[int], str]:
    """Return how many characters each mark has, with its braces, and how one begins that isn't closed.

    Each has to be closed before the next begins: so none is longer for Liquid, which reads on after `raw` elsewhere.
    """
    lengths: list[int] = []
    position = 0
    while opening := _OPENING.search(text, position):
        closing = text.find("}}" if opening[0] == "{{" else "%}", opening.end())
        if closing < 0 or _OPENING.search(text, opening.end(), closing):
            return lengths, opening[0]
        position = closing + 2
        lengths.append(position - opening.start())
    return lengths, ""


def _guard(template: BoundTemplate) -> str:
    """Have searches check what is looked for; say what else an expression must not be."""
    for expression in _expressions(template):
        if isinstance(expression, RangeLiteral):
            return "uses a range, which isn't supported"
        if isinstance(expression, FilteredExpression) and len(expression.filters or ()) > MAX_FILTERS:
            return f"has more than {MAX_FILTERS} filters in a mark"
        if isinstance(expression, ContainsExpression):
            expression.right = _Sought(expression.right)
    return ""


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
