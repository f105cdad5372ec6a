"""A migration as its source steers it: what is told to QEMU and to the destination, and that the VM never runs on both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labctl.agent.client import AgentUnreachableError
from labctl.errors import ConflictError, LabError, NotRunningError
from labctl.model.json import Json
from labctl_server.hostd import migration as module
from labctl_server.hostd.encryption import PLAIN, Credentials, take_back
from labctl_server.hostd.migration import Migration
from labctl_server.hostd.store import Order
from labctl_server.machine import Boot, Machine
from labctl_server.qemu.monitor import MonitorError

MACHINE = Machine(name="web1", uuid="6f1de2c4-6d5c-4b57-9d0c-0123456789ab", memory=2**27, cpus=1)
BOOT = Boot(kernel="/kernel")
ORDER = Order(id="m1", host="esx2", address="10.30.0.12", port=443, listen="10.30.0.12", machine=MACHINE)
RAM = {"dirty-sync-count": 2, "transferred": 60, "remaining": 0, "total": 128}


class World:
    """Both QEMUs, the source's books and the destination's agent, with one script of what happens."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.arguments: dict[str, Any] = {}
        self.told: list[str] = []
        self.noted: Order | None = ORDER
        self.left: Order | None = None
        self.looks = [{"status": "active", "ram": RAM}, {"status": "completed", "ram": RAM, "downtime": 30}]
        self.runs_here = True
        self.runs_there = False
        self.qemu_gone = False
        self.answers: dict[str, list[LabError]] = {}
        self.refuses: set[str] = set()
        self.silent = asyncio.Event()
        self.on_look: Callable[[], None] = lambda: None

    # the source's books (migration.Source)
    name = "web1"

    def monitor(self) -> Any:
        if self.qemu_gone:
            raise NotRunningError("web1 is not running")
        return self

    def running_machine(self) -> Machine:
        return MACHINE.model_copy(update={"boot": BOOT})

    def note_migration(self, order: Order | None) -> None:
        self.noted = order

    async def leave(self, order: Order) -> None:
        assert self.runs_there
        self.left = order

    # its monitor (qemu.monitor.Monitor)
    async def execute(self, command: str, arguments: Any = None, *, timeout: float = 10.0) -> Any:
        self.said.append(command)
        self.arguments[command] = arguments
        if command == "query-migrate":
            self.on_look()
            look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
            if look["status"] == "completed":
                self.runs_here = False
            return look
        if command == "migrate":
            assert arguments == {"uri": "tcp:10.30.0.12:4711"}
        if command == "migrate_cancel" and self.looks[0]["status"] == "active":
            self.looks = [{"status": "cancelled"}]
        if command in self.refuses:
            raise MonitorError(f"QEMU refused {command}")
        if command == "cont":
            assert not self.runs_there, "it would run twice"
            self.runs_here = True
        return {}

    async def status(self) -> str:
        return "running" if self.runs_here else "postmigrate"

    # the destination's agent (migration.Peer)
    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Json:
        deed = f"{method} {path.removeprefix('/v1/vms/web1/arrivals/')}"
        self.said.append(deed)
        if self.said.count("POST m1/resume") == 5:
            self.silent.set()
        for error in self.answers.get(deed, [])[:1]:
            self.answers[deed].pop(0)
            raise error
        if deed == "PUT m1":
            assert isinstance(body, dict)
            assert body["machine"]["boot"] == BOOT.model_dump()
            return {"uri": "tcp:10.30.0.12:4711"}
        if deed == "POST m1/resume":
            assert not self.runs_here, "it would run twice"
            assert self.noted is not None
            assert self.noted.handing_over, "it was not written down before"
            self.runs_there = True
        return {"resumed": None}

    async def close(self) -> None:
        self.said.append("close")

    def publish(self, event: str, /, **properties: Json) -> None:
        self.told.append(event)

    def migration(self, order: Order = ORDER) -> Migration:
        credentials = Credentials(
            folder=Path("/tls"), certificate=Path("/node.pem"), key=Path("/node.key"), authority=Path("/ca.pem")
        )
        return Migration(self, order, host="esx1", peer=self, publish=self.publish, credentials=credentials)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.0)
    monkeypatch.setattr(module, "RETRY_INTERVAL", 0.0)
    return World()


