"""A copy that goes on after COPY was answered: piece after piece, and then CB_OFFLOAD (RFC 7862 15.2.3, 16.1)."""

from __future__ import annotations

from labemu_nfs.limits import MAX_COPY
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.state.model import Offload
from labemu_nfs.nfs4.state.offloads import Offloads
from labemu_nfs.nfs4.status import Status, status_of
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Job
from labemu_store.errors import AbsentError


class Copying:
    """One copy under way.

    Args:
        context: what all calls share.
        offloads: where it is remembered.
        offload: it.
        source, target: the files, of one export.
        offset, to_offset, count: from where to where how much is copied; more than nothing.
    """

    def __init__(
        self,
        context: Context4,
        offloads: Offloads,
        offload: Offload,
        source: Node,
        target: Node,
        span: tuple[int, int, int],
    ) -> None:
        self._context = context
        self._offloads = offloads
        self._offload = offload
        self._source = source
        self._target = target
        self._offset, self._to_offset, self._count = span

    def piece(self) -> Job:
        """The next piece, to be done in a thread; its `finish` gives the one after it, or nothing. Raises OSError."""
        done = self._offload.copied
        size = min(self._count - done, MAX_COPY)
        store = self._source.store
        work = store.copy(self._source.key, self._offset + done, self._target.key, self._to_offset + done, size)
        copied: list[int] = []

        def finish(error: OSError | None) -> Body | Job:
            if error is not None:
                return self._end(status_of(error))
            self._offload.copied += copied[0]
            self._context.shared.bytes_written += copied[0]
            if not copied[0] or self._offload.copied == self._count:  # nothing: the source was cut meanwhile
                return self._end(Status.OK)
            if self._context.background is None or not self._offloads.wanted(self._offload):
                return []
            return self._next()

        return Job(lambda: copied.append(work()), finish)

    def _next(self, error: OSError | None = None) -> Body | Job:
        """The next piece, once what it needs was fetched."""
        try:
            if error is not None:
                raise error
            return self.piece()
        except AbsentError as absent:
            return Job(absent.fetch, self._next)
        except OSError as failure:
            return self._end(status_of(failure))

    def _end(self, status: Status) -> Body:
        """Tell the client, which gives the stateid back by its answer."""
        offload = self._offload
        offload.status = status
        path = offload.client.callback
        if self._offloads.wanted(offload) and path is not None:
            offload.telling = True
            path.offloaded(offload, self._context.shared.verifier, self._told)
        return []

    def _told(self, taken: bool) -> None:  # a callback's only argument
        self._offload.telling = False
        if taken:
            self._offloads.forget(self._offload)
