"""Templates can neither hang, explode nor tell the token to anybody but the Secret."""

import time

import pytest

from elasticache_iam.core.errors import PermanentError
from elasticache_iam.delivery.template import (
    MAX_TEMPLATE_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    DeliveryTemplateError,
    _parsed,
    render_template,
)

VARIABLES = {"host": "orders.example", "password": "hunter2" * 200}


def render(text: str) -> str:
    return render_template("URL", text, VARIABLES)


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
    assert len(render("{{ password" + " | append: password" * 40 + " }}")) <= MAX_VALUE_CHARACTERS


@pytest.mark.parametrize("text", ["{{ host }}/once", "{{ broken/once"])
def test_a_template_is_parsed_once(text: str):
    _parsed.cache_clear()
    for key in ("A", "B", "C"):
        try:
            render_template(key, text, VARIABLES)
        except DeliveryTemplateError:
            continue

    assert _parsed.cache_info().misses == 1


def test_only_an_edit_cures_a_template():
    assert issubclass(DeliveryTemplateError, PermanentError)
    assert DeliveryTemplateError.reason == "TemplateInvalid"
