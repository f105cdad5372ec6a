"""The block primitives of VAAI, in the sequences in which an ESXi host sends them, over iSCSI.

ATS: COMPARE AND WRITE of one block, by which two hosts take the same lock. Full copy: EXTENDED COPY in 4 MiB steps. Block zeroing: WRITE
SAME(16) of 1 MiB without UNMAP. Delete: UNMAP, on a volume that runs out of space (thin provisioning stun).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.node import Node
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore
from labemu_store.block.filters import ErrorFilter
from labemu_store.block.filters.base import Rule

from .conftest import MIB, TARGET

Connect = Callable[..., Any]
GOOD, CHECK_CONDITION = 0, 2
HEARTBEAT, LOCK = 100, 200  # blocks


@pytest.fixture
def hosts(node: Node, connect: Connect) -> list[Any]:
    """Two hosts on one LUN."""
    return [
        connect(isid=b"\x80\0\0\0\0" + bytes((number,)), name=f"iqn.1998-01.com.vmware:esx{number}")
        for number in (1, 2)
    ]


def send(host: Any, cdb: bytes, **arguments: Any) -> Any:
    result = host.initiator.command(cdb, **arguments)
    host.exchange()
    return result


def ats(host: Any, lba: int, old: bytes, new: bytes) -> Any:
    return send(host, struct.pack(">BBQ3xB", 0x89, 0, lba, 1), data=old + new)


def read(host: Any, lba: int, blocks: int = 1) -> bytes:
    return bytes(send(host, struct.pack(">BxIxH", 0x28, lba, blocks), read=blocks * 512).data)


def write(host: Any, lba: int, data: bytes) -> None:
    assert send(host, struct.pack(">BxIxH", 0x2A, lba, len(data) // 512), data=data).status == GOOD


def test_of_two_hosts_that_want_a_lock_one_gets_it_and_the_other_learns_where_it_lost(hosts: list[Any]) -> None:
    free = bytes(512)
    owners = [b"esx%d" % number + bytes(508) for number in (1, 2)]
    assert ats(hosts[0], LOCK, free, owners[0]).status == GOOD
    lost = ats(hosts[1], LOCK, free, owners[1])
    assert lost.status == CHECK_CONDITION
    assert lost.sense_triple == (0x0E, 0x1D, 0x00)  # MISCOMPARE DURING VERIFY OPERATION
    assert lost.sense[0] & 0x80  # VALID: the offset of the first byte that differs
    assert int.from_bytes(lost.sense[3:7], "big") == 0
    assert read(hosts[1], LOCK) == owners[0]
    assert ats(hosts[0], LOCK, owners[0], free).status == GOOD
    assert ats(hosts[1], LOCK, free, owners[1]).status == GOOD


def test_heartbeats_go_on_by_ats_and_one_that_was_stolen_is_noticed(hosts: list[Any]) -> None:
    beat = bytes(512)
    for number in range(1, 20):
        following = number.to_bytes(8, "big") + bytes(504)
        assert ats(hosts[0], HEARTBEAT, beat, following).status == GOOD
        beat = following
    stolen = bytes(8) + b"stolen" + bytes(498)
    assert ats(hosts[1], HEARTBEAT, beat, stolen).status == GOOD
    lost = ats(hosts[0], HEARTBEAT, beat, bytes(512))
    assert lost.sense_triple == (0x0E, 0x1D, 0x00)
    assert int.from_bytes(lost.sense[3:7], "big") == 7  # the first byte that differs: the low one of the number


def test_ats_is_one_step_however_many_hosts_try(hosts: list[Any]) -> None:
    for value in range(50):
        old, new = (number.to_bytes(8, "big") + bytes(504) for number in (value, value + 1))
        results = [host.initiator.command(struct.pack(">BBQ3xB", 0x89, 0, LOCK, 1), data=old + new) for host in hosts]
        for host in hosts:
            host.exchange()
        assert sorted(result.status for result in results) == [GOOD, CHECK_CONDITION]


def test_a_clone_is_copied_by_the_array_in_steps_of_four_mebibytes(hosts: list[Any], node: Node) -> None:
    host, unit = hosts[0], node.targets[TARGET].device.units[0]
    capacities = send(host, bytes.fromhex("84030000000000000000") + (256).to_bytes(4, "big"), read=256)
    assert capacities.status == GOOD  # RECEIVE COPY RESULTS, OPERATING PARAMETERS: asked first
    data = os.urandom(8 * MIB)
    for at in range(0, len(data), MIB):
        write(host, at // 512, data[at : at + MIB])
    descriptor = (
        struct.pack(">BBHBBBB", 0xE4, 0, 0, 1, 3, 0, len(unit.naa)) + unit.naa.ljust(20, b"\0") + bytes((0, 0, 2, 0))
    )
    for at in range(0, 8 * MIB, 4 * MIB):
        step = struct.pack(">BBHHHxxHQQ", 2, 0, 24, 0, 0, 4 * MIB // 512, at // 512, (32 * MIB + at) // 512)
        body = struct.pack(">BBH4xII", 1, 0, len(descriptor), len(step), 0) + descriptor + step
        assert send(host, struct.pack(">BB8xIxx", 0x83, 0, len(body)), data=body).status == GOOD
    assert bytes(unit.store.read(32 * MIB, 8 * MIB)) == data


def test_a_disk_is_zeroed_without_its_blocks_being_sent(hosts: list[Any], node: Node) -> None:
    host, store = hosts[0], node.targets[TARGET].device.units[0].store
    write(host, 0, b"\xff" * MIB)
    assert send(host, struct.pack(">BBQIxx", 0x93, 0, 0, MIB // 512), data=bytes(512)).status == GOOD
    assert bytes(store.read(0, MIB)) == bytes(MIB)


def test_unmap_gives_space_back_and_says_so_in_the_provisioning_pages(hosts: list[Any], node: Node) -> None:
    host, unit = hosts[0], node.targets[TARGET].device.units[0]
    page = bytes(send(host, bytes.fromhex("1201b2004000"), read=64).data)
    assert page[5] & 0xE0 == 0xE0  # LBPU, LBPWS, LBPWS10: what ESXi asks before it uses UNMAP
    write(host, 0, b"\xff" * MIB)
    before = unit.store.allocated()
    order = struct.pack(">HH4xQI4x", 22, 16, 0, MIB // 512)
    assert send(host, struct.pack(">B6xH", 0x42, len(order)), data=order).status == GOOD
    assert unit.store.allocated() < before
    assert read(host, 0, 8) == bytes(4096)


def test_a_volume_that_runs_out_of_space_stuns_the_writer_and_nobody_else(node: Node, connect: Connect) -> None:
    full = ErrorFilter(MemoryBlockStore(64 * MIB), code=28, rule=Rule(start=32 * MIB))
    node.targets[TARGET].device.add_unit(1, LogicalUnit(full, serial="full"))
    host = connect()
    send(host, bytes(6), lun=1)  # the unit attention
    late = struct.pack(">BxIxH", 0x2A, 32 * MIB // 512, 1)
    failed = send(host, late, data=bytes(512), lun=1)
    assert failed.sense_triple == (0x07, 0x27, 0x07)  # SPACE ALLOCATION FAILED WRITE PROTECT
    assert send(host, struct.pack(">BxIxH", 0x2A, 0, 1), data=bytes(512), lun=1).status == GOOD
    assert read(host, 0) == bytes(512)
