"""One version for package, image, chart and CRDs: pyproject.toml has it, this puts it wherever else it stands.

Run by `make version`, after which `make install-yaml` renders install.yaml with it.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NUMBER = r"\d+\.\d+\.\d+(?:-[0-9a-z.]+)?"
NAME = "elasticache-iam-operator"

PLACES: Mapping[str, tuple[str, ...]] = {
    f"charts/{NAME}/Chart.yaml": (rf"(?m)(?<=^version: ){NUMBER}", rf'(?m)(?<=^appVersion: "){NUMBER}'),
    "Dockerfile": (rf"(?m)(?<=^ARG VERSION=){NUMBER}",),
    "docs/aws-side.md": (rf"(?<=ref=v){NUMBER}",),
    "docs/gitops.md": (rf"(?<=newTag: ){NUMBER}",),
    "docs/install.md": (rf"(?<={NAME}:){NUMBER}",),
    "docs/testing.md": (rf"(?<={NAME}:){NUMBER}",),
    "packaging/krew.yaml": (rf"(?m)(?<=^  version: v){NUMBER}", rf"(?<=/download/v){NUMBER}"),
    "examples/gitops/argocd/operator.yaml": (rf"(?<=targetRevision: v){NUMBER}",),
    "examples/gitops/flux/operator.yaml": (rf"(?<=tag: v){NUMBER}",),
    "examples/gitops/kustomize/kustomization.yaml": (rf"(?<=newTag: ){NUMBER}",),
}
"""Files and where the version stands in them. install.yaml is rendered from the chart."""


def version() -> str:
    """Return the version."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(rf'(?m)^version = "({NUMBER})"$', text)[1]


def stamped(path: str) -> str:
    """Return a file's text with the version in it.

    Raises:
        LookupError: The file doesn't have it where it should.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    for pattern in PLACES[path]:
        text, count = re.subn(pattern, version(), text)
        if not count:
            raise LookupError(f"{path} has no version like {pattern}")
    return text


def main() -> None:
    """Write the version, or with `--print` tell it."""
    if sys.argv[1:] == ["--print"]:
        print(version())
        return
    for path in PLACES:
        (ROOT / path).write_text(stamped(path), encoding="utf-8")


if __name__ == "__main__":
    main()
