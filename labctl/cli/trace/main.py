"""The table of `labctl trace`'s commands; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from labctl.cli.lazy import PLAIN, Entry, LazyGroup

ENTRIES: dict[str, Entry] = {
    "live": Entry(help="Show storage commands as they end.", app="labctl.cli.trace.live:app"),
    "list": Entry(help="List a capture's storage commands.", app="labctl.cli.trace.list:app"),
    "summary": Entry(help="Add a capture up.", app="labctl.cli.trace.summary:app"),
    "show": Entry(help="Show one command in full.", app="labctl.cli.trace.show:app"),
    "waterfall": Entry(help="Show where the time of one command went.", app="labctl.cli.trace.waterfall:app"),
    "ladder": Entry(help="Draw what two ends said to one another.", app="labctl.cli.trace.ladder:app"),
    "plot": Entry(help="Draw a capture: latency over time, and where commands went.", app="labctl.cli.trace.plot:app"),
    "diff": Entry(help="Compare two captures.", app="labctl.cli.trace.diff:app"),
    "record": Entry(help="Record a lab's links into one pcapng file.", app="labctl.cli.trace.record:app"),
    "wireshark": Entry(help="Show a lab's links in Wireshark while it runs.", app="labctl.cli.trace.wireshark:app"),
}


class Trace(LazyGroup):
    """The commands of `labctl trace`."""

    def entries(self) -> Mapping[str, Entry]:
        """The table above."""
        return ENTRIES


app = typer.Typer(cls=Trace, no_args_is_help=True, rich_markup_mode=PLAIN, add_completion=False)


@app.callback()
def trace() -> None:
    """See every storage command on the wire, and whose it is."""
