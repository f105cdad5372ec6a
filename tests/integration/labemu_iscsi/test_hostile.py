"""Peers that mean ill, against a server in a process of its own: it stays within its memory, and serves the others meanwhile."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labemu_iscsi.initiator import Initiator
from labemu_iscsi.negotiation import format_text
from labemu_iscsi.pdu import DataOut, LoginRequest, NopOut, ScsiCommand

TARGET = "iqn.2026-11.lab:t1"
MIB = 1 << 20
PEERS = 800
NAMES = format_text([("InitiatorName", "iqn.2026-11.lab:hostile"), ("TargetName", TARGET), ("InitialR2T", "No")])
LOGIN = LoginRequest(immediate=True, flags=0x87, lun=b"\x80\0\0\0\0\x02\0\0", cmd_sn=1).encode(NAMES)


def _memory(target: Any) -> int:
    """Bytes of the server's memory that are in use."""
    status = Path(f"/proc/{target.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _connect(target: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", target.port), timeout=20)


def _logged_in(target: Any) -> socket.socket:
    sock = _connect(target)
    sock.sendall(LOGIN)
    assert sock.recv(48)[1] == 0x87
    return sock


def _flood(sock: socket.socket, data: bytes, times: int) -> None:
    """Send as long as it is taken; a connection that is closed on us is a good answer."""
    sock.settimeout(5)
    with contextlib.suppress(OSError):
        for _ in range(times):
            sock.sendall(data)


def _serves(target: Any) -> None:
    """Somebody else logs in and is answered, at once."""
    initiator = Initiator(target=TARGET, isid=b"\x80\0\0\0\0\x77")
    with _connect(target) as sock:
        sock.settimeout(10)
        initiator.login()
        results: list[Any] = []
        while not results or results[-1].status is None:
            sock.sendall(b"".join(map(bytes, initiator.data_to_send())))
            initiator.receive_data(sock.recv(1 << 16))
            if initiator.logged_in and not results:
                results.append(initiator.command(b"\0"))


@pytest.fixture
def within(target: Any) -> Iterator[None]:
    """The server grows by 64 MiB at most, and still serves."""
    _serves(target)
    before = _memory(target)
    yield
    _serves(target)
    assert _memory(target) - before < 64 * MIB


@pytest.fixture
def many(target: Any) -> Iterator[list[socket.socket]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < PEERS + 200:
        pytest.skip("needs more file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, PEERS + 200), hard))
    sockets = [_connect(target) for _ in range(PEERS)]
    yield sockets
    for sock in sockets:
        sock.close()


@pytest.mark.usefixtures("within")
def test_many_peers_that_send_a_login_byte_by_byte(target: Any, many: list[socket.socket]) -> None:
    for at in range(60):
        for sock in many:
            sock.send(LOGIN[at : at + 1])
    _serves(target)


@pytest.mark.usefixtures("within")
def test_text_that_never_ends(target: Any) -> None:
    part = LoginRequest(immediate=True, flags=0x44, lun=b"\x80\0\0\0\0\x02\0\0", cmd_sn=1).encode(b"a" * 8000)
    for _ in range(20):
        with _connect(target) as sock:
            _flood(sock, part, 100)


@pytest.mark.usefixtures("within")
@pytest.mark.parametrize("lengths", [0xFFFFFFFF, 0xFF000000, 0x00FFFFFF, 0x00002001])
def test_lengths_that_promise_much(target: Any, lengths: int) -> None:
    for _ in range(20):
        with _connect(target) as sock:
            _flood(sock, LOGIN[:4] + lengths.to_bytes(4, "big") + LOGIN[8:48] + bytes(MIB), 4)


@pytest.mark.usefixtures("within")
def test_headers_of_a_session_with_as_many_segments_as_there_can_be(target: Any) -> None:
    with _logged_in(target) as sock:
        header = ScsiCommand(immediate=True, flags=0x80, itt=1).pack(0, 255 * 4)
        _flood(sock, header + b"\x03\xf9\x01\0" + bytes(255 * 4 - 4), 2000)


@pytest.mark.usefixtures("within")
def test_data_that_nobody_asked_for(target: Any) -> None:
    with _logged_in(target) as sock:
        _flood(sock, DataOut(itt=77, ttt=9).encode(bytes(200 * 1024)), 500)


@pytest.mark.usefixtures("within")
def test_writes_whose_unsolicited_data_never_ends(target: Any) -> None:
    with _logged_in(target) as sock:
        for number in range(128):
            command = ScsiCommand(flags=0x20, itt=number, expected_length=16 * MIB, cmd_sn=1 + number)
            _flood(sock, command.encode(), 1)
            _flood(sock, DataOut(flags=0, itt=number).encode(bytes(200 * 1024)), 1)


@pytest.mark.usefixtures("within")
def test_commands_that_wait_for_one_that_never_comes(target: Any) -> None:
    with _logged_in(target) as sock:
        for number in range(500):
            _flood(sock, NopOut(itt=number, cmd_sn=2 + number).encode(bytes(200 * 1024)), 1)


@pytest.mark.usefixtures("within")
def test_an_initiator_that_asks_and_never_reads(target: Any) -> None:
    read = bytes.fromhex("28000000000000080000").ljust(16, b"\0")
    with _logged_in(target) as sock:
        for number in range(2000):
            command = ScsiCommand(flags=0xC0, itt=number, expected_length=MIB, cmd_sn=1 + number, cdb=read)
            sock.settimeout(0.2)
            try:
                sock.sendall(command.encode())
            except OSError:
                break


@pytest.mark.slow
def test_a_login_that_does_not_end_is_ended(target: Any) -> None:
    with _connect(target) as sock:
        sock.send(LOGIN[:20])
        assert sock.recv(1) == b""  # within the socket's 20 seconds; a login has 15
