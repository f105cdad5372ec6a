"""Task management (RFC 7143 11.5, RFC 7144 5, SAM-5 7): what each function does to tasks, sessions and units.

An aborted task is never answered (11.5.1), except that other initiators are told TASK ABORTED where the unit's control mode page says so
(TAS, SPC-4 7.5.8); without that they hear of it by a unit attention. A command that has not come yet can be aborted by its CmdSN
(11.5.5): its number is taken as received.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final

from labemu_iscsi.events import Function, FunctionResponse, TaskManagement
from labemu_iscsi.limits import COMMAND_WINDOW
from labemu_iscsi.pdu import Opcode
from labemu_iscsi.session import MASK, Connection, Session, Target
from labemu_iscsi.task import Task
from labemu_scsi.command import Response, Status
from labemu_scsi.device import Device
from labemu_scsi.nexus import COMMANDS_CLEARED, NEXUS_LOSS, Nexus
from labemu_scsi.unit import LogicalUnit

_ABORTED: Final = Response(Status.TASK_ABORTED)
_QUERIES: Final = frozenset(
    (Function.QUERY_TASK, Function.QUERY_TASK_SET, Function.I_T_NEXUS_RESET, Function.QUERY_ASYNC_EVENT)
)


def manage(session: Session, request: TaskManagement) -> FunctionResponse:
    """Do a function, and say how it went."""
    try:
        function = Function(request.function)
    except ValueError:
        return FunctionResponse.REJECTED
    if function in _QUERIES and session.parameters.protocol_level < 2:  # RFC 7144 4
        return FunctionResponse.REJECTED
    return _FUNCTIONS[function](session, request)


def _target(session: Session) -> Target:
    assert session.target is not None  # a discovery session's task management was rejected before
    return session.target


def _device(session: Session) -> Device:
    return _target(session).device


def _abort_task(session: Session, request: TaskManagement) -> FunctionResponse:
    task = session.tasks.get(request.referenced_tag)
    if task is not None:
        if task.lun != request.lun:
            return FunctionResponse.NO_TASK
        session.abort(task)
        return FunctionResponse.COMPLETE
    ahead = (request.ref_cmd_sn - session.exp_cmd_sn) & MASK
    before = (request.cmd_sn - request.ref_cmd_sn) & MASK
    if ahead >= COMMAND_WINDOW or not 0 < before <= COMMAND_WINDOW:  # it was answered already, or never was
        return FunctionResponse.NO_TASK
    session.held[request.ref_cmd_sn] = (None, b"")  # RFC 7143 11.6.1 b: taken as received
    return FunctionResponse.COMPLETE


def _abort_held(session: Session, request: TaskManagement, *, every_unit: bool = False) -> None:
    """Commands that came, but early: those before the request are in its reach as well."""
    for cmd_sn, (_, pdu) in session.held.items():
        before = 0 < (request.cmd_sn - cmd_sn) & MASK <= COMMAND_WINDOW
        if before and pdu and pdu[0] & 0x3F == Opcode.SCSI_COMMAND and (every_unit or pdu[8:16] == request.lun):
            session.held[cmd_sn] = (None, b"")


def _tasks_at(session: Session, unit: LogicalUnit | None) -> list[Task]:
    """What a session has under way at a unit, under whichever of its numbers; None is everywhere."""
    device = _device(session)
    return [task for task in session.tasks.values() if unit is None or device.unit_at(task.lun) is unit]


def _abort_own(session: Session, unit: LogicalUnit | None) -> None:
    for task in _tasks_at(session, unit):
        session.abort(task)


def _clear(issuer: Session, unit: LogicalUnit, *, attention: bool) -> None:
    """Abort everybody's tasks at a unit, through whatever target; the issuer's in silence, the others' as the unit says."""
    _abort_own(issuer, unit)
    for home in tuple(unit.attentions.homes):
        silent = home.abort_tasks(unit.attentions, home.nexuses - {issuer.nexus})
        if attention:
            for nexus in silent:
                unit.attentions.establish(nexus, COMMANDS_CLEARED)


def _answer_aborted(session: Session, task: Task) -> None:
    """TASK ABORTED, on the connection that the task belongs to."""
    carrier: Connection = next((each for each in session.connections if each is task.carrier), session.connections[0])
    carrier.respond(task, _ABORTED)
    task.aborted = True
    carrier.wake()


