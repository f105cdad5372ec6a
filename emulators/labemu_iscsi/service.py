"""Between the iSCSI engine and the SCSI device server: commands in, responses out; task management done.

It moves nothing and waits for nothing: deferred work goes to an executor that the driver supplies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.events import Event, Function, TaskManagement
from labemu_iscsi.management import manage
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
            self._manage(event)

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

    def _manage(self, request: TaskManagement) -> None:
        connection = self._connection
        session = connection.session
        assert session is not None
        response = manage(session, request)
        connection.respond_task_management(request, response)
        if session.held:  # an aborted command's number may be what others waited for
            connection.release_held()
            connection.wake()
        if request.function == Function.TARGET_COLD_RESET and session.target is not None:
            for each in list(session.target.sessions):
                each.announce_end()
                connection.node.drop(each, "cold reset of the target")
