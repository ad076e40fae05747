"""The set-up of the example clients in other languages, on machines that lack what it needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "packaging" / "prepare_clients.py"


@pytest.fixture
def find_node(tmp_path):
    """Look for Node.js with nothing on PATH but these programs, and no index of packages."""

    def run(**programs):
        for name, script in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        program = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import prepare_clients"
        environment = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
        return subprocess.run(  # noqa: S603  # our own script
            [sys.executable, "-c", f"{program}; print(*prepare_clients.find_node())"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_node_of_the_machine_is_used_where_it_is_new_enough(find_node, tmp_path):
    answer = find_node(node="echo v20.1.0", npm="")

    assert answer.stdout.startswith(f"{tmp_path / 'node'} ")


@pytest.mark.parametrize("programs", [{}, {"node": "echo v18.20.4", "npm": ""}, {"node": "echo v22.0.0"}])
def test_without_one_and_without_packages_it_says_what_to_install(find_node, tmp_path, programs):
    answer = find_node(**programs)

    assert answer.returncode != 0
    assert "==> installing Node.js from PyPI" in answer.stdout
    assert "install Node.js 20 or newer and npm" in answer.stderr
    assert not list((tmp_path / "cache" / "elasticache-iam").glob("nodejs-*"))


def test_the_lock_file_names_no_registry_and_checks_every_package():
    lock = (ROOT / "examples" / "clients" / "node" / "package-lock.json").read_text()

    assert "resolved" not in lock
    assert "://" not in re.sub(r'"(url|funding)": ".*"', "", lock)
    assert lock.count('"node_modules/') == lock.count('"integrity": "sha512-')
