"""An NFSv4 client that joins the engine back to back: COMPOUNDs as lists of operations, answers taken apart as far as a test asks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from struct import pack, unpack_from

import pytest

from labemu_nfs.context import Context
from labemu_nfs.exports import Export, ExportTable
from labemu_nfs.handles import Handles
from labemu_nfs.nfs3.program import nfs_program
from labemu_nfs.nfs4.compound import FROM_41, Op
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.ops.table import OPS
from labemu_nfs.nfs4.program import nfs4_procedures
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.nfs4.status import Status
from labemu_nfs.nfs4.types import decode_bitmap, encode_bitmap
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection, RpcServer
from labemu_nfs.xdr import Decoder, opaque, u32
from labemu_store.file import AttributeChange, LocalFileStore, MemoryFileStore, Ownership

ANONYMOUS = bytes(16)
AFTER_GRACE = 1000.0


def bits(*numbers: int) -> bytes:
    return encode_bitmap(sum(1 << number for number in numbers))


def fattr(*values: tuple[int, bytes]) -> bytes:
    return bits(*(number for number, _ in values)) + opaque(b"".join(value for _, value in sorted(values)))


class Ops:
    """Operations as bytes; those that tests use, each with its number first."""

    @staticmethod
    def op(number: int, arguments: bytes = b"") -> bytes:
        return u32(number) + arguments

    PUTROOTFH = u32(Number.PUTROOTFH)
    PUTPUBFH = u32(Number.PUTPUBFH)
    GETFH = u32(Number.GETFH)
    SAVEFH = u32(Number.SAVEFH)
    RESTOREFH = u32(Number.RESTOREFH)
    LOOKUPP = u32(Number.LOOKUPP)
    READLINK = u32(Number.READLINK)

    @classmethod
    def putfh(cls, handle: bytes) -> bytes:
        return cls.op(Number.PUTFH, opaque(handle))

    @classmethod
    def lookup(cls, name: bytes) -> bytes:
        return cls.op(Number.LOOKUP, opaque(name))

    @classmethod
    def getattr(cls, *numbers: int) -> bytes:
        return cls.op(Number.GETATTR, bits(*numbers))

    @classmethod
    def setattr(cls, *values: tuple[int, bytes], stateid: bytes = ANONYMOUS) -> bytes:
        return cls.op(Number.SETATTR, stateid + fattr(*values))

    @classmethod
    def access(cls, mask: int) -> bytes:
        return cls.op(Number.ACCESS, u32(mask))

    @classmethod
    def verify(cls, *values: tuple[int, bytes]) -> bytes:
        return cls.op(Number.VERIFY, fattr(*values))

    @classmethod
    def nverify(cls, *values: tuple[int, bytes]) -> bytes:
        return cls.op(Number.NVERIFY, fattr(*values))

    @classmethod
    def mkdir(cls, name: bytes, *values: tuple[int, bytes]) -> bytes:
        return cls.op(Number.CREATE, u32(2) + opaque(name) + fattr(*values))

    @classmethod
    def symlink(cls, name: bytes, target: bytes) -> bytes:
        return cls.op(Number.CREATE, u32(5) + opaque(target) + opaque(name) + fattr())

    @classmethod
    def mknod(cls, kind: int, name: bytes, device: bytes = b"") -> bytes:
        return cls.op(Number.CREATE, u32(kind) + device + opaque(name) + fattr())

    @classmethod
    def remove(cls, name: bytes) -> bytes:
        return cls.op(Number.REMOVE, opaque(name))

    @classmethod
    def rename(cls, name: bytes, to: bytes) -> bytes:
        return cls.op(Number.RENAME, opaque(name) + opaque(to))

    @classmethod
    def link(cls, name: bytes) -> bytes:
        return cls.op(Number.LINK, opaque(name))

    @classmethod
    def read(cls, offset: int, count: int, stateid: bytes = ANONYMOUS) -> bytes:
        return cls.op(Number.READ, stateid + pack(">QI", offset, count))

    @classmethod
    def write(cls, offset: int, data: bytes, stable: int = 0, stateid: bytes = ANONYMOUS) -> bytes:
        return cls.op(Number.WRITE, stateid + pack(">QI", offset, stable) + opaque(data))

    @classmethod
    def commit(cls, offset: int = 0, count: int = 0) -> bytes:
        return cls.op(Number.COMMIT, pack(">QI", offset, count))

    @classmethod
    def readdir(cls, cookie: int = 0, *numbers: int, size: int = 8192, verifier: bytes = bytes(8)) -> bytes:
        return cls.op(Number.READDIR, pack(">Q8sII", cookie, verifier, size, size) + bits(*numbers))

    @classmethod
    def secinfo(cls, name: bytes) -> bytes:
        return cls.op(Number.SECINFO, opaque(name))


@dataclass
class Reply:
    """COMPOUND4res: `results` begins at the first result; `last` is the number of the last operation that has one."""

    status: int
    tag: bytes
    count: int
    results: Decoder

    def skip(self, *sizes: int) -> Decoder:
        """Past results of operations that succeeded, each of so many bytes after its status; then past the next one's status."""
        for size in sizes:
            self.results.at += 8 + size
        self.results.at += 8
        return self.results


