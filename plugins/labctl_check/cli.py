"""`labctl check`: watches a running lab and says which of its checks are kept."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import note, print_json, write
from labctl.cli.target import home_of, lab_client
from labctl.cli.trace.links import Network
from labctl.cli.trace.watching import Seen, watch
from labctl.daemon.client import DaemonClient
from labctl.errors import ExitCode, LabError, UsageError
from labctl.model.suggest import did_you_mean
from labctl.trace.reader import to_rows
from labctl_check.verdict import SECOND, Check, Verdict
from labctl_check.words import seconds

app = typer.Typer(add_completion=False)

LOOK = 0.05
"""Seconds between two looks."""

SHOWN = 20
"""Commands that --json has of each check."""

EPILOG = """Examples:

  labctl check                             all [check.*] tables of the lab that runs

  labctl check atomic-locks quiet --lab blue --json

Exit codes: 0 all are kept, 1 one is not.
"""


@app.command(epilog=EPILOG)
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Which checks. [default: all]", show_default=False)] = None,
    network: Network = None,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Hold a running lab's traffic to the [check.*] tables of its topology.

    Those without `run` are watched for together; each of the others has a time of its own, which begins with its command.
    """
    client = lab_client(lab, home)
    tables = _choose(client, names or [])
    say = _say(max(map(len, tables)), json)
    start = partial(_start, client.lab, home_of(home))
    seen, verdicts = Seen(), []
    with watch(client, network or [], seen) as places:
        note(f"watching {', '.join(places)}")
        together = [name for name, table in tables.items() if not table["run"]]
        for part in (together, *([name] for name in tables if name not in together)):
            verdicts += _round({name: tables[name] for name in part}, seen, start, say)
    if json:
        print_json({"checks": [_to_json(tables, each) for each in verdicts]})
    if not all(each.ok for each in verdicts):
        raise typer.Exit(int(ExitCode.FAILED))


def _choose(client: DaemonClient, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    resources = client.get("/v1/status")["resources"]
    tables = {str(each["name"]): dict(each["properties"]) for each in resources if each["kind"] == "check"}
    if not tables:
        hint = "add [check.NAME] with, for example, failed = true and never = true to its topology, and `labctl up` it"
        raise UsageError(f"lab {client.lab} has no checks", hint=hint)
    for name in names:
        if name not in tables:
            raise UsageError(f'no check "{name}"', hint=did_you_mean(name, tables, what="the checks"))
    return {name: table for name, table in tables.items() if not names or name in names}


def _round(
    tables: dict[str, dict[str, Any]],
    seen: Seen,
    start: Callable[[dict[str, Any]], subprocess.Popen[str]],
    say: Callable[[Verdict], None],
) -> list[Verdict]:
    """Watch until there is a verdict on each."""
    began = time.time_ns()
    process = next((start(table) for table in tables.values() if table["run"]), None)
    open_ = [Check(name=name, table=table, began=began) for name, table in tables.items()]
    verdicts = []
    while open_:
        if seen.error is not None:
            raise LabError(f"the lab's traffic cannot be watched any more: {seen.error}") from seen.error
        for each in tuple(open_):
            verdict = each.judge(tuple(seen.commands), time.time_ns(), seen.lost_since(began))
            if verdict is not None and process is not None:
                verdict = _ended(process, each, verdict)
            if verdict is not None:
                open_.remove(each)
                verdicts.append(verdict)
                say(verdict)
        time.sleep(LOOK)
    return verdicts


def _start(lab: str, home: Path, table: dict[str, Any]) -> subprocess.Popen[str]:
    # A process of its own: entering a node's namespace is for good (labctl.cli.execute).
    words = [
        sys.executable,
        "-c",
        "from labctl.cli.main import main; main()",
        "exec",
        "--lab",
        lab,
        "--home",
        str(home),
    ]
    return subprocess.Popen(
        [*words, table["on"], "--", *table["run"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _ended(process: subprocess.Popen[str], check: Check, verdict: Verdict) -> Verdict:
    """The verdict, unless the check's own command failed: then nothing that was seen counts."""
    try:
        _, said = process.communicate(timeout=max(0.0, (check.end - time.time_ns()) / SECOND))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        message = f"its command did not end within {seconds(check.table['within'])}"
        return Verdict(name=check.name, ok=False, message=message)
    if process.returncode:
        last = (said.strip().splitlines() or [""])[-1]
        message = f"its command ended with exit code {process.returncode}" + (f": {last}" if last else "")
        return Verdict(name=check.name, ok=False, message=message)
    return verdict


def _say(width: int, json: bool) -> Callable[[Verdict], None]:
    def say(verdict: Verdict) -> None:
        if not json:
            write(f"{'ok' if verdict.ok else 'failed':6}  {verdict.name.ljust(width)}  {verdict.message}")
            sys.stdout.flush()

    return say


def _to_json(tables: dict[str, dict[str, Any]], verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.name,
        "ok": verdict.ok,
        "message": verdict.message,
        "asked": tables[verdict.name],
        "seen": len(verdict.commands),
        "commands": list(to_rows(iter(verdict.commands[:SHOWN]))),
    }
