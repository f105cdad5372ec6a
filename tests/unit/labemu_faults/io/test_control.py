"""The control socket, over a real one."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labemu_faults.io.control import MAX_LINE, ControlSocket
from labemu_faults.table import FaultTable

LATENCY = {"action": {"kind": "latency", "average": 0.02}}


class Emulator:
    def __init__(self) -> None:
        self.cleared = asyncio.Event()
        self.table = FaultTable(lambda: None if len(self.table) else self.cleared.set())

    def add(self, rule, *, hits: int = 0):
        return self.table.add(rule, hits=hits)


class Control:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.emulator = Emulator()
        self.socket = ControlSocket(path, self.emulator)

    async def ask(self, *requests: object) -> list[dict]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        for request in requests:
            writer.write(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")
        answers = [json.loads(await asyncio.wait_for(reader.readline(), 5)) for _ in requests]
        writer.close()
        await writer.wait_closed()
        return answers


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    made = Control(tmp_path / "control")
    await made.socket.start()
    yield made
    await made.socket.close()
    assert not made.path.exists()


async def test_it_is_its_owners_alone(control) -> None:
    assert stat.S_IMODE(control.path.stat().st_mode) == 0o600


async def test_faults_are_set_listed_and_cleared(control) -> None:
    added, listed, cleared, empty = await control.ask(
        {"do": "add", "fault": {**LATENCY, "operations": ["read"]}}, {"do": "list"}, {"do": "clear"}, {"do": "list"}
    )
    fault = {"id": "1", **LATENCY, "operations": ["read"], "hits": 0, "spent": False}
    assert (added, listed) == ({"fault": fault}, {"faults": [fault]})
    assert (cleared, empty) == ({"cleared": ["1"]}, {"faults": []})


async def test_a_fault_ends_by_itself(control) -> None:
    await control.ask({"do": "add", "fault": LATENCY, "seconds": 0.05})
    await asyncio.wait_for(control.emulator.cleared.wait(), 5)


@pytest.mark.parametrize(
    ("request_", "error", "hint"),
    [
        ({"do": "lst"}, 'there is no command "lst"', 'did you mean "list"?'),
        (b"nonsense\n", "not JSON", 'write {"do": "list"}'),
        ([1], "not an object", 'write {"do": "list"}'),
        ({"do": "clear", "id": 7}, "there is no fault 7", "no fault is set"),
        ({"do": "add", "fault": LATENCY, "seconds": -1}, "seconds is -1", "it is a number above 0"),
        ({"do": "add", "fault": {}}, "the action is not an object", 'write {"action": {"kind": "latency", "average": 0.02}}'),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_and_the_connection_goes_on(control, request_, error, hint) -> None:
    assert await control.ask(request_, {"do": "list"}) == [{"error": error, "hint": hint}, {"faults": []}]


async def test_an_endless_line_ends_the_connection(control) -> None:
    reader, writer = await asyncio.open_unix_connection(str(control.path))
    writer.write(b"x" * (MAX_LINE + 2))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_the_socket_of_a_process_that_is_gone_is_replaced(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "control"))
    made = Control(tmp_path / "control")
    await made.socket.start()
    assert await made.ask({"do": "list"}) == [{"faults": []}]
    with pytest.raises(FileExistsError, match="belongs to a process that runs"):
        await Control(made.path).socket.start()
    await made.socket.close()


async def test_nothing_else_that_is_there_is_touched(tmp_path) -> None:
    (tmp_path / "control").write_text("mine")
    with pytest.raises(FileExistsError, match="is no socket"):
        await Control(tmp_path / "control").socket.start()
    assert (tmp_path / "control").read_text() == "mine"


WORDS = st.sampled_from(["do", "fault", "id", "action"])
TREES = st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.dictionaries(WORDS, inner))


@given(st.binary(max_size=100) | TREES.map(lambda value: json.dumps(value).encode()))
def test_no_line_makes_it_stumble(line) -> None:
    control = ControlSocket(Path("unused"), Emulator())
    assert set(control.answer(line)) & {"error", "faults", "fault", "cleared"}
