"""A client of the QEMU guest agent: JSON lines over the unix socket of a virtio port.

The socket is no connection to the agent: it is QEMU's end of a pipe that may hold anything, since the guest may have been reset, the
agent restarted, or an earlier caller gone before its answer came. So each connection begins with guest-sync-delimited: the agent answers
with byte 0xFF and our number, and everything before that is stale. A call that was not answered in time spoils the connection, and the
next call makes a new one.

Source: QEMU's qga/qapi-schema.json, guest-sync-delimited.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from labctl.agent.local import connected
from labctl.errors import LabError, TimedOutError
from labctl.model.json import Json

DELIMITER = b"\xff"
ANSWER_LIMIT = 64 * 2**20
"""Bytes of one answer. The agent itself cuts a command's output at 16 MiB, which base64 and JSON make 22."""

SYNC_AGAIN = 1.0
"""Seconds after which an unanswered synchronisation is sent again: a guest that was reset has lost the first."""

_POLL_FIRST, _POLL_MAX = 0.02, 0.25
_numbers = count(1)


class AgentError(LabError):
    """The agent answered that it could not do what it was asked."""


class AgentGoneError(LabError):
    """QEMU closed the socket, or there is none: the VM does not run."""


@dataclass(frozen=True, kw_only=True)
class ExecResult:
    """How a command in the guest ended.

    Args:
        exit_code: None where a signal ended it.
        signal: its number, or None.
        stdout: bytes, at most 16 MiB.
        stderr: as stdout.
        truncated: whether the agent cut either.
    """

    exit_code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool


class GuestAgent:
    """The agent of one VM. Calls are made one after the other.

    Args:
        socket: see RunFolder.agent.
        name: the VM's, for messages.
    """

    def __init__(self, socket: Path, name: str) -> None:
        self._socket = socket
        self._name = name
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(
        self, command: str, arguments: Mapping[str, Json] | None = None, *, timeout: float = 10.0, answers: bool = True
    ) -> Any:
        """Call the agent and return what it answers.

        Args:
            command: `guest-ping`.
            arguments: the command's own.
            timeout: seconds for all of it, waiting for one's turn and for the agent to come up included.
            answers: False for a command that has no answer where it succeeds.

        Raises:
            AgentError: it answered with an error.
            AgentGoneError: the VM does not run.
            TimedOutError: no answer in time; the guest may have no agent, or be busy booting.
        """
        request = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        try:
            async with asyncio.timeout(timeout), self._connected() as (reader, writer):
                writer.write(json.dumps(request).encode() + b"\n")
                await writer.drain()
                answer: dict[str, Any] = await _read_answer(reader) if answers else {"return": None}
        except TimeoutError as error:
            raise TimedOutError(
                f"the guest agent of {self._name} did not answer {command} within {timeout:g} s",
                hint="the guest may still be booting: look at its console",
            ) from error
        except (OSError, EOFError) as error:
            raise AgentGoneError(f"{self._name} is not running", hint="start it: labctl vm start") from error
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise AgentError(f"the guest agent of {self._name} answered {command} with what is no answer") from error
        if "error" in answer:
            raise AgentError(f"the guest agent of {self._name} refused {command}: {answer['error'].get('desc', '')}")
        return answer.get("return")

    async def ping(self, *, timeout: float = 10.0) -> None:
        """Return once the agent answers; meanwhile the guest may be booting. Raises as call does."""
        await self.call("guest-ping", timeout=timeout)

    async def host_name(self, *, timeout: float = 10.0) -> str:
        """The name that the guest calls itself."""
        return str((await self.call("guest-get-host-name", timeout=timeout))["host-name"])

    async def os_info(self, *, timeout: float = 10.0) -> dict[str, str]:
        """The guest's operating system: `id`, `pretty-name`, `kernel-release` and more."""
        return dict(await self.call("guest-get-osinfo", timeout=timeout))

    async def interfaces(self, *, timeout: float = 10.0) -> list[dict[str, Any]]:
        """The guest's interfaces: `name`, `hardware-address`, `ip-addresses` (`ip-address`, `prefix`, `ip-address-type`)."""
        return list(await self.call("guest-network-get-interfaces", timeout=timeout))

    async def shutdown(
        self, mode: Literal["powerdown", "reboot", "halt"] = "powerdown", *, timeout: float = 10.0
    ) -> None:
        """Ask the guest to end in an orderly way. Returns when it was asked, not when it is done."""
        await self.call("guest-shutdown", {"mode": mode}, timeout=timeout, answers=False)

    async def exec(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> ExecResult:
        """Run a command in the guest to its end.

        Args:
            argv: the program, looked up on the agent's PATH, and its arguments; no shell is involved.
            stdin: what it reads.
            timeout: seconds; a command that takes longer is left running.

        Raises:
            AgentError: there is no such program.
            AgentGoneError, TimedOutError: as call does.
        """
        arguments: dict[str, Json] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        process = (await self.call("guest-exec", arguments, timeout=timeout))["pid"]
        pause = _POLL_FIRST
        while True:
            left = deadline - loop.time()
            if left <= 0:
                raise TimedOutError(
                    f"{argv[0]} in {self._name} did not end within {timeout:g} s", hint="give it more time"
                )
            status = await self.call("guest-exec-status", {"pid": process}, timeout=left)
            if status["exited"]:
                return _exec_result(status)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, _POLL_MAX)

    async def close(self) -> None:
        """Leave the socket to others."""
        async with self._turn:
            await self._drop()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with self._turn:
            try:
                if self._streams is None:
                    self._streams = await asyncio.open_unix_connection(
                        sock=connected(self._socket, timeout=0), limit=ANSWER_LIMIT
                    )
                    await _synchronise(*self._streams)
                yield self._streams
            except BaseException:  # cancelled or broken between question and answer: what comes next is not ours
                await self._drop()
                raise

    async def _drop(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _synchronise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    numbers: set[int] = set()
    while True:
        number = next(_numbers)
        numbers.add(number)
        # The delimiter makes the agent forget the half of a line that an earlier caller may have left.
        request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        writer.write(DELIMITER + json.dumps(request).encode() + b"\n")
        with suppress(TimeoutError):
            async with asyncio.timeout(SYNC_AGAIN):
                await writer.drain()
                while await _read_sync(reader) != number:
                    pass  # an answer to an earlier question
                return


async def _read_sync(reader: asyncio.StreamReader) -> object:
    await reader.readuntil(DELIMITER)
    line = await reader.readuntil(b"\n")
    try:
        answer = json.loads(line.rpartition(DELIMITER)[2])
    except ValueError:
        return None
    return answer.get("return") if isinstance(answer, dict) else None


async def _read_answer(reader: asyncio.StreamReader) -> dict[str, Any]:
    answer = json.loads(await reader.readuntil(b"\n"))
    if not isinstance(answer, dict):
        raise ValueError("no object")
    return answer


def _exec_result(status: Mapping[str, Any]) -> ExecResult:
    return ExecResult(
        exit_code=status.get("exitcode"),
        signal=status.get("signal"),
        stdout=base64.b64decode(status.get("out-data", "")),
        stderr=base64.b64decode(status.get("err-data", "")),
        truncated=bool(status.get("out-truncated") or status.get("err-truncated")),
    )
