"""The documentation's site: it builds without a warning, and needs no network, neither to be built nor to be read."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
IMAGES = sorted(DOCS.rglob("*.svg"))
BUILD_S = 600
FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. Whatever it would fetch meanwhile goes to a proxy that isn't there."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S,
    )
    assert done.returncode == 0, done.stderr
    return folder


def pages(site):
    return sorted(site.rglob("*.html"))


def test_the_site_has_every_page_of_docs(site):
    built = {path.parent.relative_to(site).as_posix() for path in site.rglob("index.html")}
    sources = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}

    assert {re.sub(r"(^|/)(index|README)$", "", source) or "." for source in sources} <= built


def test_a_page_fetches_nothing_from_elsewhere(site):
    fetched = {path.relative_to(site): FETCHED.findall(path.read_text(encoding="utf-8")) for path in pages(site)}

    assert {page: urls for page, urls in fetched.items() if urls} == {}


def test_no_diagram_waits_for_a_script_from_elsewhere(site):
    assert [page for page in pages(site) if "mermaid" in page.read_text(encoding="utf-8")] == []


def test_diagrams_are_part_of_their_page_and_whole(site):
    named = re.findall(r"\]\((diagrams/[\w-]+\.svg)\)", (DOCS / "how-it-works.md").read_text(encoding="utf-8"))
    page = (site / "how-it-works/index.html").read_text(encoding="utf-8")

    drawings = [(DOCS / name).read_text(encoding="utf-8").strip().partition("\n")[2] for name in named]

    assert len(drawings) > 3
    assert all(drawing in page for drawing in drawings)


def test_the_manifests_of_an_example_are_shown(site):
    page = (site / "examples/quickstart/index.html").read_text(encoding="utf-8")

    assert all(path.name in page for path in (ROOT / "examples/quickstart").iterdir())


def test_a_reason_has_an_address(site):
    page = (site / "reference/conditions/index.html").read_text(encoding="utf-8")

    assert page.count('<tr id="NotAdmitted">') == page.count('<tr id="LoginRefused">') == 1


@pytest.mark.parametrize("image", IMAGES, ids=[path.stem for path in IMAGES])
def test_an_image_is_whole_and_fetches_nothing(image):
    text = image.read_text(encoding="utf-8")

    root = ET.fromstring(text)  # noqa: S314  # our own file

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert re.findall(r"(?:href|src)=|@import|@font-face|url\((?!#)", text) == []
