"""Between the iSCSI engine and the SCSI device server: commands in, responses out; task management done.

It moves nothing and waits for nothing: deferred work goes to an executor that the driver supplies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.events import Event, Function, FunctionResponse, TaskManagement
from labemu_iscsi.session import Session
from labemu_iscsi.task import Task
from labemu_scsi.command import Deferred, Response
from labemu_scsi.device import Device


class Executor(Protocol):
    """Does deferred work."""

    def __call__(self, deferred: Deferred, work: Callable[[], Response], done: Callable[[Response], None]) -> None:
        """Let `deferred.delay` pass, call `work`, on a thread if `deferred.blocking`, and `done` on the engine's thread."""


class Service:
    """One connection's commands.

    Args:
        connection: the engine.
        executor: does what must not be done on the spot.
        wake: called when a deferred response was queued for sending.
    """

    def __init__(self, connection: TargetConnection, executor: Executor, wake: Callable[[], None]) -> None:
        self._connection = connection
        self._executor = executor
        self._wake = wake
        self._device: Device | None = None

    def handle(self, event: Event) -> None:
        """Do what an event asks for."""
        if event.__class__ is Task:  # isinstance costs more, here
            self._execute(event)
        elif isinstance(event, TaskManagement):
            response = self._manage(event)
            self._connection.respond_task_management(event, response)

    def _execute(self, task: Task) -> None:
        device = self._device
        if device is None:
            device = self._device = self._find_device()
        if task.aborted:
            return
        outcome = device.execute(task.lun, task)
        if isinstance(outcome, Deferred):
            self._defer(device, task, outcome)
        else:
            self._connection.respond(task, outcome)

    def _find_device(self) -> Device:
        session = self._connection.session
        assert session is not None
        assert session.target is not None
        return session.target.device

    def _defer(self, device: Device, task: Task, deferred: Deferred) -> None:
        task.data = b""  # whoever needs it has copied it

        def done(response: Response) -> None:
            if not self._connection.closed:
                self._connection.respond(task, response)
                self._wake()

        self._executor(deferred, lambda: device.finish(task.lun, task, deferred.work), done)

    def _manage(self, request: TaskManagement) -> FunctionResponse:
        """RFC 7143 11.5: do it, and say how it went."""
        session = self._connection.session
        assert session is not None
        assert session.target is not None
        try:
            function = Function(request.function)
        except ValueError:
            return FunctionResponse.REJECTED
        return _FUNCTIONS[function](session, request)


def _abort_task(session: Session, request: TaskManagement) -> FunctionResponse:
    task = session.tasks.get(request.referenced_tag)
    if task is None:  # it has been answered already, or never was
        return FunctionResponse.NO_TASK
    session.abort(task)
    return FunctionResponse.COMPLETE


def _abort_all(sessions: Iterable[Session], lun: bytes | None) -> None:
    for session in sessions:
        for task in list(session.tasks.values()):
            if lun is None or task.lun == lun:
                session.abort(task)


def _sessions(session: Session) -> list[Session]:
    """All sessions of the same target, by way of its nexuses."""
    assert session.target is not None
    return list(session.target.sessions)


def _abort_task_set(session: Session, request: TaskManagement) -> FunctionResponse:
    if _device(session).unit_at(request.lun) is None:
        return FunctionResponse.NO_LUN
    _abort_all([session], request.lun)
    return FunctionResponse.COMPLETE


def _clear_task_set(session: Session, request: TaskManagement) -> FunctionResponse:
    if _device(session).unit_at(request.lun) is None:
        return FunctionResponse.NO_LUN
    _abort_all(_sessions(session), request.lun)
    return FunctionResponse.COMPLETE


def _reset_unit(session: Session, request: TaskManagement) -> FunctionResponse:
    unit = _device(session).unit_at(request.lun)
    if unit is None:
        return FunctionResponse.NO_LUN
    _abort_all(_sessions(session), request.lun)
    unit.reset()
    return FunctionResponse.COMPLETE


def _reset_target(session: Session, request: TaskManagement) -> FunctionResponse:
    _abort_all(_sessions(session), None)
    _device(session).reset()
    return FunctionResponse.COMPLETE


def _not_supported(session: Session, request: TaskManagement) -> FunctionResponse:
    return FunctionResponse.NOT_SUPPORTED


def _no_reassign(session: Session, request: TaskManagement) -> FunctionResponse:
    return FunctionResponse.REASSIGN_NOT_SUPPORTED


def _device(session: Session) -> Device:
    assert session.target is not None
    return session.target.device


_FUNCTIONS: Final[dict[Function, Callable[[Session, TaskManagement], FunctionResponse]]] = {
    Function.ABORT_TASK: _abort_task,
    Function.ABORT_TASK_SET: _abort_task_set,
    Function.CLEAR_ACA: _not_supported,
    Function.CLEAR_TASK_SET: _clear_task_set,
    Function.LOGICAL_UNIT_RESET: _reset_unit,
    Function.TARGET_WARM_RESET: _reset_target,
    Function.TARGET_COLD_RESET: _reset_target,
    Function.TASK_REASSIGN: _no_reassign,
}
