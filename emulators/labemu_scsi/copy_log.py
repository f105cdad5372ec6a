"""What a unit remembers of its copies, for RECEIVE COPY RESULTS (SPC-4 6.18 to 6.21).

A copy is known by the nexus that ordered it and the list identifier that it chose. One that is under way is never forgotten; one that
is done is kept for a single question, if its initiator asked for that, and no longer than the nexus lives.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labemu_scsi.limits import MAX_COPIES
from labemu_scsi.sense import OperationInProgress

if TYPE_CHECKING:
    from labemu_scsi.nexus import Nexus

IN_PROGRESS, COMPLETED, FAILED = 0x00, 0x01, 0x02  # SPC-4 table 239


@dataclass(slots=True)
class CopyRecord:
    """A copy: how far it is, or how it ended.

    Args:
        hold: it is to be remembered after its end.
        state: COPY MANAGER STATUS.
        segments: those that are done.
        transferred: bytes.
        status: of the command.
        sense: of a command that failed.
    """

    hold: bool
    state: int = IN_PROGRESS
    segments: int = 0
    transferred: int = 0
    status: int = 0
    sense: bytes = b""


class CopyLog:
    """The copies of one unit; copies end on threads, and are asked after on the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[tuple[Nexus, int], CopyRecord] = {}

    def begin(self, nexus: Nexus, identifier: int, *, hold: bool) -> CopyRecord:
        """A new copy; what was remembered under its identifier is forgotten.

        Raises:
            OperationInProgress: a copy of this nexus with that identifier is under way (SPC-4 6.4.3.2).
        """
        key = (nexus, identifier)
        with self._lock:
            old = self._records.pop(key, None)
            if old is not None and old.state == IN_PROGRESS:
                self._records[key] = old
                raise OperationInProgress()
            while len(self._records) >= MAX_COPIES and self._forget_one():
                pass
            record = self._records[key] = CopyRecord(hold)
        return record

    def _forget_one(self) -> bool:
        oldest = next((key for key, record in self._records.items() if record.state != IN_PROGRESS), None)
        if oldest is None:
            return False
        del self._records[oldest]
        return True

    def end(self, nexus: Nexus, identifier: int, record: CopyRecord, state: int) -> None:
        """A copy is done, well or not."""
        with self._lock:
            record.state = state
            if not record.hold and self._records.get((nexus, identifier)) is record:
                del self._records[nexus, identifier]

    def find(self, nexus: Nexus, identifier: int) -> CopyRecord | None:
        """The record of a copy, if there is one."""
        with self._lock:
            return self._records.get((nexus, identifier))

    def drop(self, nexus: Nexus, identifier: int) -> None:
        """Forget a copy whose outcome was told."""
        with self._lock:
            self._records.pop((nexus, identifier), None)

    def detach(self, nexus: Nexus) -> None:
        """A nexus is lost, and nobody can ask after its copies any more."""
        with self._lock:
            for key in [key for key in self._records if key[0] is nexus]:
                del self._records[key]
