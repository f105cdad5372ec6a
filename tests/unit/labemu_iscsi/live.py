"""A server that listens on loopback, and initiators on sockets, for tests of what lies beside the engines."""

from __future__ import annotations

import asyncio

from labemu_faults.action import Action, ActionKind
from labemu_faults.rule import Rule
from labemu_iscsi.initiator import Initiator, Result
from labemu_iscsi.io.server import IscsiServer

TARGET = "iqn.2026-11.lab:t1"
READ10 = bytes.fromhex("28000000000000000100")
DEADLINE = 60.0


class Client:
    """An initiator on a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self.reader, self.writer = reader, writer
        self.initiator = Initiator(target=TARGET, name=name)

    async def until(self, done) -> None:
        """Exchange bytes until something is so; EOFError where the connection ends before."""
        async with asyncio.timeout(DEADLINE):
            while True:
                self.writer.write(b"".join(map(bytes, self.initiator.data_to_send())))
                if done():
                    return
                data = await self.reader.read(1 << 16)
                if not data:
                    raise EOFError
                self.initiator.receive_data(data)

    async def login(self) -> None:
        self.initiator.login()
        await self.until(lambda: self.initiator.logged_in or (self.initiator.login_status or (0, 0))[0] != 0)

    async def read(self, lun: int = 0) -> Result:
        result = self.send(lun)
        await self.until(lambda: result.status is not None)
        return result

    def send(self, lun: int = 0) -> Result:
        result = self.initiator.command(READ10, read=512, lun=lun)
        self.writer.write(b"".join(map(bytes, self.initiator.data_to_send())))
        return result

    async def attention(self, lun: int = 0) -> None:
        result = self.initiator.command(b"\0", lun=lun)
        await self.until(lambda: result.status is not None)


class Lab:
    def __init__(self, server: IscsiServer) -> None:
        self.server = server
        self.clients: list[Client] = []

    async def connect(self, name: str = "iqn.2026-11.lab:i1") -> Client:
        host, port = self.server.portals[0]
        client = Client(*await asyncio.open_connection(host, port), name)
        self.clients.append(client)
        return client

    async def session(self, name: str = "iqn.2026-11.lab:i1") -> Client:
        client = await self.connect(name)
        await client.login()
        assert client.initiator.logged_in
        for lun in (0, 1):
            await client.attention(lun)
        return client

    def order(self, kind: str, *, selectors: dict[str, object] | None = None, **action: object) -> str:
        rule = Rule(id="", action=Action(kind=ActionKind(kind), **action), **(selectors or {}))  # type: ignore[arg-type]
        return self.server.faults.add(rule).rule.id
