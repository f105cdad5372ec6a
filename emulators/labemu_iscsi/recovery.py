"""What error recovery level 1 adds to a connection (RFC 7143 7.1.4.2): SNACK, digest errors that cost a PDU and not the connection."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from labemu_iscsi import patchwork
from labemu_iscsi.limits import DATA_TIMEOUT, MAX_HEADER_ERRORS, MAX_REQUESTS
from labemu_iscsi.pdu import Opcode, SnackRequest
from labemu_iscsi.retaining import RetainingSender
from labemu_iscsi.session import Session
from labemu_iscsi.task import Task

_EXP_STAT_SN: Final = struct.Struct(">I")
_EXP_STAT_SN_AT: Final = 28  # in every request


@dataclass(kw_only=True)
class _Wait:
    """A task's wait for data-out: how much was there, since when that is so, and how often it was asked for again."""

    gathered: int
    since: float
    requests: int = 0


class Recovery:
    """A connection's recovery; it has one from error recovery level 1 on.

    Args:
        sender: the connection's.
        session: its session.
    """

    def __init__(self, sender: RetainingSender, session: Session) -> None:
        self._sender = sender
        self._session = session
        self._header_errors = 0
        self._waits: dict[Task, _Wait] = {}

    def acknowledge(self, buffer: bytearray, start: int) -> None:
        """A PDU is there, whole: what its ExpStatSN says arrived need not be kept (RFC 7143 4.2.2.2)."""
        self._header_errors = 0
        self._sender.acknowledge(_EXP_STAT_SN.unpack_from(buffer, start + _EXP_STAT_SN_AT)[0])

    def snack(self, buffer: bytearray, start: int) -> None:
        """RFC 7143 11.16: send again what got lost.

        Raises:
            RejectPdu: it cannot be.
        """
        self._sender.snack(self._session, SnackRequest.unpack(buffer, start))

    def forgive_header(self) -> bool:
        """A header digest did not match; whether to go on behind it (RFC 7143 7.7).

        The length may be what is wrong; then the next header does not match either, and that is the end.
        """
        self._header_errors += 1
        return self._header_errors < MAX_HEADER_ERRORS

    def damaged(self, buffer: bytearray, start: int) -> Task | None:
        """A data segment whose digest did not match: Data-Out is asked for again, if that was its sequence's end.

        Raises:
            DataPhaseError: it belonged nowhere.
        """
        if buffer[start] & 0x3F != Opcode.DATA_OUT:
            return None  # RFC 7143 7.7: a command is not taken, and comes again with the same CmdSN
        size = int.from_bytes(buffer[start + 5 : start + 8], "big")
        empty = memoryview(bytes(size))
        return patchwork.data_out(self._session, self._sender, buffer, start, empty, damaged=True)

    def check(self, tasks: Iterable[Task], now: float) -> list[Task]:
        """Ask again for data-out that does not come (RFC 7143 7.2.2), and name the tasks that are to be given up.

        Args:
            tasks: the connection's.
            now: seconds on the driver's clock.
        """
        given_up, waits = [], {}
        for task in tasks:
            if not task.open_r2ts and not task.unsolicited:
                continue
            wait = self._waits.get(task)
            if wait is None or wait.gathered != task.gathered:
                wait = _Wait(gathered=task.gathered, since=now)
            elif now - wait.since >= DATA_TIMEOUT:
                if wait.requests == MAX_REQUESTS:
                    given_up.append(task)
                    continue
                patchwork.ask_again(self._session, self._sender, task)
                wait.since = now
                wait.requests += 1
            waits[task] = wait
        self._waits = waits
        return given_up
