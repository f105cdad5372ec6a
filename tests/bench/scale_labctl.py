"""labctl's side of the benchmark `scale`; run in a network namespace of its own: scale_labctl.py NODES

Prints one line of JSON: {"up": seconds, "down": seconds}. The calls are those of the network plugin's handlers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from namespaces_gone import Watch

from labctl.linux.links import Bridge, End, Veth, ensure_bridges, ensure_veths
from labctl.linux.namespaces import NAMED_FOLDER, create_many, delete_many
from labctl.linux.sockets import SocketPool


def address(index: int) -> str:
    """The address that Mininet gives to the host of that index."""
    number = index + 1
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def up(pool: SocketPool, switch: Path, nodes: list[Path]) -> None:
    veths = [
        Veth(
            local=End(namespace=switch, name=f"s1-eth{index}", bridge="s1"),
            peer=End(namespace=node, name="eth0", addresses=(f"{address(index)}/8",)),
        )
        for index, node in enumerate(nodes)
    ]
    failures = [
        *create_many([switch, *nodes]).values(),
        *ensure_bridges(pool, [Bridge(namespace=switch, name="s1")]).values(),
        *ensure_veths(pool, veths).values(),
    ]
    if failures:
        raise SystemExit(failures[0].message)


def down(pool: SocketPool, switch: Path, nodes: list[Path]) -> None:
    pool.drop([switch, *nodes])
    if failures := delete_many([switch, *nodes]):
        raise SystemExit(next(iter(failures.values())).message)


def main(count: int) -> None:
    prefix = f"bench{os.getpid()}"
    switch = NAMED_FOLDER / f"{prefix}-s1"
    nodes = [NAMED_FOLDER / f"{prefix}-h{index}" for index in range(count)]
    pool = SocketPool()
    try:
        started = time.perf_counter()
        up(pool, switch, nodes)
        took_up = time.perf_counter() - started

        ping = ["nsenter", f"--net={nodes[0]}", "ping", "-q", "-c", "1", "-W", "5", address(count - 1)]
        subprocess.run(ping, check=True, stdout=subprocess.DEVNULL)

        watch = Watch([str(path) for path in (switch, *nodes)])
        started = time.perf_counter()
        down(pool, switch, nodes)
        watch.wait()
        took_down = time.perf_counter() - started
    finally:
        down(pool, switch, nodes)
    sys.stdout.write(json.dumps({"up": took_up, "down": took_down}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
