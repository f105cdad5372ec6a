"""`labctl doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table, write
from labctl.errors import ExitCode

if TYPE_CHECKING:
    from labctl.plugin.api import DoctorFinding

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl doctor                            each finding, with its mend

  labctl doctor --json | jq '.findings[] | select(.ok | not)'
"""


@app.command(epilog=EPILOG)
def doctor(json: options.Json = False) -> None:
    """Look at what this machine has and lacks for labs. Exits with 4 where a tool is missing, 5 where a right is."""
    from labctl.daemon.examination import examine

    examination = examine()
    findings = [*examination.rights, *examination.tools]
    missing_right = _missing(examination.rights)
    missing_tool = _missing(examination.tools)
    if json:
        print_json({"ok": not (missing_right or missing_tool), "findings": [vars(item) for item in findings]})
    else:
        _render(findings)
    if missing_right:
        raise typer.Exit(int(ExitCode.MISSING_RIGHT))
    if missing_tool:
        raise typer.Exit(int(ExitCode.MISSING_TOOL))


def _missing(findings: Sequence[DoctorFinding]) -> bool:
    return any(item.required and not item.ok for item in findings)


def _render(findings: Sequence[DoctorFinding]) -> None:
    print_table(("", "what", "found"), [(_mark(item), item.name, item.detail) for item in findings])
    lacking = [item for item in findings if not item.ok]
    for item in lacking:
        write(f"{item.name}: {item.mend}")
    if not any(item.required for item in lacking):
        write("this machine can run labs")


def _mark(item: DoctorFinding) -> str:
    if item.ok:
        return "ok"
    return "missing" if item.required else "optional"
