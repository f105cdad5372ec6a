"""Linux's NFS client against a server with faults, set over the control socket: what it is told to repeat it repeats, and loses nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.testing.waiting import wait_for

from .conftest import SERVER, ClientGuest, StorageNet

pytestmark = [
    pytest.mark.needs("root", "tun", "qemu", "net", "apt", "e2fsprogs"),
    pytest.mark.slow,
    pytest.mark.xdist_group("clients-nfs"),
]

MOUNT = "/mnt/faults"
JUKEBOX, STALE = 10008, 70


class Control:
    """The server's control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, **request: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self._path))
            sock.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(sock.makefile("rb").readline())
        assert "error" not in answer, answer
        return answer

    def order(self, kind: str, *operations: str, count: int | None = None, **action: Any) -> None:
        self.ask(do="add", fault={"action": {"kind": kind, **action}, "operations": operations, "count": count})

    @property
    def hits(self) -> int:
        return sum(fault["hits"] for fault in self.ask(do="list")["faults"])


@pytest.fixture(scope="module")
def control_path(storage_net: StorageNet) -> Path:
    export = storage_net.folder / "faulty"
    export.mkdir()
    path = storage_net.folder / "control"
    arguments = ("--export", f"/gold=file://{export}", "--control", str(path))
    storage_net.server("labemu_nfs", "--listen", SERVER, *arguments, port=2049)
    return path


@pytest.fixture(scope="module")
def guest(storage_net: StorageNet, control_path: Path) -> ClientGuest:
    (made,) = storage_net.guests(1)
    made.run(f"mkdir -p {MOUNT} && mount.nfs {SERVER}:/gold {MOUNT} -o vers=3,proto=tcp,nolock")
    return made


@pytest.fixture
def control(control_path: Path) -> Iterator[Control]:
    made = Control(control_path)
    yield made
    made.ask(do="clear")


def test_what_jukebox_refuses_is_tried_again_until_it_is_done(guest, control) -> None:
    control.order("error", "create", "write", count=2, code=[JUKEBOX])
    begun = time.monotonic()
    guest.run(f"echo patience > {MOUNT}/jukebox && sync")
    assert time.monotonic() - begun >= 4.0  # Linux waits five seconds before each new try
    assert control.hits == 2
    assert guest.said(f"echo 3 >/proc/sys/vm/drop_caches; cat {MOUNT}/jukebox") == "patience"


def test_an_error_reaches_the_application(guest, control) -> None:
    guest.run(f"echo content > {MOUNT}/broken && sync && echo 3 >/proc/sys/vm/drop_caches")
    control.order("error", "read", code=[5])
    failed = guest.run(f"cat {MOUNT}/broken", check=False)
    assert failed.exit_code == 1
    assert b"Input/output error" in failed.stderr
    control.ask(do="clear")
    assert guest.said(f"cat {MOUNT}/broken") == "content"


@pytest.mark.parametrize("operations", [(), ("write", "commit")], ids=["connections", "operations"])
def test_a_client_that_got_no_answer_goes_on_when_there_is_one_again(guest, control, operations) -> None:
    name = f"{MOUNT}/silent{len(operations)}"
    guest.run(f"touch {name}; rm -f /tmp/done")
    control.order("silence", *operations)
    script = (
        f"(dd if=/dev/urandom of={name} bs=64k count=8 conv=fsync,notrunc; md5sum {name} >/tmp/sum; touch /tmp/done)"
    )
    guest.run(f"{script} >/dev/null 2>&1 &")
    wait_for(lambda: control.hits > 0, 20, what="the client to meet silence")
    assert guest.run("test -e /tmp/done", check=False).exit_code == 1
    control.ask(do="clear")
    wait_for(lambda: guest.run("test -e /tmp/done", check=False).exit_code == 0, 60, what="the client to go on")
    assert guest.said("echo 3 >/proc/sys/vm/drop_caches; md5sum -c /tmp/sum").endswith("OK")
