"""The control socket: rules set, listed and cleared while an emulator runs alone. docs/reference/faults.md describes it.

One JSON object a line, one answer a line, in order: `{"do": "add", "fault": {…}, "seconds": 30}`, `{"do": "list"}`,
`{"do": "clear", "id": "1"}`.
The socket belongs to its owner alone (0600); whoever may connect may do everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from pathlib import Path
from typing import Any, Final, Protocol

from labemu_faults.errors import FaultError, unknown
from labemu_faults.rule import Armed, Rule
from labemu_faults.table import FaultTable
from labemu_faults.wire import armed_to_json, rule_from_json

MAX_LINE: Final = 64 << 10
"""Bytes of one request; a rule has some hundreds."""

_BACKLOG: Final = 16
_COMMANDS: Final = ("add", "list", "clear")


class Emulator(Protocol):
    """What is controlled."""

    @property
    def table(self) -> FaultTable:
        """Its rules."""

    def add(self, rule: Rule, *, hits: int = 0) -> Armed:
        """Set one. Raises FaultError."""


class ControlSocket:
    """Serves one emulator's rules.

    Args:
        path: of the socket; a stale one is replaced.
        emulator: what is controlled.
    """

    def __init__(self, path: Path, emulator: Emulator) -> None:
        self._path = path
        self._emulator = emulator
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: something else is there, or another process listens.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(self._path)
            sock.bind(str(self._path))
            self._path.chmod(0o600)  # before anybody can connect, which listening permits
            sock.listen(_BACKLOG)
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_LINE)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        """Stop, and take the socket away."""
        if self._server is None:
            return
        self._server.close()
        for client in tuple(self._clients):
            client.close()
        await self._server.wait_closed()
        self._server = None
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await _line(reader):
                writer.write(json.dumps(self.answer(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            return
        finally:
            self._clients.discard(writer)
            writer.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """What a request gets: `{"error": …, "hint": …}` where it makes no sense. Never raises."""
        try:
            return self._do(_request(line))
        except FaultError as error:
            return {"error": error.message, "hint": error.hint}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request.get("do")
        if command == "add":
            armed = self._emulator.add(rule_from_json(request.get("fault")))
            self._end_in_time(armed, request.get("seconds"))
            return {"fault": armed_to_json(armed)}
        table = self._emulator.table
        if command == "list":
            return {"faults": [armed_to_json(armed) for armed in table]}
        if command == "clear":
            one = request.get("id")
            return {
                "cleared": [rule.id for rule in ([table.clear(str(one))] if one is not None else table.clear_all())]
            }
        raise unknown("command", str(command), _COMMANDS)

    def _end_in_time(self, armed: Armed, seconds: object) -> None:
        if seconds is None:
            return
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
            self._emulator.table.clear(armed.rule.id)
            raise FaultError(f"seconds is {seconds!r}", hint="it is a number above 0")
        asyncio.get_running_loop().call_later(seconds, self._over, armed)

    def _over(self, armed: Armed) -> None:
        if armed in tuple(self._emulator.table):
            self._emulator.table.clear(armed.rule.id)


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next request; nothing where the client has gone, or sends what no request is."""
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b""


def _request(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise FaultError("not JSON", hint='write {"do": "list"}') from None
    if not isinstance(request, dict):
        raise FaultError("not an object", hint='write {"do": "list"}')
    return request


def _remove_stale(path: Path) -> None:
    """Take away the socket of a process that is gone. Raises OSError for anything else that is there."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is there already, and is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise FileExistsError(f"{path} belongs to a process that runs")
