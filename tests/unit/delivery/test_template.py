"""Templates can neither hang, explode nor tell the token to anybody but the Secret."""

import time
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from liquid.ast import Node

from elasticache_iam.core.errors import PermanentError
from elasticache_iam.delivery import template
from elasticache_iam.delivery.template import (
    MAX_TEMPLATE_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    MAX_WORK,
    DeliveryTemplateError,
    TemplateCache,
    Variables,
    Work,
    parse_templates,
    render_templates,
)

VARIABLES = {"host": "orders.example", "password": "hunter2" * 200}
RICH = {**VARIABLES, "ca": "-----BEGIN" + "x" * 30000, "wide": "\u0390" * 8000}
KNOWN = frozenset(VARIABLES)


def render_all(texts: Mapping[str, str], variables: Variables = VARIABLES, work: Work | None = None) -> dict[str, str]:
    return render_templates(parse_templates(texts, frozenset(variables), kind="Secret"), variables, work=work)


def render(text: str) -> str:
    return render_all({"URL": text})["URL"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain", "plain", id="plain-text"),
        pytest.param("{{ host }}", "orders.example", id="a-variable"),
        pytest.param("{{ host | upcase | append: ':1' }}", "ORDERS.EXAMPLE:1", id="filters"),
        pytest.param("{{ 'a/b c' | url_encode }}", "a%2Fb+c", id="url-encoding"),
        pytest.param("{% if host contains 'orders' %}yes{% else %}no{% endif %}", "yes", id="a-condition"),
        pytest.param("{% case host %}{% when 'x' %}1{% else %}2{% endcase %}", "2", id="cases"),
        pytest.param("{% assign h = host %}{{ h }}{% comment %}x{% endcomment %}", "orders.example", id="assignment"),
        pytest.param("{% raw %}{{ host }}{% endraw %}", "{{ host }}", id="raw-text"),
        pytest.param("{% case 1 %}{% when 1, 1, 'x' %}once{% endcase %}", "once", id="a-case-with-equal-values"),
        pytest.param("<{{ '<&>' }}>", "<<&>>", id="nothing-is-escaped-unasked"),
    ],
)
def test_it_renders(text: str, expected: str):
    assert render(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("{{ hots }}", "uses hots; there are only host, password", id="an-unknown-variable"),
        pytest.param("{{ host.name }}", "a property .* doesn't exist", id="an-unknown-property"),
        pytest.param("{{ host[password] }}", "a property .* doesn't exist", id="a-computed-property"),
        pytest.param("{{ host", "isn't valid", id="not-closed"),
        pytest.param("{% if host %}", "isn't valid", id="no-end"),
        pytest.param("{% for i in (1..9) %}{% endfor %}", "unexpected tag 'for'", id="a-loop"),
        pytest.param("{% tablerow i in (1..9) %}{% endtablerow %}", "unexpected tag", id="a-table"),
        pytest.param("{% capture x %}{% endcapture %}", "unexpected tag", id="a-capture"),
        pytest.param("{% include 'x' %}", "unexpected tag", id="another-file"),
        pytest.param("{% render 'x' %}", "unexpected tag", id="another-template"),
        pytest.param("{% if (1..99999999999) contains 'a' %}{% endif %}", "uses a range", id="an-endless-search"),
        pytest.param("{{ (1..5) | append: 'x' }}", "uses a range", id="a-range"),
        pytest.param("{{ host | replace: 'a', 'bb' }}", "uses the filters replace", id="a-filter-that-multiplies"),
        pytest.param("{{ host | date: '%s' }}", "uses the filters date", id="a-filter-that-reads-the-clock"),
        pytest.param("{{ password | slice: password }}", "can't be rendered", id="a-filter-used-wrongly"),
        pytest.param("{{ host" + " | strip" * 11 + " }}", "has more than 10 filters in a mark", id="many-filters"),
        pytest.param("{% if host contains password %}{% endif %}", "looks for more than 64", id="a-long-search"),
        pytest.param("{{ host | remove_last: password }}", "looks for more than 64", id="a-long-search-by-a-filter"),
        pytest.param("{{ host {{ host }}", "isn't valid: a {{ isn't closed", id="a-mark-in-a-mark"),
        pytest.param("{% raw %}{{{% endraw %}{% if a}}" + "b" * 1500 + "%}", "isn't closed", id="a-mark-hidden-by-raw"),
        pytest.param("{{ '\ud800' | url_encode }}", "can't be rendered", id="half-a-character"),
        pytest.param("{% if password > 3 %}{% endif %}", "can't be rendered", id="a-comparison-of-unlike-things"),
    ],
)
def test_what_it_cannot_do_is_refused_with_the_key(text: str, why: str):
    with pytest.raises(DeliveryTemplateError, match=f"the template of key 'URL' .*{why}") as refusal:
        render(text)

    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("text", ["{{ host[password] }}", "{{ password | slice: password }}"])
