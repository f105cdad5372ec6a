"""What the coverage-guided fuzzer of the iSCSI target's engine does with an input; `fuzz_iscsi` runs it.

An input is a byte that chooses what is negotiated and how the stream is cut, and then PDUs: a byte that says how many words of data
follow, the 48 bytes of the header, and the data. Lengths are put right here, so that the fuzzer's mutations reach what lies behind
the framing; whole streams of arbitrary bytes are test_iscsi_engine's part. What it finds of interest is kept in `corpus/iscsi`, and
test_iscsi_corpus goes through all of that in the normal run of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.limits import (
    COMMAND_WINDOW,
    FULL_BUFFER,
    MAX_IMMEDIATE_TASKS,
    RETAINED_DATA,
    RETAINED_PDUS,
    SESSION_DATA,
)
from labemu_iscsi.negotiation import format_text
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import LoginRequest
from labemu_iscsi.retaining import RetainingSender
from labemu_iscsi.service import Service
from labemu_iscsi.session import Target
from labemu_scsi.command import Deferred, Response
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore

CORPUS = Path(__file__).parent / "corpus" / "iscsi"
TARGET = "iqn.2026-11.lab:t1"
HEADER = 48
NAMES = [("InitiatorName", "iqn.2026-11.lab:i"), ("TargetName", TARGET)]
MODES = (
    None,  # no login: the PDUs are all there is
    [],
    [("InitialR2T", "No"), ("MaxBurstLength", "2048"), ("MaxOutstandingR2T", "4")],
    [("ErrorRecoveryLevel", "1"), ("MaxBurstLength", "2048"), ("MaxRecvDataSegmentLength", "512")],
    [("DataPDUInOrder", "No"), ("DataSequenceInOrder", "No"), ("InitialR2T", "No"), ("MaxOutstandingR2T", "4")],
    [("MaxConnections", "4"), ("ErrorRecoveryLevel", "1"), ("iSCSIProtocolLevel", "2")],
    [("SessionType", "Discovery")],
    [("ImmediateData", "No"), ("MaxBurstLength", "512")],
)
CUTS = (1 << 20, 48, 7, 1)


def pdus(data: bytes) -> Iterator[bytes]:
    """The PDUs that an input is made of, with their lengths put right."""
    at = 0
    while at + 1 + HEADER <= len(data):
        header = bytearray(data[at + 1 : at + 1 + HEADER])
        body = data[at + 1 + HEADER : at + 1 + HEADER + data[at] * 4]
        at += 1 + HEADER + data[at] * 4
        words = header[4] if header[4] < 8 and header[4] * 4 <= len(body) else 0
        header[4] = words
        header[5:8] = (len(body) - words * 4).to_bytes(3, "big")
        yield bytes(header) + body + bytes(-len(body) % 4)


def encode(stream: bytes) -> bytes:
    """The other way: a stream of whole PDUs, as they are kept in the corpus."""
    parts = []
    while stream:
        size = stream[4] * 4 + (int.from_bytes(stream[5:8], "big") + 3 & ~3)
        parts.append(bytes((min(size // 4, 255),)) + stream[:HEADER] + stream[HEADER : HEADER + min(size, 1020)])
        stream = stream[HEADER + size :]
    return b"".join(parts)


def _login(keys: list[tuple[str, str]]) -> bytes:
    names = NAMES if ("SessionType", "Discovery") not in keys else NAMES[:1]
    request = LoginRequest(immediate=True, flags=0x87, lun=b"\x80\0\0\0\0\x01\0\0", cmd_sn=1)
    return request.encode(format_text([*names, *keys]))


def check(connection: TargetConnection) -> None:
    """What a connection holds is within limits.py."""
    assert len(connection.framer.buffer) <= FULL_BUFFER
    session = connection.session
    if session is not None:
        assert len(session.tasks) <= COMMAND_WINDOW + MAX_IMMEDIATE_TASKS
        assert len(session.held) <= COMMAND_WINDOW
        assert 0 <= session.solicited <= SESSION_DATA
        assert all(r2t.task.itt in session.tasks for r2t in session.r2ts.values())
    if isinstance(connection.sender, RetainingSender):
        statuses, kept = connection.sender.retained
        assert statuses <= RETAINED_PDUS
        assert 0 <= kept <= RETAINED_DATA


def one_input(data: bytes) -> None:
    """Let an engine take an input.

    Raises:
        Exception: whatever it raises is a bug; so is an AssertionError of `check`.
    """
    if not data:
        return
    keys, cut = MODES[data[0] % len(MODES)], CUTS[data[0] // len(MODES) % len(CUTS)]
    stream = (b"" if keys is None else _login(keys)) + b"".join(pdus(data[1:]))
    node = Node(entropy=bytes)
    target = Target(name=TARGET)
    store = MemoryBlockStore(1 << 20)
    target.device.add_unit(0, LogicalUnit(store, serial="fuzz"))
    node.targets[TARGET] = target
    try:
        _drive(TargetConnection(node), stream, cut)
    finally:
        store.close()


def _drive(connection: TargetConnection, stream: bytes, cut: int) -> None:
    def execute(deferred: Deferred, work: Callable[[], Response], done: Callable[[Response], None]) -> None:
        done(work())

    service = Service(connection, execute, lambda: None)
    for at in range(0, len(stream), cut):
        if connection.closed:
            break
        for event in [*connection.receive_data(stream[at : at + cut]), *connection.take_events()]:
            service.handle(event)
        b"".join(map(bytes, connection.data_to_send()))
        check(connection)
    connection.check_deadline(1e6)
    connection.connection_lost()
    session = connection.session
    assert session is None or not (session.tasks or session.solicited)
