"""vMotion, as the source's agent drives it.

Rules. QEMU copies by itself; this tells it how, watches, and decides. Until the hand-over the destination's process is paused whatever
happens, so each failure ends with the VM running here. The hand-over is written down before the destination is told; from then on
only the destination knows whether the VM runs there, and it is asked until it answers: an answer "no" brings the VM back, silence
keeps it paused. So it never runs twice, whoever dies when.

| phase | what happens | a failure or a cancel |
|---|---|---|
| preparing | the destination starts a QEMU that waits | the VM has run all the time |
| copying | memory goes over, pass after pass, while the VM runs | the VM has run all the time |
| switching over | the VM is paused, the rest goes over, the destination opens its disks | the VM carries on here |
| handing over | the destination was told to let it run | it carries on where the destination says |
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from labctl.agent.application import Publisher
from labctl.errors import ConflictError, LabError, NotRunningError
from labctl.model.json import Json, JsonObject
from labctl_server.hostd.encryption import PLAIN, Credentials, take_back
from labctl_server.hostd.store import Order
from labctl_server.machine import Machine
from labctl_server.qemu.monitor import Monitor

POLL_INTERVAL = 0.02
"""Seconds between two looks at QEMU's progress; a look takes it some 0.1 ms, and half of this adds to the downtime."""

PREPARE_DEADLINE = 60.0
"""Seconds for the destination to start QEMU, which logs in to the targets first."""

READY_DEADLINE = 10.0
"""Seconds for the destination to take in the last bytes and open its disks anew; the VM is paused meanwhile, and carries on here after."""

HAND_OVER_DEADLINE = 5.0
"""Seconds for one answer of the destination, after which it is asked again."""

RETRY_INTERVAL = 0.2

CAPABILITIES: Mapping[str, bool] = {
    "auto-converge": True,  # a guest that writes faster than the network carries is slowed until it fits
    "multifd": False,
    "xbzrle": False,
    "postcopy-ram": False,  # a lost network would then be a lost VM
}

State = Literal["running", "completed", "failed", "cancelled"]

log = logging.getLogger(__name__)


class Peer(Protocol):
    """The destination's agent."""

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Json:
        """See labctl.plugin.api.AgentCalls."""

    async def close(self) -> None:
        """Close every connection."""


class Source(Protocol):
    """The VM that goes, as its host keeps it."""

    @property
    def name(self) -> str:
        """The VM's name."""

    def monitor(self) -> Monitor:
        """Its QEMU's monitor.

        Raises:
            NotRunningError: it ended, or does not answer.
        """

    def running_machine(self) -> Machine:
        """The hardware that it runs on."""

    def note_migration(self, order: Order | None) -> None:
        """Write down how far the migration got; None: there is none any more."""

    async def leave(self, order: Order) -> None:
        """It runs elsewhere: end what is left here, and remember where it went."""


@dataclass(kw_only=True)
class Progress:
    """A migration as a task that can be looked at.

    Args:
        id: the migration's.
        vm: which VM.
        source: from which host.
        destination: to which host.
        state: running until it ended.
        phase: see the module.
        message: why it failed.
        passes: how often the memory was gone through.
        transferred: bytes sent.
        remaining: bytes that are known to be missing still.
        total: bytes of the guest's memory.
        downtime: milliseconds in which the VM ran nowhere, once it is over.
        started: seconds since the epoch.
        ended: the same, or None.
    """

    id: str
    vm: str
    source: str
    destination: str
    state: State = "running"
    phase: str = "preparing"
    message: str = ""
    passes: int = 0
    transferred: int = 0
    remaining: int = 0
    total: int = 0
    downtime: float | None = None
    started: float
    ended: float | None = None

    def to_json(self) -> JsonObject:
        """For whoever asks."""
        return dict(vars(self))


class CancelledMigrationError(LabError):
    """Somebody cancelled it."""


