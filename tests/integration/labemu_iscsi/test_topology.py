"""libiscsi's tools at several portal groups, and a reservation that outlives SIGKILL."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.initiator import Initiator

TARGET, SECOND = "iqn.2026-11.lab:t1", "iqn.2026-11.lab:t2"
KEY = 0xABCDEF
READ = b"\x28\0\0\0\0\0\0\0\1"
RESERVATION_CONFLICT = 0x18


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.needs("libiscsi")
def test_libiscsi_sees_groups_ports_and_states(target_process: Callable[..., Any]) -> None:
    port = _free_port()
    options = ("--access-state", "2=standby", "--target", SECOND, "--group", "2", "--lun", f"lun://{TARGET}/0")
    process = target_process("--portal", f"127.0.0.1:{port},2", *options)
    process.start()
    try:
        first = _run("iscsi-ls", f"iscsi://127.0.0.1:{process.port}")
        assert f"{TARGET} Portal:127.0.0.1:{process.port},1" in first
        assert SECOND not in first
        assert f"{SECOND} Portal:127.0.0.1:{port},2" in _run("iscsi-ls", f"iscsi://127.0.0.1:{port}")
        page = _run("iscsi-inq", "-e", "1", "-c", "131", process.url())
        for kind in ("RELATIVE_TARGET_PORT", "TARGET_PORT_GROUP", "NAA", "SCSI_NAME_STRING"):
            assert kind in page.upper().replace(" ", "_"), page
        naa = [line for line in page.splitlines() if "NAA" in line]
        other = _run("iscsi-inq", "-e", "1", "-c", "131", f"iscsi://127.0.0.1:{port}/{SECOND}/0")
        assert [line for line in other.splitlines() if "NAA" in line] == naa
    finally:
        assert process.stop() == 0


def _send(port: int, name: str, cdb: bytes, *, data: bytes = b"", read: int = 0) -> tuple[int | None, bytes]:
    """Log in as `name`, take the first attention, send one command; its status and data."""
    engine = Initiator(target=TARGET, name=name)

    def until(ready: Callable[[], bool]) -> None:
        while not ready():
            for buffer in engine.data_to_send():
                sock.sendall(buffer)
            received = sock.recv(65536)
            assert received, "the target closed the connection"
            engine.receive_data(received)

    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        engine.login()
        until(lambda: engine.logged_in)
        attention = engine.command(bytes(6))
        until(lambda: attention.status is not None)
        result = engine.command(cdb, data=data, read=read)
        until(lambda: result.status is not None)
    return result.status, bytes(result.data)


def test_a_reservation_with_aptpl_outlives_sigkill(target_process: Callable[..., Any]) -> None:
    process = target_process()
    process.start()
    holder, other = "iqn.2026-11.lab:holder", "iqn.2026-11.lab:other"
    register = struct.pack(">QQ4xB3x", 0, KEY, 0x01)
    reserve = struct.pack(">QQ4xB3x", KEY, 0, 0)
    cdb = b"\x5f%c%c\0\0\0\0\0\x18"
    assert _send(process.port, holder, cdb % (0, 0), data=register)[0] == 0
    assert _send(process.port, holder, cdb % (1, 3), data=reserve)[0] == 0
    process.stop(signal.SIGKILL)
    process.start()
    assert _send(process.port, other, READ, read=512)[0] == RESERVATION_CONFLICT
    assert _send(process.port, holder, READ, read=512)[0] == 0
    status, keys = _send(process.port, other, b"\x5e\0\0\0\0\0\0\0\x10", read=16)
    assert (status, keys) == (0, struct.pack(">IIQ", 0, 8, KEY))
    process.stop(signal.SIGKILL)
    state = process.disk.with_name(f"{process.disk.name}.reservations")
    state.write_bytes(b"{")
    done = subprocess.run(process.command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "the persistent reservations that were kept are damaged" in done.stderr
