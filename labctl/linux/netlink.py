"""Netlink messages over an AF_NETLINK socket of our own: many requests in one send, each with its own answer.

Why not pyroute2's sockets or messages: to import its link message takes 0.35 s and to encode one 0.5 ms, which is as long as the kernel
needs to make a link. What we send is a handful of fixed shapes; tests hold them against pyroute2's decoder.

Theory (netlink(7), rtnetlink(7)): a message is a header of 16 bytes (length, type, flags, sequence, port), a fixed body for its family,
and attributes (length, type, payload padded to 4 bytes). The kernel works through all messages of a send in order and answers each
that carries NLM_F_ACK with an error message: 0 or a negative errno, with NETLINK_EXT_ACK a text too.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_REPLACE = 0x100
NLM_F_DUMP = 0x300
NLM_F_ACK_TLVS = 0x200

NLMSG_ERROR = 2
NLMSG_DONE = 3

RECEIVE_SIZE = 64 * 1024
"""Bytes. The kernel fills at most 32 KiB a datagram of a dump (NLMSG_GOODSIZE and netlink_dump's cap)."""

BATCH = 100
"""Requests a send: the answers to one send must fit the receive buffer of 208 KiB, and each takes about 1 KiB of the kernel's memory."""

GET_BATCH = 16
"""The same for requests that are answered by an object: about 8 KiB each."""

TIMEOUT = 30.0
"""Seconds for one answer: the kernel answers at once unless rtnl_lock is held by somebody's mass removal."""

_NLA_TYPE_MASK = 0x3FFF
_NLA_F_NESTED = 0x8000
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    length = len(payload) + 4
    return _ATTRIBUTE.pack(length, kind) + payload + _PADDING[length & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | _NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """An attribute holding a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """An attribute holding a number of 32 bits."""
    return attribute(kind, struct.pack("=I", value))


def u8(kind: int, value: int) -> bytes:
    """An attribute holding a number of 8 bits."""
    return attribute(kind, struct.pack("=B", value))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in a message's tail, by type without flags (the last of a type wins)."""
    found: dict[int, bytes] = {}
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & _NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


@dataclass(frozen=True, slots=True)
class Request:
    """One message to send.

    Args:
        kind: RTM_NEWLINK and the like.
        body: the family's fixed part and the attributes.
        flags: beyond NLM_F_REQUEST and NLM_F_ACK.
    """

    kind: int
    body: bytes
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel said to one request.

    Args:
        errno: 0 where it was done.
        detail: the kernel's own explanation, or "".
        body: the message that a request without NLM_F_DUMP asked for, or b"".
    """

    errno: int
    detail: str = ""
    body: bytes = b""


class NetlinkSocket:
    """A NETLINK_ROUTE socket; it stays in the network namespace of the thread that makes it. May be used from any thread."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.settimeout(TIMEOUT)
        self._lock = threading.Lock()
        self._sequence = 0

    def close(self) -> None:
        """Close it; the namespace is no longer held by it."""
        self._socket.close()

    def request(self, requests: Sequence[Request]) -> list[Answer]:
        """Send requests, many at once, and return their answers in the same order.

        Raises:
            OSError: the socket itself failed; which requests were done is then unknown.
        """
        answers: list[Answer] = []
        with self._lock:
            for batch in _batches(requests):
                answers += self._exchange(batch)
        return answers

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of all objects that a dump request lists.

        Raises:
            OSError: the kernel refused, or the socket failed.
        """
        with self._lock:
            while True:
                bodies, interrupted = self._dump(kind, body)
                if not interrupted:
                    return bodies

    def _exchange(self, batch: Sequence[Request]) -> list[Answer]:
        first = self._sequence + 1
        self._sequence += len(batch)
        parts: list[bytes] = []
        for sequence, request in enumerate(batch, first):
            flags = request.flags | NLM_F_REQUEST | NLM_F_ACK
            padding = _PADDING[len(request.body) & 3]
            parts += (
                _HEADER.pack(16 + len(request.body), request.kind, flags, sequence, 0),
                request.body,
                padding,
            )
        self._socket.send(b"".join(parts))
        bodies: dict[int, bytes] = {}
        answers: dict[int, Answer] = {}
        while len(answers) < len(batch):
            for kind, flags, sequence, body in self._receive():
                if sequence < first:
                    continue  # late answer to an exchange that timed out
                if kind == NLMSG_ERROR:
                    answers[sequence] = _answer(flags, body, bodies.get(sequence, b""))
                else:
                    bodies[sequence] = body
        return [answers[sequence] for sequence in range(first, first + len(batch))]

    def _dump(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        self._sequence += 1
        header = _HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        self._socket.send(header + body)
        bodies: list[bytes] = []
        interrupted = False
        while True:
            for found, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                interrupted |= bool(flags & 0x10)  # NLM_F_DUMP_INTR: what was listed changed meanwhile
                if found == NLMSG_ERROR or (found == NLMSG_DONE and len(payload) >= 4):
                    number = -int(struct.unpack_from("=i", payload)[0])
                    if number > 0:
                        raise OSError(number, os.strerror(number))
                if found in (NLMSG_ERROR, NLMSG_DONE):
                    return bodies, interrupted
                bodies.append(payload)

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(RECEIVE_SIZE)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
            if length < 16 or offset + length > len(data):
                raise OSError(errno.EBADMSG, "malformed netlink message")
            yield kind, flags, sequence, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3


def _batches(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    start, room = 0, 1.0
    for index, request in enumerate(requests):
        is_get = request.kind & 3 == 2  # rtnetlink(7): types come in fours NEW, DEL, GET, SET
        cost = 1 / (GET_BATCH if is_get else BATCH)
        if room < cost:
            yield requests[start:index]
            start, room = index, 1.0
        room -= cost
    if start < len(requests):
        yield requests[start:]


def _answer(flags: int, body: bytes, found: bytes) -> Answer:
    number = -int(struct.unpack_from("=i", body)[0])
    detail = ""
    if flags & NLM_F_ACK_TLVS:
        # errno, then the request's header alone (NETLINK_CAP_ACK), then the attributes
        told = attributes(body, 4 + 16).get(_NLMSGERR_ATTR_MSG, b"")
        detail = told.rstrip(b"\0").decode(errors="replace")
    return Answer(number, detail, found)
