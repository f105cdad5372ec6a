"""Real conversations to decode: our own iSCSI engines, back to back, and NFS calls as RFC 1813 and RFC 7530 lay them out."""

from __future__ import annotations

import os
import struct

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.initiator import Initiator
from labemu_iscsi.node import Node
from labemu_iscsi.service import Service
from labemu_iscsi.session import Target
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore

TARGET = "iqn.2026-11.lab:t1"
INITIATOR = "iqn.2026-11.lab:esx1"
Said = list[tuple[int, bytes]]
"""Who says what: 0 is the client."""


def iscsi(*, digests: bool = False, login: bool = True) -> Said:
    """A login, reads, a write with immediate data and one by R2T, UNMAP, a command that fails, a reset, a logout."""
    store = MemoryBlockStore(4 << 20)
    node = Node(entropy=os.urandom)
    node.targets[TARGET] = target = Target(name=TARGET)
    target.device.add_unit(0, LogicalUnit(store, serial="u"))
    keys = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"} if digests else {}
    initiator = Initiator(
        target=TARGET, name=INITIATOR, keys={**keys, "FirstBurstLength": "4096", "MaxBurstLength": "8192"}
    )
    connection = TargetConnection(node)
    service = Service(connection, lambda deferred, work, done: done(work()), lambda: None)
    said: Said = []

    def exchange() -> None:
        while True:
            out = b"".join(map(bytes, initiator.data_to_send()))
            if out:
                said.append((0, out))
            for event in connection.receive_data(out):
                service.handle(event)
            back = b"".join(map(bytes, connection.data_to_send()))
            if back:
                said.append((1, back))
            initiator.receive_data(back)
            if not out and not back:
                return

    initiator.login()
    exchange()
    if not login:
        said.clear()
    commands = [
        (bytes(6), {}),  # takes the unit attention
        (bytes.fromhex("25000000000000000000"), {"read": 8}),
        (struct.pack(">BxIxH", 0x2A, 8, 4), {"data": b"w" * 2048}),
        (struct.pack(">BxIxH", 0x2A, 64, 64), {"data": b"W" * 32768}),
        (struct.pack(">BxIxH", 0x28, 64, 64), {"read": 32768}),
        (struct.pack(">B6xH", 0x42, 24), {"data": struct.pack(">HH4xQI4x", 22, 16, 100, 50)}),
        (struct.pack(">BxIxH", 0x28, 1 << 30, 1), {"read": 512}),
    ]
    for cdb, more in commands:
        initiator.command(cdb, **more)  # type: ignore[arg-type]
        exchange()
    initiator.manage(5)
    exchange()
    initiator.logout()
    exchange()
    store.close()
    return said


def record(body: bytes) -> bytes:
    return struct.pack(">I", 1 << 31 | len(body)) + body


def call(xid: int, program: int, version: int, procedure: int, body: bytes) -> bytes:
    return record(struct.pack(">6I", xid, 0, 2, program, version, procedure) + struct.pack(">4I", 0, 0, 0, 0) + body)


def reply(xid: int, body: bytes) -> bytes:
    return record(struct.pack(">6I", xid, 1, 0, 0, 0, 0) + body)


def opaque(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


ROOT, FILE = b"root-handle-0001", b"file-handle-0002"


def nfs3() -> Said:
    """MNT, LOOKUP, WRITE, READ, COMMIT, a READDIRPLUS and an error."""
    none = struct.pack(">I", 0)
    entry = (
        struct.pack(">IQ", 1, 7)
        + opaque(b"disk.qcow2")
        + struct.pack(">QI", 1, 0)
        + struct.pack(">I", 1)
        + opaque(FILE)
    )
    listing = none + none + bytes(8) + entry + struct.pack(">II", 0, 1)
    return [
        (0, call(1, 100005, 3, 1, opaque(b"/gold"))),
        (1, reply(1, none + opaque(ROOT) + none)),
        (0, call(2, 100003, 3, 3, opaque(ROOT) + opaque(b"disk.qcow2"))),
        (1, reply(2, none + opaque(FILE) + none + none)),
        (0, call(3, 100003, 3, 7, opaque(FILE) + struct.pack(">QII", 65536, 5000, 0) + opaque(b"x" * 5000))),
        (0, call(4, 100003, 3, 6, opaque(FILE) + struct.pack(">QI", 0, 4096))),
        (1, reply(4, none + none + struct.pack(">II", 4096, 0) + opaque(b"y" * 4096))),
        (1, reply(3, none + none + none + struct.pack(">II8x", 5000, 0))),
        (0, call(5, 100003, 3, 21, opaque(FILE) + struct.pack(">QI", 0, 0))),
        (1, reply(5, none + none + none + bytes(8))),
        (0, call(6, 100003, 3, 17, opaque(ROOT) + struct.pack(">Q8xII", 0, 4096, 8192))),
        (1, reply(6, listing)),
        (0, call(7, 100003, 3, 1, opaque(b"stale"))),
        (1, reply(7, struct.pack(">I", 70))),
    ]


def compound(minor: int, *operations: bytes) -> bytes:
    return opaque(b"") + struct.pack(">II", minor, len(operations)) + b"".join(operations)


def nfs4() -> Said:
    """A LOOKUP of a path with its handle, a WRITE, and a READ that fails."""
    ok, sid = struct.pack(">I", 0), bytes(16)

    def op(number: int, body: bytes = b"") -> bytes:
        return struct.pack(">I", number) + body

    find = compound(0, op(24), op(15, opaque(b"gold")), op(15, opaque(b"disk.raw")), op(10))
    found = ok + opaque(b"") + struct.pack(">I", 4) + op(24, ok) + op(15, ok) + op(15, ok) + op(10, ok + opaque(FILE))
    write = compound(
        0,
        op(22, opaque(FILE)),
        op(38, sid + struct.pack(">QI", 512, 2) + opaque(b"z" * 700)),
        op(9, struct.pack(">II", 1, 2)),
    )
    wrote = (
        ok + opaque(b"") + struct.pack(">I", 3) + op(22, ok) + op(38, ok + struct.pack(">II8x", 700, 2))
        + op(9, ok + struct.pack(">II", 1, 2) + opaque(b"\0\0\0\1"))
    )  # fmt: skip
    read = compound(0, op(22, opaque(FILE)), op(25, sid + struct.pack(">QI", 0, 4096)), op(9, struct.pack(">II", 1, 2)))
    failed = (
        struct.pack(">I", 10025) + opaque(b"") + struct.pack(">I", 2) + op(22, ok) + op(25, struct.pack(">I", 10025))
    )
    return [
        (0, call(1, 100003, 4, 1, find)),
        (1, reply(1, found)),
        (0, call(2, 100003, 4, 1, write)),
        (1, reply(2, wrote)),
        (0, call(3, 100003, 4, 1, read)),
        (1, reply(3, failed)),
    ]
