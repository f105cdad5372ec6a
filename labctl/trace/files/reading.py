"""A capture's batches, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.trace.errors import CaptureError
from labctl.trace.files import pcap
from labctl.trace.files.batch import Batch
from labctl.trace.files.opening import open_capture, read_into
from labctl.trace.files.pcapng import PcapngReader
from labctl.trace.record import Annotation, Packet, Problem

SECTION = b"\x0a\x0d\x0d\x0a"


def read_batches(url: str) -> Iterator[Batch]:
    """The packets of a capture, by the batch.

    Args:
        url: a path, or a URL that fsspec knows; gzip and zstandard are unpacked.

    Raises:
        CaptureError: it cannot be opened, or is no capture.
    """
    with open_capture(url) as file:
        head = bytearray(4)
        first = bytes(head[: read_into(file, memoryview(head))])
        if first == SECTION:
            yield from PcapngReader(file, first).batches()
        elif first in pcap.MAGICS:
            yield from pcap.batches(file, first)
        else:
            raise CaptureError(
                f"{url} is neither a pcap nor a pcapng file",
                offset=0,
                hint="its first bytes are of no known capture format",
            )


def read_packets(url: str) -> Iterator[Packet | Annotation | Problem]:
    """The same one by one: packets, what was said between them, and the file's faults.

    Raises:
        CaptureError: it cannot be opened, or is no capture.
    """
    for batch in read_batches(url):
        said = iter(batch.annotations)
        place, waiting = next(said, (-1, None))
        for index, packet in enumerate(batch.packets()):
            while waiting is not None and place <= index:
                yield waiting
                place, waiting = next(said, (-1, None))
            yield packet
        while waiting is not None:
            yield waiting
            place, waiting = next(said, (-1, None))
        yield from batch.problems