@dataclass
class Client4:
    server: RpcServer
    context: Context4
    exports: dict[str, Export]
    uid: int = 0
    gid: int = 0
    address: str = "10.0.0.2"
    minor: int = 0
    xid: int = 0
    flavor: int = 1
    sequence: bytes = b""
    ops: type[Ops] = Ops
    engine: RpcConnection = field(init=False)

    def __post_init__(self) -> None:
        self.engine = RpcConnection(self.server, Caller(self.address))

    def credential(self) -> bytes:
        if not self.flavor:
            return bytes(8)
        body = u32(1) + opaque(b"tester") + pack(">III", self.uid, self.gid, 0)
        return u32(1) + opaque(body)

    def exchange(self, procedure: int, arguments: bytes) -> bytes:
        self.xid += 1
        message = pack(">6I", self.xid, 0, 2, 100003, 4, procedure) + self.credential() + bytes(8) + arguments
        jobs = self.engine.receive_data(pack(">I", 0x80000000 | len(message)) + message, 0.0)
        while jobs:
            pending = jobs.pop()
            error = None
            try:
                pending.job.run()
            except OSError as caught:
                error = caught
            if not self.engine.complete(pending, error, 0.0):
                jobs.append(pending)
        reply = b"".join(self.engine.data_to_send())
        assert unpack_from(">I", reply)[0] == 0x80000000 | len(reply) - 4
        return reply[4:]

    def send(self, *operations: bytes, tag: bytes = b"", minor: int | None = None) -> Reply:
        minor = self.minor if minor is None else minor
        if self.sequence and minor:
            operations = (self.sequence, *operations)
        arguments = opaque(tag) + pack(">II", minor, len(operations)) + b"".join(operations)
        reply = self.parse(self.exchange(1, arguments))
        if self.sequence and minor:
            reply.results.at += 8
        return reply

    @staticmethod
    def parse(reply: bytes) -> Reply:
        assert unpack_from(">I", reply, 20)[0] == 0, "not accepted by RPC"
        decoder = Decoder(memoryview(reply), 24)
        return Reply(decoder.u32(), decoder.string(1024), decoder.u32(), decoder)

    def status(self, *operations: bytes, minor: int | None = None) -> Status:
        """The status of a COMPOUND, whose last result must be of the operation that failed."""
        return Status(self.send(*operations, minor=minor).status)

    def at(self, path: str) -> tuple[bytes, ...]:
        """Operations that make a path the current filehandle."""
        return (Ops.PUTROOTFH, *(Ops.lookup(name.encode()) for name in path.split("/") if name))

    def handle(self, path: str) -> bytes:
        way = self.at(path)
        reply = self.send(*way, Ops.GETFH)
        assert reply.status == Status.OK, Status(reply.status)
        return reply.skip(*(0 for _ in way)).string(128)

    def attributes(self, path: str, *numbers: int) -> tuple[int, Decoder]:
        """GETATTR: the mask that came, and the values."""
        way = self.at(path)
        reply = self.send(*way, Ops.getattr(*numbers))
        assert reply.status == Status.OK, Status(reply.status)
        decoder = reply.skip(*(0 for _ in way))
        mask = decode_bitmap(decoder)
        return mask, Decoder(decoder.opaque(65536))

    def number(self, path: str, attribute: int) -> int:
        mask, values = self.attributes(path, attribute)
        assert mask == 1 << attribute
        return int.from_bytes(values.view, "big")

    def listing(self, path: str, *numbers: int, size: int = 8192) -> list[tuple[bytes, int, bytes]]:
        """Name, mask and values of every entry, over as many READDIRs as it takes."""
        handle = self.handle(path)
        entries, cookie = [], 0
        while True:
            reply = self.send(Ops.putfh(handle), Ops.readdir(cookie, *numbers, size=size))
            assert reply.status == Status.OK, Status(reply.status)
            decoder = reply.skip(0)
            decoder.fixed(8)
            while decoder.boolean():
                cookie = decoder.u64()
                entries.append((decoder.string(1024), decode_bitmap(decoder), decoder.string(65536)))
            if decoder.boolean():
                return entries

    def tree(self) -> None:
        """A file, a directory, a symlink and a FIFO in /gold, made without OPEN."""
        gold = self.exports["/gold"].store
        own = gold.getattr(gold.root)
        gold.setattr(gold.root, AttributeChange(mode=0o755))
        owner = Ownership(mode=0o644, uid=own.uid, gid=own.gid)
        file = gold.create(gold.root, b"file", owner)
        gold.write(file, 0, b"contents")
        gold.mkdir(gold.root, b"dir", Ownership(mode=0o755, uid=own.uid, gid=own.gid))
        gold.symlink(gold.root, b"link", b"file", owner)


