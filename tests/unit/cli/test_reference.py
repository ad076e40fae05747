"""The page about the command line against the commands."""

from pathlib import Path

from tests.builders import load_script

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_page_is_what_the_commands_say():
    commands = load_script(DOCS / "commands.py")

    # Else write it anew: python docs/commands.py
    assert (DOCS / "reference" / "cli.md").read_text(encoding="utf-8") == commands.render_page()
