"""The page of commands says what the commands say."""

from pathlib import Path

from labctl.cli.main import all_entries
from labctl.cli.reference import render


def test_the_page_is_what_the_commands_say(pytestconfig) -> None:
    page = Path(pytestconfig.rootpath) / "docs/reference/cli.md"
    assert page.read_text() == render(all_entries()), "run: python -m labctl.cli.reference"


def test_every_command_of_the_issue_is_there() -> None:
    page = render(all_entries())
    commands = [
        "up",
        "down",
        "plan",
        "validate",
        "status",
        "inspect",
        "events",
        "exec",
        "shell",
        "console",
        "logs",
        "graph",
        "schema",
        "doctor",
        "init",
    ]
    groups = {
        "image": "build list",
        "plugin": "list doctor new",
        "vm": "list start stop reset",
        "host": "list",
        "datastore": "list",
    }
    wanted = commands + [f"{group} {name}" for group, names in groups.items() for name in names.split()]
    assert [name for name in wanted if f"\n## labctl {name}\n" not in page] == []
