"""The options by which `list`, `summary` and `live` choose commands."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.errors import UsageError
from labctl.model.quantity import parse_seconds
from labctl.trace.reports.filters import Filter

Vm = Annotated[list[str] | None, typer.Option("--vm", help="Only this VM's; may be given again.")]
Host = Annotated[list[str] | None, typer.Option("--host", help="Only this host's; may be given again.")]
Datastore = Annotated[list[str] | None, typer.Option("--datastore", help="Only this datastore's; may be given again.")]
Op = Annotated[
    list[str] | None,
    typer.Option("--op", help="Only this operation: WRITE, READ(16), OPEN, 'LOCK*'; may be given again."),
]
Slower = Annotated[str | None, typer.Option("--slower", help="Only those that took this long at least: 5ms.")]
Failed = Annotated[bool, typer.Option("--failed", help="Only those that failed, or had no response.")]
Everything = Annotated[
    bool, typer.Option("--all", help="NFSv4: also SEQUENCE, PUTFH and the like, which only lead to the others.")
]


def chosen(
    host: list[str] | None,
    vm: list[str] | None,
    datastore: list[str] | None,
    op: list[str] | None,
    slower: str | None,
    *,
    failed: bool,
    everything: bool,
) -> Filter:
    """What was asked for.

    Raises:
        UsageError: --slower is no time.
    """
    try:
        nanoseconds = 0 if slower is None else int(parse_seconds(slower) * 1e9)
    except ValueError as error:
        raise UsageError(f"--slower: {error}", hint="for example --slower 5ms") from error
    return Filter(
        hosts=host or (),
        vms=vm or (),
        datastores=datastore or (),
        operations=op or (),
        slower=nanoseconds,
        failed=failed,
        carriers=everything,
    )
