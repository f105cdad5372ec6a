"""QEMU's monitor (QMP): ask a running VM, and hear from it.

QEMU serves one client at a time on a socket: whoever supervises the VM holds the monitor and passes on what others want.

Source: QEMU docs/interop/qmp-spec.rst.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from qemu.qmp import (
    ConnectError,
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)
from qemu.qmp.message import Message

from labctl.agent.local import connected
from labctl.errors import LabError, NotRunningError, TimedOutError
from labctl.model.json import Json

_DRAIN_DEADLINE = 1.0  # seconds; what QEMU said before its end is in the socket already
_RETRY = 0.02  # seconds between attempts while QEMU starts

EventHandler = Callable[[str, Mapping[str, Any]], None]
"""Is told an event's name (`SHUTDOWN`) and data; must not block."""


class MonitorError(LabError):
    """QEMU answered that it could not do what it was asked."""


class Monitor:
    """A connection to a VM's monitor.

    Args:
        name: the VM's, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._client = QMPClient(name)
        self._client.logger.setLevel(logging.CRITICAL)  # what goes wrong is raised; QEMU still starting is no error
        self._reader: asyncio.Task[None] | None = None

    async def connect(self, socket: Path, *, timeout: float = 10.0, on_event: EventHandler | None = None) -> None:
        """Connect, waiting for QEMU to open its socket if it has only just been started.

        Once this returns all of QEMU's other sockets are open too.

        Raises:
            NotRunningError: nobody answered in time.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._connect(socket)
        except TimeoutError as error:
            raise NotRunningError(f"{self._name} is not running", hint="start it: labctl vm start") from error
        if on_event is not None:
            self._reader = asyncio.create_task(self._pass_on(self._client.events, on_event))

    async def execute(self, command: str, arguments: Mapping[str, Json] | None = None, *, timeout: float = 10.0) -> Any:
        """Run a QMP command and return what it returns.

        Raises:
            MonitorError: QEMU refused; the message is QEMU's own.
            NotRunningError: QEMU ended meanwhile.
            TimedOutError: no answer in time.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._client.execute(command, cast("dict[str, object] | None", arguments))
        except ExecuteError as error:
            raise MonitorError(f"QEMU refused {command} for {self._name}: {error}") from error
        except (ExecInterruptedError, StateError) as error:
            raise NotRunningError(f"{self._name} is not running", hint="start it: labctl vm start") from error
        except TimeoutError as error:
            raise TimedOutError(f"QEMU did not answer {command} for {self._name} within {timeout:g} s") from error

    async def status(self) -> str:
        """`running`, `paused`, `shutdown`, `io-error`, `inmigrate` … (QEMU's RunState)."""
        return str((await self.execute("query-status"))["status"])

    async def power_button(self) -> None:
        """Press the power button: the guest is asked to end in an orderly way."""
        await self.execute("system_powerdown")

    async def reset(self) -> None:
        """Press the reset button."""
        await self.execute("system_reset")

    async def quit(self) -> None:
        """Pull the plug: QEMU ends at once, the guest is told nothing."""
        with suppress(NotRunningError):  # it may end before it answers
            await self.execute("quit")

    async def end_cause(self) -> str | None:
        """Why QEMU ended (`guest-shutdown`, `host-qmp-quit` …: QEMU's ShutdownCause), to be asked once its process is gone.

        None where it did not say: it crashed or was killed.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_DEADLINE):
                while self._client.runstate is Runstate.RUNNING:  # its last words may still be in the socket
                    await self._client.runstate_changed()
        ends = [_event(event)[1] for event in self._client.events.history if event["event"] == "SHUTDOWN"]
        return str(ends[-1].get("reason")) if ends else None

    async def close(self) -> None:
        """Leave the monitor to others; the VM runs on."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        with suppress(QMPError, EOFError, OSError):  # the other end may have gone first
            await self._client.disconnect()

    async def _connect(self, socket: Path) -> None:
        while True:  # nothing tells when a starting process listens
            with suppress(ConnectError, OSError):
                return await self._client.connect(connected(socket, timeout=0))
            await asyncio.sleep(_RETRY)

    async def _pass_on(self, events: EventListener, on_event: EventHandler) -> None:
        async for event in events:
            on_event(*_event(event))


def _event(message: Message) -> tuple[str, Mapping[str, Any]]:
    return str(message["event"]), cast("Mapping[str, Any]", message.get("data", {}))
