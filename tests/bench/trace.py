"""Our `labctl trace summary` against tshark's statistics: the same capture, decoded and added up by each in turn.

    ./bootstrap.sh bench trace [--commands 250000] [--repeat 3] [--no-write]

Captures are made here: reads of 4 KiB and of 128 KiB, 64 to 1, over iSCSI (Data-In with the status in its last PDU) and over NFSv3, in
segments of 64 KiB at most, as a veth carries them. They are read from the page cache.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from report import machine, write_section

from labctl.trace.files.writer import PcapngWriter
from labctl.trace.record import Link, LinkType, Packet

SMALL, LARGE, RATIO = 4096, 131072, 64
SEGMENT = 65160
TARGET = 5.0
MEMORY = 100  # MiB
DEPTH = 16  # commands that are sent together
START, STEP = 1_700_000_000_000_000_000, 5_000
CLIENT, SERVER = b"\x0a\x14\0\x15", b"\x0a\x14\0\x0b"
_IP = struct.Struct(">BBHHHBBH4s4s").pack
_TCP = struct.Struct(">HHIIBBHHH").pack


class Pipe:
    """Writes what two ends say as packets of one connection.

    Args:
        writer: takes them.
        port: the server's.
    """

    def __init__(self, writer: PcapngWriter, port: int) -> None:
        self._writer = writer
        self._ports = (40000, port), (port, 40000)
        self._next = [1, 1]
        self._count = 0
        self._say(0, b"", 2)
        self._say(1, b"", 0x12)

    def say(self, side: int, data: bytes) -> None:
        """Bytes from the client (0) or the server (1)."""
        for start in range(0, len(data), SEGMENT):
            self._say(side, data[start : start + SEGMENT], 0x10)

    def _say(self, side: int, data: bytes, flags: int) -> None:
        ends = (CLIENT, SERVER) if side == 0 else (SERVER, CLIENT)
        ip = _IP(0x45, 0, min(40 + len(data), 0xFFFF), 0, 0, 64, 6, 0, *ends)
        tcp = _TCP(*self._ports[side], self._next[side], self._next[1 - side], 0x50, flags, 0xFFFF, 0, 0)
        self._next[side] = self._next[side] + (len(data) or 1) & 0xFFFFFFFF
        self._count += 1
        frame = b"".join((bytes(12), b"\x08\0", ip, tcp, data))
        at = START + self._count * STEP
        self._writer.write(Packet(frame=self._count, time=at, link=0, data=frame, length=len(frame)))


def iscsi(pipe: Pipe, commands: int) -> int:
    """Reads over iSCSI; how many PDUs that were."""
    command = struct.Struct(">BBxxI8sIIII16s").pack
    answer = struct.Struct(">BBxBI8sIIIIIIII").pack
    for first in range(0, commands, DEPTH):
        numbers = range(first, min(first + DEPTH, commands))
        sizes = [_size(number) for number in numbers]
        requests, answers = [], []
        for number, size in zip(numbers, sizes, strict=True):
            cdb = struct.pack(">BxIxHx6x", 0x28, number * 8 & 0xFFFFFFFF, size // 512)
            requests.append(command(1, 0xC1, 0, bytes(8), number, size, number, number, cdb))
            answers.append(
                answer(0x25, 0x81, 0, size, bytes(8), number, 0xFFFFFFFF, number, number + 1, number + 64, 0, 0, 0)
            )
            answers.append(bytes(size))
        pipe.say(0, b"".join(requests))
        pipe.say(1, b"".join(answers))
    return commands * 2


def nfs(pipe: Pipe, commands: int) -> int:
    """Reads over NFSv3; how many messages that were."""
    handle = struct.pack(">I", 32) + bytes(32)
    for first in range(0, commands, DEPTH):
        requests, answers = [], []
        for number in range(first, min(first + DEPTH, commands)):
            size = _size(number)
            call = (
                struct.pack(">10I", number, 0, 2, 100003, 3, 6, 0, 0, 0, 0)
                + handle
                + struct.pack(">QI", number * SMALL, size)
            )
            reply = struct.pack(">11I", number, 1, 0, 0, 0, 0, 0, 0, size, 0, size)
            requests.append(struct.pack(">I", 1 << 31 | len(call)) + call)
            answers.append(struct.pack(">I", 1 << 31 | len(reply) + size) + reply)
            answers.append(bytes(size))
        pipe.say(0, b"".join(requests))
        pipe.say(1, b"".join(answers))
    return commands * 2


def _size(number: int) -> int:
    return LARGE if number % RATIO == RATIO - 1 else SMALL


@dataclass(frozen=True)
class Kind:
    """A capture: its name, the server's port, what makes it, and what tshark adds up."""

    name: str
    port: int
    make: Callable[[Pipe, int], int]
    statistics: str


