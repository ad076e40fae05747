"""What builds the images. Whether the operator's works is a matter of tests/e2e."""

import json
import os
import tarfile
from pathlib import Path

from tests.builders import load_script

from elasticache_iam.core.policy.operator import CALLS

PACKAGING = Path(__file__).parents[2] / "packaging"


def test_botocore_keeps_every_service_that_the_operator_calls():
    kept = set(load_script(PACKAGING / "image" / "prune.py").SERVICES)

    assert {service for service, _ in CALLS} <= kept


def test_an_image_of_one_program_has_the_same_bytes_each_time(tmp_path):
    write_image = load_script(PACKAGING / "image_archive.py").write_image
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")

    for number in (1, 2):
        os.utime(program, (number, number))
        write_image(tmp_path / f"{number}.tar", "localhost/pause:1", {"/pause": program}, entrypoint=["/pause"])

    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_an_image_of_one_program_runs_it_as_nobody(tmp_path):
    (tmp_path / "program").write_bytes(b"\x7fELF")
    write_image = load_script(PACKAGING / "image_archive.py").write_image

    write_image(tmp_path / "image.tar", "localhost/pause:1", {"/pause": tmp_path / "program"}, entrypoint=["/pause"])

    with tarfile.open(tmp_path / "image.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(manifest["Config"]))
        with tarfile.open(fileobj=archive.extractfile(manifest["Layers"][0])) as layer:
            assert [(entry.name, entry.mode) for entry in layer] == [("pause", 0o755)]
    assert manifest["RepoTags"] == ["localhost/pause:1"]
    assert config["config"] == {"Entrypoint": ["/pause"], "User": "65532:65532"}