class Migration:
    """One migration, from its order to its end.

    Args:
        source: the VM.
        order: what is wanted.
        host: this host's name.
        peer: the destination's agent.
        publish: where events go.
        credentials: what QEMU shows of this host.
    """

    def __init__(
        self, source: Source, order: Order, *, host: str, peer: Peer, publish: Publisher, credentials: Credentials
    ) -> None:
        self._credentials = credentials
        self._source = source
        self._order = order
        self._peer = peer
        self._publish = publish
        self._cancelled = False
        self.progress = Progress(id=order.id, vm=source.name, source=host, destination=order.host, started=time.time())

    def cancel(self) -> None:
        """Have it end with the VM here.

        Raises:
            ConflictError: it is over, or too far.
        """
        if self.progress.state != "running" or self._order.handing_over:
            word = "over" if self.progress.state != "running" else "being handed over"
            raise ConflictError(
                f"the migration of {self._source.name} is {word}", hint="to bring the VM back, migrate it again"
            )
        self._cancelled = True

    async def run(self) -> None:
        """Migrate; how it ended is in the progress. Never raises a LabError."""
        self._tell("vm.migrating")
        try:
            await self._copy()
            self._check_cancelled()
        except LabError as error:
            await self._come_back(error)
        except Exception:
            log.exception("migrating %s", self._source.name)
            await self._come_back(LabError("a fault in labctl; the host's log has it"))
        else:
            await self.hand_over()
        finally:
            await self._peer.close()

    async def recover(self) -> None:
        """Bring to an end what a killed predecessor had begun."""
        try:
            if self._order.handing_over:
                await self.hand_over()
            else:
                await self._come_back(LabError("the host's agent was restarted"))
        finally:
            await self._peer.close()

    async def hand_over(self) -> None:
        """Let the destination run the VM, and wait for as long as it takes to know whether it does."""
        self.progress.phase = "handing over"
        if not self._order.handing_over:
            self._order = self._order.model_copy(update={"handing_over": True})
            self._source.note_migration(self._order)
        while True:
            try:
                answer = await self._peer.call("POST", self._path("resume"), timeout=HAND_OVER_DEADLINE)
                break
            except ConflictError as refusal:  # the one answer that says that it does not run there, and will not
                await self._come_back(refusal)
                return
            except LabError as error:  # silence, or a fault: either may have come after it began
                self.progress.message = error.message
                await asyncio.sleep(RETRY_INTERVAL)
        await self._done(answer)

    async def _done(self, answer: Json) -> None:
        resumed = answer.get("resumed") if isinstance(answer, dict) else None
        with suppress(LabError):
            told = await self._query()
            paused = resumed - self._paused_at if isinstance(resumed, float) and self._paused_at else None
            self.progress.downtime = round(paused * 1000, 1) if paused is not None else told.get("downtime")
        await self._source.leave(self._order)
        self._end("completed")
        self._tell("vm.migrated")

    _paused_at: float | None = None

    async def _copy(self) -> None:
        machine = self._order.machine.model_copy(update={"boot": self._source.running_machine().boot})
        body: JsonObject = {
            "source": self.progress.source,
            "machine": machine.model_dump(mode="json"),
            "listen": self._order.listen,
            "encrypted": self._order.encrypted,
        }
        answer = await self._peer.call("PUT", self._path(), body, timeout=PREPARE_DEADLINE)
        uri = answer.get("uri") if isinstance(answer, dict) else None
        self._check_cancelled()
        monitor = self._source.monitor()
        given = PLAIN
        if self._order.encrypted:
            given = await self._credentials.give(monitor, self._order.id, "client", self._order.host)
        limits = {"max-bandwidth": self._order.bandwidth, "downtime-limit": self._order.downtime}
        await configure(monitor, {**limits, **given})
        await monitor.execute("migrate", {"uri": uri})
        self.progress.phase = "copying"
        await self._copied()
        self.progress.phase = "switching over"
        await self._peer.call("POST", self._path("ready"), timeout=READY_DEADLINE)

    async def _copied(self) -> None:
        """Wait until everything is over there, and the VM is paused here."""
        while True:
            told = await self._query()
            status = told.get("status")
            if status == "completed":
                self._paused_at = time.time() - told.get("downtime", 0) / 1000
                return
            if status in ("failed", "cancelled"):
                self._check_cancelled()
                raise LabError(str(told.get("error-desc") or f"the stream to {self._order.host} broke"))
            self._check_cancelled()
            await asyncio.sleep(POLL_INTERVAL)

    async def _query(self) -> dict[str, Any]:
        told: dict[str, Any] = await self._source.monitor().execute("query-migrate")
        ram = told.get("ram")
        if ram is not None:
            self.progress.passes = ram["dirty-sync-count"]
            self.progress.transferred = ram["transferred"]
            self.progress.remaining = ram["remaining"]
            self.progress.total = ram["total"]
        return told

    async def _come_back(self, error: LabError) -> None:
        """The VM carries on here. The destination's process is paused for good: nobody will tell it otherwise."""
        message = error.message
        try:
            await carry_on(self._source.monitor())
            await take_back(self._source.monitor(), self._order.id)
        except NotRunningError:
            message += f"; and {self._source.name} went off meanwhile"
        except LabError as trouble:
            message += f"; and {self._source.name} does not carry on: {trouble.message}"
        with suppress(LabError):  # one that was cut off is told when its own source is gone: QEMU ends by itself
            await self._peer.call("DELETE", self._path(), timeout=HAND_OVER_DEADLINE)
        self._order = self._order.model_copy(update={"handing_over": False})
        self._source.note_migration(None)
        self.progress.message = message
        self._end("cancelled" if isinstance(error, CancelledMigrationError) else "failed")
        self._tell("vm.migration_failed", reason=message)

    def _end(self, state: State) -> None:
        self.progress.state = state
        self.progress.ended = time.time()
        if state == "completed":
            self.progress.message = ""

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise CancelledMigrationError("it was cancelled")

    def _path(self, deed: str = "") -> str:
        return f"/v1/vms/{self._source.name}/arrivals/{self._order.id}" + (f"/{deed}" if deed else "")

    def _tell(self, event: str, **more: Json) -> None:
        shown = self.progress
        self._publish(event, vm=shown.vm, source=shown.source, destination=shown.destination, task=shown.id, **more)


