"""Mininet's side of the benchmark `scale`; run by the system's Python, in a network namespace of its own: scale_mininet.py NODES

Prints one line of JSON: {"up": seconds, "down": seconds}. What is timed is what `mn --topo single,N --switch lxbr --controller none` does
between its start and its prompt, and between its prompt and its end, without the interpreter's start and the imports.
"""

from __future__ import annotations

import json
import os
import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo
from namespaces_gone import Watch


def main(nodes: int) -> None:
    setLogLevel("error")
    started = time.perf_counter()
    net = Mininet(topo=SingleSwitchTopo(nodes), switch=LinuxBridge, controller=None)
    net.start()
    up = time.perf_counter() - started

    first, last = net.hosts[0], net.hosts[-1]
    answer = first.cmd("ping -c 1 -W 5 " + last.IP())
    if " 1 received" not in answer:
        raise SystemExit("no ping between the first and the last host: " + answer)

    shells = [host.shell.pid for host in net.hosts]
    watch = Watch([f"/proc/{pid}/ns/net" for pid in shells])
    started = time.perf_counter()
    net.stop()
    for pid in shells:  # stop() hangs up on the shells and does not wait for their end
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            continue
    watch.wait()
    down = time.perf_counter() - started
    sys.stdout.write(json.dumps({"up": up, "down": down}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
