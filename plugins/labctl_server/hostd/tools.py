"""A VM's guest tools, seen from its host: whether they answer, and what they can be asked.

While the VM runs a heartbeat pings them. A guest that boots does not answer yet; one that was reset or hangs does so no more.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from labctl.agent.application import Publisher
from labctl.errors import LabError, NotRunningError
from labctl_server.qemu.agent import AgentGoneError, GuestAgent

FIRST_ANSWER = 30.0
"""Seconds that one wait for a booting guest's first answer takes; it is repeated."""

HEARTBEAT_INTERVAL = 10.0
"""Seconds between two pings; vSphere's tools send a heartbeat each second, but an emulated guest shares two cores with others."""

HEARTBEAT_DEADLINE = 5.0
"""Seconds for the answer to one ping."""

REQUEST_DEADLINE = 3.0
"""Seconds for the guest to take a request to shut down."""


class Tools:
    """The guest tools of one VM.

    Args:
        socket: the guest agent's socket.
        name: the VM's.
        publish: where events go.
        answered: called each time they begin to answer.
    """

    def __init__(self, socket: Path, name: str, publish: Publisher, answered: Callable[[], None]) -> None:
        self._socket = socket
        self._name = name
        self._publish = publish
        self._answered = answered
        self._agent: GuestAgent | None = None
        self._heartbeat: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    @property
    def state(self) -> Literal["running", "not running"]:
        """Whether they answered when last asked."""
        return "running" if self.ready.is_set() else "not running"

    async def start(self, *, wanted: bool) -> None:
        """Begin to listen for them.

        Args:
            wanted: False for a guest that has none as far as is known; requests are tried all the same.
        """
        await self.stop()
        self._agent = GuestAgent(self._socket, self._name)
        if wanted:
            self._heartbeat = asyncio.create_task(self._beat(self._agent))

    async def restart(self) -> None:
        """The guest was reset: what answered is gone."""
        await self.start(wanted=self._heartbeat is not None)

    async def stop(self) -> None:
        """Listen no more."""
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            heartbeat.cancel()
            await asyncio.wait({heartbeat})
        agent, self._agent = self._agent, None
        if agent is not None:
            await agent.close()
        self.ready.clear()

    async def wait(self, timeout: float, end: asyncio.Task[None]) -> bool:
        """Wait until they answer, the VM's end or the timeout; whether they answer."""
        ready = asyncio.ensure_future(self.ready.wait())
        await asyncio.wait({ready, end}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return self.ready.is_set()

    async def run_command(self, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Mapping[str, Any]:
        """Run a command in the guest to its end; bytes come as base64.

        Raises:
            LabError: there is no such program, no tools answer, or it takes too long.
        """
        if self._agent is None:
            raise NotRunningError(f"{self._name} is not running")
        result = await self._agent.exec(argv, stdin=stdin, timeout=timeout)
        return {
            "exit_code": result.exit_code,
            "signal": result.signal,
            "stdout": base64.b64encode(result.stdout).decode(),
            "stderr": base64.b64encode(result.stderr).decode(),
            "truncated": result.truncated,
        }

    async def shut_down(self) -> bool:
        """Ask the guest to shut down; whether it took the request."""
        if self._agent is None or not self.ready.is_set():
            return False
        try:
            await self._agent.shutdown(timeout=REQUEST_DEADLINE)
        except LabError:
            return False
        return True

    async def synchronise(self, timeout: float) -> None:
        """Have the guest write out what it holds, if it can in time."""
        if self._agent is not None and self.ready.is_set():
            with contextlib.suppress(LabError):
                await self._agent.exec(["sync"], timeout=timeout)

    async def _beat(self, agent: GuestAgent) -> None:
        while True:
            try:
                await agent.ping(timeout=HEARTBEAT_DEADLINE if self.ready.is_set() else FIRST_ANSWER)
            except AgentGoneError:
                self._tell(answers=False)
                await asyncio.sleep(1.0)  # the VM's end stops this heartbeat; until then there is nothing to hear
                continue
            except LabError:
                self._tell(answers=False)
                continue
            self._tell(answers=True)
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    def _tell(self, *, answers: bool) -> None:
        if answers == self.ready.is_set():
            return
        if answers:
            self.ready.set()
            self._answered()
        else:
            self.ready.clear()
        self._publish("vm.tools", vm=self._name, tools=self.state)