def abort_tasks(target: Target, unit: LogicalUnit, nexuses: Set[Nexus]) -> set[Nexus]:
    """End what nexuses of a target have under way at a unit (SPC-4 5.13.11.5, SAM-5 7.3); returns those that were not told by a status."""
    silent = set()
    for session in [each for each in target.sessions if each.nexus in nexuses]:
        for task in _tasks_at(session, unit):
            if unit.mode.task_aborted_status:
                _answer_aborted(session, task)
            else:
                session.abort(task)
                if session.nexus is not None:
                    silent.add(session.nexus)
    return silent


def _abort_task_set(session: Session, request: TaskManagement) -> FunctionResponse:
    unit = _device(session).unit_at(request.lun)
    if unit is None:
        return FunctionResponse.NO_LUN
    _abort_held(session, request)
    _abort_own(session, unit)
    return FunctionResponse.COMPLETE


def _clear_task_set(session: Session, request: TaskManagement) -> FunctionResponse:
    unit = _device(session).unit_at(request.lun)
    if unit is None:
        return FunctionResponse.NO_LUN
    _abort_held(session, request)
    _clear(session, unit, attention=True)
    return FunctionResponse.COMPLETE


def _reset_unit(session: Session, request: TaskManagement) -> FunctionResponse:
    unit = _device(session).unit_at(request.lun)
    if unit is None:
        return FunctionResponse.NO_LUN
    _abort_held(session, request)
    _clear(session, unit, attention=False)  # the reset tells them
    unit.reset()
    return FunctionResponse.COMPLETE


def _reset_target(session: Session, request: TaskManagement) -> FunctionResponse:
    """Warm and cold; after a cold reset the service ends every session as well (RFC 7143 11.5.1)."""
    _abort_held(session, request, every_unit=True)
    device = _device(session)
    for unit in set(device.units.values()):
        _clear(session, unit, attention=False)
    for each in _target(session).sessions:
        _abort_own(each, None)  # at LUNs where there is nothing
    device.reset()
    return FunctionResponse.COMPLETE


def _clear_aca(session: Session, request: TaskManagement) -> FunctionResponse:
    """No unit has an auto contingent allegiance here: INQUIRY says NORMACA=0."""
    return FunctionResponse.NOT_SUPPORTED


def _reassign(session: Session, request: TaskManagement) -> FunctionResponse:
    """RFC 7143 11.6.1: reassignment is of error recovery level 2."""
    return FunctionResponse.REASSIGN_NOT_SUPPORTED


def _query_task(session: Session, request: TaskManagement) -> FunctionResponse:
    task = session.tasks.get(request.referenced_tag)
    found = task is not None and task.lun == request.lun
    return FunctionResponse.SUCCEEDED if found else FunctionResponse.COMPLETE


def _query_task_set(session: Session, request: TaskManagement) -> FunctionResponse:
    unit = _device(session).unit_at(request.lun)
    if unit is None:
        return FunctionResponse.NO_LUN
    found = bool(_tasks_at(session, unit))
    return FunctionResponse.SUCCEEDED if found else FunctionResponse.COMPLETE


def _reset_nexus(session: Session, request: TaskManagement) -> FunctionResponse:
    """SAM-5 7.6: all that this nexus has under way ends, and its units treat it as one that was lost and came back."""
    _abort_held(session, request, every_unit=True)
    _abort_own(session, None)
    if session.nexus is not None:
        _device(session).detach(session.nexus)
        _device(session).attach(session.nexus, NEXUS_LOSS)
    return FunctionResponse.COMPLETE


def _query_attention(session: Session, request: TaskManagement) -> FunctionResponse:
    unit = _device(session).unit_at(request.lun)
    if unit is None:
        return FunctionResponse.NO_LUN
    pending = session.nexus is not None and unit.attentions.waits(session.nexus)
    return FunctionResponse.SUCCEEDED if pending else FunctionResponse.COMPLETE


_FUNCTIONS: Final[dict[Function, Callable[[Session, TaskManagement], FunctionResponse]]] = {
    Function.ABORT_TASK: _abort_task,
    Function.ABORT_TASK_SET: _abort_task_set,
    Function.CLEAR_ACA: _clear_aca,
    Function.CLEAR_TASK_SET: _clear_task_set,
    Function.LOGICAL_UNIT_RESET: _reset_unit,
    Function.TARGET_WARM_RESET: _reset_target,
    Function.TARGET_COLD_RESET: _reset_target,
    Function.TASK_REASSIGN: _reassign,
    Function.QUERY_TASK: _query_task,
    Function.QUERY_TASK_SET: _query_task_set,
    Function.I_T_NEXUS_RESET: _reset_nexus,
    Function.QUERY_ASYNC_EVENT: _query_attention,
}
