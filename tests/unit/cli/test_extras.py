"""Nobody is told to install the package by its bare name, which a stranger could take on an index."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    *ROOT.glob("*.md"),
    ROOT / "Makefile",
    *(
        path
        for folder in ("operator", "docs", "packaging", "examples", "charts", "gitops")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "node_modules" not in path.parts and "__pycache__" not in path.parts
    ),
]
BARE_NAME = re.compile(
    r"elasticache[-_.]iam[-_.]operator\["
    r"|\b(?:pip3?|pipx|uv|uvx|poetry)\b[^\n|]*\b(?:install|run|add)\b"
    r"[^\n|]*(?<![/.\w-])elasticache[-_.]iam[-_.]operator(?![-\w/])"
)


def named(text: str) -> list[str]:
    return [match.group() for match in BARE_NAME.finditer(text)]


def test_no_page_and_no_message_names_the_bare_package():
    found = {str(path.relative_to(ROOT)): named(path.read_text(encoding="utf-8", errors="ignore")) for path in TEXTS}

    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        "pip install elasticache-iam-operator",
        "pipx install 'elasticache-iam-operator[cli]'",
        "uv tool install elasticache_iam_operator",
        "python -m pip install -U elasticache-iam-operator==0.1.0",
        'f"run: pip install "\n"elasticache-iam-operator[cli]"',
    ],
)
def test_the_bare_name_is_found(text):
    assert named(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install './elasticache_iam_operator-0.1.0-py3-none-any.whl[operator,cli]'",
        "pip install '.[operator,cli]'",
        "helm install elasticache-iam-operator charts/elasticache-iam-operator",
        "pip install ../elasticache-iam-operator",
    ],
)
def test_files_and_clones_are_fine(text):
    assert not named(text)
