"""A process that carries a link's frames late, seldom or broken, where the kernel has no netem.

What would leave an end of the link is redirected into a tap (see apply); the relay reads it there, and sends what is due out of the same
end, past its queueing discipline (PACKET_QDISC_BYPASS) and so past the redirection. Each frame has its own fate: the kernel cuts large
segments up and completes checksums before they reach the tap, since the tap promises it can do neither.

`python -m labctl_network.impair.relay CONFIG`; SIGHUP reads the file again, SIGTERM ends it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from labctl.linux.namespaces import run_in
from labctl_network.impair.impairment import Impairment
from labctl_network.impair.lane import Lane

FRAME = 65536 + 64
"""Bytes read at once: the longest frame that an interface of the largest MTU has."""

BURST = 64
"""Frames taken from a tap before looking at the clock again."""

NICE = -10
"""A frame's time is now: the relay goes before those that compute, and asks for little."""

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_SOL_PACKET = 263
_PACKET_QDISC_BYPASS = 20
_FULL = (errno.ENOBUFS, errno.EAGAIN)
_GONE = (errno.ENETDOWN, errno.ENXIO, errno.EMSGSIZE)


class Port:
    """One end of the link: a tap that frames come from, and the interface that they go out of.

    Args:
        namespace: the end's.
        device: the end's interface.
        tap: the tap beside it; it exists.
        lane: what happens in between.
    """

    def __init__(self, namespace: Path, device: str, tap: str, lane: Lane) -> None:
        self.lane = lane
        self.tap = run_in(namespace, lambda: _open_tap(tap))
        self._out = run_in(namespace, lambda: _open_interface(device))

    def take(self) -> None:
        """Read what waits at the tap."""
        for _ in range(BURST):
            try:
                frame = os.read(self.tap, FRAME)
            except BlockingIOError:
                return
            self.lane.take(frame, time.monotonic())

    def give(self) -> None:
        """Send what is due. What the interface cannot take now is lost, as on a wire."""
        for frame in self.lane.due(time.monotonic()):
            try:
                self._out.send(frame)
            except OSError as error:
                if error.errno not in (*_FULL, *_GONE):
                    raise
                self.lane.lost += 1


class Relay:
    """All ports of one link.

    Args:
        config: its file: `ports`, each with namespace, device, tap and impairment.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._ports = [
            Port(Path(each["namespace"]), each["device"], each["tap"], Lane(_impairment(each), Random()))  # noqa: S311
            for each in self._read()
        ]

    def reread(self) -> None:
        """Take up a changed file; frames on their way keep their times."""
        for port, each in zip(self._ports, self._read(), strict=True):
            port.lane.impairment = _impairment(each)

    def run(self, wake: int, ended: Callable[[], bool]) -> None:
        """Carry frames until told to end.

        Args:
            wake: a descriptor that becomes readable with each signal.
            ended: whether to end.
        """
        taps = {port.tap: port for port in self._ports}
        while not ended():
            ready, _, _ = select.select([wake, *taps], [], [], self._patience())
            for fd in ready:
                if fd == wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                else:
                    taps[fd].take()
            for port in self._ports:
                port.give()

    def _patience(self) -> float | None:
        times = [due for port in self._ports if (due := port.lane.next_due) is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _read(self) -> list[dict[str, Any]]:
        return list(json.loads(self._config.read_text())["ports"])


def _impairment(port: dict[str, Any]) -> Impairment:
    return Impairment.from_json(port["impairment"])


def _open_tap(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    # struct ifreq; without IFF_VNET_HDR and offloads, each frame comes whole and by itself (tun_net_xmit)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return fd


def _open_interface(name: str) -> socket.socket:
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    out.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
    out.bind((name, 0))  # protocol 0: it sends, and receives nothing
    return out


def main() -> None:
    """The program."""
    ending: list[int] = []
    relay: list[Relay] = []
    wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))

    def reread(_number: int, _frame: object) -> None:
        for each in relay:
            each.reread()

    signal.signal(signal.SIGHUP, reread)
    with contextlib.suppress(OSError):  # not in a user namespace; there it is as late as others let it be
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    relay.append(Relay(Path(sys.argv[1])))
    relay[0].run(wake, lambda: bool(ending))


if __name__ == "__main__":
    main()
