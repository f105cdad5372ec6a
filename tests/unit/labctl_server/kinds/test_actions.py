"""What can be done to a VM comes to one call to the agent of its host."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import pytest

from labctl.errors import NotRunningError, UsageError
from labctl.model.address import Address
from labctl.model.json import Json
from labctl.model.resource import Resource
from labctl.model.unit import RecordedUnit, Unit, UnitState
from labctl_server.kinds.actions import vm_actions

WEB1 = Address("vm", "web1")


@dataclass
class Host:
    """A host's agent that notes what it is asked; and the services and the context that lead to it."""

    answer: Any = None
    made: bool = True
    asked: list[tuple[str, str, Any, float]] = field(default_factory=list)

    @property
    def services(self) -> Host:
        return self

    def agent(self, node: str) -> Host:
        assert node == "esx2"
        return self

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Any:
        self.asked.append((method, path, body, timeout))
        return self.answer

    def units(self, address: Address) -> list[RecordedUnit]:
        assert address == WEB1
        disk = Unit(id="volume:gold/web1", type="volume", resource=WEB1, spec={})
        vm = Unit(id="vm:web1", type="vm", resource=WEB1, spec={"host": "esx2"})
        return [RecordedUnit(unit=unit, state=UnitState.CREATED) for unit in (disk, vm)[: 2 if self.made else 1]]

    async def act(self, action: str, **arguments: Any) -> Any:
        resource: Resource[Any] = Resource(address=WEB1, spec=None, table=("vm", "web1"))
        return await vm_actions()[action](self, resource, arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["start", "stop", "reset"])
async def test_a_button_is_pressed_on_the_vms_host(action: str) -> None:
    host = Host(answer={"state": "running"})
    assert await host.act(action) == {"state": "running"}
    assert [call[:2] for call in host.asked] == [("POST", f"/v1/vms/web1/{action}")]


async def test_the_answer_to_a_stop_may_take_longer_than_the_guest() -> None:
    host = Host()
    await host.act("stop", timeout=5)
    await host.act("stop", force=True)
    bodies = [body for _, _, body, _ in host.asked]
    assert [body["force"] for body in bodies] == [False, True]
    assert bodies[0]["timeout"] == 5
    assert all(timeout > body["timeout"] for _, _, body, timeout in host.asked)


@pytest.mark.parametrize(
    ("ended", "code"), [({"exit_code": 3, "signal": None}, 3), ({"exit_code": None, "signal": 9}, 137)]
)
async def test_a_command_in_the_guest_comes_back_as_from_a_shell(ended: dict[str, Any], code: int) -> None:
    out, err = (base64.b64encode(text).decode() for text in (b"caf\xc3\xa9", b"\xff"))
    host = Host(answer={**ended, "stdout": out, "stderr": err, "truncated": False})
    result = await host.act("exec", command=["cat", "-"], stdin="hello")
    assert result == {"exit_code": code, "stdout": "café", "stderr": "\ufffd", "truncated": False}
    assert host.asked[0][2]["argv"] == ["cat", "-"]
    assert base64.b64decode(host.asked[0][2]["stdin"]) == b"hello"


@pytest.mark.parametrize("command", [None, [], "ls", ["ls", 1]])
async def test_what_is_no_command_is_refused_before_the_host_is_asked(command: Any) -> None:
    host = Host()
    with pytest.raises(UsageError, match="exec needs a command") as caught:
        await host.act("exec", command=command)
    assert caught.value.hint == "for example: labctl exec web1 -- uname -a"
    assert not host.asked


@pytest.mark.parametrize("timeout", [0, -1, "5", True])
async def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(UsageError, match="timeout must be a number of seconds above 0"):
        await Host().act("stop", timeout=timeout)


async def test_the_console_is_where_the_host_says_and_only_of_a_vm_that_runs() -> None:
    state = {"state": "running", "console": "/run/c.sock", "console_log": "/run/c.log"}
    assert await Host(answer=state).act("console") == {"host": "esx2", "socket": "/run/c.sock", "log": "/run/c.log"}
    with pytest.raises(NotRunningError, match="web1 is powered off"):
        await Host(answer={**state, "state": "stopped"}).act("console")


async def test_a_vm_that_was_not_made_yet_says_so() -> None:
    with pytest.raises(NotRunningError, match="web1 is not there yet") as caught:
        await Host(made=False).act("start")
    assert caught.value.hint == "bring it up: labctl up"
