"""What watches the link in `bench trace-live`: labctl's recorder or live decoding, as `labctl trace` runs them, on one interface.

    python trace_watch.py record|live NAMESPACE INTERFACE FILE

Begins at once and says `ready`; at the end of its input it stops and prints one JSON object: packets, drops, skipped, CPU seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from labctl.linux.packet_ring import PacketRing
from labctl.trace.capture.merge import Merge
from labctl.trace.capture.output import Output
from labctl.trace.capture.recorder import Recorder
from labctl.trace.capture.sockets import Spot, open_sockets
from labctl.trace.capture.watcher import Watcher
from labctl.trace.record import Link, LinkType

BUFFER = 64 << 20
"""Bytes of the ring: the default of `labctl trace record` and `live`."""


def main(what: str, namespace: str, interface: str, file: str) -> None:
    """Watch until the end of the input."""
    spot = Spot(name="client", interface=interface, namespace=f"/run/netns/{namespace}")
    link = Link(index=0, name="client", type=LinkType.ETHERNET, resolution=1_000_000_000)
    ended = threading.Event()
    with Merge([PacketRing(each, size=BUFFER) for each in open_sockets([spot], size=BUFFER)]) as merge:
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        begin = time.process_time()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        count = 0
        if what == "record":
            output = Output(file, [link], size=None, keep=None)
            totals = Recorder(merge, [link], output).run(stopped=ended.is_set)
            output.close()
            count, drops = totals.packets, sum(totals.drops.values())
        else:
            watcher = Watcher(merge, [link])
            while not ended.is_set():
                count += len(watcher.step())
            drops = sum(merge.drops())
        found = {"seen": count, "drops": drops, "skipped": merge.skipped, "cpu": time.process_time() - begin}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
