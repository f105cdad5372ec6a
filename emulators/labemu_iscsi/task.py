"""A SCSI command on its way: what came with it, and the data-out that is gathered for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from labemu_iscsi.coverage import Coverage
from labemu_iscsi.pdu import Buffer

if TYPE_CHECKING:
    from labemu_scsi.nexus import Nexus
    from labemu_stages.feed import Stages

READ: Final = 0x40
WRITE: Final = 0x20


class Task:
    """One command; it is handed out as an event when all its data-out is there, and is a labemu_scsi `Command`.

    A plain class with slots, not a frozen dataclass: making one is on the path of every command.

    Args:
        nexus: who sends.
        lun: eight bytes.
        itt: the initiator task tag.
        cdb: sixteen bytes.
        flags: byte 1 of the PDU.
        expected: bytes that the initiator expects to move.
        immediate: it is outside of the command window.
    """

    __slots__ = (
        "aborted",
        "carrier",
        "cdb",
        "coverage",
        "data",
        "data_sn",
        "ended",
        "expected",
        "expected_read",
        "flags",
        "gathered",
        "immediate",
        "itt",
        "lun",
        "nexus",
        "open_r2ts",
        "r2t_sn",
        "reserved",
        "solicited",
        "stages",
        "unsolicited",
    )

    def __init__(
        self, nexus: Nexus, lun: bytes, itt: int, cdb: bytes, flags: int, expected: int, *, immediate: bool = False
    ) -> None:
        self.nexus = nexus
        self.lun = lun
        self.itt = itt
        self.cdb = cdb
        self.flags = flags
        self.expected = expected
        self.immediate = immediate
        self.data: Buffer = b""
        self.aborted = False
        self.ended: list[Callable[[], None]] | None = None  # while its work is under way: who waits for the end
        self.stages: Stages | None = None  # while they are noted
        # Only of sessions with several connections, or that recover errors:
        self.carrier: object = None  # the connection that it belongs to (RFC 7143 4.2.5.1)
        self.coverage: Coverage | None = None  # what came, when it need not come in order
        self.expected_read = 0  # bytes of data-in of a bidirectional command (RFC 7143 11.2.2.4)
        # Only of tasks that gather data over several PDUs:
        self.gathered = 0  # bytes of data-out that came
        self.solicited = 0  # bytes asked for, or promised unsolicited
        self.unsolicited = False  # more unsolicited Data-Out is to come
        self.data_sn = 0  # of the unsolicited sequence
        self.r2t_sn = 0
        self.open_r2ts = 0
        self.reserved = 0  # bytes of the session's room for data-out that it holds


class OpenR2t:
    """A stretch of data-out that was asked for.

    Args:
        task: whose.
        offset: where the next byte belongs.
        end: where the stretch ends.
    """

    __slots__ = ("data_sn", "end", "offset", "task")

    def __init__(self, task: Task, offset: int, end: int) -> None:
        self.task = task
        self.offset = offset
        self.end = end
        self.data_sn = 0
