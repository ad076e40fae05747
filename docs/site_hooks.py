"""What the site has beside docs/: the repository's other pages, the examples, diagrams that follow the page's colours.

Pages link as the repository's folders lie, so that they can be read there, too; here a link to something outside docs/
becomes one to the page made of it.
"""  # noqa: INP001

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]

PAGES: Final = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "examples/README.md": "examples/index.md",
}
"""Pages outside docs/, and where on the site they are."""

SHOWN: Final = {".yaml": "yaml", ".py": "python", ".go": "go", ".mjs": "js"}
"""Files of an example that its page shows, and their languages."""

_LINK: Final = re.compile(r"(?<=\]\()(?![a-z]+:)(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")
_DIAGRAM: Final = re.compile(r'<img alt="(?P<alt>[^"]*)" src="[^"]*diagrams/(?P<name>[\w-]+)\.svg" ?/?>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace each folder in the navigation by its pages."""
    config.nav = [_expanded(entry) for entry in config.nav or ()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of files outside docs/."""
    for source, target in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=_moved(text, Path(source).parent, target)))
    for folder in _examples():
        target = f"examples/{folder.name}.md"
        files.append(File.generated(config, target, content=_example_page(folder)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to their pages here."""
    del config, files
    if page.file.generated_by is not None:
        return markdown
    return _moved(markdown, Path("docs", page.file.src_uri).parent, page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put diagrams into the page itself, and give each reason an address: …/reference/conditions/#NotAdmitted."""
    del config, files
    if page.file.src_uri == "reference/conditions.md":
        html = re.sub(r"<tr>\n<td><code>([A-Z]\w+)</code>", r'<tr id="\1">\n<td><code>\1</code>', html)
    return _DIAGRAM.sub(lambda image: _inlined(image["name"], image["alt"]), html)


def _expanded(entry: Any) -> Any:
    match entry:
        case dict():
            return {title: _expanded(below) for title, below in entry.items()}
        case list():
            return [_expanded(one) for one in entry]
        case "examples/":
            return ["examples/index.md", *(f"examples/{folder.name}.md" for folder in _examples())]
        case str() if entry.endswith("/"):
            index, *others = sorted(
                (ROOT / "docs" / entry).glob("*.md"), key=lambda path: (path.stem != "README", path)
            )
            return [path.relative_to(ROOT / "docs").as_posix() for path in (index, *others)]
        case _:
            return entry


def _examples() -> Iterator[Path]:
    return (folder for folder in sorted((ROOT / "examples").iterdir()) if folder.is_dir())


def _example_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix in SHOWN and "node_modules" not in path.parts]


def _example_page(folder: Path) -> str:
    parts = [f"# examples/{folder.name}", "One of the [examples](index.md), as the tests apply it."]
    for path in _example_files(folder):
        name, text = path.relative_to(folder), path.read_text(encoding="utf-8").rstrip()
        parts += [f"## {name}", f"```{SHOWN[path.suffix]}\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def _moved(markdown: str, folder: Path, target: str) -> str:
    """Return a page whose links fit its place on the site.

    Args:
        markdown: The page.
        folder: Where it is in the repository.
        target: Where it is on the site.
    """

    def lead(match: re.Match[str]) -> str:
        linked = posixpath.normpath(posixpath.join(folder.as_posix(), match["path"]))
        found = _place(linked)
        if found is None:
            return match[0]
        return posixpath.relpath(found, posixpath.dirname(target) or ".") + (match["anchor"] or "")

    return _LINK.sub(lead, markdown)


def _place(path: str) -> str | None:
    """Return where on the site a file of the repository is."""
    if path in PAGES:
        return PAGES[path]
    if path == "README.md":
        return "index.md"
    if path.startswith("examples/"):
        return f"examples/{path.split('/')[1]}.md"
    return path.removeprefix("docs/") if path.startswith("docs/") and path.endswith(".md") else None


def _inlined(name: str, alt: str) -> str:
    """Return a diagram as part of the page, where it takes its colours from the page's."""
    text = (ROOT / "docs" / "diagrams" / f"{name}.svg").read_text(encoding="utf-8").strip()
    return text.replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
