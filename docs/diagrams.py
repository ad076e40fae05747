"""Draws docs/diagrams/*.svg from the YAML beside them: `python docs/diagrams.py`. A test compares.

Three forms: `boxes` on a grid with arrows between them, `actors` with messages in order of time, `rows` of bars on an
axis of time. Drawn here and not by a script in the reader's browser, because the site must need no network. Colours are
the page's where the diagram is part of a page (docs/site_hooks.py), else those of the reader's system.
"""  # noqa: INP001

import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

FOLDER: Final = Path(__file__).resolve().parent / "diagrams"

COLUMN: Final = 212
ROW: Final = 104
BOX: Final = 152
LINE: Final = 17
MARGIN: Final = 16
CHARACTER: Final = 7.6
"""Width of a small letter, on average."""

LIGHT: Final = (
    "--ink: #1f2430; --soft: #5b6472; --paper: #fff; --box: #eef1f8; --ours: #d9e4ff; --good: #1b7f4d; "
    "--bad: #b3261e; --edge: #8a94a6"
)
DARK: Final = (
    "--ink: #e6e9f0; --soft: #a9b2c3; --paper: #1e2129; --box: #2b3040; --ours: #26407d; --good: #5fd39a; "
    "--bad: #ff8a80; --edge: #77829a"
)

STYLE: Final = f"""\
svg.diagram {{ {LIGHT}; font-family: Roboto, Helvetica, Arial, sans-serif; font-size: 13px }}
@media (prefers-color-scheme: dark) {{ svg.diagram {{ {DARK} }} }}
[data-md-color-scheme="default"] svg.diagram {{ {LIGHT} }}
[data-md-color-scheme="slate"] svg.diagram {{ {DARK} }}
svg.diagram text {{ fill: var(--ink); text-anchor: middle }}
svg.diagram .soft {{ fill: var(--soft) }}
svg.diagram .start {{ text-anchor: start }}
svg.diagram .strong {{ font-weight: 600 }}
svg.diagram .label {{ font-size: 12px; fill: var(--soft); paint-order: stroke; stroke: var(--paper) }}
svg.diagram .label {{ stroke-width: 5px; stroke-linejoin: round }}
svg.diagram .box {{ fill: var(--box); stroke: var(--edge) }}
svg.diagram .ours {{ fill: var(--ours); stroke: var(--edge) }}
svg.diagram .frame {{ fill: none; stroke: var(--edge); stroke-dasharray: 5 4 }}
svg.diagram .paper {{ fill: var(--paper) }}
svg.diagram .line {{ fill: none; stroke: var(--soft); stroke-width: 1.4 }}
svg.diagram .dashed {{ stroke-dasharray: 4 4 }}
svg.diagram .head {{ fill: var(--soft) }}
svg.diagram .good {{ fill: var(--good); fill-opacity: .3; stroke: var(--good) }}
svg.diagram .bad {{ fill: var(--bad); fill-opacity: .25; stroke: var(--bad) }}
svg.diagram .idle {{ fill: var(--box); stroke: var(--edge) }}
svg.diagram .mark {{ stroke: var(--bad); stroke-width: 1.4; stroke-dasharray: 4 3 }}"""

Drawing: TypeAlias = tuple[int, int, list[str]]
"""Width, height, what is drawn."""
Box: TypeAlias = tuple[float, float, float, float]


