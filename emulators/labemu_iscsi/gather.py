"""Data-out: immediate, unsolicited and solicited by R2T (RFC 7143 4.2.5.2, 11.7, 11.8).

This is the way of data that comes in order (DataPDUInOrder=Yes, DataSequenceInOrder=Yes), where a task needs one offset and no map of
what came; `patchwork` does the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labemu_iscsi.errors import ProtocolError
from labemu_iscsi.limits import MAX_TASK_DATA
from labemu_iscsi.pdu import FINAL, NO_TAG, DataOut, ReadyToTransfer
from labemu_iscsi.session import Session
from labemu_iscsi.task import OpenR2t, Task
from labemu_scsi.sense import DataPhaseError

if TYPE_CHECKING:
    from labemu_iscsi.sender import Sender

_DATA_OUT = DataOut.layout.unpack_from


def begin(session: Session, sender: Sender, task: Task, data: memoryview) -> bool:
    """Take a write command with its immediate data; whether all of its data is there.

    Raises:
        ProtocolError: more than was agreed on.
    """
    parameters = session.parameters
    size = len(data)
    if size and (not parameters.immediate_data or size > parameters.first_burst or size > task.expected):
        raise ProtocolError("immediate data that was not agreed on")  # RFC 7143 11.3.5
    if size == task.expected:
        task.data = data
        return True
    capacity = min(task.expected, MAX_TASK_DATA)
    task.data = bytearray(capacity)
    task.data[:size] = data
    task.gathered = size
    if task.flags & FINAL:
        task.solicited = size
        solicit(session, sender, task)
        return False
    if parameters.initial_r2t:
        raise ProtocolError("unsolicited data with InitialR2T=Yes")
    task.unsolicited = True
    task.solicited = min(parameters.first_burst, capacity)
    return False


def solicit(session: Session, sender: Sender, task: Task) -> None:
    """Ask for what is missing, as much at a time as was agreed on and fits."""
    capacity = len(task.data)
    parameters = session.parameters
    if not task.reserved and not _reserve(session, task):
        return
    while task.solicited < capacity and task.open_r2ts < parameters.max_outstanding_r2t:
        length = min(parameters.max_burst, capacity - task.solicited)
        ready_to_transfer(session, sender, task, task.solicited, length)
        task.solicited += length


def ready_to_transfer(session: Session, sender: Sender, task: Task, offset: int, length: int) -> None:
    """Ask for one stretch (RFC 7143 11.8)."""
    ttt = session.new_ttt()
    session.r2ts[ttt] = OpenR2t(task, offset, offset + length)
    header = ReadyToTransfer(
        lun=task.lun,
        itt=task.itt,
        ttt=ttt,
        stat_sn=sender.stat_sn,
        exp_cmd_sn=session.exp_cmd_sn,
        max_cmd_sn=session.max_cmd_sn,
        r2t_sn=task.r2t_sn,
        offset=offset,
        length=length,
    )
    sender.put(header.pack())
    task.r2t_sn += 1
    task.open_r2ts += 1


def _reserve(session: Session, task: Task) -> bool:
    """Take room for all of a task's data, so that tasks under way never wait for one another; or let it wait for its turn."""
    need = len(task.data)
    if not session.budget.take(session.solicited, need):
        if task not in session.waiting:
            session.waiting.append(task)
        session.budget.wait(session, session.wake)
        return False
    session.solicited += need
    task.reserved = need
    return True


def resume(session: Session, sender: Sender, connection: object) -> None:
    """Go on with a connection's tasks that had to wait for room; other connections are told to look after theirs."""
    for _ in range(len(session.waiting)):
        task = session.waiting.popleft()
        if task.carrier not in (None, connection):
            session.waiting.append(task)
        elif not task.aborted:
            solicit(session, sender, task)
    if not session.plain and session.waiting:
        for other in session.connections:
            if other is not connection:
                other.wake()


def data_out(session: Session, sender: Sender, buffer: bytearray, start: int, data: memoryview) -> Task | None:
    """Take a Data-Out; the task when that was its last.

    Raises:
        DataPhaseError: data that nobody asked for, or out of order; the task is over with that (RFC 7143 7.9, 11.4.7.2).
    """
    _, flags, _, _, itt, ttt, _, data_sn, offset = _DATA_OUT(buffer, start)
    task = session.tasks.get(itt)
    if task is None or task.aborted:
        return None  # of a task that was aborted meanwhile: RFC 7143 11.5.1 lets it come, and it is dropped
    if ttt == NO_TAG:
        _unsolicited(task, flags, data_sn, offset, data)
    else:
        _solicited(session, task, ttt, flags, data_sn, offset, data)
    if task.unsolicited:
        return None
    if task.gathered == len(task.data):
        return task
    solicit(session, sender, task)
    return None


def _store(task: Task, offset: int, data: memoryview) -> None:
    end = offset + len(data)
    task.data[offset:end] = data  # type: ignore[index]  # a bytearray while it is gathered
    task.gathered = end


def _unsolicited(task: Task, flags: int, data_sn: int, offset: int, data: memoryview) -> None:
    if (
        not task.unsolicited
        or data_sn != task.data_sn
        or offset != task.gathered
        or offset + len(data) > task.solicited
    ):
        raise DataPhaseError()
    _store(task, offset, data)
    task.data_sn += 1
    if flags & FINAL:
        task.unsolicited = False
        task.solicited = task.gathered


def _solicited(session: Session, task: Task, ttt: int, flags: int, data_sn: int, offset: int, data: memoryview) -> None:
    r2t = session.r2ts.get(ttt)
    if r2t is None or r2t.task is not task:
        raise DataPhaseError()
    end = offset + len(data)
    done = end == r2t.end
    if offset != task.gathered:  # RFC 7143 13.19: the stretches come in the order of their R2Ts
        raise DataPhaseError()
    # RFC 7143 11.7.5: DataSN counts from 0 for each R2T; 11.7.1: F ends the sequence
    if data_sn != r2t.data_sn or offset != r2t.offset or end > r2t.end or done != bool(flags & FINAL):
        raise DataPhaseError()
    _store(task, offset, data)
    r2t.offset = end
    r2t.data_sn += 1
    if done:
        del session.r2ts[ttt]
        task.open_r2ts -= 1
