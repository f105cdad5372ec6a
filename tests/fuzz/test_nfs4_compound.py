"""Whatever a client puts into a COMPOUND, it is answered, or its connection is closed; no other exception comes out of the engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from struct import pack

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labemu_nfs.context import Context
from labemu_nfs.errors import ProtocolError
from labemu_nfs.exports import Export, ExportTable
from labemu_nfs.handles import Handles
from labemu_nfs.nfs3.program import nfs_program
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.ops.table import OPS
from labemu_nfs.nfs4.program import nfs4_procedures
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection, RpcServer
from labemu_nfs.xdr import opaque, u32
from labemu_store.file import LocalFileStore, MemoryFileStore, Ownership

PUTROOT, LOOKUP = u32(24), u32(15)
NAMES = st.sampled_from([b"f", b"d", b"l", b"new", b"", b"..", b"\xff", b"n" * 300])
NUMBERS = st.sampled_from([0, 1, 2, 3, 7, 8, 4096, 1 << 20, 2**31, 2**32 - 1])
HYPERS = st.sampled_from([0, 1, 2, 4096, 1 << 20, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
PIECES = st.one_of(
    NUMBERS.map(u32),
    HYPERS.map(lambda number: pack(">Q", number)),
    NAMES.map(opaque),
    st.just(bytes(16)),
    st.just(b"\xff" * 16),
    st.lists(NUMBERS, max_size=3).map(lambda words: u32(len(words)) + b"".join(map(u32, words))),
    st.binary(max_size=40),
)
OPERATIONS = st.tuples(st.integers(0, 80), st.lists(PIECES, max_size=6)).map(lambda it: u32(it[0]) + b"".join(it[1]))
PATHS = st.sampled_from([(), (b"gold",), (b"gold", b"f"), (b"gold", b"d"), (b"gold", b"l")])


@contextmanager
def connected(minor: int, *, local: bool) -> Iterator[RpcConnection]:
    with tempfile.TemporaryDirectory() as folder:
        store = LocalFileStore(Path(folder)) if local else MemoryFileStore(capacity=1 << 24)
        try:
            owner = Ownership(mode=0o666, uid=0, gid=0)
            store.write(store.create(store.root, b"f", owner), 5, b"contents")
            store.mkdir(store.root, b"d", Ownership(mode=0o755, uid=0, gid=0))
            store.symlink(store.root, b"l", b"f", owner)
            table = ExportTable()
            table.add(Export(path="/gold", store=store))
            shared = Context(table, Handles(bytes(32)), b"verifier")
            context = Context4(shared, NfsState(7, 0.0), lambda: 1000.0)
            rows = [row for row in OPS if minor == 0 or row.name != "SEQUENCE"]
            procedures = nfs4_procedures(context, rows if minor == 0 else [_everywhere(row) for row in rows])
            yield RpcConnection(RpcServer((nfs_program(shared, procedures),)), Caller("10.0.0.2"))
        finally:
            store.close()


def _everywhere(row):
    """The operation of any minor version in 4.0, where it needs no session."""
    return replace(row, minors=(0,)) if 2 in row.minors else row


def call(connection: RpcConnection, arguments: bytes) -> bytes:
    message = pack(">6I", 1, 0, 2, 100003, 4, 1) + bytes(16) + arguments
    jobs = connection.receive_data(pack(">I", 0x80000000 | len(message)) + message, 0.0)
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


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.integers(0, 2), PATHS, PATHS, st.lists(OPERATIONS, max_size=5))
def test_every_compound_is_answered(local, minor, saved, current, operations):
    way = [PUTROOT, *(LOOKUP + opaque(name) for name in saved), u32(32)]
    way += [PUTROOT, *(LOOKUP + opaque(name) for name in current)]
    with connected(minor, local=local) as connection:
        for arguments in (b"".join((*way, *operations)), b"".join(operations)):
            count = len(operations) + (len(way) if arguments.startswith(PUTROOT) else 0)
            try:
                reply = call(connection, opaque(b"tag") + pack(">II", 0, count) + arguments)
            except ProtocolError:
                break
            assert len(reply) >= 28
            assert len(reply) % 4 == 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_arguments_are_answered(data):
    with connected(0, local=False) as connection:
        assert len(call(connection, data)) >= 28
