"""Reading a capture: `read` for its commands, `Trace` for what else is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from labctl.trace.command import Command, Message
from labctl.trace.decoder import Decoder
from labctl.trace.errors import UsageOfTraceError
from labctl.trace.files.reading import read_batches
from labctl.trace.naming import Names
from labctl.trace.record import Annotation, Link, Problem
from labctl.trace.reports.filters import EVERYTHING, Filter
from labctl.trace.reports.summary import Summary


class Trace:
    """The commands of a capture, read once, in constant memory; and, when they are read, what else it said.

    Args:
        url: a path, or a URL that fsspec knows; pcap or pcapng, packed by gzip or zstandard or not.
        names: who has which address, where the capture does not say itself.
        wanted: the command whose messages are to be kept, or 0.
    """

    def __init__(self, url: str, names: Names | None = None, *, wanted: int = 0) -> None:
        self.url = url
        self._decoder = Decoder(names, wanted=wanted)

    def __iter__(self) -> Iterator[Command]:
        """The commands, in the order in which they ended.

        Raises:
            CaptureError: the file cannot be read, or is no capture.
        """
        for batch in read_batches(self.url):
            yield from self._decoder.feed_batch(batch)
        yield from self._decoder.finish()

    def add_up(self, summary: Summary, meant: Filter = EVERYTHING) -> None:
        """Add the commands to a summary: the same as one by one, and many times as fast where they are of the usual kinds.

        Args:
            summary: takes them.
            meant: which.

        Raises:
            CaptureError: as for reading.
        """
        decoder = self._decoder = Decoder(self._decoder.names, by_column=True)
        is_meant = meant.test()
        for batch in read_batches(self.url):
            summary.add_those(decoder.feed_batch(batch), is_meant)
            for plain in decoder.plain:
                summary.add_plain(meant.of(plain, decoder.names), decoder.names)
        summary.add_those(decoder.finish(), is_meant)

    @property
    def packets(self) -> int:
        """How many packets there were."""
        return self._decoder.packets

    @property
    def links(self) -> list[Link]:
        """Where they were seen."""
        return list(self._decoder.links)

    @property
    def annotations(self) -> list[Annotation]:
        """What the lab said meanwhile."""
        return self._decoder.annotations

    @property
    def problems(self) -> list[Problem]:
        """Faults of the file, and what broke a protocol's rules; the first 10,000."""
        return self._decoder.problems

    @property
    def more_problems(self) -> int:
        """How many there were beyond those."""
        return self._decoder.more_problems

    @property
    def messages(self) -> list[Message]:
        """Of the wanted command."""
        return self._decoder.messages


def read(url: str, names: Names | None = None) -> Iterator[Command]:
    """The storage commands of a capture, in the order in which they ended.

    Args:
        url: a path, or a URL that fsspec knows; pcap or pcapng, packed by gzip or zstandard or not.
        names: who has which address, where the capture does not say itself.

    Raises:
        CaptureError: the file cannot be read, or is no capture.
    """
    return iter(Trace(url, names))


def to_rows(commands: Iterator[Command]) -> Iterator[dict[str, Any]]:
    """Commands as flat rows of plain values, for tables."""
    for command in commands:
        owner = command.owner
        yield {
            "id": command.id,
            "start": command.start,
            "end": command.end,
            "latency": command.latency,
            "protocol": str(command.protocol),
            "operation": command.operation,
            "client": str(command.client),
            "server": str(command.server),
            "host": owner.host,
            "vm": owner.vm,
            "datastore": owner.datastore,
            "disk": owner.disk,
            "network": owner.network,
            "array": owner.array,
            "target": command.target,
            "offset": command.offset,
            "length": command.length,
            "sent": command.sent,
            "received": command.received,
            "status": command.status,
            "sense": command.sense,
            "good": command.good,
            "depth": command.depth,
            "retransmissions": command.retransmissions,
            "round_trips": command.round_trips,
            "session": command.session,
            "tag": command.tag,
            "part": command.part,
            "first_frame": command.frames[0],
            "last_frame": command.frames[1],
        }


def to_pandas(commands: Iterator[Command]) -> Any:
    """Commands as a pandas DataFrame, one row each.

    Raises:
        UsageOfTraceError: pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise UsageOfTraceError("pandas is not installed", hint="pip install pandas") from error
    return pandas.DataFrame(to_rows(commands))


def to_arrow(commands: Iterator[Command]) -> Any:
    """Commands as a pyarrow Table, one row each.

    Raises:
        UsageOfTraceError: pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise UsageOfTraceError("pyarrow is not installed", hint="pip install pyarrow") from error
    return pyarrow.Table.from_pylist(list(to_rows(commands)))
