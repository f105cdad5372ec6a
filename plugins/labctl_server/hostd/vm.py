"""One VM's life on its host; see the table of states in labctl_server.hostd.

Every operation holds the VM's lock. Its end needs none: whatever ends it, the watcher sees the process go, writes that down and cleans
up, and operations wait for the watcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

from labctl.errors import ConflictError, LabError, NotRunningError, TimedOutError
from labctl.linux import memory, processes
from labctl.linux.processes import ProcessId
from labctl.model.json import Json, JsonObject
from labctl_server.hostd import process
from labctl_server.hostd.boot import boot_folder, with_own_files
from labctl_server.hostd.departure import Departure, refuse_if_moving
from labctl_server.hostd.host import Host
from labctl_server.hostd.store import Moved, Order, State, VmRecord
from labctl_server.hostd.tools import Tools
from labctl_server.machine import Machine, Power
from labctl_server.qemu.monitor import Monitor, MonitorError

MONITOR_DEADLINE = 30.0
"""Seconds from QEMU's start to its monitor's answer: it opens the disks first, and a target may be slow to log in to."""

ADOPTION_DEADLINE = 5.0
"""Seconds that a running QEMU's monitor gets when hostd comes back; one that hangs is adopted without it."""

QUIT_DEADLINE = 5.0
"""Seconds for QEMU to flush and close its disks before it is killed."""

SYNC_DEADLINE = 3.0
"""Seconds for the guest to write out what it holds before a power-off."""

SHUTDOWN_DEADLINE = 20.0
"""Seconds for a guest's orderly shutdown when a changed VM is restarted."""

PRESS_INTERVAL = 3.0
"""Seconds after which a power button that did nothing is pressed again."""

QUIT_CAUSES = ("host-qmp-quit", "host-signal", "host-ui")
"""Ends that somebody on the host asked for (qapi ShutdownCause); the others but None are the guest's own."""

STARTING = "starting"
"""The reason that stands in a record while a start is under way."""

log = logging.getLogger(__name__)


