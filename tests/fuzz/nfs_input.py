"""What the coverage-guided fuzzer of the NFS server's engine does with an input; `fuzz_nfs` runs it.

An input is a byte that chooses the mode, and then, but for whole streams, operations: a byte that is the operation's number, one that says
how many words follow, and the words. In the modes of a version the COMPOUND begins at a file, a directory or the root, as a client with
a session or a clientid has it, and the rest of the input is sent as one. What is found of interest is kept in `corpus/nfs`, and
test_nfs_corpus goes through all of that in the normal run of the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import pack

from labemu_nfs.context import Context
from labemu_nfs.errors import ProtocolError
from labemu_nfs.exports import Export, ExportTable
from labemu_nfs.handles import Handles
from labemu_nfs.limits import MAX_RECORD, MAX_UNSENT, RECEIVE_BUFFER
from labemu_nfs.nfs3.program import nfs_program
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.ops.table import OPS
from labemu_nfs.nfs4.program import nfs4_procedures
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection, RpcServer
from labemu_nfs.xdr import opaque, u32
from labemu_store.file import MemoryFileStore, Ownership

CORPUS = Path(__file__).parent / "corpus" / "nfs"
ROOT, LOOKUP = u32(24), u32(15)
PLACES = ((), (b"gold",), (b"gold", b"f"), (b"gold", b"d"), (b"gold", b"l"))
STREAM = 15
"""The mode in which the input is what comes over the connection; the others are a minor version and a place."""

CHANNEL = pack(">7I", 0, 1 << 20, 1 << 20, 8192, 64, 8, 0)


def operations(data: bytes) -> Iterator[bytes]:
    """The operations that an input is made of."""
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + 4 * data[at + 1]
        yield u32(data[at]) + data[at + 2 : end]
        at = end


def _send(connection: RpcConnection, message: bytes) -> bytes:
    jobs = connection.receive_data(message, 0.0)
    while jobs:
        pending = jobs.pop()
        error = None
        try:
            pending.job.run()
        except OSError as caught:
            error = caught
        if not connection.complete(pending, error, 0.0):
            jobs.append(pending)
    return b"".join(connection.data_to_send())


def _call(connection: RpcConnection, minor: int, parts: list[bytes]) -> bytes:
    body = opaque(b"fuzz") + pack(">II", minor, len(parts)) + b"".join(parts)
    credential = u32(1) + opaque(u32(1) + opaque(b"f") + bytes(12))
    message = pack(">6I", 1, 0, 2, 100003, 4, 1) + credential + bytes(8) + body
    return _send(connection, u32(0x8000_0000 | len(message)) + message)


def _session(connection: RpcConnection) -> bytes:
    """A 4.1 client's session, opens allowed; a SEQUENCE without its numbers."""
    reply = _call(connection, 1, [u32(42) + b"verifier" + opaque(b"client") + bytes(12)])
    number = reply[52:60]
    create = u32(43) + number + pack(">II", 1, 0) + CHANNEL + CHANNEL + pack(">III", 1 << 30, 1, 0)
    session = _call(connection, 1, [create])[52:68]
    _call(connection, 1, [u32(53) + session + pack(">4I", 1, 0, 0, 0), u32(58) + u32(0)])
    return u32(53) + session + pack(">4I", 2, 0, 0, 1)


def one_input(data: bytes) -> None:
    """Let an engine take an input.

    Raises:
        Exception: whatever it raises is a bug, but for ProtocolError, which ends the connection.
    """
    if not data:
        return
    store = MemoryFileStore(capacity=1 << 24)
    owner = Ownership(mode=0o666, uid=0, gid=0)
    store.write(store.create(store.root, b"f", owner), 5, b"contents")
    store.mkdir(store.root, b"d", Ownership(mode=0o755, uid=0, gid=0))
    store.symlink(store.root, b"l", b"f", owner)
    table = ExportTable()
    table.add(Export(path="/gold", store=store))
    shared = Context(table, Handles(bytes(32)), b"verifier")
    context = Context4(shared, NfsState(7, 0.0), lambda: 1000.0)
    program = nfs_program(shared, nfs4_procedures(context, OPS))
    connection = RpcConnection(RpcServer((program,)), Caller("10.0.0.2"))
    try:
        _drive(connection, data[0] % (STREAM + 1), data[1:])
    except ProtocolError:
        pass
    finally:
        store.close()


def _drive(connection: RpcConnection, mode: int, data: bytes) -> None:
    if mode == STREAM:
        assert len(_send(connection, data)) <= MAX_UNSENT + MAX_RECORD + RECEIVE_BUFFER
        return
    minor = mode % 3
    way = [ROOT, *(LOOKUP + opaque(name) for name in PLACES[mode // 3])]
    parts = [*([_session(connection)] if minor else []), *way, *operations(data)]
    for _ in range(2):  # the second time it is sent again, or done again
        reply = _call(connection, minor, parts)
        assert len(reply) >= 28
        assert len(reply) % 4 == 0
