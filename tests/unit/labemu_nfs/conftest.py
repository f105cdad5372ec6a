"""A client that joins the engine back to back: it makes calls as bytes and reads replies, without a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import pack, unpack_from

import pytest

from labemu_nfs.context import Context
from labemu_nfs.exports import Export, ExportTable
from labemu_nfs.handles import Handles
from labemu_nfs.mount import Mount
from labemu_nfs.nfs3.program import TABLE, nfs_program
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection, RpcServer
from labemu_nfs.xdr import Decoder, opaque
from labemu_store.file import LocalFileStore, MemoryFileStore
from labemu_store.file.local import store
from labemu_store.file.local.keys import IndexedKeys

NUMBERS = {"NULL": 0, **{name: number for number, (name, *_) in enumerate(TABLE, start=1)}}
DEFAULT_SATTR = pack(">6I", 0, 0, 0, 0, 0, 0)


def auth_sys(uid: int, gid: int, *groups: int) -> bytes:
    body = (
        pack(">I", 1)
        + opaque(b"tester")
        + pack(">III", uid, gid, len(groups))
        + b"".join(pack(">I", g) for g in groups)
    )
    return pack(">II", 1, len(body)) + body


def record(message: bytes) -> bytes:
    return pack(">I", 0x80000000 | len(message)) + message


@dataclass
class Reply:
    """What came back: `status` is the nfsstat3 where there is one, `rest` what follows it."""

    xid: int
    accept: int
    status: int
    rest: Decoder


@dataclass
class Client:
    server: RpcServer
    context: Context
    export: Export
    mount: Mount
    uid: int = 0
    gid: int = 0
    address: str = "10.0.0.2"
    xid: int = 0
    engine: RpcConnection = field(init=False)

    def __post_init__(self) -> None:
        self.engine = RpcConnection(self.server, Caller(self.address))

    def message(self, procedure: int, arguments: bytes, *, program: int = 100003, version: int = 3) -> bytes:
        self.xid += 1
        head = pack(">6I", self.xid, 0, 2, program, version, procedure)
        return head + auth_sys(self.uid, self.gid) + bytes(8) + arguments

    def exchange(self, data: bytes) -> list[bytes]:
        """Send bytes, run every Job at once, and take the replies apart."""
        jobs = self.engine.receive_data(data, 0.0)
        out = b"".join(self.engine.data_to_send())
        while jobs or self.engine._reader:
            for pending in jobs:
                while True:
                    error = None
                    try:
                        pending.job.run()
                    except OSError as caught:
                        error = caught
                    if self.engine.complete(pending, error, 0.0):  # else it has another Job
                        break
            jobs = self.engine.proceed(0.0)
            more = b"".join(self.engine.data_to_send())
            out += more
            if not jobs and not more:
                break
        replies = []
        while out:
            size = unpack_from(">I", out)[0] & 0x7FFFFFFF
            replies.append(out[4 : 4 + size])
            assert len(replies[-1]) == size
            assert size % 4 == 0
            out = out[4 + size :]
        return replies

    def send(self, message: bytes) -> Reply:
        (reply,) = self.exchange(record(message))
        return parse(reply)

    def call(self, name: str, arguments: bytes = b"") -> Reply:
        return self.send(self.message(NUMBERS[name], arguments))

    @property
    def root(self) -> bytes:
        return self.context.handles.make(self.export.fsid, self.export.store.root)

    def create(self, name: bytes, mode: int = 0o644, directory: bytes | None = None) -> bytes:
        arguments = opaque(directory or self.root) + opaque(name) + pack(">III", 0, 1, mode) + bytes(20)
        reply = self.call("CREATE", arguments)
        assert reply.status == 0
        assert reply.rest.u32() == 1
        return reply.rest.string(64)

    def write(self, handle: bytes, offset: int, data: bytes, stable: int = 0) -> Reply:
        return self.call("WRITE", opaque(handle) + pack(">QII", offset, len(data), stable) + opaque(data))

    def read(self, handle: bytes, offset: int, count: int) -> tuple[bytes, bool]:
        reply = self.call("READ", opaque(handle) + pack(">QI", offset, count))
        assert reply.status == 0
        reply.rest.fixed(4 + 84 + 4)
        eof = reply.rest.boolean()
        return reply.rest.string(1 << 20), eof


def parse(reply: bytes) -> Reply:
    xid, kind, denied = unpack_from(">III", reply)
    assert kind == 1
    accept = unpack_from(">I", reply, 20)[0] if not denied else -1
    rest = Decoder(memoryview(reply), 24)
    status = rest.u32() if accept == 0 and len(reply) > 24 else accept
    return Reply(xid, accept, status, rest)


def make_client(files, **options) -> Client:
    table = ExportTable()
    export = Export(path="/gold", store=files, **options)
    table.add(export)
    context = Context(table, Handles(bytes(32)), b"verifier")
    mount = Mount(context)
    return Client(RpcServer((nfs_program(context), mount.program())), context, export, mount)


@pytest.fixture
def make():
    """Makes a client from a store and options of its export."""
    stores = []

    def making(files=None, **options):
        it = make_client(MemoryFileStore() if files is None else files, **options)
        stores.append(it.export.store)
        return it

    yield making
    for files in stores:
        files.close()


@pytest.fixture(params=["memory", "local", "indexed"])
def client(request, tmp_path, make, monkeypatch):
    """A client of each kind of store; `indexed` is a directory where the kernel's file handles cannot be had."""
    if request.param == "indexed":
        monkeypatch.setattr(store, "choose_keys", IndexedKeys)
    return make(MemoryFileStore() if request.param == "memory" else LocalFileStore(tmp_path))
