"""No input makes the target's engine raise, any chunking gives the same, and what it holds stays within its limits."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.limits import COMMAND_WINDOW, FULL_BUFFER, MAX_IMMEDIATE_TASKS, SESSION_DATA
from labemu_iscsi.negotiation import format_text
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import LoginRequest
from labemu_iscsi.service import Service
from labemu_iscsi.session import Target
from labemu_scsi.command import Deferred, Response
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore

TARGET = "iqn.2026-11.lab:t1"


def _login(*keys: tuple[str, str]) -> bytes:
    names = [("InitiatorName", "iqn.2026-11.lab:i"), ("TargetName", TARGET), ("InitialR2T", "No")]
    request = LoginRequest(immediate=True, flags=0x87, lun=b"\x80\0\0\0\0\x01\0\0", cmd_sn=1)
    return request.encode(format_text([*names, *keys]))


LOGINS = [
    _login(),
    _login(("ErrorRecoveryLevel", "1"), ("MaxRecvDataSegmentLength", "512"), ("MaxConnections", "4")),
    _login(("DataPDUInOrder", "No"), ("DataSequenceInOrder", "No"), ("iSCSIProtocolLevel", "2")),
]
OPCODES = st.sampled_from([0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x10, 0x40, 0x41, 0x42, 0x03, 0x1C, 0x20])
SMALL = st.integers(0, 8) | st.sampled_from([0xFFFFFFFF, 0x80000000, 1 << 20])


@st.composite
def pdus(draw: st.DrawFn) -> bytes:
    """Bytes that look like a PDU, with fields that are likely to be taken for real."""
    data = draw(st.binary(max_size=600))
    body = bytearray(draw(st.binary(min_size=48, max_size=48)))
    body[0] = draw(OPCODES)
    body[1] = draw(st.sampled_from([0x80, 0x00, 0xA0, 0xC0, 0xE0, 0x20, 0x81, 0x85, 0x40]))
    body[4:8] = len(data).to_bytes(4, "big")
    body[8:16] = draw(st.sampled_from([bytes(8), b"\0\x01" + bytes(6)]))
    for at in (16, 20, 24, 28, 36, 40):
        body[at : at + 4] = draw(SMALL).to_bytes(4, "big")
    if body[0] & 0x3F == 1:
        opcode = draw(st.sampled_from([0x28, 0x2A, 0x12, 0x5F, 0x42, 0x93, 0xA0, 0x1A, 0x15, 0x89]))
        body[32:48] = bytes((opcode,)) + draw(st.binary(min_size=15, max_size=15))
    return bytes(body) + data + bytes(-len(data) % 4)


def _run(stream: bytes, cut: Callable[[int], int]) -> tuple[bytes, TargetConnection]:
    node = Node(entropy=bytes)
    target = Target(name=TARGET)
    store = MemoryBlockStore(1 << 20)
    target.device.add_unit(0, LogicalUnit(store, serial="fuzz"))
    node.targets[TARGET] = target
    connection = TargetConnection(node)

    def execute(deferred: Deferred, work: Callable[[], Response], done: Callable[[Response], None]) -> None:
        done(work())

    service = Service(connection, execute, lambda: None)
    out = b""
    at = 0
    try:
        while at < len(stream) and not connection.closed:
            size = max(1, cut(at))
            for event in connection.receive_data(stream[at : at + size]):
                service.handle(event)
            out += b"".join(map(bytes, connection.data_to_send()))
            at += size
            _check_bounds(connection)
    finally:
        store.close()
    return out, connection


def _check_bounds(connection: TargetConnection) -> None:
    session = connection.session
    assert len(connection.framer.buffer) <= FULL_BUFFER
    if session is not None:
        assert len(session.tasks) <= COMMAND_WINDOW + MAX_IMMEDIATE_TASKS
        assert len(session.held) <= COMMAND_WINDOW
        assert 0 <= session.solicited <= SESSION_DATA


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=2000))
def test_no_bytes_before_login_make_it_raise(stream: bytes) -> None:
    _run(stream, lambda _: 100)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(LOGINS), st.lists(pdus(), max_size=12))
def test_no_pdus_after_login_make_it_raise(login: bytes, parts: list[bytes]) -> None:
    _run(login + b"".join(parts), lambda _: 1 << 20)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(LOGINS), st.lists(pdus(), max_size=6), st.lists(st.integers(1, 300), min_size=1))
def test_any_chunking_gives_the_same_answers(login: bytes, parts: list[bytes], sizes: list[int]) -> None:
    stream = login + b"".join(parts)
    # Answers tell the command window as it is when they leave, which depends on the cut; whole PDUs are the finest cut that does not.
    each = [len(login), *map(len, parts)]
    starts = {sum(each[:index]): size for index, size in enumerate(each)}
    whole, one = _run(stream, lambda at: starts.get(at, 1))
    pieces, other = _run(stream, lambda at: min(sizes[at % len(sizes)], _to_boundary(starts, at)))
    assert pieces == whole
    assert one.error == other.error


def _to_boundary(starts: dict[int, int], at: int) -> int:
    start = max(each for each in starts if each <= at)
    return start + starts[start] - at
