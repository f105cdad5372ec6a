"""An iSCSI session: the commands that are under way in it, on however many connections, and whose they are."""

from __future__ import annotations

from typing import Final

from labctl.trace.command import Command, Endpoint, Owner, Protocol
from labctl.trace.limits import MAX_OPEN
from labctl.trace.naming import Names
from labctl.trace.protocols.exchange import Book, Exchange, Scope
from labctl.trace.protocols.iscsi.cdb import Request, read_cdb, unmap_ranges

READ: Final = 0x40
WRITE: Final = 0x20
PARAMETERS: Final = frozenset((0x25, 0x42, 0x9E, 0x5E, 0x5F, 0x83))
"""Commands whose parameter data is looked at: capacities, what UNMAP unmaps, reservation keys, and what EXTENDED COPY copies."""
BLOCK_SIZES: Final = frozenset(1 << bits for bits in range(9, 17)) | {520, 528, 4160, 4224}


class Task(Exchange):
    """A SCSI command.

    Args of their own:
        cdb: the CDB, with what an AHS adds to it.
        expected: the expected data transfer length, in bytes.
        flags: byte 1 of the header.
        data_sn: the DataSN that comes next, or -1 where that is not known.
        r2t_sn: the R2TSN that comes next, or -1.
        asked: R2Ts that are being answered: target transfer tag → [offset, length, next DataSN, next offset].
        parameters: data of commands in `PARAMETERS`.
    """

    __slots__ = ("asked", "cdb", "data_sn", "expected", "flags", "parameters", "r2t_sn", "residual")

    def __init__(self, number: int, scope: IscsiSession, tag: int, start: int, frame: int, depth: int) -> None:
        Exchange.__init__(self, number, Protocol.ISCSI, "", scope, tag, start, frame, depth)
        self.cdb = b""
        self.expected = self.flags = self.data_sn = self.r2t_sn = 0
        self.asked: dict[int, list[int]] | None = None
        self.parameters = b""
        self.residual = 0


