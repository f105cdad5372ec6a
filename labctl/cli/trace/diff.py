"""`labctl trace diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table
from labctl.cli.trace.list import File
from labctl.trace.reader import read
from labctl.trace.reports import words
from labctl.trace.reports.filters import Filter
from labctl.trace.reports.summary import Summary
from labctl.trace.views import diff as view

app = typer.Typer(add_completion=False)

EPILOG = """Example: labctl trace diff before.pcapng after.pcapng"""


@app.command(epilog=EPILOG)
def diff(
    before: File,
    after: Annotated[str, typer.Argument(help="The capture to compare it with.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Compare two captures: operations that came and went, sizes, latencies and errors; what changed most first."""
    first, second = _summed(before), _summed(after)
    if json:
        print_json(view.to_json(first, second))
        return
    print_table(
        ("protocol", "operation", "host", "vm", "datastore", "count", "size", "p50", "p99", "errors", "p50 ratio"),
        [
            (
                *(word or "-" for word in change.key),
                f"{change.before.count} -> {change.after.count}",
                f"{words.size(view.size(change.before))} -> {words.size(view.size(change.after))}",
                " -> ".join(words.duration(each) for each in change.latency(0.5)),
                " -> ".join(words.duration(each) for each in change.latency(0.99)),
                f"{sum(change.before.errors.values())} -> {sum(change.after.errors.values())}",
                "-" if change.slower is None else f"{change.slower:.2f}",
            )
            for change in view.changes(first, second)
        ],
    )


def _summed(url: str) -> Summary:
    total, meant = Summary(), Filter().test()
    for command in read(url):
        if meant(command):
            total.add(command)
    return total
