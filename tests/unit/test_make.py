"""The commands of the Makefile that are more than a call of a script of ours."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE_ELSEWHERE = {"__pycache__", "node_modules", "build"}
"""Of what Git ignores: not in this folder, or by no command here."""


def test_clean_removes_what_the_commands_have_made(tmp_path):
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    for name in [name for name in ignored if "*" not in name and name not in MADE_ELSEWHERE]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    assert (tmp_path / "dist").exists()
    shutil.copy(ROOT / "Makefile", tmp_path)

    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)  # noqa: S607  # whichever make runs the tests

    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_the_end_to_end_tests_make_no_node_where_a_cluster_is_named(tmp_path):
    answer = subprocess.run(  # noqa: S603  # our own script
        [ROOT / "tests" / "e2e" / "run.sh"],
        env={"PATH": "/usr/bin:/bin", "KUBECONFIG": str(tmp_path / "config")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 2
    assert "KUBECONFIG is set and IMAGE isn't" in answer.stderr