def make_client4(stores, *, quick=True, **options) -> Client4:
    table = ExportTable()
    exports = {path: Export(path=path, store=files, **options) for path, files in stores.items()}
    for export in exports.values():
        table.add(export)
    shared = Context(table, Handles(bytes(32)), b"verifier")
    context = Context4(shared, NfsState(7, 0.0), lambda: AFTER_GRACE)
    program = nfs_program(shared, nfs4_procedures(context, OPS, quick=quick))
    return Client4(RpcServer((program,)), context, exports)


@pytest.fixture
def client42(client4):
    """A client of 4.2 whose session costs nothing: SEQUENCE has neither arguments nor results here."""

    def sequence(compound, arguments):
        return b""

    rows = (*OPS, Op(Number.SEQUENCE, sequence, FROM_41))
    program = nfs_program(client4.context.shared, nfs4_procedures(client4.context, rows))
    return replace(client4, server=RpcServer((program,)), minor=2, sequence=u32(Number.SEQUENCE))


@pytest.fixture
def make4():
    """Makes a client from stores by export path, and options of all the exports."""
    made = []

    def making(stores=None, **options):
        it = make_client4({"/gold": MemoryFileStore()} if stores is None else stores, **options)
        made.extend(export.store for export in it.exports.values())
        return it

    yield making
    for files in made:
        files.close()


@pytest.fixture(params=["memory", "local"])
def client4(request, tmp_path, make4):
    """A client of each kind of store, with /gold in the pseudo file system and something in it."""
    it = make4({"/gold": MemoryFileStore() if request.param == "memory" else LocalFileStore(tmp_path)})
    it.tree()
    return it