class IscsiSession(Scope):
    """A session.

    Args:
        client: the initiator's end of its first connection.
        server: the target's.
        book: takes what is done.
    """

    def __init__(self, client: Endpoint, server: Endpoint, book: Book) -> None:
        super().__init__(client, server)
        self._book = book
        self.open: dict[int, Exchange] = {}
        self.initiator = ""
        self.target = ""
        self.connections = 1
        self.cmd_sn = -1
        """The CmdSN that comes next, or -1."""
        self.max_cmd_sn = -1
        self.blocks: dict[int, int] = {}
        """Bytes of a block, by LUN."""
        self._owners: dict[int | None, Owner] = {}
        self._owned: tuple[Names | None, str, str] = None, "", ""

    def name(self) -> str:
        """Initiator and target, or the connection's ends where the login was not seen."""
        return f"{self.initiator},{self.target}" if self.initiator else super().name()

    def add(self, exchange: Exchange, tag: int, frame: int) -> None:
        """Take a request; another one of the same tag is given up."""
        old = self.open.pop(tag, None)
        if old is not None:
            self._book.problem(
                f"task tag {tag:#x} is used again before its command has ended",
                frame=frame,
                command=old.id,
                rule="RFC 7143 4.2.2.1",
            )
            self._book.done.append(old)
        elif len(self.open) >= MAX_OPEN:
            self._book.done.append(self.open.pop(next(iter(self.open))))
        self.open[tag] = exchange

    def expire(self, before: int) -> None:
        """Give up what began before a time; requests are in the order of their beginning, nearly."""
        while self.open:
            tag = next(iter(self.open))
            if self.open[tag].start >= before:
                break
            self._book.done.append(self.open.pop(tag))

    def command(self, exchange: Exchange, names: Names) -> Command:
        """The finished command."""
        lun = exchange.unit
        if isinstance(exchange, Task):
            self._read(exchange)
        number = lun_number(lun) if lun is not None else None
        return Command(
            id=exchange.id,
            protocol=exchange.protocol,
            operation=exchange.operation,
            client=self.client,
            server=self.server,
            start=exchange.start,
            end=exchange.end,
            frames=(exchange.first, exchange.last),
            session=self.name(),
            tag=exchange.tag,
            target=f"LUN {number}" if number is not None else exchange.target,
            offset=exchange.offset,
            length=exchange.length,
            sent=exchange.sent,
            received=exchange.received,
            status=exchange.status,
            sense=exchange.sense,
            good=exchange.good,
            depth=exchange.depth,
            retransmissions=exchange.retransmissions,
            round_trips=exchange.round_trips,
            owner=self.owner(number, names),
            details=self._details(exchange),
        )

    def owner(self, lun: int | None, names: Names) -> Owner:
        """Whose a command to a LUN is; asked once, as long as the names and what the login said stay the same."""
        known = names, self.initiator, self.target
        if self._owned[0] is not names or self._owned != known:
            self._owned = known
            self._owners.clear()
        owner = self._owners.get(lun)
        if owner is None:
            owner = self._owners[lun] = names.of_lun(
                self.client.address, self.server.address, self.initiator, self.target, lun
            )
            if len(self._owners) > MAX_OPEN:
                self._owners.clear()
        return owner

    def request(self, task: Task) -> Request:
        """What a task asks for; also learns its blocks' size."""
        request = read_cdb(task.cdb)
        task.operation = request.name
        if (
            request.blocks
            and task.flags & (READ | WRITE)
            and task.unit is not None
            and task.cdb[0] not in (0x41, 0x93, 0x89)
        ):
            size, rest = divmod(task.expected, request.blocks)
            if not rest and size in BLOCK_SIZES:
                self.blocks[task.unit] = size
        return request

    def _read(self, task: Task) -> None:
        request = self.request(task)
        if request.length is not None:
            task.length = request.length
        if request.block is not None:
            size = self.blocks.get(task.unit or 0, 512)
            task.offset = request.block * size
            task.length = request.blocks * size if request.blocks is not None else request.length
        if task.parameters:
            self._parameters(task)

    def _parameters(self, task: Task) -> None:
        opcode, data = task.cdb[0], task.parameters
        size = self.blocks.get(task.unit or 0, 512)
        if opcode == 0x42 and (ranges := unmap_ranges(data)):
            task.offset = ranges[0][0] * size
            task.length = sum(count for _, count in ranges) * size
            if len(ranges) > 1:
                task.details = {
                    **(task.details or {}),
                    "ranges": [(block * size, count * size) for block, count in ranges],
                }
        elif opcode == 0x5F and len(data) >= 24:
            keys = {"reservation_key": "0x" + data[:8].hex(), "service_action_key": "0x" + data[8:16].hex()}
            task.details = {**(task.details or {}), **keys, "type": task.cdb[2] & 15}

    def learn_capacity(self, task: Task) -> None:
        """READ CAPACITY tells the size of a block (SBC-3 5.15, 5.16)."""
        data = task.parameters
        if task.cdb[0] == 0x25 and len(data) >= 8:
            size = int.from_bytes(data[4:8], "big")
        elif task.cdb[0] == 0x9E and task.cdb[1] & 0x1F == 0x10 and len(data) >= 12:
            size = int.from_bytes(data[8:12], "big")
        else:
            return
        if size in BLOCK_SIZES and task.unit is not None:
            self.blocks[task.unit] = size

    def _details(self, exchange: Exchange) -> dict[str, object]:
        details: dict[str, object] = {}
        if isinstance(exchange, Task):
            details = {"cdb": exchange.cdb.hex(), "expected_length": exchange.expected}
            if exchange.residual:
                details["residual"] = exchange.residual
        if exchange.details:
            details.update(exchange.details)
        return details


def lun_number(lun: int) -> int:
    """A LUN as people count (SAM-5 4.7): of one level, by peripheral or flat addressing; others as their 64 bits are."""
    if lun & 0xFFFFFFFFFFFF:
        return lun
    first = lun >> 48
    if first >> 14 == 0:
        return first & 0xFF if first >> 8 == 0 else lun
    return first & 0x3FFF if first >> 14 == 1 else lun
