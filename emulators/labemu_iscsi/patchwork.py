"""Data-out that need not come in order, or may get lost: DataPDUInOrder=No, DataSequenceInOrder=No, error recovery level 1.

Each task keeps what it has as a `Coverage`. When a sequence ends with something missing, error recovery level 1 asks for it again by a
recovery R2T (RFC 7143 7.2.2, 7.7); at level 0 the command fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labemu_iscsi.coverage import Coverage
from labemu_iscsi.gather import ready_to_transfer, solicit
from labemu_iscsi.pdu import FINAL, NO_TAG, DataOut
from labemu_iscsi.session import Session
from labemu_iscsi.task import OpenR2t, Task
from labemu_scsi.sense import DataPhaseError

if TYPE_CHECKING:
    from labemu_iscsi.sender import Sender

_DATA_OUT = DataOut.layout.unpack_from


def data_out(
    session: Session, sender: Sender, buffer: bytearray, start: int, data: memoryview, *, damaged: bool = False
) -> Task | None:
    """Take a Data-Out; the task when all of its data is there.

    Args:
        session: whose task it is for.
        sender: of the connection that it came on.
        buffer: holds the header.
        start: where in it.
        data: the data segment.
        damaged: its digest did not match; its data is not taken.

    Raises:
        DataPhaseError: data that nobody asked for, or lost at error recovery level 0; the task is over with that.
    """
    _, flags, _, _, itt, ttt, _, data_sn, offset = _DATA_OUT(buffer, start)
    task = session.tasks.get(itt)
    if task is None or task.aborted:
        return None
    _cover(task)
    assert task.coverage is not None
    end = offset + len(data)
    r2t = None if ttt == NO_TAG else session.r2ts.get(ttt)
    if r2t is None and ttt != NO_TAG and session.parameters.recovery_level:
        return None  # it was late, and is asked for under another tag already
    low, high = _stretch(task, r2t, ttt)
    if not low <= offset <= end <= high:
        raise DataPhaseError()
    _number(session, task, r2t, data_sn, offset)
    if not damaged and data:
        task.data[offset:end] = data  # type: ignore[index]  # a bytearray while it is gathered
        if not task.coverage.add(offset, end):
            raise DataPhaseError()
        task.gathered = task.coverage.count
    if flags & FINAL:
        if r2t is None:
            _end_unsolicited(session, sender, task, max(end, task.coverage.end))
        else:
            _end_solicited(session, sender, task, ttt, r2t)
    if task.unsolicited:
        return None
    if task.gathered == len(task.data):
        return task
    solicit(session, sender, task)
    return None


def ask_again(session: Session, sender: Sender, task: Task) -> None:
    """What was asked for, or promised, does not come: ask for what is missing of it."""
    _cover(task)
    assert task.coverage is not None
    if task.unsolicited:
        _end_unsolicited(session, sender, task, task.coverage.end)
    for ttt, r2t in [(ttt, r2t) for ttt, r2t in session.r2ts.items() if r2t.task is task]:
        _end_solicited(session, sender, task, ttt, r2t)
    solicit(session, sender, task)


def _cover(task: Task) -> None:
    if task.coverage is None:
        task.coverage = Coverage()
        task.coverage.add(0, task.gathered)


def _stretch(task: Task, r2t: OpenR2t | None, ttt: int) -> tuple[int, int]:
    """Where data of this tag may belong."""
    if ttt == NO_TAG:
        if not task.unsolicited:
            raise DataPhaseError()
        return 0, task.solicited
    if r2t is None or r2t.task is not task:
        raise DataPhaseError()
    return r2t.offset, r2t.end


def _number(session: Session, task: Task, r2t: OpenR2t | None, data_sn: int, offset: int) -> None:
    """RFC 7143 11.7.5: DataSN counts within its sequence; only error recovery may leave a gap."""
    counter: Task | OpenR2t = task if r2t is None else r2t
    parameters = session.parameters
    if not parameters.recovery_level:
        if data_sn != counter.data_sn:
            raise DataPhaseError()
        if parameters.pdus_in_order and task.coverage is not None and r2t is not None:
            gap = task.coverage.missing(r2t.offset, offset)
            if gap is not None:
                raise DataPhaseError()
    counter.data_sn = data_sn + 1


def _end_unsolicited(session: Session, sender: Sender, task: Task, highest: int) -> None:
    task.unsolicited = False
    task.solicited = highest
    _recover(session, sender, task, 0, highest)


def _end_solicited(session: Session, sender: Sender, task: Task, ttt: int, r2t: OpenR2t) -> None:
    del session.r2ts[ttt]
    task.open_r2ts -= 1
    _recover(session, sender, task, r2t.offset, r2t.end)


def _recover(session: Session, sender: Sender, task: Task, start: int, end: int) -> None:
    """Ask again for what is missing of a sequence that ended."""
    assert task.coverage is not None
    gap = task.coverage.missing(start, end)
    if gap is None:
        return
    if not session.parameters.recovery_level:
        raise DataPhaseError()
    ready_to_transfer(session, sender, task, gap[0], gap[1] - gap[0])  # within a burst, as the sequence was
