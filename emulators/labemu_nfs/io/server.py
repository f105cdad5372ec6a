"""The NFS server as an object that another process can hold, or that `python -m labemu_nfs` holds alone.

Rules: everything happens in the event loop's thread, save what waits for a disk to have written. No address is listened at that was
not named. The server owns the stores of its exports and closes them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path

from labemu_io.linger import Linger
from labemu_nfs.context import Context
from labemu_nfs.errors import ConfigurationError
from labemu_nfs.exports import Export, ExportTable
from labemu_nfs.handles import Handles
from labemu_nfs.io.background import Background
from labemu_nfs.io.clients import CallbackDialer, ClientsFile
from labemu_nfs.io.connection import Connection
from labemu_nfs.io.disk import Disk
from labemu_nfs.io.faults import NfsFaults
from labemu_nfs.io.listeners import DatagramPort, Listener
from labemu_nfs.io.locking import Locking
from labemu_nfs.io.state import load_secret
from labemu_nfs.kept import KeptFiles
from labemu_nfs.limits import GRACE_PERIOD, LEASE_TIME, MAX_CONNECTIONS, MAX_PERIOD
from labemu_nfs.mount import MOUNT_PROGRAM, Mount
from labemu_nfs.nfs3.program import NFS_PROGRAM, nfs_program
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.ops.table import OPS
from labemu_nfs.nfs4.program import nfs4_procedures
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.nlm.nlm import NLM_PROGRAM
from labemu_nfs.nlm.nsm import NSM_PROGRAM
from labemu_nfs.portmap import PORTMAP_PORT, PORTMAP_PROGRAM, Mapping, Portmap
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection, RpcServer
from labemu_stages.feed import Feed
from labemu_store.file import FileStore

NFS_PORT = 2049


@dataclass(frozen=True, kw_only=True)
class ServerStats:
    """What a server has done since it was started.

    Args:
        calls: by program and procedure, `nfs.READ`; the operations of NFSv4's COMPOUNDs as `nfs4.READ`.
        bytes_read: that READ gave.
        bytes_written: that WRITE took.
        connections: open now, portmap's included.
        repeated: calls that were answered from kept replies.
    """

    calls: dict[str, int]
    bytes_read: int
    bytes_written: int
    connections: int
    repeated: int


class NfsServer:
    """NFSv3 with its locks, MOUNT and the port mapper on some addresses.

    Args:
        listen: the IP address, or several.
        exports: what is served at first.
        state_dir: where the secret of the filehandles and who holds locks are kept, so that clients survive a restart; None for nowhere.
        nfs_port: of NFS and MOUNT; 0 for any that is free.
        portmap_port: of the port mapper; 0 for any that is free, None for no port mapper.
        allow_wildcard: whether 0.0.0.0 or :: may be listened at.
        lease: seconds of NFSv4's.
        grace: seconds after a restart in which clients only get back what they had; if not given, a lease for NFSv4, 20 for NFSv3's locks.

    Raises:
        ConfigurationError: an address or an export makes no sense.
        OSError: the state folder cannot be used.
    """

    def __init__(
        self,
        listen: str | Sequence[str],
        exports: Iterable[Export] = (),
        state_dir: Path | None = None,
        *,
        nfs_port: int = NFS_PORT,
        portmap_port: int | None = PORTMAP_PORT,
        allow_wildcard: bool = False,
        lease: int = LEASE_TIME,
        grace: int | None = None,
    ) -> None:
        _check_period("lease", lease)
        _check_period("grace", lease if grace is None else grace)
        self._addresses = (listen,) if isinstance(listen, str) else tuple(listen)
        for address in self._addresses:
            _check_address(address, allow_wildcard=allow_wildcard)
        self._nfs_port = nfs_port
        self._portmap_port = portmap_port
        self._exports = ExportTable()
        for export in exports:
            self._exports.add(export)
        secret = load_secret(state_dir)
        self._context = Context(self._exports, Handles(secret), os.urandom(8))
        self._mount = Mount(self._context)
        self._dialer = CallbackDialer(self._addresses, self._adopt)
        self.state = _client_state(state_dir, secret, self._dialer, KeptFiles(self._exports), lease, grace)
        self._locking = Locking(
            self._context,
            self._addresses,
            state_dir,
            self.state,
            grace=GRACE_PERIOD if grace is None else grace,
            foreign_grace=self.state.grace.active,
        )
        self.state.freed, self.state.foreign_grace = self._locking.released, self._locking.reclaiming
        self._context.foreign = lambda file, use: self.state.check_foreign(file, use, time.monotonic())
        self._context4 = Context4(self._context, self.state, time.monotonic, lease=lease)
        nfs = nfs_program(self._context, nfs4_procedures(self._context4, OPS))
        self._rpc = RpcServer((nfs, self._mount.program(), *self._locking.programs()))
        self._portmaps: list[RpcServer] = []
        self._ports: list[Listener | DatagramPort] = []
        self._connections: dict[RpcConnection, Connection] = {}
        self._feed: Feed | None = None
        self._told: dict[RpcConnection, None] = {}
        self.faults = NfsFaults(self._rpc, nfs, self._context4, lambda: self._connections.values())
        self._disk: Disk | None = None
        self._background: Background | None = None
        self._linger = Linger()

    @property
    def nfs_port(self) -> int:
        """The port of NFS and MOUNT, once started."""
        return self._nfs_port

    @property
    def portmap_port(self) -> int | None:
        """The port of the port mapper, once started."""
        return self._portmap_port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: an address is not on this machine, or a port is taken; then nothing is listened at.
        """
        self._disk = Disk(asyncio.get_running_loop(), self._proceed)
        self._background = Background(asyncio.get_running_loop(), self._disk)
        self._context4.background = self._background.begin
        try:
            self.faults.faults.now = asyncio.get_running_loop().time
            for address in self._addresses:
                self._listen(asyncio.get_running_loop(), address)
        except BaseException:
            self._stop_listening()
            raise
        self._locking.start()

    def _listen(self, loop: asyncio.AbstractEventLoop, address: str) -> None:
        tcp = Listener(loop, address, self._nfs_port, lambda sock, peer: self._accepted(self._rpc, sock, peer))
        self._ports.append(tcp)
        self._nfs_port = tcp.port
        self._ports.append(DatagramPort(loop, address, tcp.port, self._rpc))
        if self._portmap_port is None:
            return
        portmap = Portmap(address)
        server = RpcServer((portmap.program(),))
        self._portmaps.append(server)
        mapper = Listener(loop, address, self._portmap_port, lambda sock, peer: self._accepted(server, sock, peer))
        self._ports.append(mapper)
        self._portmap_port = mapper.port
        self._ports.append(DatagramPort(loop, address, mapper.port, server))
        portmap.publish(_mappings(tcp.port, mapper.port))

    def _accepted(self, server: RpcServer, sock: socket.socket, peer: str) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        if server is self._rpc and self.faults.resets(peer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close then resets
            sock.close()
            return
        engine = RpcConnection(server, Caller(peer))
        self._own(sock, engine)
        if server is self._rpc:
            self.faults.accepted(self._connections[engine])

    def _own(self, sock: socket.socket, engine: RpcConnection) -> None:
        assert self._disk is not None
        self._connections[engine] = Connection(
            asyncio.get_running_loop(),
            sock,
            engine,
            disk=self._disk,
            linger=self._linger,
            tell=self._tell,
            closed=self._gone,
        )
        if self._feed is not None:
            self._connections[engine].note(self._feed)

    def _adopt(self, sock: socket.socket, engine: RpcConnection) -> bool:
        """Take a connection that this server has made to a client; whether there is room."""
        if len(self._connections) >= MAX_CONNECTIONS:
            return False
        self._own(sock, engine)
        self._connections[engine].flush()
        return True

    def _tell(self, engines: list[RpcConnection]) -> None:
        for engine in engines:
            self._told[engine] = None
        if self._disk is None or not self._disk.draining:
            self._proceed()

    def _proceed(self) -> None:
        """Let the connections go on that have been told of."""
        told, self._told = self._told, {}
        for engine in told:
            connection = self._connections.get(engine)
            if connection is not None:
                connection.proceed()

    def _gone(self, connection: Connection) -> None:
        self._connections.pop(connection.engine, None)

    def _stop_listening(self) -> None:
        while self._ports:
            self._ports.pop().close()

    async def close(self) -> None:
        """Stop: close every connection, wait for the disk, close the stores."""
        self._stop_listening()
        self._context4.background = None
        await self._locking.close()
        await self._dialer.close()
        self.state.close()
        for connection in tuple(self._connections.values()):
            connection.close()
        if self._disk is not None and self._background is not None:
            self._background.start()
            await self._disk.close()
        for export in tuple(self._exports):
            self.remove_export(export.path)

    @property
    def exports(self) -> tuple[Export, ...]:
        """What is served now."""
        return tuple(self._exports)

    def add_export(self, export: Export) -> None:
        """Serve one more. Raises ConfigurationError where its path or fsid is taken."""
        self._exports.add(export)

    def remove_export(self, path: str) -> None:
        """Serve it no more, from now on: its handles are stale. Raises ConfigurationError where there is none."""
        self.release_export(path).close()

    def release_export(self, path: str) -> FileStore:
        """As `remove_export`, but the store is the caller's now, to be closed: that may take long where it is elsewhere."""
        return self._exports.remove(path).store

    @property
    def mounts(self) -> tuple[tuple[str, str], ...]:
        """Client address and path of each mount, as far as clients have said."""
        return tuple(self._mount.mounts)

    @property
    def clients(self) -> tuple[str, ...]:
        """The addresses that are connected to NFS now."""
        engines = (engine for engine in self._connections if engine.server is self._rpc)
        return tuple(sorted({engine.caller.address for engine in engines}))

    def watch(self, feed: Feed | None) -> None:
        """Note the stages of calls there, or (None) no more."""
        self._feed = feed
        for connection in tuple(self._connections.values()):
            connection.note(feed)

    def stats(self) -> ServerStats:
        """What was done so far."""
        calls: dict[str, int] = {}
        for server in (self._rpc, *self._portmaps):
            for program in server.programs.values():
                for procedure in {p for table in program.versions.values() for p in table if p is not None}:
                    count = server.calls.get(procedure, 0)
                    if count:
                        name = f"{program.name}.{procedure.name}"
                        calls[name] = calls.get(name, 0) + count
        calls.update({f"nfs4.{name}": count for name, count in self._context4.operations.items()})
        return ServerStats(
            calls=calls,
            bytes_read=self._context.bytes_read,
            bytes_written=self._context.bytes_written,
            connections=len(self._connections),
            repeated=self._rpc.replies.hits,
        )


def _client_state(
    folder: Path | None, secret: bytes, dialer: CallbackDialer, kept: KeptFiles, lease: int, grace: int | None
) -> NfsState:
    """NFSv4's state, with what was kept of it."""
    identity = b"labemu_nfs-" + blake2b(b"server", digest_size=8, key=secret).hexdigest().encode()
    records = ClientsFile(folder) if folder is not None else None
    return NfsState(
        records.boot if records is not None else int.from_bytes(os.urandom(4), "big") | 1,
        time.monotonic(),
        records,
        lease=lease,
        grace=grace,
        opened=kept.opened,
        closed=kept.closed,
        identity=identity,
        dialer=dialer,
    )


def _check_period(name: str, seconds: int) -> None:
    if not 1 <= seconds <= MAX_PERIOD:
        raise ConfigurationError(
            f"{name} {seconds}: not from 1 to {MAX_PERIOD} seconds",
            hint="90 is usual; a short one suits tests, and must leave clients the time to renew it.",
        )


def _check_address(text: str, *, allow_wildcard: bool) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        raise ConfigurationError(
            f"{text}: not an IP address", hint="Give one of this machine's, such as 10.0.0.1."
        ) from None
    if address.is_unspecified and not allow_wildcard:
        raise ConfigurationError(
            f"{text} means every address of this machine", hint="Name the address, or allow it with --allow-wildcard."
        )


def _mappings(nfs: int, portmap: int) -> list[Mapping]:
    both = ("tcp", "udp")
    found = [Mapping(program=PORTMAP_PROGRAM, version=v, transport=t, port=portmap) for v in (2, 3, 4) for t in both]
    found += [Mapping(program=NFS_PROGRAM, version=v, transport="tcp", port=nfs) for v in (3, 4)]
    found.append(Mapping(program=NLM_PROGRAM, version=4, transport="tcp", port=nfs))
    found += [Mapping(program=NSM_PROGRAM, version=1, transport=t, port=nfs) for t in both]
    found += [Mapping(program=MOUNT_PROGRAM, version=v, transport=t, port=nfs) for v in (1, 3) for t in both]
    return found
