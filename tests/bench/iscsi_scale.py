"""What a command costs our iSCSI target with many LUNs and sessions, and with one of each.

    ./bootstrap.sh bench iscsi-scale [--luns 1000] [--sessions 200] [--repeat 5] [--commands 12800] [--no-write]

Two targets run; rounds alternate between them. In the large one each session has LUNs of its own, and every batch of commands comes on
another session than the one before, for another of its LUNs. Costs are the target's own CPU time, user and system.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import statistics
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice

from iscsi_sides import process_cpu
from report import machine, write_section

from labemu_iscsi.initiator import Initiator, Result

TARGET = "iqn.2026-11.bench:scale"
SIZE = 4096
BLOCKS = SIZE // 512
HEADER = 48
DEPTHS = (4, 32)  # at 1 the target waits for the next command of a lone initiator, and its CPU time says nothing
DISK = max(DEPTHS) * SIZE
LIMIT = 1.1  # "no more", and what rounds differ by
DEADLINE = 60
FLAT_FROM = 256  # LUNs from here on are written in flat addressing (SAM-5 4.7.7.2)
_COMMAND = struct.Struct(">BBxxIHHIIIIIBBIBHB6x").pack
_READ, _WRITE = (0xC1, 0x28), (0xA1, 0x2A)
_GOOD = {False: 0x25, True: 0x21}  # Data-In with status, SCSI Response


class Session:
    """A session with some of a target's LUNs.

    Args:
        address: the target's.
        number: tells it from the others.
        luns: which of them are its own.
    """

    def __init__(self, address: tuple[str, int], number: int, luns: range) -> None:
        self.sock = socket.create_connection(address, timeout=DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        isid = b"\x80" + number.to_bytes(5, "big")
        self._initiator = Initiator(name=f"iqn.2026-11.bench:i{number}", target=TARGET, isid=isid)
        self._initiator.login()
        while not self._initiator.logged_in:
            self._turn()
        self._cmd_sn = self._initiator.cmd_sn
        for lun in luns:  # the first command hears of the power on
            self._ready(lun)
        self._luns = cycle(luns)

    def _turn(self) -> None:
        self.sock.sendall(b"".join(map(bytes, self._initiator.data_to_send())))
        data = self.sock.recv(1 << 16)
        if not data:
            raise SystemExit("the target closed the connection")
        self._initiator.receive_data(data)

    def _ready(self, lun: int) -> None:
        result: Result = self._initiator.command(bytes(6), lun=_address(lun))
        while result.status is None:
            self._turn()
        self._cmd_sn = self._initiator.cmd_sn

    def batch(self, depth: int, *, write: bool) -> None:
        """That many neighbouring commands for the next LUN, sent together; returns when all are answered.

        Raises:
            SystemExit: one was not answered as it should be.
        """
        flags, opcode = _WRITE if write else _READ
        lun, data = _address(next(self._luns)), bytes(SIZE) if write else b""
        parts = []
        for number in range(depth):
            sn = self._cmd_sn
            parts += [
                _COMMAND(1, flags, len(data), lun, 0, 0, sn, SIZE, sn, 0, opcode, 0, number * BLOCKS, 0, BLOCKS, 0),
                data,
            ]
            self._cmd_sn += 1
        self.sock.sendall(b"".join(parts))
        size = HEADER + (0 if write else SIZE)
        answer = self._receive(depth * size)
        if {(answer[at], answer[at + 3]) for at in range(0, len(answer), size)} != {(_GOOD[write], 0)}:
            raise SystemExit("a command failed")

    def _receive(self, size: int) -> bytearray:
        answer = bytearray(size)
        view = memoryview(answer)
        while view:
            count = self.sock.recv_into(view)
            if not count:
                raise SystemExit("the target closed the connection")
            view = view[count:]
        return answer


@dataclass
class Side:
    """A target and its sessions."""

    process: subprocess.Popen[str]
    sessions: list[Session]

    def cost(self, commands: int, depth: int, *, write: bool) -> float:
        """Microseconds of the target's CPU for a command, of so many, on one session after the other."""
        batches = max(1, commands // depth)
        before = process_cpu(self.process.pid)
        for session in islice(cycle(self.sessions), batches):
            session.batch(depth, write=write)
        return (process_cpu(self.process.pid) - before) / (batches * depth) * 1e6


def _address(lun: int) -> int:
    return lun if lun < FLAT_FROM else 0x4000 | lun


@contextmanager
def serving(luns: int, sessions: int) -> Iterator[Side]:
    """A target with so many disks in memory, and sessions that share them out."""
    disks = [part for number in range(luns) for part in ("--lun", f"memory://disk{number}?size={DISK}")]
    command = [sys.executable, "-m", "labemu_iscsi", "--portal", "127.0.0.1:0", "--target", TARGET, *disks]
    with ExitStack() as stack:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        stack.callback(process.wait, DEADLINE)
        stack.callback(process.terminate)
        assert process.stdout is not None
        stack.enter_context(process.stdout)
        urls = [process.stdout.readline() for _ in range(luns)]  # it prints them when it listens
        if not urls[-1]:
            raise SystemExit("the target did not come up")
        host, _, port = urls[0].split("/")[2].rpartition(":")
        share = luns // sessions
        made = []
        for number in range(sessions):
            own = range(number * share, (number + 1) * share)
            made.append(Session((host, int(port)), number, own))
            stack.callback(made[-1].sock.close)
        yield Side(process, made)


def main(arguments: list[str]) -> int:
    """Measure, print the table, and write it to the reference."""
    parser = argparse.ArgumentParser(
        prog="bench iscsi-scale", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--luns", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5, help="rounds of each line; default: 5")
    parser.add_argument("--commands", type=int, default=12800, help="of a round, on each side; default: 12800")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    if not 0 < options.sessions <= options.luns:
        parser.error("there must be at least one session, and a LUN for each")
    with (
        _room_for(options.luns + 2 * options.sessions),
        serving(1, 1) as one,
        serving(options.luns, options.sessions) as many,
    ):
        rows = [
            _row(one, many, depth, options.repeat, options.commands, write=write)
            for write in (False, True)
            for depth in DEPTHS
        ]
    text = "\n".join([*_head(options), *rows, *_foot()])
    sys.stdout.write(f"{text}\n")
    if not options.no_write:
        write_section("iscsi-scale", text)
    return 0


@contextmanager
def _room_for(files: int) -> Iterator[None]:
    """Let this process and those that it starts open so many files, as far as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, files + 256), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _row(one: Side, many: Side, depth: int, repeat: int, commands: int, *, write: bool) -> str:
    rounds = []
    for number in range(repeat + 1):
        pair = one.cost(commands, depth, write=write), many.cost(commands, depth, write=write)
        if number:  # the first one warms up
            rounds.append(pair)
    alone, among = (statistics.median(costs) for costs in zip(*rounds, strict=True))
    ratio = statistics.median(among / alone for alone, among in rounds)
    mark = "" if ratio <= LIMIT else " ✗"
    kind = "write" if write else "read"
    return f"| {kind} 4 KiB, {depth} at a time | {alone:.1f} µs | {among:.1f} µs | **{ratio:.2f}** (≤ {LIMIT}){mark} |"


def _head(options: argparse.Namespace) -> list[str]:
    return [
        "## iscsi-scale: many LUNs and sessions, and one",
        "",
        f"`./bootstrap.sh bench iscsi-scale` · {machine()} · median of {options.repeat}, load {os.getloadavg()[0]:.1f} at the end",
        "",
        f"| CPU for a command | 1 LUN, 1 session | {options.luns:,} LUNs, {options.sessions:,} sessions | ratio |",
        "|---|---:|---:|---:|",
    ]


def _foot() -> list[str]:
    return [
        "",
        "Each batch of commands comes on another session than the one before, for another LUN, so that in the large target neither",
        "the buffers nor the blocks are in the CPU's cache; in the small one they are. Disks are in memory, clients on loopback.",
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
