"""Two engines back to back: an initiator and a target, joined by lists of buffers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.initiator import Initiator
from labemu_iscsi.io.server import IscsiServer
from labemu_iscsi.node import Node
from labemu_iscsi.service import Service
from labemu_iscsi.session import Target
from labemu_scsi.command import Deferred, Response
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore

from .live import Lab

TARGET = "iqn.2026-11.lab:t1"
MIB = 1 << 20


class Pair:
    """An initiator and a target's connection, joined.

    Deferred work is kept in `deferred` while `hold` is set, else done at once; while `slow` is, it has begun and
    does not end. `chunk` cuts what travels into pieces.
    """

    def __init__(self, node: Node, initiator: Initiator, chunk: int = 0) -> None:
        self.initiator = initiator
        self.connection = TargetConnection(node)
        self.service = Service(self.connection, self._execute, lambda: None)
        self.chunk = chunk
        self.hold = False
        self.slow = False
        self.spoil: Callable[[bytes], bytes] = lambda out: out  # what the network makes of what the initiator sends
        self.deferred: list[Callable[[], None]] = []

    def _execute(self, deferred: Deferred, work: Callable[[], Response], done: Callable[[Response], None]) -> None:
        if self.slow:  # on a thread already, and not through
            response = work()
            self.deferred.append(lambda: done(response))
        elif self.hold:
            self.deferred.append(lambda: done(work()))
        else:
            done(work())

    def exchange(self) -> None:
        """Move bytes both ways until there are none."""
        while True:
            for event in self.connection.take_events():
                self.service.handle(event)
            out = b"".join(map(bytes, self.initiator.data_to_send()))
            out = self.spoil(out)
            size = self.chunk or len(out) or 1
            for start in range(0, len(out), size):
                for event in self.connection.receive_data(out[start : start + size]):
                    self.service.handle(event)
            back = b"".join(map(bytes, self.connection.data_to_send()))
            self.initiator.receive_data(back)
            if not out and not back:
                return

    def deliver(self) -> bytes:
        """Move what the initiator has to say; what the target says to that, which the initiator does not get."""
        for event in self.connection.receive_data(b"".join(map(bytes, self.initiator.data_to_send()))):
            self.service.handle(event)
        return b"".join(map(bytes, self.connection.data_to_send()))

    def release(self) -> None:
        """Do the deferred work that was held."""
        self.hold = self.slow = False
        waiting, self.deferred = self.deferred, []
        for work in waiting:
            work()
        self.exchange()

    def login(self) -> None:
        self.initiator.login()
        self.exchange()
        assert self.initiator.logged_in, self.connection.error
        self.initiator.command(b"\0")  # takes the unit attention
        self.exchange()


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node(entropy=lambda count: bytes(range(count)))
    node.portals = ["10.0.0.1:3260"]
    target = Target(name=TARGET)
    store = MemoryBlockStore(64 * MIB)
    target.device.add_unit(0, LogicalUnit(store, serial="unit0"))
    node.targets[TARGET] = target
    yield node
    store.close()


@pytest.fixture
def connect(node: Node) -> Callable[..., Pair]:
    def connect(*, chunk: int = 0, login: bool = True, **arguments: object) -> Pair:
        pair = Pair(node, Initiator(**{"target": TARGET, **arguments}), chunk)  # type: ignore[arg-type]
        if login:
            pair.login()
        return pair

    return connect


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    server = IscsiServer([("127.0.0.1", 0)])
    server.add_target(TARGET)
    for number in (0, 1):
        server.add_lun(TARGET, number, MemoryBlockStore(1 << 20))
    await server.start()
    made = Lab(server)
    yield made
    for client in made.clients:
        client.writer.close()
        with contextlib.suppress(OSError):
            await client.writer.wait_closed()
    await server.close()
