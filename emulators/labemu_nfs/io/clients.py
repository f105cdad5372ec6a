"""What NFSv4's state needs of the world: a file for the clients' names, and connections to clients of 4.0."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from labemu_nfs.errors import ConfigurationError
from labemu_nfs.io.state import write_whole
from labemu_nfs.nfs4.state.grace import Name
from labemu_nfs.rpc.link import Link
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection, RpcServer

_FILE = "nfs4-clients.json"
_CONNECT_TIME = 10.0
"""Seconds to reach a client in; a firewall that drops would hold it for minutes."""

_BOOTS = 1 << 32


class ClientsFile:
    """See labemu_nfs.nfs4.state.grace.Records; it also counts the starts of the server.

    Args:
        folder: the state folder.

    Raises:
        OSError: it cannot be used.
        ConfigurationError: what is kept there is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        self.boot = 2 + secrets.randbelow(_BOOTS >> 1)  # should the file be lost, stateids of then are still STALE
        self._names: frozenset[Name] = frozenset()
        if self._file.exists():
            self._read()
        self.save(self._names)

    def _read(self) -> None:
        try:
            kept = json.loads(self._file.read_text())
            self.boot = int(kept["boot"]) % (_BOOTS - 1) + 1
            self._names = frozenset((int(minor), bytes.fromhex(name)) for minor, name in kept["clients"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"{self._file} is damaged: {error}",
                hint="Remove it; clients of NFSv4 will lose their opens and locks at this start.",
            ) from error

    def load(self) -> frozenset[Name]:
        """The clients that had state at the start before."""
        return self._names

    def save(self, names: Iterable[Name]) -> None:
        """Keep these, durably and whole."""
        clients = [[minor, name.hex()] for minor, name in sorted(names)]
        write_whole(self._file, json.dumps({"boot": self.boot, "clients": clients}).encode())


class CallbackDialer:
    """See labemu_nfs.nfs4.state.model.Dialer.

    Args:
        addresses: of the server: calls come from one that the client knows.
        adopt: takes a connected socket and its engine, and moves their bytes; returns False where there are too many.
    """

    def __init__(self, addresses: Sequence[str], adopt: Callable[[socket.socket, RpcConnection], bool]) -> None:
        self._addresses = addresses
        self._adopt = adopt
        self._server = RpcServer(())
        self._tasks: set[asyncio.Task[None]] = set()

    def dial(self, host: str, port: int) -> Link:
        """A connection that was begun; calls made meanwhile wait for it."""
        engine = RpcConnection(self._server, Caller(host))
        task = asyncio.get_running_loop().create_task(self._connect(engine, host, port))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return engine.link

    async def _connect(self, engine: RpcConnection, host: str, port: int) -> None:
        version = ip_address(host).version
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            own = next((each for each in self._addresses if ip_address(each).version == version), None)
            if own is not None:
                sock.bind((own, 0))
            async with asyncio.timeout(_CONNECT_TIME):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
            adopted = self._adopt(sock, engine)
        except (OSError, TimeoutError):
            adopted = False
        except asyncio.CancelledError:
            sock.close()
            raise
        if not adopted:
            sock.close()
            engine.link.close()

    async def close(self) -> None:
        """Give up what is under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
