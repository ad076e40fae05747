"""Writes a container image of one static program, in the form of `docker save`: no builder, no base, the same bytes each time.

For the programs that tests and the node need beside the operator. `ctr images import` and `docker load` read it.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

USER = "65532:65532"
_EPOCH = "1970-01-01T00:00:00Z"


def write_image(archive: Path, name: str, files: Mapping[str, Path], *, entrypoint: Sequence[str]) -> None:
    """Write the archive.

    Args:
        archive: Where to; replaced in one step.
        name: Repository and tag.
        files: What is in it, by absolute path.
        entrypoint: The program and its first arguments.
    """
    layer = _tar({path.lstrip("/"): file.read_bytes() for path, file in files.items()}, mode=0o755)
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _EPOCH,
            "config": {"Entrypoint": list(entrypoint), "User": USER},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": _EPOCH}],
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".partial")
    partial.write_bytes(_tar({config_name: config, "layer.tar": layer, "manifest.json": manifest}, mode=0o644))
    partial.replace(archive)


def _tar(files: Mapping[str, bytes], *, mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
