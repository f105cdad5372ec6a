"""The callback program (RFC 7530 17, RFC 8881 19, 20): CB_NULL and CB_COMPOUND, as this server sends them.

Rules: in 4.0 a connection to the address that the client has named is asked for (a Dialer makes it); in 4.1 one of the client's own
connections carries the calls, one at a time, in slot 0 of the session's backchannel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct

from labemu_nfs.handles import Handles
from labemu_nfs.nfs4.constants import StableHow
from labemu_nfs.nfs4.state.model import Delegation, Dialer, Offload
from labemu_nfs.nfs4.types import encode_bitmap, encode_stateid
from labemu_nfs.rpc.auth import AUTH_SYS
from labemu_nfs.rpc.link import Link
from labemu_nfs.rpc.message import CALL, RPC_VERSION
from labemu_nfs.xdr import FALSE, Decoder, XdrError, opaque, u32, u64

_HEAD = Struct(">5I")
_SEQUENCE = Struct(">16s3I")
_CHANGE_AND_SIZE = 1 << 3 | 1 << 4
AUTH_NONE_PARTS = bytes(8)
"""An opaque_auth of AUTH_NONE."""

SYS_PARTS = u32(AUTH_SYS) + opaque(u32(0) + opaque(b"labemu_nfs") + bytes(12))
"""An opaque_auth of AUTH_SYS, root's: in 4.0 Linux takes no CB_COMPOUND with AUTH_NONE."""

CB_NULL, CB_COMPOUND = 0, 1
CB_GETATTR, CB_RECALL, CB_SEQUENCE, CB_OFFLOAD = 3, 4, 11, 15

Results = Callable[[Decoder | None], None]
"""Gets the results after a status of OK; None for any failure."""


def _call(program: int, procedure: int, credential: bytes, arguments: bytes) -> bytes:
    return _HEAD.pack(CALL, RPC_VERSION, program, 1, procedure) + credential + AUTH_NONE_PARTS + arguments


def _results(reply: memoryview | None) -> Decoder | None:
    """What follows the head of an accepted reply (RFC 5531 9)."""
    if reply is None:
        return None
    decoder = Decoder(reply, 8)
    try:
        if decoder.u32():
            return None
        decoder.u32()
        decoder.opaque(400)
        return None if decoder.u32() else decoder
    except XdrError:
        return None


def _operation(decoder: Decoder | None, before: int) -> Decoder | None:
    """What follows the OK of the last operation of a CB_COMPOUND; `before` bytes are the results of those before it."""
    if decoder is None:
        return None
    try:
        if decoder.u32():
            return None
        decoder.opaque(1024)
        decoder.u32()
        decoder.fixed(before)
        decoder.u32()
        return None if decoder.u32() else decoder
    except XdrError:
        return None