def draw(diagram: Mapping[str, Any]) -> str:
    """Return a diagram as SVG."""
    form = next(form for key, form in _FORMS.items() if key in diagram)
    width, height, parts = form(diagram)
    size = f'width="{width}" height="{height}"'
    return "\n".join(
        (
            f'<svg class="diagram" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size}>',
            f"<style>\n{STYLE}\n</style>",
            f'<rect class="paper" width="{width}" height="{height}" rx="6"/>',
            *parts,
            "</svg>\n",
        )
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    """Return an arrow; with the kind `both`, one that points both ways."""
    heads = [_head(x1, y1, x2, y2), *([_head(x2, y2, x1, y1)] if kind == "both" else [])]
    return f'<path class="line {kind}" d="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}"/>' + "".join(heads)


def _head(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return an arrow's head at the second point. Not as a marker: some programs don't turn those."""
    angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
    return f'<path class="head" d="M0 0-9-4.5V4.5z" transform="translate({x2:.0f} {y2:.0f}) rotate({angle:.0f})"/>'


# -- boxes and arrows --------------------------------------------------------------------------------------------------


def _boxes(diagram: Mapping[str, Any]) -> Drawing:
    """Draw `boxes` (at: [column, row], text, kind) in `frames`, and `arrows` ([from, to, label, kind])."""
    boxes = {key: _place(box) for key, box in diagram["boxes"].items()}
    width = int(max(x + w for x, _, w, _ in boxes.values()) + 2 * MARGIN)
    height = int(max(y + h for _, y, _, h in boxes.values()) + 2 * MARGIN)
    parts = []
    for frame in diagram.get("frames", ()):
        inside = [boxes[key] for key in frame["around"]]
        left, top = min(x for x, *_ in inside) - 18, min(y for _, y, *_ in inside) - 32
        right, bottom = max(x + w for x, _, w, _ in inside) + 18, max(y + h for _, y, _, h in inside) + 14
        parts.append(_rect(left, top, right - left, bottom - top, "frame"))
        parts.append(_text(left + 12, top + 18, frame["title"], "soft start"))
    labels = []
    for start, end, label, *kind in diagram["arrows"]:
        x1, y1, x2, y2 = _ends(boxes[start], boxes[end])
        parts.append(_line(x1, y1, x2, y2, " ".join(kind)))
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        lines = label.split("\n")
        labels += [_text(x, y + 4 + (i - (len(lines) - 1) / 2) * 14, each, "label") for i, each in enumerate(lines)]
    for key, box in diagram["boxes"].items():
        x, y, w, h = boxes[key]
        parts.append(_rect(x, y, w, h, box.get("kind", "box")))
        lines = box["text"].split("\n")
        first = y + h / 2 - (len(lines) - 1) * LINE / 2 + 4
        parts += [_text(x + w / 2, first + i * LINE, line, "soft" if i else "strong") for i, line in enumerate(lines)]
    return width, height, parts + labels


def _place(box: Mapping[str, Any]) -> Box:
    """Return a box's left, top, width and height."""
    column, row = box["at"]
    lines = box["text"].split("\n")
    width = max(BOX, max(len(line) for line in lines) * CHARACTER + 24)
    height = len(lines) * LINE + 26
    x = MARGIN + 20 + column * COLUMN + (BOX - width) / 2
    y = MARGIN + 36 + row * ROW - height / 2 + 22
    return x, y, width, height


def _ends(start: Box, end: Box) -> Box:
    """Return a line from border to border."""
    x1, y1 = start[0] + start[2] / 2, start[1] + start[3] / 2
    x2, y2 = end[0] + end[2] / 2, end[1] + end[3] / 2
    return *_border(start, x2 - x1, y2 - y1), *_border(end, x1 - x2, y1 - y2)


def _border(box: Box, dx: float, dy: float) -> tuple[float, float]:
    """Return where a line from a box's middle in a direction leaves it, and a little beyond."""
    x, y, w, h = box
    scale = min((w / 2 + 3) / abs(dx) if dx else 1e9, (h / 2 + 3) / abs(dy) if dy else 1e9)
    return x + w / 2 + dx * scale, y + h / 2 + dy * scale


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(diagram: Mapping[str, Any]) -> Drawing:
    """Draw `actors`, and `steps` below them: [from, to, text], a note [over, text], or {if: …, steps: […]}."""
    actors = list(diagram["actors"])
    column = diagram.get("column", COLUMN)
    xs = {actor: MARGIN + 76 + i * column for i, actor in enumerate(actors)}
    parts: list[str] = []
    bottom = _steps(diagram["steps"], xs, 84, parts)
    lines = [f'<path class="line dashed" d="M{x} 52V{bottom}"/>' for x in xs.values()]
    heads: list[str] = []
    for actor, x in xs.items():
        first, *others = actor.split("\n")
        heads += [_rect(x - 68, 10, 136, 42, "ours" if actor == actors[0] else "box")]
        heads += [_text(x, 28 if others else 36, first, "strong"), *(_text(x, 44, other, "soft") for other in others)]
    return int(max(xs.values()) + 76 + MARGIN), int(bottom + MARGIN), lines + heads + parts


def _steps(steps: list[Any], xs: Mapping[str, float], y: float, parts: list[str]) -> float:
    """Draw steps from a height on and return where they end."""
    for step in steps:
        if isinstance(step, dict):
            top = y - 14
            inner: list[str] = []
            y = _steps(step["steps"], xs, y + 34, inner)
            left, right = min(xs.values()) - 72, max(xs.values()) + 72
            parts.append(_rect(left, top, right - left, y - top - 10, "frame"))
            parts.append(_text(left + 10, top + 18, step["if"], "label start"))
            parts += inner
            y += 14
            continue
        *ends, text = step
        start, end = xs[ends[0]], xs[ends[-1]]
        if start == end:
            parts.append(_text(start + 10, y + 4, text, "label start"))
        else:
            parts.append(_line(start, y, end + (-2 if end > start else 2), y))
            parts.append(_text((start + end) / 2, y - 7, text, "label"))
        y += 38
    return y


# -- bars --------------------------------------------------------------------------------------------------------------


def _bars(diagram: Mapping[str, Any]) -> Drawing:
    """Draw `rows` of bars ([from, to, text, kind]) over an `axis` (to, step, unit), with `marks` ([at, text])."""
    axis = diagram["axis"]
    left, scale = 150, 640 / axis["to"]
    top, height = 44, 46
    bottom = top + len(diagram["rows"]) * height + 4
    parts = []
    for at, text in diagram.get("marks", ()):
        x = left + at * scale
        parts.append(f'<path class="mark" d="M{x:g} {top - 10}V{bottom}"/>')
        parts.append(_text(x, top - 16, text, "soft"))
    for i, (label, bars) in enumerate(diagram["rows"].items()):
        y = top + i * height
        first, *others = label.split("\n")
        parts.append(_text(MARGIN, y + (15 if others else 22), first, "strong start"))
        parts += [_text(MARGIN, y + 31, other, "soft start") for other in others]
        for start, end, text, kind in bars:
            x, width = left + start * scale, (end - start) * scale
            parts.append(_rect(x, y, width, 34, kind))
            parts.append(_text(x + width / 2, y + 21, text))
    parts.append(f'<path class="line" d="M{left} {bottom}H{left + 640}"/>')
    for at in range(0, axis["to"] + 1, axis["step"]):
        x = left + at * scale
        parts.append(f'<path class="line" d="M{x:g} {bottom}v5"/>')
        parts.append(_text(x, bottom + 20, f"{at} {axis['unit']}", "soft"))
    return left + 640 + 2 * MARGIN, int(bottom + 34), parts


_FORMS: Final = {"boxes": _boxes, "actors": _messages, "rows": _bars}


def render_all() -> Iterator[tuple[Path, str]]:
    """Yield each diagram's file and contents."""
    for path in sorted(FOLDER.glob("*.yaml")):
        yield path.with_suffix(".svg"), draw(yaml.safe_load(path.read_text(encoding="utf-8")))


def main() -> None:
    """Write all diagrams."""
    for path, contents in render_all():
        path.write_text(contents, encoding="utf-8")


if __name__ == "__main__":
    main()