class Vm:
    """A VM of this host.

    Args:
        host: see Host.
        record: what is known of it; it is on disk already.
    """

    def __init__(self, host: Host, record: VmRecord) -> None:
        self._host = host
        self._record = record
        self._lock = asyncio.Lock()
        self._folder = host.store.folder(record.machine.name)
        self._sockets = host.driver.sockets(self._folder)
        self._monitor: Monitor | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._removed = False
        self._tools = Tools(self._sockets["agent"], self.name, host.publish, self._slim)
        self._slimming: asyncio.Future[int] | None = None
        self.departure = Departure(host, self)

    @property
    def name(self) -> str:
        """The VM's name."""
        return self._record.machine.name

    @property
    def arriving(self) -> str:
        """The id of the migration by which it comes, or was to come; empty once it ran here."""
        return self._record.arriving

    @property
    def occupied(self) -> bool:
        """Whether anything of it is here but the memory of where it went."""
        return self._record.state in ("running", "incoming") or self._record.process is not None

    def status(self) -> Mapping[str, Json]:
        """The VM as it is now, for whoever asks."""
        record = self._record
        running = record.state == "running"
        shown = record.running if running and record.running is not None else record.machine
        return {
            "name": self.name,
            "host": self._host.name,
            "state": record.state,
            "reason": record.reason,
            "since": record.since,
            "pid": record.process.pid if running and record.process is not None else None,
            "tools": self._tools.state if running else "off",
            "pending": running and record.running != record.machine,
            "cpus": shown.cpus,
            "memory": shown.memory,
            "addresses": {nic.network: nic.address for nic in shown.nics},
            "console": str(self._sockets["console"]),
            "console_log": str(self._sockets["console_log"]),
            "migrating_to": record.migration.host if record.migration is not None else None,
            "moved": None
            if record.moved is None
            else record.moved.model_dump(mode="json", exclude={"machine": {"boot"}}),
        }

    async def adopt(self) -> None:
        """Find the process that a killed predecessor left, or find that it is gone."""
        async with self._lock:
            there = await self._adopt()
            if self._record.moved is not None or self.arriving:
                await self._end_remains()
            elif not there and (self._record.state == "running" or self._record.running is not None):
                await self._settle("crashed", "its process ended while the host's agent was down")
            order = self._record.migration
            if order is not None:
                self.departure.recover(order)

    async def put(self, machine: Machine, power: Power, *, restart: bool) -> None:
        """Be this machine, on or off. One that runs on other hardware keeps it until it is restarted.

        Args:
            machine: the hardware.
            power: on or off.
            restart: whether to power-cycle it where the hardware differs.
        """
        async with self._lock:
            if self._removed:
                raise ConflictError(f"{self.name} was removed meanwhile", hint="try again")
            self._refuse_if_moving()
            if machine != self._record.machine or self.arriving:
                self._note(machine=machine, arriving="")
            differs = self._record.state == "running" and self._record.running != machine
            if power == "off" or (differs and restart):
                await self._shut_down_or_off()
            if power == "on":
                await self._start()

    async def start(self) -> None:
        """Power on; one that runs is left alone.

        Raises:
            LabError: it does not start; the message ends with QEMU's own words.
        """
        async with self._lock:
            self._refuse_if_moving()
            await self._start()

    async def stop(self, *, force: bool, timeout: float) -> None:
        """Have the guest shut down, or (force) power off.

        Raises:
            TimedOutError: the guest did not shut down in time; it runs on.
        """
        async with self._lock:
            if force:
                await self.departure.give_up()
                self._refuse_if_moving()
                await self._power_off()
                return
            self._refuse_if_moving()
            if not await self._shut_down(timeout):
                raise TimedOutError(
                    f"the guest of {self.name} did not shut down within {timeout:g} s",
                    hint=f"power it off: labctl vm stop --force {self.name}",
                )
            if self._record.state == "crashed":
                self._note(state="off", reason="")

    async def reset(self) -> None:
        """Press the reset button.

        Raises:
            NotRunningError: it is off.
        """
        async with self._lock:
            self._refuse_if_moving()
            await self.monitor().reset()
            await self._tools.restart()
        self._host.publish("vm.reset", vm=self.name)

    async def run_command(self, argv: list[str], *, stdin: bytes, timeout: float) -> Mapping[str, Any]:
        """Run a command in the guest; see labctl_server.qemu.agent.GuestAgent.exec."""
        self._require_running()
        return await self._tools.run_command(argv, stdin=stdin, timeout=timeout)

    async def wait_for_tools(self, timeout: float) -> bool:
        """Wait until the guest's tools answer; False where they do not in time, or the VM goes off."""
        watcher = self._watcher
        if self._record.state != "running" or watcher is None:
            return False
        return await self._tools.wait(timeout, watcher)

    async def remove(self) -> None:
        """Power off and forget; the guest is asked to write out what it holds."""
        async with self._lock:
            await self.departure.give_up()
            await self._power_off()
            await self._clean_up()
            self._removed = True
            self._host.store.remove(self.name)
        self._host.publish("vm.removed", vm=self.name)

    async def let_go(self) -> None:
        """Hostd ends: the VM runs on, and a migration is for the next hostd to settle."""
        await self.departure.let_go()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        await self._detach()

    async def migrate(self, order: Order) -> JsonObject:
        """Begin to migrate; returns the migration as a task.

        Raises:
            NotRunningError: it is off.
            ConflictError: it migrates already.
        """
        async with self._lock:
            self._refuse_if_moving()
            self.monitor()
            return self.departure.begin(order).progress.to_json()

    def running_machine(self) -> Machine:
        """The hardware that it runs on."""
        return self._record.running or self._record.machine

    def note_migration(self, order: Order | None) -> None:
        """Write down how far the migration got; None: there is none any more."""
        self._note(migration=order, sync=False)

    async def leave(self, order: Order) -> None:
        """It runs elsewhere: remember that, then end what is left here."""
        machine = order.machine.model_copy(update={"boot": self.running_machine().boot})
        self._note(moved=Moved(host=order.host, machine=machine), migration=None)
        await self._end_remains()
        self._note(state="off", reason=f"migrated to {order.host}")

    async def receive(self, arrival: str) -> Monitor:
        """Have a QEMU that waits for the VM's memory; returns its monitor."""
        async with self._lock:
            machine = self._record.machine
            self._note(state="off", reason=STARTING, running=machine, process=None, arriving=arrival)
            try:
                await self._launch(machine, incoming=True)
            except BaseException:
                await self._abandon()
                raise
            return self.monitor()

    async def begin(self, arrival: str) -> None:
        """Let the VM run that came by a migration. Idempotent.

        Raises:
            ConflictError: nothing came by that migration; the VM does not run here, and will not.
        """
        async with self._lock:
            if self._record.arrived == arrival:
                return
            if self.arriving != arrival:
                raise ConflictError(f"{self.name} did not arrive at host {self._host.name}", hint="migrate it again")
            try:
                monitor = self.monitor()
                self._note(state="running", reason="", arriving="", arrived=arrival, sync=False)
            except (NotRunningError, OSError) as error:
                raise ConflictError(f"{self.name} cannot run on host {self._host.name}: {error}") from error
            try:
                await monitor.execute("cont", timeout=MONITOR_DEADLINE)
            except MonitorError as error:  # QEMU says itself that it does not run
                self._note(state="incoming", arriving=arrival, arrived="", sync=False)
                raise ConflictError(error.message) from error
            except LabError as error:  # it may have begun: then its end is a crash, and not for the source to undo
                log.warning("letting %s run: %s", self.name, error.message)
            await self._tools.start(wanted=self.running_machine().tools)
        self._host.publish("vm.arrived", vm=self.name)

    async def _end_remains(self) -> None:
        """End the process of a VM that runs elsewhere, or never came."""
        watcher, running = self._watcher, self._record.process
        if running is not None and processes.alive(running):
            if self._monitor is not None:
                with contextlib.suppress(LabError):
                    await self._monitor.quit()
                    if watcher is not None:
                        await asyncio.wait({watcher}, timeout=QUIT_DEADLINE)
            await asyncio.to_thread(processes.terminate, [running], grace=0.0)
        if watcher is not None:
            await asyncio.wait({watcher})
        else:
            await self._settle("off", self._record.reason, tell=False)

    def _refuse_if_moving(self) -> None:
        record = self._record
        moved_to = None if record.moved is None else record.moved.host
        refuse_if_moving(self.name, record.migration, moved_to, arriving=self._record.state == "incoming")

    async def _start(self) -> None:
        if self._record.process is not None and processes.alive(self._record.process):
            return
        if self._watcher is not None:  # its process is gone, and is being cleaned up after
            await asyncio.wait({self._watcher})
        if await self._adopt():  # never two of one VM, whatever the record says
            return
        self._host.maintenance.refuse(self.name)
        machine = self._record.machine
        self._note(state="off", reason=STARTING, running=machine, process=None, arriving="")
        try:
            await self._launch(machine)
        except BaseException:
            await self._abandon()
            raise
        self._host.publish("vm.started", vm=self.name)

    async def _adopt(self) -> bool:
        """Take on a process that carries the VM's token; whether there is one."""
        found = await asyncio.to_thread(process.find, self._token)
        if found is None:
            return False
        machine = self._record.running or self._record.machine
        state: State = "incoming" if self.arriving else "running"
        self._note(state=state, process=found, running=machine, reason="")
        await self._attach(found, timeout=ADOPTION_DEADLINE)
        return True

    async def _launch(self, machine: Machine, *, incoming: bool = False) -> None:
        taps = await asyncio.to_thread(self._host.taps.ensure, machine)
        booted = await asyncio.to_thread(with_own_files, machine, self._folder)
        argv = self._host.driver.command(booted, taps, incoming=incoming)
        self._remove_sockets()
        journal = self._folder / "qemu.log"
        journal.unlink(missing_ok=True)
        started = await asyncio.to_thread(process.spawn, argv, self._token, folder=self._folder, log=journal)
        self._note(state="incoming" if incoming else "running", process=started)
        await self._attach(started, timeout=MONITOR_DEADLINE)
        if self._monitor is None or self._watcher is None or self._watcher.done():
            raise LabError(
                f"VM {self.name} did not start: {process.last_words(journal)}",
                hint=f"see {journal}; are its datastores reachable from host {self._host.name}?",
            )
        self._note(reason="")

    def _slim(self) -> None:
        """Once the guest is up, give back the memory of what it started from."""
        if self._record.process is not None:
            work = asyncio.to_thread(memory.page_out, self._record.process, boot_folder(self._folder))
            self._slimming = asyncio.ensure_future(work)

    async def _abandon(self) -> None:
        """Take back a start that failed."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait({watcher})
        if self._record.process is not None:
            await asyncio.to_thread(processes.terminate, [self._record.process], grace=0.0)
        await self._detach()
        await self._settle("off", "did not start")

    async def _attach(self, found: ProcessId, *, timeout: float) -> None:
        """Watch a process, and speak to its monitor where it answers."""
        self._watcher = asyncio.create_task(self._watch(found))
        monitor = Monitor(self.name)
        connecting = asyncio.create_task(monitor.connect(self._sockets["monitor"], timeout=timeout))
        await asyncio.wait({connecting, self._watcher}, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done() and connecting.exception() is None:
            self._monitor = monitor
            if not self.arriving:  # what is said to a guest that is not there yet, it would hear late or never
                await self._tools.start(wanted=self.running_machine().tools)
            return
        connecting.cancel()
        await asyncio.wait({connecting})
        await monitor.close()
        log.warning("the monitor of %s does not answer", self.name)

    async def _watch(self, found: ProcessId) -> None:
        """Wait for the process's end, and settle what it was."""
        status = await process.ended(found)
        cause = None if self._monitor is None else await self._monitor.end_cause()
        await self._detach()
        if self._record.reason == STARTING:
            return  # who starts it looks after it
        if self._record.moved is not None or self.arriving:
            await self._settle("off", "the migration to here broke" if self.arriving else "", tell=False)
        elif cause is None and status != 0:
            how = "" if status is None else f" (signal {-status})" if status < 0 else f" (exit status {status})"
            await self._settle("crashed", f"QEMU ended unexpectedly{how}")
        else:
            await self._settle("off", "powered off" if cause in (None, *QUIT_CAUSES) else "the guest shut down")

    async def _settle(self, state: State, reason: str, *, tell: bool = True) -> None:
        """Write down how it ended, clean up, and (tell) say so."""
        try:
            await self._clean_up()
        except LabError as error:  # the next start mends what is left, and a removal tells
            log.warning("cleaning up after %s: %s", self.name, error)
        self._note(state=state, reason=reason, process=None, running=None)
        if not tell:
            return
        event = "vm.crashed" if state == "crashed" else "vm.stopped"
        self._host.publish(event, vm=self.name, reason=reason)

    async def _shut_down_or_off(self) -> None:
        if self._record.state == "running" and not await self._shut_down(SHUTDOWN_DEADLINE):
            await self._power_off()

    async def _shut_down(self, timeout: float) -> bool:
        """Ask the guest to shut down, by its tools or else by its power button; whether it did."""
        if self._record.state != "running" or self._watcher is None:
            return True
        watcher = self._watcher
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not watcher.done() and (left := deadline - loop.time()) > 0:
            try:
                if await self._tools.shut_down():
                    await asyncio.wait({watcher}, timeout=left)
                    break
                await self.monitor().power_button()
            except NotRunningError:
                break  # it ended meanwhile, or there is nobody to ask
            await self._tools.wait(min(left, PRESS_INTERVAL), watcher)  # a guest that boots hears no button yet
        return watcher.done()

    async def _power_off(self) -> None:
        """Pull the plug, after the guest had a moment to write out what it holds."""
        watcher, running = self._watcher, self._record.process
        if watcher is None or running is None:
            if self._record.state == "crashed":
                self._note(state="off", reason="")
            return
        await self._tools.synchronise(SYNC_DEADLINE)
        if self._monitor is not None:
            with contextlib.suppress(LabError):
                await self._monitor.quit()
                await asyncio.wait({watcher}, timeout=QUIT_DEADLINE)
        if not watcher.done():
            await asyncio.to_thread(processes.terminate, [running], grace=0.0)
            await asyncio.wait({watcher})
        if self._record.state == "crashed":  # killed by us
            self._note(state="off", reason="powered off")

    async def _detach(self) -> None:
        await self._tools.stop()
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            await monitor.close()

    async def _clean_up(self) -> None:
        """Remove what a power-off leaves: taps and sockets."""
        for machine in {self._record.running or self._record.machine, self._record.machine}:
            await asyncio.to_thread(self._host.taps.remove, machine)
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        for kind, path in self._sockets.items():
            if kind != "console_log":
                path.unlink(missing_ok=True)

    def _note(self, *, sync: bool = True, **changes: object) -> None:
        """Change the record, on disk first."""
        if "state" in changes and changes["state"] != self._record.state:
            changes["since"] = time.time()
        record = self._record.model_copy(update=changes)
        self._host.store.save(record, sync=sync)
        self._record = record

    @property
    def _token(self) -> str:
        return process.token_of(self._host.lab, self._host.name, self.name)

    def _require_running(self) -> None:
        if self._record.state != "running":
            raise NotRunningError(f"{self.name} is powered off", hint=f"start it: labctl vm start {self.name}")

    def monitor(self) -> Monitor:
        """Its QEMU's monitor.

        Raises:
            NotRunningError: there is no QEMU, or it does not answer.
        """
        if self._record.state != "incoming":
            self._require_running()
        if self._monitor is None:
            raise NotRunningError(
                f"QEMU of {self.name} runs, but its monitor does not answer",
                hint=f"power it off: labctl vm stop --force {self.name}",
            )
        return self._monitor
