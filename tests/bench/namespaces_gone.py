"""Wait until network namespaces are truly gone. Standard library only: Mininet's interpreter imports it too.

The kernel takes a namespace apart in the background after its last user has left, so neither side of a comparison may stop its clock
when its own calls return. Two things are awaited:

1. Each watched namespace was given an id in ours (RTM_NEWNSID); the kernel takes the id back as the first act of its removal.
2. A sentinel, a namespace with a veth end of which we hold the other, is let go of after that. Removals are worked off in order,
   so when our end has vanished, all devices of all watched namespaces are gone too.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import time

RTM_NEWNSID = 88
RTM_GETNSID = 90
NLM_F_REQUEST = 1
NLM_F_ACK = 4
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3
NETNSA_NSID = 1
NETNSA_FD = 3
SENTINEL = "sentinel0"
PAUSE = 0.001  # seconds between two looks
DEADLINE = 60.0


class Watch:
    """Namespaces whose end is awaited.

    Args:
        paths: files of the namespaces: mounts, or /proc/PID/ns/net.
    """

    def __init__(self, paths: list[str]) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        peer = str(self._holder.pid)
        subprocess.run(["ip", "link", "add", SENTINEL, "type", "veth", "peer", "name", "x", "netns", peer], check=True)
        self._watched = {self._id(path) for path in paths}

    def wait(self) -> None:
        """Block until all are gone. Every other user of them must have let go before."""
        deadline = time.monotonic() + DEADLINE
        while self._ids() & self._watched:
            self._pause(deadline)
        self._holder.kill()
        self._holder.communicate()
        while True:
            try:
                socket.if_nametoindex(SENTINEL)
            except OSError:
                break
            self._pause(deadline)
        self._socket.close()

    def _pause(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"namespaces are left: {len(self._ids() & self._watched)}")
        time.sleep(PAUSE)

    def _id(self, path: str) -> int:
        """The id of a namespace in ours; given to it where it has none yet (the other end of a veth of ours has one)."""
        fd = os.open(path, os.O_RDONLY)
        try:
            which = struct.pack("=B3x", 0) + struct.pack("=HHI", 8, NETNSA_FD, fd)
            self._send(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, which + struct.pack("=HHi", 8, NETNSA_NSID, -1))
            ((_kind, answer),) = self._receive()
            number = -struct.unpack_from("=i", answer)[0]
            if number not in (0, errno.EEXIST):
                raise OSError(number, os.strerror(number), path)
            self._send(RTM_GETNSID, NLM_F_REQUEST, which)
            ((kind, answer),) = self._receive()
        finally:
            os.close(fd)
        found: int = struct.unpack_from("=i", answer, 8)[0]
        if kind != RTM_NEWNSID or found < 0:
            raise RuntimeError("no id for " + path)
        return found

    def _ids(self) -> set[int]:
        self._send(RTM_GETNSID, NLM_F_REQUEST | NLM_F_DUMP, struct.pack("=B3x", 0))
        found: set[int] = set()
        while True:
            for kind, body in self._receive():
                if kind == NLMSG_DONE:
                    return found
                # struct rtgenmsg, then the attribute NETNSA_NSID
                found.add(struct.unpack_from("=i", body, 8)[0])

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)

    def _receive(self) -> list[tuple[int, bytes]]:
        data = self._socket.recv(65536)
        messages = []
        while data:
            length, kind = struct.unpack_from("=IH", data)
            messages.append((kind, data[16:length]))
            data = data[(length + 3) & ~3 :]
        return messages
