"""Prints what CHANGELOG.md says about a version: the notes of its release. `python3 packaging/changelog.py [VERSION]`."""

import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def parts() -> dict[str, str]:
    """Return the text under each version's heading, the newest first."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = list(HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    return {
        heading["version"]: text[heading.end() : end].strip() for heading, end in zip(headings, ends, strict=True)
    }


def main() -> int:
    wanted = sys.argv[1] if sys.argv[1:] else runpy.run_path(str(ROOT / "packaging" / "version.py"))["version"]()
    found = parts().get(wanted)
    if found is None:
        print(f"error: CHANGELOG.md says nothing about {wanted}", file=sys.stderr)
        return 2
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
