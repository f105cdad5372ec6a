"""Between the iSCSI engine and the SCSI device server: commands in, responses out; task management done.

It moves nothing and waits for nothing: deferred work goes to an executor that the driver supplies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.events import Event, Function, TaskManagement
from labemu_iscsi.management import manage
from labemu_iscsi.task import Task
from labemu_scsi.command import Deferred, Response, Status
from labemu_scsi.device import Device

_ABORTED: Final = Response(Status.TASK_ABORTED)


class Executor(Protocol):
    """Does deferred work."""

    def __call__(self, deferred: Deferred, work: Callable[[], Response], done: Callable[[Response], None]) -> None:
        """Let `deferred.delay` pass, call `work`, on a thread if `deferred.blocking`, and `done` on the engine's thread."""


class Barrier:
    """Calls when all of some tasks' work is over, at once if there is none.

    Args:
        tasks: whose work is under way.
        done: what to call.
    """

    def __init__(self, tasks: Sequence[Task], done: Callable[[], None]) -> None:
        self._left = len(tasks)
        self._done = done
        for task in tasks:
            assert task.ended is not None
            task.ended.append(self._one)
        if not tasks:
            done()

    def _one(self) -> None:
        self._left -= 1
        if not self._left:
            self._done()


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

    def arrived(self, events: Iterable[Event]) -> None:
        """These came of what was received just now, and will be handled in their order."""

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
            self._respond(task, outcome)

    def _respond(self, task: Task, response: Response) -> None:
        self._connection.respond(task, response)

    def _find_device(self) -> Device:
        session = self._connection.session
        assert session is not None
        assert session.target is not None
        return session.target.device

    def _defer(self, device: Device, task: Task, deferred: Deferred) -> None:
        task.data = b""  # whoever needs it has copied it
        if deferred.early is not None:
            self._respond(task, deferred.early)
        self._work(device, task, deferred, answered=deferred.early is not None)

    def _work(self, device: Device, task: Task, deferred: Deferred, *, answered: bool) -> None:
        def work() -> Response:
            task.ended = []  # before the look at `aborted`: who aborts looks in the opposite order, and one of both sees the other
            if task.aborted and deferred.again is None:  # what goes step by step, goes on when it is aborted
                return _ABORTED
            return device.finish(task.lun, task, deferred.work)

        def done(response: Response) -> None:
            waiters, task.ended = task.ended, None
            for waiter in waiters or ():
                waiter()
            following = None if deferred.again is None else deferred.again()
            if following is not None:
                self._work(device, task, following, answered=answered)
            elif not answered and not self._connection.closed:
                self._respond(task, response)
                self._wake()

        self._executor(deferred, work, done)

    def _manage(self, request: TaskManagement) -> None:
        connection = self._connection
        session = connection.session
        assert session is not None
        tasks = self._all_tasks()
        response = manage(session, request)
        under_way = [task for task in tasks if task.aborted and task.ended is not None]
        Barrier(under_way, lambda: self._answer(request, response))

    def _all_tasks(self) -> list[Task]:
        """Of all targets: a unit may be in several."""
        return [task for each in self._connection.node.sessions.values() for task in each.tasks.values()]

    def _answer(self, request: TaskManagement, response: int) -> None:
        """The function is complete: nothing that was aborted can have an effect any more (SAM-5 7.1)."""
        connection = self._connection
        session = connection.session
        if session is None or connection.closed:
            return
        connection.respond_task_management(request, response)
        self._wake()
        if session.held:  # an aborted command's number may be what others waited for
            connection.release_held()
            connection.wake()
        if request.function == Function.TARGET_COLD_RESET and session.target is not None:
            for each in list(session.target.sessions):
                each.announce_end()
                connection.node.drop(each, "cold reset of the target")
