"""Capture files as streams: pcap and pcapng in, pcapng out. Nothing here knows what the packets hold.

- `opening`: any fsspec URL, unpacked where it is gzip or zstandard, as its first bytes say.
- `blocks`: the numbers of the formats. `pcap`, `pcapng`: readers that yield `Batch`es. `reading`: either, as the file says.
- `writer`: pcapng, with interfaces, packets and the lab's annotations.
"""

from labctl.trace.files.batch import Batch
from labctl.trace.files.reading import read_batches, read_packets
from labctl.trace.files.writer import PcapngWriter

__all__ = ["Batch", "PcapngWriter", "read_batches", "read_packets"]