def test_no_error_of_the_library_travels_along(text: str):
    with pytest.raises(DeliveryTemplateError) as refusal:
        render(text)

    assert refusal.value.__context__ is None
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{{ password" + " | base64_encode" * 200 + " }}", id="growth-by-a-third-200-times"),
        pytest.param("{% assign x = host %}" + "{% assign x = x | append: x %}" * 40 + "{{ x }}", id="doubling"),
        pytest.param("{{ password" + " | append: password" * 50 + " }}", id="a-long-value"),
        pytest.param("{% assign x = password" + " | append: password" * 40 + " %}" + "{{x}}" * 60, id="a-long-text"),
        pytest.param("{{" * 2000, id="many-marks"),
        pytest.param("{{ host }}" * 65, id="more-marks-than-allowed"),
        pytest.param("{{" + " " * 4000 + "}}", id="a-gap"),
        pytest.param("{% " + "a" * 8000, id="a-mark-that-is-not-closed"),
        pytest.param("%}{% comment %}" + "{% " * 60 + "a" * 7000, id="a-comment-that-is-not-closed"),
        pytest.param("{{ " + "a" * 2000 + " }}", id="a-long-mark"),
        pytest.param("{{ " + "host[" * 90 + "host" + "]" * 90 + " }}", id="deep-brackets"),
        pytest.param("{% if " + "(" * 900 + " %}", id="deep-parentheses"),
        pytest.param("{% if " + "host and " * 100 + "host %}{% endif %}" + "{{ hots }}", id="a-long-condition"),
        pytest.param("{% if host %}" * 40, id="deep-conditions"),
        pytest.param("x" * (MAX_TEMPLATE_CHARACTERS + 1), id="a-long-template"),
    ],
)
def test_a_hostile_template_is_refused_in_no_time(text: str):
    start = time.process_time()

    with pytest.raises(DeliveryTemplateError):
        render(text)

    assert time.process_time() - start < 2.0


def test_no_value_is_longer_than_its_limit():
    doubled = "{% assign x = password %}" + "{% assign x = x | append: x %}" * 5

    assert len(render(doubled + "{{ x }}")) == 44800 < MAX_VALUE_CHARACTERS
    with pytest.raises(DeliveryTemplateError, match="makes a value of more than 65536 characters"):
        render(doubled + "{{ x }}{{ x }}")


