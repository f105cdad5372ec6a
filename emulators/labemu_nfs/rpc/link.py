"""Calls in the other direction: of the server, to a client, over a connection (RFC 8881 2.10.3.1: the backchannel).

Theory: a Link is what is known of a connection by those who do not own it. It outlives the connection, and says so.
"""

from __future__ import annotations

from collections.abc import Callable

from labemu_nfs.limits import MAX_CALLBACKS
from labemu_nfs.xdr import u32

Answered = Callable[[memoryview | None], None]
"""Gets a whole reply, valid until it returns; None where none will come."""


class Link:
    """One connection, as somebody to call."""

    __slots__ = ("_send", "_waiting", "_xid")

    def __init__(self, send: Callable[[bytes], None]) -> None:
        """Begin.

        Args:
            send: takes a whole message.
        """
        self._send: Callable[[bytes], None] | None = send
        self._waiting: dict[int, Answered] = {}
        self._xid = 0

    @property
    def open(self) -> bool:
        """Whether the connection is there."""
        return self._send is not None

    def call(self, call: bytes, answered: Answered) -> None:
        """Send a call, which is given here without its XID.

        Args:
            call: from the message type on.
            answered: called once, with the reply or when it is known that none will come.
        """
        if self._send is None or len(self._waiting) >= MAX_CALLBACKS:
            answered(None)
            return
        self._xid = self._xid + 1 & 0xFFFF_FFFF
        self._waiting[self._xid] = answered
        self._send(u32(self._xid) + call)

    def replied(self, reply: memoryview) -> bool:
        """A reply has come; whether anybody waits for it."""
        answered = self._waiting.pop(int.from_bytes(reply[:4], "big"), None)
        if answered is None:
            return False
        answered(reply)
        return True

    def close(self) -> None:
        """The connection is gone."""
        self._send = None
        waiting, self._waiting = self._waiting, {}
        for answered in waiting.values():
            answered(None)
