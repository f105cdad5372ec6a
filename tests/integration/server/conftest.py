"""Guests that really boot."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from labctl.plugin.places import image_cache
from labctl.testing.plugin import short_folder
from labctl_server.image.guest import guest_arguments
from labctl_server.image.recipe import Image
from labctl_server.image.store import ImageStore
from labctl_server.qemu.agent import GuestAgent
from labctl_server.qemu.command import qemu_command
from labctl_server.qemu.monitor import Monitor
from labctl_server.qemu.spec import DiskSpec, FileBackend, KernelSpec, RunFolder, VmSpec

DISK_SIZE = 2**30
BOOT_TIMEOUT = 90.0  # seconds; a busy machine emulates slowly


class Guest:
    """A VM on a local disk; it can be started again after it ended."""

    def __init__(self, folder: Path, image: Image, name: str) -> None:
        self.spec = VmSpec(
            name=name,
            uuid=uuid4(),
            memory=128 * 2**20,
            cpus=1,
            accel="tcg",
            run=RunFolder(folder),
            disks=(DiskSpec(slot=0, serial="root", backend=FileBackend(path=folder / "disk.raw", format="raw")),),
            kernel=KernelSpec(
                kernel=image.kernel or Path(), initrd=image.initrd, cmdline=f"{image.cmdline} {guest_arguments(name)}"
            ),
        )
        shutil.copyfile(image.rootfs, folder / "disk.raw")
        with (folder / "disk.raw").open("r+b") as disk:
            disk.truncate(DISK_SIZE)
        self.agent = GuestAgent(self.spec.run.agent, name)
        self.events: list[str] = []

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(*qemu_command(self.spec), stdin=asyncio.subprocess.DEVNULL)
        self.monitor = Monitor(self.spec.name)
        await self.monitor.connect(self.spec.run.qmp, timeout=30, on_event=lambda name, _: self.events.append(name))
        await self.agent.ping(timeout=BOOT_TIMEOUT)

    async def shell(self, script: str) -> str:
        result = await self.agent.exec(["sh", "-c", script], timeout=30)
        assert result.exit_code == 0, (script, result)
        return result.stdout.decode()

    async def ended(self) -> int:
        code = await asyncio.wait_for(self.process.wait(), 60)
        await self.release()
        return code

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()

    async def release(self) -> None:
        await self.monitor.close()
        await self.agent.close()


@pytest.fixture(scope="session")
def micro() -> Image:
    return ImageStore(image_cache()).ensure("micro")


@pytest.fixture
async def guest(unique: str, micro: Image) -> AsyncIterator[Guest]:
    with short_folder(unique) as folder:
        guest = Guest(folder, micro, unique)
        await guest.start()
        yield guest
        await guest.kill()
