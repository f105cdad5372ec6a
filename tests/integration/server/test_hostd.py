"""The host's agent with a real QEMU in a real namespace: its VMs outlive it, none runs twice, and nothing stays behind."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labctl.agent.client import AgentClient
from labctl.agent.config import AgentConfig
from labctl.errors import LabError, NotRunningError
from labctl.linux import namespaces, processes
from labctl.linux.links import Bridge, ensure_bridges, observe
from labctl.linux.processes import ProcessId
from labctl.linux.sockets import SocketPool
from labctl.model.json import JsonObject
from labctl.plugin.places import image_cache
from labctl.runtime.agents.authority import Authority
from labctl.testing.plugin import short_folder
from labctl.testing.waiting import wait_for, wait_until
from labctl_server.image.recipe import Image
from labctl_server.image.store import ImageStore

pytestmark = [pytest.mark.needs("root", "tun", "qemu", "net", "apt", "e2fsprogs"), pytest.mark.slow]

BOOT_DEADLINE = 120.0
"""Seconds: an emulated guest needs five on an idle core; CI's are shared."""

Status = dict[str, Any]


@pytest.fixture(scope="module")
def image() -> Image:
    return ImageStore(image_cache()).ensure("micro")


@dataclass
class Host:
    """A namespace with a vSwitch, and the hostd that runs in it."""

    lab: str
    folder: Path
    namespace: Path
    config: Path
    image: Image
    process: ProcessId | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    @property
    def client(self) -> AgentClient:
        return AgentClient("esx1", socket=self.socket)

    async def call(self, method: str, path: str, body: JsonObject | None = None) -> Any:
        client = self.client
        try:
            return await client.call(method, path, body, timeout=BOOT_DEADLINE)
        finally:
            await client.close()

    async def start(self) -> None:
        argv = [sys.executable, "-m", "labctl_server.hostd", "--config", str(self.config)]
        self.process = processes.spawn(argv, namespace=self.namespace, log=self.folder / "hostd.log")
        await wait_until(self.answers, 30)

    async def answers(self) -> bool:
        assert self.process is not None
        assert processes.alive(self.process), (self.folder / "hostd.log").read_text()
        try:
            await self.call("GET", "/v1/heartbeat")
        except LabError:
            return False
        return True

    def kill(self) -> None:
        assert self.process is not None
        processes.terminate([self.process], grace=0)

    def machine(self, *, memory: int = 128 * 2**20) -> dict[str, Any]:
        disk = self.folder / "web1.raw"
        if not disk.exists():
            shutil.copyfile(self.image.rootfs, disk)
        size = disk.stat().st_size
        return {
            "name": "web1",
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, self.lab)),
            "memory": memory,
            "cpus": 1,
            "disks": [
                {"name": "web1-disk0", "source": {"protocol": "file", "path": str(disk), "format": "raw", "size": size}}
            ],
            "nics": [
                {
                    "network": "production",
                    "vswitch": "vSwitch0",
                    "mac": "52:54:00:00:00:01",
                    "address": "10.10.0.11/24",
                }
            ],
            "boot": {
                "kernel": str(self.image.kernel),
                "initrd": str(self.image.initrd),
                "cmdline": self.image.cmdline,
            },
        }

    async def put(self, power: str = "on", *, restart: bool = False, memory: int = 128 * 2**20) -> Status:
        body: JsonObject = {"machine": self.machine(memory=memory), "power": power, "restart": restart}
        return dict(await self.call("PUT", "/v1/vms/web1", body))

    async def boot(self) -> Status:
        """Power on and wait for the guest."""
        await self.put()
        state = await self.call("POST", "/v1/vms/web1/wait", {"timeout": BOOT_DEADLINE})
        assert state["tools"] == "running", (self.folder / "vms/web1/console.log").read_text()
        return dict(state)

    async def state(self) -> Status:
        return dict(await self.call("GET", "/v1/vms/web1"))

    async def becomes(self, state: str) -> Status:
        async def there() -> Status | None:
            found = await self.state()
            return found if found["state"] == state else None

        return await wait_until(there, 30) or {}

    async def shell(self, command: str) -> str:
        body: JsonObject = {"argv": ["sh", "-c", command]}
        result = await self.call("POST", "/v1/vms/web1/exec", body)
        assert result["exit_code"] == 0, base64.b64decode(result["stderr"])
        return base64.b64decode(result["stdout"]).decode().strip()

    def qemus(self) -> list[ProcessId]:
        return processes.find_by_environment(f"LABCTL_VM={self.lab}/esx1/web1")

    def links(self) -> set[str]:
        with SocketPool() as pool:
            return set(observe(pool, [self.namespace])[self.namespace]) - {"lo", "vSwitch0"}

    def sockets(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*.sock") if path != self.socket)


@pytest.fixture
def namespace(unique: str) -> Iterator[Path]:
    path = namespaces.NAMED_FOLDER / f"{unique}-esx1"
    assert namespaces.create_many([path]) == {}
    with SocketPool() as pool:
        assert ensure_bridges(pool, [Bridge(namespace=path, name="vSwitch0")]) == {}
    yield path
    assert namespaces.delete_many([path]) == {}


@pytest.fixture
async def host(unique: str, namespace: Path, image: Image) -> AsyncIterator[Host]:
    with short_folder(unique) as folder:
        authority = Authority(folder / "ca", unique)
        identity = authority.issue(folder / "esx1", "esx1", "127.0.0.1", client=False)
        config = AgentConfig(
            lab=unique,
            node="esx1",
            address="127.0.0.1",
            port=8443,
            certificate=identity.certificate,
            key=identity.key,
            authority=authority.certificate,
            directory=folder,
            socket=folder / "agent.sock",
            config={"cpus": 2, "memory": 2**30},
        )
        (folder / "agent.json").write_text(config.model_dump_json())
        running = Host(unique, folder, namespace, folder / "agent.json", image)
        await running.start()
        try:
            yield running
        finally:
            if running.process is not None:
                processes.terminate([running.process])
            processes.terminate(running.qemus(), grace=0)


async def test_a_vm_starts_runs_commands_and_goes_without_a_trace(host: Host) -> None:
    state = await host.boot()
    assert (state["state"], state["pending"], len(host.qemus())) == ("running", False, 1)
    assert await host.shell("hostname; ip -4 -o address show dev eth0 | awk '{print $4}'") == "web1\n10.10.0.11/24"
    assert host.links() == {"web1.0"}
    await host.call("DELETE", "/v1/vms/web1")
    assert (host.qemus(), host.links(), host.sockets()) == ([], set(), [])
    assert not (host.folder / "vms/web1").exists()
    assert await host.call("GET", "/v1/vms") == {}


async def test_a_vm_runs_on_while_its_hostd_is_killed_and_is_adopted_by_the_next(host: Host) -> None:
    before = await host.boot()
    written = await host.shell("echo kept > /run/mark; cat /proc/sys/kernel/random/boot_id")
    host.kill()
    assert [process.pid for process in host.qemus()] == [before["pid"]]
    await host.start()
    after = await host.state()
    assert (after["state"], after["pid"]) == ("running", before["pid"])
    assert await host.shell("cat /run/mark /proc/sys/kernel/random/boot_id") == f"kept\n{written}"
    assert (await host.put())["pid"] == before["pid"]


async def test_a_qemu_whose_start_was_never_recorded_is_found_and_not_started_twice(host: Host) -> None:
    before = await host.boot()
    host.kill()
    path = host.folder / "vms/web1/vm.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "state": "off", "process": None, "reason": "starting"}))
    await host.start()
    assert (await host.put())["pid"] == before["pid"]
    assert len(host.qemus()) == 1


async def test_a_killed_qemu_shows_as_crashed_and_the_next_start_brings_it_back(host: Host) -> None:
    before = await host.boot()
    os.kill(before["pid"], signal.SIGKILL)
    state = await host.becomes("crashed")
    assert "signal 9" in state["reason"]
    wait_for(lambda: host.links() == set(), 10)
    again = await host.boot()
    assert again["state"] == "running"
    assert again["pid"] != before["pid"]


async def test_a_qemu_that_died_while_hostd_was_down_shows_as_crashed(host: Host) -> None:
    before = await host.boot()
    host.kill()
    processes.terminate(host.qemus(), grace=0)
    await host.start()
    state = await host.state()
    assert (state["state"], state["pid"]) == ("crashed", None)
    assert (host.links(), host.sockets()) == (set(), [])
    assert before["state"] == "running"


async def test_stop_shuts_the_guest_down_in_order_and_its_disk_keeps_what_it_wrote(host: Host) -> None:
    await host.boot()
    await host.shell("echo durable > /root/file")
    stopped = await host.call("POST", "/v1/vms/web1/stop", {"timeout": 60})
    assert (stopped["state"], stopped["reason"]) == ("off", "the guest shut down")
    assert (host.qemus(), host.links(), host.sockets()) == ([], set(), [])
    await host.boot()
    assert await host.shell("cat /root/file") == "durable"


async def test_a_forced_stop_pulls_the_plug_at_once(host: Host) -> None:
    await host.put()
    stopped = await host.call("POST", "/v1/vms/web1/stop", {"force": True})
    assert (stopped["state"], stopped["reason"]) == ("off", "powered off")
    with pytest.raises(NotRunningError, match="web1 is powered off"):
        await host.call("POST", "/v1/vms/web1/exec", {"argv": ["true"]})


async def test_reset_boots_the_guest_again_in_the_same_qemu(host: Host) -> None:
    before = await host.boot()
    boot = await host.shell("cat /proc/sys/kernel/random/boot_id")
    after = await host.call("POST", "/v1/vms/web1/reset")
    assert (after["pid"], after["tools"]) == (before["pid"], "not running")
    await host.call("POST", "/v1/vms/web1/wait", {"timeout": BOOT_DEADLINE})
    assert await host.shell("cat /proc/sys/kernel/random/boot_id") != boot


async def test_a_guest_that_still_boots_shuts_down_as_soon_as_it_can(host: Host) -> None:
    await host.put()
    stopped = await host.call("POST", "/v1/vms/web1/stop", {"timeout": BOOT_DEADLINE})
    assert (stopped["state"], stopped["reason"]) == ("off", "the guest shut down")


async def test_changed_hardware_waits_for_a_restart(host: Host) -> None:
    before = await host.boot()
    waiting = await host.put(memory=160 * 2**20)
    assert (waiting["pid"], waiting["pending"], waiting["memory"]) == (before["pid"], True, 128 * 2**20)
    changed = await host.put(restart=True, memory=160 * 2**20)
    assert (changed["pending"], changed["memory"]) == (False, 160 * 2**20)
    assert changed["pid"] != before["pid"]


async def test_a_vm_whose_disk_is_missing_says_so_and_leaves_nothing(host: Host) -> None:
    machine = host.machine()
    (host.folder / "web1.raw").unlink()
    body: JsonObject = {"machine": machine, "power": "on"}
    with pytest.raises(LabError, match=r"VM web1 did not start: .*web1\.raw"):
        await host.call("PUT", "/v1/vms/web1", body)
    state = await host.state()
    assert (state["state"], state["reason"]) == ("off", "did not start")
    assert (host.qemus(), host.links(), host.sockets()) == ([], set(), [])


def _is_recorded(host: Host) -> bool:
    return (host.folder / "vms/web1/vm.json").exists()


def _has_tap(host: Host) -> bool:
    return bool(host.links())


def _has_qemu(host: Host) -> bool:
    return bool(host.qemus())


def _has_monitor(host: Host) -> bool:
    return (host.folder / "vms/web1/qmp.sock").exists()


@pytest.mark.parametrize("moment", [_is_recorded, _has_tap, _has_qemu, _has_monitor])
async def test_hostd_killed_in_the_middle_of_a_start_leaves_what_the_next_completes(
    host: Host, moment: Callable[[Host], bool]
) -> None:
    starting = asyncio.create_task(host.put())
    await wait_until(lambda: asyncio.to_thread(moment, host), 30)
    host.kill()
    await asyncio.gather(starting, return_exceptions=True)
    await host.start()
    state = await host.put()
    assert (state["state"], len(host.qemus()), host.links()) == ("running", 1, {"web1.0"})
    await host.call("DELETE", "/v1/vms/web1")
    assert (host.qemus(), host.links(), host.sockets()) == ([], set(), [])


def _qemu_is_gone(host: Host) -> bool:
    return not host.qemus()


def _sockets_are_gone(host: Host) -> bool:
    return host.sockets() == []


@pytest.mark.parametrize("moment", [_qemu_is_gone, _sockets_are_gone])
async def test_hostd_killed_in_the_middle_of_a_removal_leaves_what_the_next_completes(
    host: Host, moment: Callable[[Host], bool]
) -> None:
    await host.put()
    removing = asyncio.create_task(host.call("DELETE", "/v1/vms/web1"))
    await wait_until(lambda: asyncio.to_thread(moment, host), 30)
    host.kill()
    await asyncio.gather(removing, return_exceptions=True)
    await host.start()
    await host.call("DELETE", "/v1/vms/web1")
    assert (host.qemus(), host.links(), host.sockets()) == ([], set(), [])
    assert await host.call("GET", "/v1/vms") == {}
    assert list((host.folder / "vms").iterdir()) == []


async def test_a_second_hostd_of_the_same_folder_does_not_start(host: Host) -> None:
    argv = [sys.executable, "-m", "labctl_server.hostd", "--config", str(host.config)]
    log = host.folder / "second.log"
    second = processes.spawn(argv, namespace=host.namespace, log=log)
    assert await asyncio.to_thread(processes.wait_gone, [second], 30) == []
    assert processes.reap(second) != 0
    assert "another hostd holds" in log.read_text()