async def test_a_migration_goes_step_by_step(world: World) -> None:
    migration = world.migration()
    await migration.run()
    assert world.said == [
        "PUT m1",
        "object-add",
        "migrate-set-capabilities",
        "migrate-set-parameters",
        "migrate",
        "query-migrate",
        "query-migrate",
        "POST m1/ready",
        "POST m1/resume",
        "query-migrate",
        "close",
    ]
    assert (world.runs_here, world.runs_there) == (False, True)
    assert world.left is not None
    assert world.told == ["vm.migrating", "vm.migrated"]
    shown = migration.progress
    assert (shown.state, shown.passes, shown.transferred, shown.total, shown.downtime) == ("completed", 2, 60, 128, 30)


@pytest.mark.parametrize("deed", ["PUT m1", "POST m1/ready"], ids=["at its start", "when all has come"])
async def test_a_destination_that_fails_leaves_the_vm_here(world: World, deed: str) -> None:
    world.answers[deed] = [AgentUnreachableError("the agent of esx2 does not answer")]
    migration = world.migration()
    await migration.run()
    assert (world.runs_here, world.runs_there) == (True, False)
    assert (migration.progress.state, migration.progress.message) == ("failed", "the agent of esx2 does not answer")
    assert world.noted is None
    assert world.left is None
    assert world.told == ["vm.migrating", "vm.migration_failed"]
    assert "DELETE m1" in world.said


async def test_a_stream_that_breaks_leaves_the_vm_here(world: World) -> None:
    world.looks = [{"status": "active", "ram": RAM}, {"status": "failed", "error-desc": "Broken pipe"}]
    migration = world.migration()
    await migration.run()
    assert (migration.progress.state, migration.progress.message) == ("failed", "Broken pipe")
    assert world.runs_here
    assert "POST m1/resume" not in world.said


async def test_a_cancelled_migration_leaves_the_vm_here(world: World) -> None:
    world.looks = [{"status": "active", "ram": RAM}]
    migration = world.migration()
    world.on_look = lambda: migration.cancel() if migration.progress.state == "running" else None
    await migration.run()
    assert (migration.progress.state, migration.progress.message) == ("cancelled", "it was cancelled")
    assert world.runs_here
    with pytest.raises(ConflictError, match="the migration of web1 is over"):
        migration.cancel()


async def test_a_destination_that_says_no_at_the_hand_over_gives_the_vm_back(world: World) -> None:
    world.answers["POST m1/resume"] = [
        AgentUnreachableError("the agent of esx2 does not answer"),
        ConflictError("web1 did not arrive at host esx2"),
    ]
    migration = world.migration()
    await migration.run()
    assert world.said.count("POST m1/resume") == 2
    assert (world.runs_here, world.runs_there) == (True, False)
    assert migration.progress.message == "web1 did not arrive at host esx2"


async def test_a_fault_at_the_hand_over_is_no_answer(world: World) -> None:
    """It may have come after the VM began to run there."""
    world.answers["POST m1/resume"] = [LabError("a fault in labctl"), NotRunningError("web1 is not running")]
    migration = world.migration()
    await migration.run()
    assert migration.progress.state == "completed"
    assert (world.runs_here, world.runs_there) == (False, True)
    assert "cont" not in world.said


async def test_a_vm_that_does_not_carry_on_is_told(world: World) -> None:
    world.answers["POST m1/ready"] = [LabError("QEMU on host esx2 is gone")]
    world.refuses = {"cont"}
    migration = world.migration()
    await migration.run()
    assert migration.progress.message == "QEMU on host esx2 is gone; and web1 does not carry on: QEMU refused cont"


