"""Text that others wrote: what a terminal or a CI would obey is spelled out, the rest is left alone."""

import pytest

from elasticache_iam.core.foreign import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n::error::b", "a\\x0a::error::b"),
        ("::error::b", "\\x3a:error::b"),
        ("  ::add-mask::b", "  \\x3a:add-mask::b"),
        ("a ##[error]b", "a #\\x23[error]b"),
        ("##vso[task.complete]", "#\\x23vso[task.complete]"),
        ("\x1b]0;owned\x07\u202e", "\\x1b]0;owned\\x07\\x202e"),
    ],
)
def test_what_would_be_obeyed_is_spelled_out(text, expected):
    assert shown(text) == expected


@pytest.mark.parametrize("text", ["", "✔ shop/checkout: 1::2", "on ~orders:* +@read", "## a heading [1]", "# [x]"])
def test_the_rest_is_left_alone(text):
    assert shown(text) == text