DOUBLED = "{% assign x = host %}" + "{% assign x = x | append: x %}" * 10
LONG = "{% assign x = '" + "a" * 64 + "' %}" + "{% assign x = x | append: x %}" * 8
SOUGHT = "{% assign y = '" + "a" * 32 + "b" + "a" * 31 + "' %}"
FROM_BEHIND = "{% assign y = 'ab" + "a" * 62 + "' %}"
WORST = {
    "encoded-byte-by-byte": DOUBLED
    + "{% assign x = x | append: '%' %}"
    + ("{{ x" + "|url_encode" * 9 + "|slice:0}}") * 9,
    "encoded-wide": "{{ wide | url_encode | slice: 0 }}" * 40,
    "escaped": LONG + "{% assign x = x | append: '&' %}" + ("{{x" + "|escape" * 9 + "|slice:0}}") * 20,
    "upper-case": "{{ wide | upcase | slice: 0 }}" * 40,
    "sought": LONG + SOUGHT + ("{% if " + " or ".join(["x contains y"] * 60) + "%}{%endif%}") * 3,
    "removed-from-behind": LONG + FROM_BEHIND + ("{% assign z = x" + "|remove_last:y" * 10 + " %}") * 15,
    "removed": LONG + SOUGHT + ("{% assign z = x" + "|remove_first:y" * 10 + " %}") * 15,
    "read": "{% if " + " and ".join(["ca == ca"] * 80) + " %}{% endif %}",
    "written": "{{ ca }}{{ ca }}",
    "cases-in-cases": ("{%case 1%}{%when " + ",".join(["1"] * 150) + "%}") * 8 + "x" + "{%endcase%}" * 8,
    "steps": "{% case host %}{% when " + ",".join(["host"] * 190) + " %}{% endcase %}",
    "conditions-in-conditions": "{%if host%}" * 30 + "x" + "{%endif%}" * 30,
}


@pytest.mark.parametrize("text", WORST.values(), ids=WORST)
@pytest.mark.parametrize("keys", [1, 32])
def test_the_worst_of_its_kind_ends_early(text: str, keys: int):
    work, start = Work(), time.process_time()

    with_limits(text, keys, work)

    assert work.remaining > -9 * 4 * MAX_VALUE_CHARACTERS, "what is counted is refused before it is done"
    assert time.process_time() - start < 2.0


def with_limits(text: str, keys: int, work: Work) -> None:
    """Render a text under so many keys, all of it or until a limit."""
    try:
        render_all({f"K{number}": text for number in range(keys)}, RICH, work)
    except DeliveryTemplateError:
        return


def test_too_much_work_is_told_by_the_key_that_is_one_too_many():
    text = DOUBLED + "{{ x | url_encode | slice: 0 }}" * 7

    with pytest.raises(DeliveryTemplateError, match="the template of key 'K1' is too much work, all keys together"):
        render_all({f"K{number}": text for number in range(3)})


