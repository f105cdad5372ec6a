"""Watcher: live packets become the commands that a file's would, the ring has its room back at once, and what is left out is told."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from labctl.linux.packet_ring import CapturedPacket
from labctl.trace.capture.merge import Batch
from labctl.trace.capture.watcher import LAG, Watcher
from labctl.trace.decoder import Decoder
from labctl.trace.files.batch import from_packets, from_ring
from labctl.trace.record import Annotation, Packet

from .conversations import Said, iscsi, nfs3, nfs4
from .talk import LINK, Talk


class Ring:
    """Stands in for the merged rings: gives packets in memory that is worth nothing once it is released."""

    def __init__(self, packets: Sequence[Packet]) -> None:
        self._waiting = list(packets)
        self._memory: list[bytearray] = []
        self.lost = 0

    def wait(self, _timeout: float) -> Batch:
        now, self._waiting = self._waiting[:5], self._waiting[5:]
        found: list[CapturedPacket] = []
        for each in now:
            self._memory.append(bytearray(each.data))
            found.append((each.time, each.link, each.length, memoryview(self._memory[-1])))
        return Batch(found, [self])  # type: ignore[list-item]

    def release(self) -> None:
        for each in self._memory:
            each[:] = bytes(len(each))
        self._memory.clear()

    def skip(self) -> int:
        self._waiting.clear()
        return 3

    def drops(self) -> list[int]:
        return [self.lost]


def packets(said: Said, port: int = 3260) -> list[Packet]:
    made = Talk(server=("10.20.0.11", port))
    made.open()
    for side, data in said:
        made.say(side, data)
    return made.packets


def watcher(ring: Ring, *, now: int = 0, notes: Any = None) -> Watcher:
    return Watcher(ring, [LINK], now=lambda: now, notes=notes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("said", "port"), [(iscsi, 3260), (nfs3, 2049), (nfs4, 2049)])
def test_live_packets_become_the_commands_of_a_file(said: Any, port: int) -> None:
    spoken = packets(said(), port)
    live = watcher(Ring(spoken))
    found = [command for _ in range(len(spoken) // 5 + 2) for command in live.step(0)]
    expected = Decoder().feed(spoken, [LINK])
    assert found == expected
    assert len(found) > 1


def test_what_is_said_meanwhile_comes_before_the_packets() -> None:
    notes: queue.SimpleQueue[Annotation] = queue.SimpleQueue()
    spoken = packets(nfs3(), 2049)
    names = {"hosts": {"10.20.0.21": "esx1"}, "arrays": {}, "links": {}, "luns": [], "files": []}
    notes.put(Annotation(time=0, kind="names", data=names))
    live = watcher(Ring(spoken), notes=notes)
    found = [command for _ in range(len(spoken)) for command in live.step(0)]
    hosts = Decoder().feed([Annotation(time=0, kind="names", data=names), *spoken], [LINK])
    assert [each.owner.host for each in found] == [each.owner.host for each in hosts] == ["esx1"] * len(found)
    assert found


def test_a_second_behind_it_leaves_out_what_waits_and_says_so() -> None:
    ring = Ring(packets(iscsi()))
    live = watcher(ring, now=packets(iscsi())[4].time + LAG + 1)
    live.step(0)
    ring.lost = 7
    assert live.take_lost() == "3 blocks of packets and 7 packets that the kernel had no room for"
    assert live.take_lost() is None
    assert live.step(0) == []


def test_a_batch_of_a_ring_is_that_of_its_packets() -> None:
    spoken = packets(iscsi())
    event = Annotation(time=0, kind="event", data={})
    run = [(each.time, each.link, each.length, each.data) for each in spoken]
    ours = from_ring(run, [LINK], first=spoken[0].frame, annotations=[event])
    theirs = from_packets([event, *spoken], [LINK])
    for name in ("buffer", "start", "kept", "length", "time", "link", "frame"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.annotations == theirs.annotations
    assert len(from_ring([], [LINK], first=1)) == 0