async def test_a_silent_destination_is_asked_until_it_answers_and_nobody_may_cancel(world: World) -> None:
    world.answers["POST m1/resume"] = [AgentUnreachableError("the agent of esx2 does not answer")] * 1000
    migration = world.migration()
    running = asyncio.create_task(migration.run())
    await world.silent.wait()
    assert not world.runs_here
    with pytest.raises(ConflictError, match="is being handed over"):
        migration.cancel()
    world.answers["POST m1/resume"].clear()
    await running
    assert migration.progress.state == "completed"
    assert world.runs_there


async def test_the_vms_end_ends_its_migration(world: World) -> None:
    def die() -> None:
        world.qemu_gone = True

    world.looks = [{"status": "active", "ram": RAM}]
    world.on_look = die
    migration = world.migration()
    await migration.run()
    assert migration.progress.message == "web1 is not running; and web1 went off meanwhile"
    assert world.noted is None
    assert not world.runs_there


async def test_after_a_restart_a_copy_is_given_up_and_a_hand_over_is_finished(world: World) -> None:
    await world.migration().recover()
    assert "migrate_cancel" in world.said
    assert world.runs_here
    world.runs_here = False
    world.noted = ORDER.model_copy(update={"handing_over": True})
    await world.migration(world.noted).recover()
    assert world.runs_there
    assert world.left is not None


async def test_a_fault_of_ours_leaves_the_vm_here_too(world: World) -> None:
    world.looks = [{"status": "active", "ram": {}}, {"status": "active"}]
    migration = world.migration()
    await migration.run()
    assert migration.progress.message == "a fault in labctl; the host's log has it"
    assert world.runs_here


async def test_qemu_is_told_the_limits_and_whom_to_trust(world: World) -> None:
    await world.migration(ORDER.model_copy(update={"bandwidth": 1000, "downtime": 200})).run()
    assert world.arguments["migrate-set-parameters"] == {
        "max-bandwidth": 1000,
        "downtime-limit": 200,
        "tls-creds": "tls-m1",
        "tls-hostname": "esx2",
        "tls-authz": "",
    }
    assert world.arguments["object-add"] == {
        "qom-type": "tls-creds-x509",
        "id": "tls-m1",
        "dir": "/tls",
        "endpoint": "client",
        "verify-peer": True,
        "sanity-check": False,
    }
    states = {
        entry["capability"]: entry["state"] for entry in world.arguments["migrate-set-capabilities"]["capabilities"]
    }
    assert states == {"auto-converge": True, "multifd": False, "xbzrle": False, "postcopy-ram": False}


async def test_a_plain_stream_is_one_that_was_asked_for(world: World) -> None:
    await world.migration(ORDER.model_copy(update={"encrypted": False})).run()
    assert world.arguments["migrate-set-parameters"].items() >= PLAIN.items()
    assert "object-add" not in world.said


async def test_the_destination_takes_the_source_and_nobody_else(world: World, tmp_path: Path) -> None:
    for name in ("node.pem", "node.key", "ca.pem"):
        (tmp_path / name).write_text(name)
    credentials = Credentials(
        folder=tmp_path / "tls",
        certificate=tmp_path / "node.pem",
        key=tmp_path / "node.key",
        authority=tmp_path / "ca.pem",
    )
    for _ in range(2):  # a second hostd of the folder finds it laid out
        credentials.lay_out()
    assert {file.name: file.read_text() for file in credentials.folder.iterdir()} == {
        "ca-cert.pem": "ca.pem",
        "server-cert.pem": "node.pem",
        "server-key.pem": "node.key",
        "client-cert.pem": "node.pem",
        "client-key.pem": "node.key",
    }
    given = await credentials.give(world, "m1", "server", "esx1")  # type: ignore[arg-type]
    assert given == {"tls-creds": "tls-m1", "tls-hostname": "", "tls-authz": "guard-m1"}
    assert world.arguments["object-add"] == {"qom-type": "authz-simple", "id": "guard-m1", "identity": "CN=esx1"}
    await take_back(world, "m1")  # type: ignore[arg-type]
    assert world.said[-2:] == ["object-del", "object-del"]