class Counted(Counter[str]):
    """What a rendering does, counted where it is done: characters that filters get and make, and nodes rendered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for name, function in template._ENVIRONMENT.filters.items():
            monkeypatch.setitem(template._ENVIRONMENT.filters, name, self._counting(function))
        rendered = Node.render

        def render_node(node, context, buffer):
            self["nodes"] += 1
            return rendered(node, context, buffer)

        monkeypatch.setattr(Node, "render", render_node)

    def _counting(self, function):
        def counted(*arguments, **named):
            result = function(*arguments, **named)
            self["characters"] += sum(len(text) for text in (*arguments, result) if isinstance(text, str))
            return result

        counted.__dict__.update(function.__dict__)
        return counted


VALUES = st.sampled_from(["x", "y", "ca", "wide", "password", "host", "'%'", "'a'", "'\u0390'", "1"])
FILTERS = st.one_of(
    st.sampled_from([name for name in sorted(template._FILTERS) if name not in {"slice", "replace_first"}]).flatmap(
        lambda name: VALUES.map(
            lambda value: f"|{name}:{value}" if name in template._SEARCHES | {"append", "prepend"} else f"|{name}"
        )
    ),
    VALUES.map(lambda value: f"|replace_first:'a',{value}"),
    st.sampled_from(["|slice:0,60000", "|slice:0"]),
)
CHAINS = st.tuples(VALUES, st.lists(FILTERS, max_size=10)).map(lambda parts: parts[0] + "".join(parts[1]))
CONDITIONS = st.tuples(VALUES, st.sampled_from(["contains", "==", "!="]), VALUES).map(" ".join)
PIECES = st.recursive(
    st.one_of(
        CHAINS.map("{{%s}}".__mod__),
        st.tuples(st.sampled_from("xy"), CHAINS).map(lambda parts: f"{{%assign {parts[0]}={parts[1]}%}}"),
        st.sampled_from(["{%assign x=x|append:x%}", "{%assign y=x|append:y%}", "text"]),
    ),
    lambda inner: st.one_of(
        st.tuples(CONDITIONS, st.integers(1, 20), inner).map(
            lambda parts: "{%if " + " or ".join([parts[0]] * parts[1]) + "%}" + parts[2] + "{%else%}z{%endif%}"
        ),
        st.tuples(VALUES, st.integers(1, 30), inner).map(
            lambda parts: f"{{%case {parts[0]}%}}{{%when {','.join([parts[0]] * parts[1])}%}}{parts[2]}{{%endcase%}}"
        ),
        st.tuples(inner, st.integers(1, 12)).map(lambda parts: parts[0] * parts[1]),
    ),
    max_leaves=12,
)
TEXTS = st.lists(PIECES, min_size=1, max_size=10).map(lambda parts: "{%assign x=ca%}{%assign y=host%}" + "".join(parts))


@settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, keys=st.integers(1, 2))
def test_no_template_does_more_than_is_counted(monkeypatch: pytest.MonkeyPatch, text: str, keys: int):
    with monkeypatch.context() as patches:
        done, start = Counted(patches), time.process_time()

        with_limits(text, keys, Work())

        assert done["characters"] <= MAX_WORK
        assert done["nodes"] <= 3 * keys * (text.count("{") + 1), "no node is rendered twice"
        assert time.process_time() - start < 2.0


def test_templates_have_a_limit_together():
    texts = {f"K{number}": "x" * 8192 for number in range(5)}

    with pytest.raises(DeliveryTemplateError, match="more than 32768 characters; key 'K4' is one too many"):
        render_all(texts)

    assert len(render_all({key: text for key, text in texts.items() if key != "K4"})) == 4


def test_marks_have_a_limit_together():
    texts = {f"K{number}": "{{ host }}" * 60 for number in range(7)}

    with pytest.raises(DeliveryTemplateError, match=r"more than 4096 characters in .*; key 'K6' is one too many"):
        render_all(texts)


@pytest.mark.parametrize(
    "text", ["{{ caches }}", "{{ caches.main }}", "{{ caches | append: 'x' }}", "{{ caches.first }}"]
)
def test_what_has_properties_is_no_text(text: str):
    with pytest.raises(DeliveryTemplateError, match="key 'A' uses as a text what has properties"):
        render_all({"A": text}, {"caches": {"main": {"host": "a"}}})


@pytest.mark.parametrize("text", ["{{ host }}/once", "{{ broken/once"])
def test_templates_are_parsed_once_for_each_edit(monkeypatch: pytest.MonkeyPatch, text: str):
    parsed: list[object] = []
    original = parse_templates
    monkeypatch.setattr(
        template,
        "parse_templates",
        lambda texts, known, *, kind: parsed.append(texts) or original(texts, known, kind=kind),
    )
    cache = TemplateCache()

    for edit in (text, text, text + "{{ host }}"):
        cache.get(("shop", "checkout"), {"A": edit}, KNOWN, kind="Secret")

    assert parsed == [{"A": text}, {"A": text + "{{ host }}"}]


def test_whose_templates_are_large_has_them_parsed_again_and_nobody_else():
    cache = TemplateCache(max_bytes=500_000)
    small = cache.get(("shop", "small"), {"A": "{{ host }}"}, KNOWN, kind="Secret")

    for number in range(10):
        large = {"A": f"{{{{ host | append: '{number}' }}}}" * 30}
        assert cache.get(("evil", f"user{number}"), large, KNOWN, kind="Secret").wrong == ""

    assert cache.get(("shop", "small"), {"A": "{{ host }}"}, KNOWN, kind="Secret") is small
    assert len(cache) < 5


def test_what_is_forgotten_is_not_kept():
    cache = TemplateCache()
    cache.get(("shop", "checkout"), {"A": "{{ host }}"}, KNOWN, kind="Secret")

    cache.forget(("shop", "checkout"))
    cache.forget(("shop", "nobody"))

    assert len(cache) == 0
    assert cache._bytes == 0


def test_only_an_edit_cures_a_template():
    assert issubclass(DeliveryTemplateError, PermanentError)
    assert DeliveryTemplateError.reason == "TemplateInvalid"
