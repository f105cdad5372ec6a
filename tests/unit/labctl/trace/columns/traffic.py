"""Storage traffic of every usual kind, and now and then an unusual one, as the segments of connections that run side by side."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from labctl.trace.record import Packet
from tests.unit.labctl.trace.talk import START, STEP, Talk

NO_TAG = 0xFFFFFFFF
Said = tuple[int, bytes]
"""Who speaks (0: the client), and what."""


def pdu(
    opcode: int, flags: int, tag: int, words: tuple[int, ...], data: bytes = b"", *, lun: int = 0, status: int = 0
) -> bytes:
    """A PDU with seven words from byte 20 on."""
    head = struct.pack(">BBBBIQI7I", opcode, flags, 0, status, len(data), lun, tag, *words)
    return head + data + bytes(-len(data) % 4)


@dataclass
class Disk:
    """An initiator and a target that do reads and writes, many at a time.

    Args:
        chance: decides.
        odd: how often something unusual happens, from 0 to 1.
    """

    chance: random.Random
    odd: float = 0.0
    cmd_sn: int = 1
    stat_sn: int = 1
    tag: int = 0
    waiting: list[Iterator[Said]] = field(default_factory=list)

    def run(self, commands: int) -> Iterator[Said]:
        """What the two say until so many commands are done."""
        left = commands
        while left or self.waiting:
            if left and len(self.waiting) < 8 and self.chance.random() < 0.6:
                left -= 1
                self.waiting.append(self._one())
                yield next(self.waiting[-1])
            elif self.waiting:
                each = self.chance.choice(self.waiting)
                said = next(each, None)
                if said is None:
                    self.waiting.remove(each)
                else:
                    yield said

    def _command(self, cdb: bytes, flags: int, expected: int, data: bytes = b"", lun: int = 0) -> tuple[int, Said]:
        self.tag = (self.tag + 1) % self.chance.choice((64, 1 << 31, 1 << 32))
        words = struct.unpack(">4I", cdb.ljust(16, b"\0"))
        head = pdu(1, 0x80 | flags, self.tag, (expected, self.cmd_sn, self.stat_sn, *words), data, lun=lun)
        self.cmd_sn += 1
        return self.tag, (0, head)

    def _numbers(self, *, used: bool = True) -> tuple[int, int, int]:
        numbers = self.stat_sn, self.cmd_sn, self.cmd_sn + 31
        self.stat_sn += used
        return numbers

    def _one(self) -> Iterator[Said]:
        if self.chance.random() < self.odd:
            return self.chance.choice((self._fails, self._ping, self._wrong, self._inquiry))()
        return self.chance.choice((self._read, self._read, self._write, self._ready))()

    def _read(self) -> Iterator[Said]:
        size = self.chance.choice((512, 4096, 8192, 40_000))
        lun = self.chance.choice((0, 0, 1)) << 48
        size -= size % 512
        cdb = self.chance.choice(
            (struct.pack(">BxIxH", 0x28, self.tag, size // 512), struct.pack(">BxQI", 0x88, self.tag, size // 512))
        )
        tag, said = self._command(cdb, 0x40, size, lun=lun)
        yield said
        status, step, number = self.chance.random() < 0.5, self.chance.choice((4096, 16384)), 0
        for offset in range(0, size, step):
            data = bytes(min(step, size - offset))
            last = status and offset + step >= size
            first = self._numbers() if last else (0, self.cmd_sn, self.cmd_sn + 31)
            yield 1, pdu(0x25, 0x81 if last else 0, tag, (NO_TAG, *first, number, offset, 0), data, lun=lun)
            number += 1
        if not status:
            yield 1, pdu(0x21, 0x80, tag, (0, *self._numbers(), number, 0, 0))

    def _write(self) -> Iterator[Said]:
        size = self.chance.choice((512, 4096, 9216, 32768))
        at_once = self.chance.choice((0, 512, size))
        tag, said = self._command(struct.pack(">BxIxH", 0x2A, self.tag, size // 512), 0x20, size, bytes(at_once))
        yield said
        sent, number = at_once, 0
        if sent < size and self.chance.random() < 0.3:
            yield 0, pdu(5, 0x80, tag, (NO_TAG, 0, self.stat_sn, 0, 0, sent, 0), bytes(512))
            sent += 512
        while sent < size:
            asked, transfer = min(8192, size - sent), self.chance.randrange(1 << 32 - 1)
            yield 1, pdu(0x31, 0x80, tag, (transfer, *self._numbers(used=False), number, sent, asked))
            number, end, part = number + 1, sent + asked, 0
            while sent < end:
                count = min(self.chance.choice((4096, 8192)), end - sent)
                words = (transfer, 0, self.stat_sn, 0, part, sent, 0)
                sent, part = sent + count, part + 1
                yield 0, pdu(5, 0x80 if sent == end else 0, tag, words, bytes(count))
        yield 1, pdu(0x21, 0x80, tag, (0, *self._numbers(), 0, 0, 0))

    def _ready(self) -> Iterator[Said]:
        tag, said = self._command(bytes(6), 0, 0)
        yield said
        yield 1, pdu(0x21, 0x80, tag, (0, *self._numbers(), 0, 0, 0))

    # --- unusual --------------------------------------------------------------------------------------------------------------------

    def _fails(self) -> Iterator[Said]:
        tag, said = self._command(struct.pack(">BxIxH", 0x28, 0, 8), 0x40, 4096)
        yield said
        sense = struct.pack(">H", 18) + bytes((0x70, 0, 3, *bytes(9), 0x11, *bytes(5)))
        yield 1, pdu(0x21, 0x80, tag, (0, *self._numbers(), 0, 0, 0), sense, status=2)

    def _ping(self) -> Iterator[Said]:
        self.tag += 1
        tag = self.tag & 0x7FFFFFFF
        yield 0, pdu(0x40, 0x80, tag, (NO_TAG, self.cmd_sn, self.stat_sn, 0, 0, 0, 0))
        yield 1, pdu(0x20, 0x80, tag, (NO_TAG, *self._numbers(), 0, 0, 0))

    def _inquiry(self) -> Iterator[Said]:
        tag, said = self._command(b"\x12\0\0\0\xff", 0x40, 255)
        yield said
        yield 1, pdu(0x25, 0x83, tag, (NO_TAG, *self._numbers(), 0, 0, 159), bytes(96))

    def _wrong(self) -> Iterator[Said]:
        """Numbers that break the rules."""
        tag, said = self._command(struct.pack(">BxIxH", 0x28, 0, 16), 0x40, 8192)
        self.cmd_sn += self.chance.choice((0, 1))
        yield said
        yield (
            1,
            pdu(
                0x25, 0, tag, (NO_TAG, 0, self.cmd_sn, self.cmd_sn + 31, self.chance.choice((0, 3)), 0, 0), bytes(4096)
            ),
        )
        self.stat_sn += self.chance.choice((0, 1))
        yield 1, pdu(0x25, 0x81, tag, (NO_TAG, *self._numbers(), 1, 4096, 0), bytes(self.chance.choice((4096, 8192))))


@dataclass
class Share:
    """A client and a server of NFSv3, many calls at a time.

    Args:
        chance: decides.
        odd: how often something unusual happens, from 0 to 1.
    """

    chance: random.Random
    odd: float = 0.0
    xid: int = 0
    waiting: list[Iterator[Said]] = field(default_factory=list)

    run = Disk.run

    def _one(self) -> Iterator[Said]:
        if self.chance.random() < self.odd:
            return self.chance.choice((self._lookup, self._refused, self._again, self._split))()
        return self.chance.choice((self._read, self._read, self._write, self._getattr, self._commit, self._access))()

    def _call(self, procedure: int, arguments: bytes) -> bytes:
        self.xid = (self.xid + 1) % self.chance.choice((64, 1 << 32))
        uid = self.chance.choice((0, 0, 0, 1000))
        words = struct.pack(">II", 0, 4) + b"host" + struct.pack(">III", uid, uid, 0)
        credential = self.chance.choice((struct.pack(">II", 1, len(words)) + words, bytes(8)))
        handle = self.chance.choice((b"H" * 28, b"H" * 28, b"other"))
        body = struct.pack(">I", len(handle)) + handle + bytes(-len(handle) % 4) + arguments
        return struct.pack(">6I", self.xid, 0, 2, 100003, 3, procedure) + credential + bytes(8) + body

    @staticmethod
    def _mark(message: bytes) -> bytes:
        return struct.pack(">I", 1 << 31 | len(message)) + message

    def _both(self, procedure: int, arguments: bytes, results: bytes, status: int = 0) -> Iterator[Said]:
        call = self._call(procedure, arguments)
        yield 0, self._mark(call)
        yield 1, self._mark(call[:4] + struct.pack(">6I", 1, 0, 0, 0, 0, status) + results)

    def _attributes(self) -> bytes:
        return self.chance.choice((bytes(4), struct.pack(">I", 1) + bytes(84)))

    def _read(self) -> Iterator[Said]:
        size = self.chance.choice((100, 4096, 30_000))
        results = self._attributes() + struct.pack(">III", size, self.chance.randrange(2), size) + bytes(size + 3 & ~3)
        return self._both(6, struct.pack(">QI", self.chance.randrange(1 << 40), size), results)

    def _write(self) -> Iterator[Said]:
        size, stable = self.chance.choice((100, 4096, 30_000)), self.chance.randrange(3)
        before = self.chance.choice((bytes(4), struct.pack(">I", 1) + bytes(24)))
        results = before + self._attributes() + struct.pack(">II8x", size, stable)
        return self._both(7, struct.pack(">QIII", 0, size, stable, size) + bytes(size + 3 & ~3), results)

    def _getattr(self) -> Iterator[Said]:
        return self._both(1, b"", bytes(84))

    def _commit(self) -> Iterator[Said]:
        return self._both(21, struct.pack(">QI", 4096, 0), bytes(16))

    def _access(self) -> Iterator[Said]:
        return self._both(4, struct.pack(">I", 63), self._attributes() + bytes(4))

    # --- unusual --------------------------------------------------------------------------------------------------------------------

    def _lookup(self) -> Iterator[Said]:
        name = struct.pack(">I", 4) + b"name"
        return self._both(3, name, struct.pack(">I", 28) + b"H" * 28 + self._attributes() + self._attributes())

    def _refused(self) -> Iterator[Said]:
        return self._both(6, struct.pack(">QI", 0, 100), self._attributes(), status=70)

    def _again(self) -> Iterator[Said]:
        """A call that is sent twice."""
        call = self._mark(self._call(1, b""))
        yield 0, call
        yield 0, call
        yield 1, self._mark(call[4:8] + struct.pack(">6I", 1, 0, 0, 0, 0, 0) + bytes(84))

    def _split(self) -> Iterator[Said]:
        """A record of two fragments."""
        call = self._call(1, b"")
        yield 0, struct.pack(">I", 20) + call[:20] + struct.pack(">I", 1 << 31 | len(call) - 20) + call[20:]
        yield 1, self._mark(call[:4] + struct.pack(">6I", 1, 0, 0, 0, 0, 0) + bytes(84))


def packets(chance: random.Random, sources: list[Disk | Share], commands: int, lost: float = 0.0) -> list[Packet]:
    """The packets of connections that run side by side, each in segments of any size.

    Args:
        chance: decides.
        sources: who speaks on each connection.
        commands: on each.
        lost: how many of the segments are missing, come twice, are cut short or spoiled, from 0 to 1.
    """
    runs = []
    for number, source in enumerate(sources):
        port = 3260 if isinstance(source, Disk) else 2049
        talk = Talk(("10.20.0.21", 40001 + number), ("10.20.0.11", port), mss=chance.choice((1000, 9000, 65000)))
        talk.open()
        for side, data in _together(chance, source.run(commands)):
            talk.say(side, data, [chance.randrange(1, 200) for _ in range(chance.choice((0, 0, 2)))])
        runs.append(talk.packets)
    found: list[Packet] = []
    while any(runs):
        run = chance.choice([run for run in runs if run])
        count = chance.randrange(1, 20)
        found += run[:count]
        del run[:count]
    return list(_numbered(chance, found, lost))


def _together(chance: random.Random, said: Iterator[Said]) -> Iterator[Said]:
    """What one side says in a row, often in one go."""
    side, data = 0, b""
    for each, more in said:
        if each != side or chance.random() < 0.2:
            if data:
                yield side, data
            side, data = each, b""
        data += more
    yield side, data


def _shortened(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(54, 200)]


def _spoiled(chance: random.Random, data: bytes) -> bytes:
    """Another byte somewhere in the payload, mostly in the first header."""
    if len(data) <= 54:
        return data
    place = min(54 + chance.choice((chance.randrange(48), chance.randrange(len(data)))), len(data) - 1)
    return data[:place] + bytes((chance.randrange(256),)) + data[place + 1 :]


def _numbered(chance: random.Random, found: list[Packet], lost: float) -> Iterator[Packet]:
    number = 0
    for each in found:
        data, copies = each.data, 1
        if chance.random() < lost:
            copies = chance.choice((0, 2, 1))
            if copies == 1:
                data = chance.choice((_shortened, _spoiled))(chance, data)
        for _ in range(copies):
            number += 1
            yield Packet(frame=number, time=START + number * STEP, link=0, data=data, length=each.length)
