"""Builds the kubectl plugin's archive, and writes its checksum and version into krew.yaml: `build_krew.py [FOLDER]`.

The archive holds a launcher and the licence, uncompressed and without times: the same bytes on every machine, so that
the checksum in the repository is that of the release.
"""

import hashlib
import re
import sys
import tomllib
import zipfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "packaging" / "krew.yaml"
LAUNCHER = ROOT / "packaging" / "krew" / "kubectl-elasticache_iam"
ARCHIVE = "kubectl-elasticache_iam.zip"


def build_archive() -> bytes:
    """Return the archive."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for path, mode in ((LAUNCHER, 0o755), (ROOT / "LICENSE", 0o644)):
            entry = zipfile.ZipInfo(path.name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix: else the mode is not kept
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, path.read_bytes())
    return content.getvalue()


def render_manifest(text: str) -> str:
    """Return the manifest with today's version and checksum."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    digest = hashlib.sha256(build_archive()).hexdigest()
    text = re.sub(r"(?m)^  version: .*$", f"  version: v{project['version']}", text)
    text = re.sub(r"(?m)^(\s+sha256: ).*$", rf'\g<1>"{digest}"', text)
    return re.sub(r"/download/v[^/]+/", f"/download/v{project['version']}/", text)


def main() -> None:
    """Write the manifest, and the archive if a folder is named."""
    MANIFEST.write_text(render_manifest(MANIFEST.read_text(encoding="utf-8")), encoding="utf-8")
    for folder in sys.argv[1:]:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / ARCHIVE).write_bytes(build_archive())


if __name__ == "__main__":
    main()
