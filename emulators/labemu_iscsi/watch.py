"""Notes the stages of SCSI commands (labemu_stages) on their way through a connection and a unit, while somebody reads them.

A watched unit is guarded, so that its commands take the way on which each is an object of its own, and not the fast lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.events import Event
from labemu_iscsi.service import Executor, Service
from labemu_iscsi.task import Task
from labemu_scsi.command import Command, Deferred, Outcome, Response
from labemu_stages.feed import Feed, Stages


class UnitWatch:
    """Notes when units' commands begin, and when the store is at work; a labemu_scsi `Interceptor`.

    Args:
        time: nanoseconds since 1970.
    """

    def __init__(self, time: Callable[[], int]) -> None:
        self._time = time

    def execute(self, name: str, command: Command, run: Callable[[], Outcome]) -> Outcome:
        """Do a command, and note when. See labemu_scsi.command.Interceptor."""
        stages = getattr(command, "stages", None)
        if stages is None:
            return run()
        times, time = stages.times, self._time
        times.setdefault("started", begin := time())
        outcome = run()
        if isinstance(outcome, Deferred):
            return self._timed(outcome, times)
        times["store-begin"], times["store-end"] = begin, time()
        return outcome

    def _timed(self, deferred: Deferred, times: dict[str, int]) -> Deferred:
        time, work, again = self._time, deferred.work, deferred.again

        def timed() -> Response:
            times.setdefault("store-begin", time())
            try:
                return work()
            finally:
                times["store-end"] = time()

        def following() -> Deferred | None:
            assert again is not None
            step = again()
            return None if step is None else self._timed(step, times)

        return deferred._replace(work=timed, again=None if again is None else following)


class WatchedService(Service):
    """A connection's commands, with their stages.

    Args:
        connection: as for a Service.
        executor: likewise.
        wake: likewise.
        feed: where the stages go.
    """

    def __init__(self, connection: TargetConnection, executor: Executor, wake: Callable[[], None], feed: Feed) -> None:
        super().__init__(connection, executor, wake)
        self._feed = feed

    def arrived(self, events: Iterable[Event]) -> None:
        """These came of what was received just now."""
        now = self._feed.time()
        for event in events:
            if isinstance(event, Task) and event.stages is None:
                connection = self._connection
                event.stages = Stages("iscsi", connection.peer, connection.portal, event.itt, {"queued": now})

    def _respond(self, task: Task, response: Response) -> None:
        super()._respond(task, response)
        stages = task.stages
        if stages is not None:
            stages.times["responded"] = self._feed.time()
            self._feed.put(stages)
            task.stages = None
