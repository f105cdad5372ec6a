"""The slots of a session: each request is done exactly once (RFC 8881 2.10.6).

Theory: a slot takes one request at a time, numbered one above the last. The last number again is the last request again: its answer
is kept if the client asked for that or if it is short, else RETRY_UNCACHED_REP.
"""

from __future__ import annotations

from labemu_nfs.nfs4.status import Nfs4Error, Status

_U32 = 0xFFFF_FFFF


class Slot:
    """One slot. `busy` while its request is worked on."""

    __slots__ = ("busy", "digest", "reply", "seqid")

    def __init__(self) -> None:
        self.seqid = 0
        self.busy = False
        self.reply: bytes | None = None
        self.digest = b""

    def begin(self, seqid: int, digest: bytes) -> bytes | None:
        """A request has come.

        Args:
            seqid: its sa_sequenceid.
            digest: of the request, to tell another one under the same number (RFC 8881 2.10.6.1.3.1).

        Returns:
            the answer where it is the last request again, None for a new one, which `end` must follow.

        Raises:
            Nfs4Error: SEQ_MISORDERED, DELAY while the same request is worked on, SEQ_FALSE_RETRY, RETRY_UNCACHED_REP.
        """
        if seqid == self.seqid + 1 & _U32:
            if self.busy:
                raise Nfs4Error(Status.SEQ_MISORDERED)
            self.seqid, self.busy, self.reply, self.digest = seqid, True, None, digest
            return None
        if seqid != self.seqid:
            raise Nfs4Error(Status.SEQ_MISORDERED)
        if self.busy:
            raise Nfs4Error(Status.DELAY)
        if not self.digest:  # no request was ever made: number 0 is nobody's
            raise Nfs4Error(Status.SEQ_MISORDERED)
        if self.reply is None:
            raise Nfs4Error(Status.RETRY_UNCACHED_REP)
        if digest != self.digest:
            raise Nfs4Error(Status.SEQ_FALSE_RETRY)
        return self.reply

    def end(self, reply: bytes | None) -> None:
        """The request was answered; `reply` to keep it."""
        self.busy = False
        self.reply = reply
