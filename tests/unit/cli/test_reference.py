"""The page about the command line against the commands."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_page_is_what_the_commands_say():
    specification = importlib.util.spec_from_file_location("commands", DOCS / "commands.py")
    assert specification is not None
    assert specification.loader is not None
    commands = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(commands)

    # Else write it anew: python docs/commands.py
    assert (DOCS / "reference" / "cli.md").read_text(encoding="utf-8") == commands.render_page()
