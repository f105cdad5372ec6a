"""A micro guest boots, answers, remembers and ends."""

from __future__ import annotations

import asyncio

import pytest

from labctl.errors import NotRunningError, TimedOutError
from labctl.testing.waiting import wait_until
from labctl_server.qemu.agent import AgentError, AgentGoneError
from labctl_server.qemu.monitor import MonitorError

from .conftest import DISK_SIZE, Guest

pytestmark = pytest.mark.needs("qemu", "e2fsprogs", "apt")


async def test_the_guest_says_who_it_is_and_runs_commands(guest: Guest) -> None:
    assert await guest.agent.host_name() == guest.spec.name
    assert (await guest.agent.os_info())["id"] == "labctl-micro"
    assert [interface["name"] for interface in await guest.agent.interfaces()] == ["lo"]
    echoed = await guest.agent.exec(["cat"], stdin=b"\x00\xff in and out")
    assert (echoed.exit_code, echoed.stdout) == (0, b"\x00\xff in and out")
    assert (await guest.agent.exec(["sh", "-c", "echo no >&2; exit 3"])).exit_code == 3
    assert (await guest.agent.exec(["sh", "-c", "kill -9 $$"])).signal == 9
    with pytest.raises(AgentError, match="nosuch"):
        await guest.agent.exec(["nosuch"])


async def test_an_unanswered_call_does_not_spoil_the_next(guest: Guest) -> None:
    with pytest.raises(TimedOutError):
        await guest.agent.exec(["sleep", "5"], timeout=0.2)
    with pytest.raises(TimedOutError):
        await guest.agent.call("guest-get-osinfo", timeout=0.0001)
    assert await guest.agent.host_name() == guest.spec.name


async def test_the_root_file_system_grows_to_its_disk(guest: Guest) -> None:
    async def grown() -> bool:
        return int(await guest.shell("stat -f -c %b /")) * 4096 > 0.9 * DISK_SIZE

    await wait_until(grown, 30, what="the file system to grow")


async def test_what_was_synced_survives_the_loss_of_power_and_the_disk_stays_sound(guest: Guest) -> None:
    await guest.shell("echo kept >/root/note; sync; dd if=/dev/urandom of=/root/torn bs=64k count=64")
    await guest.kill()
    await guest.start()
    assert await guest.shell("cat /root/note") == "kept\n"
    assert "rw," in await guest.shell("grep ' / ext4 ' /proc/mounts")
    await guest.shell("! dmesg | grep -i 'ext4-fs error'")


async def test_the_power_button_ends_the_guest_in_order(guest: Guest) -> None:
    await guest.shell("echo unsynced >/root/note")
    await guest.monitor.power_button()
    assert await guest.ended() == 0
    assert "SHUTDOWN" in guest.events
    await guest.start()
    assert await guest.shell("cat /root/note") == "unsynced\n"
    assert "recovery" not in await guest.shell(
        "dmesg | grep EXT4-fs"
    )  # it was unmounted, so there was nothing to recover


async def test_the_agent_ends_the_guest(guest: Guest) -> None:
    await guest.agent.shutdown()
    assert await guest.ended() == 0
    with pytest.raises(AgentGoneError):
        await guest.agent.ping(timeout=1)


async def test_a_reset_guest_answers_again(guest: Guest) -> None:
    await guest.shell("touch /tmp/before")
    await guest.monitor.reset()

    async def restarted() -> bool:
        return not (await guest.shell("ls /tmp/before 2>/dev/null || true"))

    await guest.agent.close()
    await guest.agent.ping(timeout=90)
    await wait_until(restarted, 90, what="the guest to come up again")


async def test_the_monitor_tells_state_refusals_and_a_pulled_plug(guest: Guest) -> None:
    assert await guest.monitor.status() == "running"
    with pytest.raises(MonitorError, match="nosuch"):
        await guest.monitor.execute("device_del", {"id": "nosuch"})
    await guest.monitor.quit()
    assert await guest.ended() == 0
    with pytest.raises(NotRunningError):
        await guest.monitor.connect(guest.spec.run.qmp, timeout=0.2)


async def test_the_console_is_a_root_shell(guest: Guest) -> None:
    reader, writer = await asyncio.open_unix_connection(str(guest.spec.run.console))
    try:
        async with asyncio.timeout(30):
            writer.write(b"\r")
            await reader.readuntil(b"# ")
            writer.write(b"echo $((6*7))-$(whoami)\r")
            await reader.readuntil(b"42-root")
    finally:
        writer.close()
        await writer.wait_closed()
    log = guest.spec.run.console_log  # QEMU writes it after it has written to the console

    async def logged() -> bool:
        return b"42-root" in await asyncio.to_thread(log.read_bytes)

    await wait_until(logged)