async def configure(monitor: Monitor, parameters: Mapping[str, Json]) -> None:
    """Set what both ends of a migration must agree on, and one's own parameters."""
    capabilities: list[Json] = [{"capability": name, "state": state} for name, state in CAPABILITIES.items()]
    await monitor.execute("migrate-set-capabilities", {"capabilities": capabilities})
    if parameters:
        await monitor.execute("migrate-set-parameters", parameters)


async def carry_on(monitor: Monitor) -> None:
    """End a migration whatever it is at, and have the guest run here.

    Raises:
        LabError: QEMU ended, or will not.
    """
    with suppress(NotRunningError):
        await monitor.execute("migrate_cancel")
    while (await monitor.execute("query-migrate")).get("status") in UNDER_WAY:  # noqa: ASYNC110 - QEMU is asked
        await asyncio.sleep(POLL_INTERVAL)
    if await monitor.status() != "running":
        await monitor.execute("cont")
        await announce(monitor)


UNDER_WAY = frozenset(
    {"setup", "active", "pre-switchover", "device", "cancelling", "wait-unplug", "colo", "postcopy-active"}
)


async def announce(monitor: Monitor) -> None:
    """Tell the switches where the guest's addresses are now, by RARP, and by the guest itself where it can (gratuitous ARP)."""
    with suppress(LabError):  # the first frame that the guest sends tells them too
        await monitor.execute("announce-self", {"initial": 50, "max": 550, "rounds": 5, "step": 50})
