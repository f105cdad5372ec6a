"""A running QEMU's monitor: commands, and how the guest ended. One connection, kept for as long as QEMU runs.

Source: QEMU's qapi/run-state.json (SHUTDOWN, ShutdownCause), through the library qemu.qmp.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError, Runstate

from labctl.agent.local import connected
from labctl.errors import LabError, TimedOutError

RETRY_INTERVAL = 0.02
"""Seconds between two attempts to connect: QEMU makes its socket some tens of milliseconds after it starts."""

DRAIN_DEADLINE = 1.0
"""Seconds that the last events may take after QEMU's end: they are in the socket already."""

logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # it calls every QEMU that ends an error


class Monitor:
    """The monitor of one VM.

    Args:
        socket: where QEMU offers it.
        name: the VM's, for messages.
    """

    def __init__(self, socket: Path, name: str) -> None:
        self._socket = socket
        self._name = name
        self._client = QMPClient(name)
        self._listener = EventListener(names=("SHUTDOWN",))
        self._client.register_listener(self._listener)

    async def connect(self, *, timeout: float) -> None:
        """Connect, as soon as QEMU offers the socket.

        Raises:
            TimedOutError: it did not in time.
        """
        try:
            async with asyncio.timeout(timeout):
                while not await self._try_to_connect():  # noqa: ASYNC110 - QEMU, which makes the socket, sets no event
                    await asyncio.sleep(RETRY_INTERVAL)
        except TimeoutError as error:
            raise TimedOutError(f"the monitor of {self._name} did not answer within {timeout:g} s") from error

    async def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float = 10.0
    ) -> Any:
        """Run a QMP command and return its answer.

        Raises:
            TimedOutError: no answer in time.
            LabError: QEMU refused, or is gone.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._client.execute(command, arguments)
        except TimeoutError as error:
            raise TimedOutError(
                f"QEMU of {self._name} did not answer {command} within {timeout:g} s",
                hint="it may wait for its storage; `labctl vm stop --force` ends it",
            ) from error
        except ExecuteError as error:
            raise LabError(f"QEMU of {self._name} refused {command}: {error}") from error
        except (QMPError, OSError, EOFError) as error:
            raise LabError(f"QEMU of {self._name} went away during {command}") from error

    async def last_words(self) -> str | None:
        """Why QEMU ended (a ShutdownCause), once its process is gone; None where it did not say."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_DEADLINE):
                while self._client.runstate is Runstate.RUNNING:
                    await self._client.runstate_changed()
        said = [event.get("data") for event in self._listener.history]
        return str(said[-1].get("reason")) if said and isinstance(said[-1], dict) else None

    async def close(self) -> None:
        """Leave QEMU to itself."""
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._client.disconnect()

    async def _try_to_connect(self) -> bool:
        try:
            await self._client.connect(connected(self._socket, timeout=0))
        except (QMPError, OSError, EOFError):
            with contextlib.suppress(QMPError, OSError, EOFError):
                await self._client.disconnect()
            return False
        return True