KINDS = (Kind("iSCSI", 3260, iscsi, "scsi,srt,0"), Kind("NFSv3", 2049, nfs, "rpc,srt,100003,3"))


def run(argv: list[str]) -> tuple[float, float]:
    """Seconds that a command took, and MiB that it had at most."""
    begin = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv[0]} failed")
    assert isinstance(usage, resource.struct_rusage)
    return time.monotonic() - begin, usage.ru_maxrss / 1024


def rows(folder: Path, commands: int, repeat: int) -> Iterator[str]:
    """A line of the table for each kind of capture."""
    labctl = str(Path(sys.executable).parent / "labctl")
    for kind in KINDS:
        path = folder / f"{kind.name}.pcapng"
        with path.open("wb") as file:
            writer = PcapngWriter(file)
            writer.add_link(Link(index=0, name="esx1/vmk1", type=LinkType.ETHERNET, resolution=10**9))
            messages = kind.make(Pipe(writer, kind.port), commands)
        sides = ([labctl, "trace", "summary", str(path)], ["tshark", "-q", "-r", str(path), "-z", kind.statistics])
        taken: list[list[tuple[float, float]]] = [[], []]
        for _ in range(repeat):
            for side, argv in enumerate(sides):
                taken[side].append(run(argv))
        (ours, our_memory), (theirs, their_memory) = (
            (statistics.median(each[0] for each in side), max(each[1] for each in side)) for side in taken
        )
        ratio = theirs / ours
        size = path.stat().st_size / 2**30
        marks = "" if ratio >= TARGET else " ✗", "" if our_memory <= MEMORY else " ✗"
        yield (
            f"| {kind.name} | {messages:,} | {size:.2f} GiB | {ours:.1f} s | {theirs:.1f} s "
            f"| **{ratio:.2f}** (≥ {TARGET:g}){marks[0]} | {our_memory:.0f} MiB (≤ {MEMORY}){marks[1]} | {their_memory:.0f} MiB |"
        )
        path.unlink()


def main(arguments: list[str]) -> int:
    """Run it, print the table, and put it into the documentation."""
    parser = argparse.ArgumentParser(prog="bench trace", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commands", type=int, default=250_000, help="of each capture; default: 250000")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; default: 3")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    if shutil.which("tshark") is None:
        raise SystemExit("tshark is needed: apt-get install tshark")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="labctl-bench-") as folder:
        found = list(rows(Path(folder), options.commands, options.repeat))
    text = "\n".join(
        (
            "## trace: summing a capture up",
            "",
            f"`./bootstrap.sh bench trace` · {machine()} · tshark · median of {options.repeat}, load {load:.1f} at the start",
            "",
            "| capture | messages | size | labctl trace summary | tshark -z …,srt | ratio (target) | our memory | tshark's |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *found,
            "",
            "Reads of 4 KiB and 128 KiB, 64 to 1, sixteen at a time, in segments of up to 64 KiB, from the page cache; whole",
            "commands, with their start. tshark prints response times by operation; ours adds host, VM, datastore, depth,",
            "errors, the slowest commands and the rules that were broken.",
        )
    )
    sys.stdout.write(text + "\n")
    if not options.no_write:
        write_section("trace", text)
    return 0
