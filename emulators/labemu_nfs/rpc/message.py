"""RPC messages (RFC 5531 9): calls in, replies out."""

from __future__ import annotations

from struct import Struct, error

from labemu_nfs.errors import ProtocolError
from labemu_nfs.limits import MAX_CREDENTIAL
from labemu_nfs.xdr import XdrError, u32

Buffer = bytes | memoryview
Body = list[Buffer]
"""The results of a procedure, as they go on the wire."""

CALL = 0
REPLY = 1
RPC_VERSION = 2

# accept_stat
SUCCESS = 0
PROG_UNAVAIL = 1
PROG_MISMATCH = 2
PROC_UNAVAIL = 3
GARBAGE_ARGS = 4
SYSTEM_ERR = 5

# auth_stat
AUTH_BADCRED = 1
AUTH_TOOWEAK = 5

_HEAD = Struct(">6I")
_FLAVOR = Struct(">II")
ACCEPTED = Struct(">6I")
"""xid, REPLY, MSG_ACCEPTED, the verifier (AUTH_NONE, empty), accept_stat."""


class Call:
    """A call as it came: `credential` is the whole opaque_auth, `arguments` begin at `at` of `view`."""

    __slots__ = ("at", "credential", "procedure", "program", "version", "view", "xid")

    def __init__(self, view: memoryview) -> None:
        """Decode a call.

        Raises:
            ProtocolError: not a call at all.
            RpcVersionError: a call of another RPC version.
            XdrError: the credential or verifier does not fit.
        """
        if len(view) < _HEAD.size:
            raise ProtocolError("a message too short to be a call")
        self.xid, kind, version, self.program, self.version, self.procedure = _HEAD.unpack_from(view)
        if kind != CALL:
            raise ProtocolError("a reply where a call was due")
        if version != RPC_VERSION:
            raise RpcVersionError(self.xid)
        self.view = view
        try:
            end = _end_of_auth(view, _HEAD.size)
            self.at = _end_of_auth(view, end)
        except error:
            raise XdrError("the message is too short") from None
        if self.at > len(view):
            raise XdrError("the message is too short")
        self.credential = bytes(view[_HEAD.size : end])


class RpcVersionError(Exception):
    """The call is not of RPC version 2 (RFC 5531 9: RPC_MISMATCH)."""

    def __init__(self, xid: int) -> None:
        super().__init__(xid)
        self.xid = xid


def _end_of_auth(view: memoryview, at: int) -> int:
    """Where an opaque_auth ends that begins at `at`. Raises XdrError, struct.error."""
    size: int = _FLAVOR.unpack_from(view, at)[1]
    if size > MAX_CREDENTIAL:
        raise XdrError("a credential too long")  # RFC 5531 8.2
    return at + _FLAVOR.size + (size + 3 & ~3)


def accepted(xid: int, status: int = SUCCESS) -> bytes:
    """The head of a reply to a call that was accepted."""
    return ACCEPTED.pack(xid, REPLY, 0, 0, 0, status)


def program_mismatch(xid: int, low: int, high: int) -> bytes:
    """The program is here, but not in that version."""
    return accepted(xid, PROG_MISMATCH) + u32(low) + u32(high)


def rpc_mismatch(xid: int) -> bytes:
    """Not RPC version 2."""
    return Struct(">6I").pack(xid, REPLY, 1, 0, RPC_VERSION, RPC_VERSION)


def auth_error(xid: int, status: int) -> bytes:
    """The credential is refused."""
    return Struct(">5I").pack(xid, REPLY, 1, 1, status)
