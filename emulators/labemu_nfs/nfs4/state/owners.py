"""The seqids of NFSv4.0's open-owners and lock-owners, and the answer that each keeps (RFC 7530 9.1.3, 9.1.7, 9.1.8).

Theory: an owner's requests come one after the other, each with a seqid one above the last. The same seqid again is the same request
again, and gets the same answer; anything else is BAD_SEQID. Some failures leave the seqid where it was: those in which the owner was not
found or the request not understood.
"""

from __future__ import annotations

from typing import NamedTuple

from labemu_nfs.nfs4.status import Nfs4Error, Status

_U32 = 0xFFFF_FFFF

UNCOUNTED = frozenset(
    {
        Status.STALE_CLIENTID,
        Status.STALE_STATEID,
        Status.BAD_STATEID,
        Status.BAD_SEQID,
        Status.BADXDR,
        Status.RESOURCE,
        Status.NOFILEHANDLE,
        Status.MOVED,
    }
)
"""Failures that do not count as a request of the owner (RFC 7530 9.1.7)."""


class Answer(NamedTuple):
    """What was answered last.

    Args:
        status: of the operation.
        request: what the request said, to tell a request that is sent again from a new one under an old number.
        body: what followed the status.
        handle: the current filehandle afterwards, which sending it again brings back.
    """

    status: int
    request: bytes
    body: bytes
    handle: object = None


class Sequence:
    """The seqid of an owner. `None` until its first request."""

    __slots__ = ("answer", "busy", "seqid")

    def __init__(self) -> None:
        self.seqid: int | None = None
        self.answer: Answer | None = None
        self.busy = False

    def begin(self, seqid: int, request: bytes) -> Answer | None:
        """A request has come.

        Returns:
            the answer where it is the last request again; None where it is a new one, which `end` must follow.

        Raises:
            Nfs4Error: BAD_SEQID; RESOURCE, which does not count, while one is worked on.
        """
        if self.busy:
            raise Nfs4Error(Status.RESOURCE)
        if self.seqid is None or seqid == self.seqid + 1 & _U32:
            self.busy = True
            return None
        if self.is_last(seqid, request):
            return self.answer
        raise Nfs4Error(Status.BAD_SEQID)

    def is_last(self, seqid: int, request: bytes) -> bool:
        """Whether it is the last request again."""
        return seqid == self.seqid and self.answer is not None and self.answer.request == request

    def end(self, seqid: int, status: int, answer: Answer) -> None:
        """The new request has been answered."""
        self.busy = False
        if status not in UNCOUNTED:
            self.seqid = seqid
            self.answer = answer