class _Path:
    """What both minor versions do alike."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles

    @property
    def up(self) -> bool:
        """Whether calls may be expected to arrive."""
        raise NotImplementedError

    def _send(self, operation: bytes, done: Results) -> None:
        raise NotImplementedError

    def recall(self, delegation: Delegation) -> None:
        """CB_RECALL (RFC 7530 17.2.2, RFC 8881 20.2)."""

        def done(results: Decoder | None) -> None:
            if results is None:
                delegation.sent = False  # whoever waits for it makes it be sent again

        stateid = encode_stateid(delegation.stateid)
        self._send(u32(CB_RECALL) + stateid + FALSE + opaque(self._handles.make(*delegation.file.file)), done)

    def ask_attributes(self, delegation: Delegation, answered: Callable[[int, int], None]) -> None:
        """CB_GETATTR of change and size (RFC 7530 17.2.1, RFC 8881 20.1)."""

        def done(results: Decoder | None) -> None:
            if results is None:
                return
            try:
                results.opaque(32)
                values = Decoder(results.opaque(64))
                answered(values.u64(), values.u64())
            except XdrError:
                return

        handle = opaque(self._handles.make(*delegation.file.file))
        self._send(u32(CB_GETATTR) + handle + encode_bitmap(_CHANGE_AND_SIZE), done)

    def offloaded(self, offload: Offload, verifier: bytes, answered: Callable[[bool], None]) -> None:
        """CB_OFFLOAD (RFC 7862 16.1)."""
        handle = opaque(self._handles.make(*offload.file))
        assert offload.status is not None
        told = u32(offload.status)
        if offload.status:
            told += u64(offload.copied)
        else:
            told += u32(0) + u64(offload.copied) + u32(StableHow.UNSTABLE) + verifier
        self._send(
            u32(CB_OFFLOAD) + handle + encode_stateid(offload.stateid) + told,
            lambda results: answered(results is not None),
        )


class CallbackPath40(_Path):
    """The callback of a 4.0 client.

    Args:
        handles: makes filehandles.
        dialer: makes the connection.
        host, port: where the client listens.
        program: cb_program.
        ident: callback_ident.
    """

    def __init__(self, handles: Handles, dialer: Dialer, host: str, port: int, program: int, ident: int) -> None:
        super().__init__(handles)
        self._dialer = dialer
        self._host = host
        self._port = port
        self._program = program
        self._ident = ident
        self._link: Link | None = None
        self._up = False

    @property
    def up(self) -> bool:
        """Whether the last call was answered."""
        return self._up

    def _connection(self) -> Link:
        if self._link is None or not self._link.open:
            self._link = self._dialer.dial(self._host, self._port)
        return self._link

    def probe(self) -> None:
        """CB_NULL: is anybody there (RFC 7530 10.2.1)?"""

        def answered(reply: memoryview | None) -> None:
            self._up = _results(reply) is not None

        self._connection().call(_call(self._program, CB_NULL, AUTH_NONE_PARTS, b""), answered)

    def _send(self, operation: bytes, done: Results) -> None:
        def answered(reply: memoryview | None) -> None:
            results = _results(reply)
            self._up = results is not None
            done(_operation(results, 0))

        arguments = opaque(b"") + u32(0) + u32(self._ident) + u32(1) + operation
        self._connection().call(_call(self._program, CB_COMPOUND, SYS_PARTS, arguments), answered)


class CallbackPath41(_Path):
    """The backchannel of a session.

    Args:
        handles: makes filehandles.
        session: its number.
        minor: of the client.
        program: csa_cb_program.
        credential: to call with, as a whole opaque_auth.
    """

    def __init__(self, handles: Handles, session: bytes, minor: int, program: int, credential: bytes) -> None:
        super().__init__(handles)
        self._session = session
        self._minor = minor
        self.program = program
        self.credential = credential
        self._links: list[Link] = []
        self._waiting: deque[tuple[bytes, Results]] = deque()
        self._busy = False
        self._seqid = 0

    def bind(self, link: Link) -> None:
        """Calls may be made over this connection."""
        others = [each for each in self._links if each.open and each is not link]
        self._links = [*others[:MAX_LINKS], link]

    @property
    def up(self) -> bool:
        """Whether a connection is there."""
        return any(link.open for link in self._links)

    def _send(self, operation: bytes, done: Results) -> None:
        self._waiting.append((operation, done))
        self._next()

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        link = next((each for each in reversed(self._links) if each.open), None)
        if link is None:
            waiting, self._waiting = self._waiting, deque()
            for _, failed in waiting:
                failed(None)
            return
        operation, done = self._waiting.popleft()
        self._busy = True
        self._seqid = self._seqid + 1 & 0xFFFF_FFFF

        def answered(reply: memoryview | None) -> None:
            self._busy = False
            done(_operation(_results(reply), _SEQUENCE_RESULT))
            self._next()

        sequence = u32(CB_SEQUENCE) + _SEQUENCE.pack(self._session, self._seqid, 0, 0) + FALSE + u32(0)
        arguments = opaque(b"") + u32(self._minor) + u32(0) + u32(2) + sequence + operation
        link.call(_call(self.program, CB_COMPOUND, self.credential, arguments), answered)


_SEQUENCE_RESULT = 8 + 16 + 4 * 4
"""Bytes of CB_SEQUENCE's results: number, status, sessionid, sequence, slot, highest and target."""

MAX_LINKS = 16
"""Connections of a backchannel that are remembered."""
