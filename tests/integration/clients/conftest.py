"""Storage clients of Linux, in guests, against our emulators: a switch in a namespace, servers on it, guests on taps."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from labctl.linux import namespaces, processes
from labctl.linux.links import Bridge, ensure_bridges
from labctl.linux.processes import ProcessId
from labctl.linux.sockets import SocketPool
from labctl.linux.taps import Tap, ensure_taps
from labctl.plugin.places import image_cache
from labctl.testing.devices import lent_tun
from labctl.testing.plugin import new_token, short_folder, watched
from labctl.testing.waiting import wait_for
from labctl_server.image.guest import GuestNic, guest_arguments
from labctl_server.image.recipe import Image
from labctl_server.image.store import ImageStore
from labctl_server.qemu.agent import ExecResult, GuestAgent
from labctl_server.qemu.command import qemu_command
from labctl_server.qemu.spec import DiskSpec, FileBackend, KernelSpec, NicSpec, RunFolder, VmSpec

SERVER = "10.77.0.1"
BOOT_DEADLINE = 180.0
"""Seconds: this guest takes eight on an idle core; CI's are shared."""

MEMORY = 384 * 2**20


class Server:
    """An emulator as its own process at SERVER, as users start it; it can be killed and started again."""

    def __init__(self, namespace: Path, folder: Path, argv: list[str], port: int) -> None:
        self._namespace = namespace
        self._environment = dict(os.environ)  # with the module's token, whichever test starts it again
        self._argv = [sys.executable, "-m", *argv]
        self._port = port
        self.log = folder / f"{argv[0]}.log"
        self.process: ProcessId | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        self.process = processes.spawn(
            self._argv, namespace=self._namespace, environment=self._environment, log=self.log
        )
        wait_for(self._listens, 30, what=f"{self._argv[2]} to listen")

    def _listens(self) -> bool:
        assert self.process is not None
        assert processes.alive(self.process), self.log.read_text()
        try:
            probe = namespaces.run_in(
                self._namespace, lambda: socket.create_connection((SERVER, self._port), timeout=1)
            )
        except OSError:
            return False
        probe.close()
        return True

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, at once unless told otherwise."""
        process, self.process = self.process, None
        if process is not None:
            processes.send_signal(process, number)
            processes.wait_gone([process], 30)
            processes.reap(process)


class ClientGuest:
    """A guest with Linux's storage clients; its first NIC is on the servers' switch."""

    def __init__(self, net: StorageNet, number: int) -> None:
        self.name = f"client{number}"
        self.address = f"10.77.0.{10 + number}"
        self._net = net
        self._folder = net.folder / self.name
        mac = f"52:54:00:77:00:{number:02x}"
        told = guest_arguments(self.name, [GuestNic(mac=mac, address=f"{self.address}/24")])
        self.spec = VmSpec(
            name=self.name,
            uuid=uuid4(),
            memory=MEMORY,
            cpus=1,
            accel="tcg",
            run=RunFolder(self._folder),
            disks=(DiskSpec(slot=0, serial="root", backend=FileBackend(path=self._folder / "root.raw", format="raw")),),
            nics=(NicSpec(slot=0, interface=net.tap(number), mac=mac),),
            kernel=KernelSpec(
                kernel=net.image.kernel or Path(), initrd=net.image.initrd, cmdline=f"{net.image.cmdline} {told}"
            ),
        )
        self._process: ProcessId | None = None

    def start(self) -> None:
        """Boot, and wait for the guest tools."""
        self._folder.mkdir()
        shutil.copyfile(self._net.image.rootfs, self.spec.disks[0].backend.path)  # type: ignore[union-attr]
        self._process = processes.spawn(
            qemu_command(self.spec), namespace=self._net.namespace, log=self._folder / "qemu.log"
        )
        wait_for(self._has_begun, 60, what=f"QEMU of {self.name} to start")
        asyncio.run(self._ping())

    def _has_begun(self) -> bool:
        assert self._process is not None
        assert processes.alive(self._process), (self._folder / "qemu.log").read_text()
        return self.spec.run.agent.exists()

    async def _ping(self) -> None:
        agent = GuestAgent(self.spec.run.agent, self.name)
        try:
            await agent.ping(timeout=BOOT_DEADLINE)
        finally:
            await agent.close()

    def kill(self) -> None:
        """Pull its plug."""
        process, self._process = self._process, None
        if process is not None:
            processes.terminate([process], grace=0)

    def run(self, script: str, *, timeout: float = 120.0, check: bool = True) -> ExecResult:
        """Run a shell script in the guest to its end; it fails the test with what it said if it fails."""
        result = asyncio.run(self._exec(script, timeout))
        if check and result.exit_code != 0:
            said = (result.stdout + result.stderr).decode(errors="replace")
            pytest.fail(f"{self.name}: {script}\nended with {result.exit_code}:\n{said}")
        return result

    async def _exec(self, script: str, timeout: float) -> ExecResult:
        agent = GuestAgent(self.spec.run.agent, self.name)
        try:
            return await agent.exec(["sh", "-ec", script], timeout=timeout)
        finally:
            await agent.close()

    def said(self, script: str, *, timeout: float = 120.0) -> str:
        """What a script prints, stripped."""
        return self.run(script, timeout=timeout).stdout.decode().strip()


class StorageNet:
    """A namespace with a switch, to which servers and guests are joined."""

    def __init__(self, token: str, folder: Path, image: Image) -> None:
        self.namespace = Path("/run/netns") / f"{token}-san"
        self.folder = folder
        self.image = image
        self._token = token
        self._guests: list[ClientGuest] = []
        self._servers: list[Server] = []

    def tap(self, number: int) -> str:
        """The name of a guest's tap."""
        return f"{self._token}-{number}"

    def build(self) -> None:
        """Make the namespace and its switch."""
        assert not namespaces.create_many([self.namespace])
        with SocketPool() as pool:
            bridge = Bridge(namespace=self.namespace, name="lan", addresses=(f"{SERVER}/24",))
            assert not ensure_bridges(pool, [bridge])

    def guests(self, count: int) -> list[ClientGuest]:
        """So many guests, booted side by side."""
        numbers = range(len(self._guests) + 1, len(self._guests) + 1 + count)
        with SocketPool() as pool:
            taps = [Tap(namespace=self.namespace, name=self.tap(number), bridge="lan") for number in numbers]
            failed = ensure_taps(pool, taps)
            assert not failed, failed
        made = [ClientGuest(self, number) for number in numbers]
        self._guests += made
        with ThreadPoolExecutor() as threads:
            list(threads.map(ClientGuest.start, made))
        return made

    def server(self, *argv: str, port: int) -> Server:
        """An emulator at SERVER, started; `argv` is its module and options."""
        server = Server(self.namespace, self.folder, list(argv), port)
        self._servers.append(server)
        server.start()
        return server

    def inside(self, *argv: str, timeout: float = 60) -> str:
        """What a command says that runs in the namespace."""
        command = ["nsenter", f"--net={self.namespace}", *argv]
        return subprocess.run(command, text=True, capture_output=True, timeout=timeout, check=True).stdout

    def close(self) -> None:
        """End what was started, newest first."""
        for guest in self._guests:
            guest.kill()
        for server in self._servers:
            server.kill()
        namespaces.delete_many([self.namespace])


@pytest.fixture(scope="module")
def storage_net() -> Iterator[StorageNet]:
    """A switch for this module's servers and guests."""
    image = ImageStore(image_cache()).ensure("client")
    token = new_token()
    with lent_tun(), short_folder(token) as folder, watched(token):
        net = StorageNet(token, folder, image)
        net.build()
        try:
            yield net
        finally:
            net.close()
