"""Copies that go on after COPY was answered (RFC 7862 4.8, 15.2.3): their stateids, and how far they are.

Theory: such a stateid is good until the client gives it back: with OFFLOAD_CANCEL, or by its reply to CB_OFFLOAD. For a client that does
neither the server would remember them for ever, so of each client the eldest that are done are forgotten.
"""

from __future__ import annotations

from labemu_nfs.limits import MAX_CLIENT_OFFLOADS, MAX_DONE_OFFLOADS, MAX_OFFLOADS
from labemu_nfs.nfs4.state.core import Core
from labemu_nfs.nfs4.state.model import Client, FileId, Offload
from labemu_nfs.nfs4.state.stateids import Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status


class Offloads:
    """All of them, in the order in which they were begun.

    Args:
        core: the clients.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_other: dict[bytes, Offload] = {}

    def __len__(self) -> int:
        return len(self._by_other)

    def room(self, client: Client) -> bool:
        """Whether one more may go on beside those that do, and the client can be told of its end."""
        if client.callback is None or not client.callback.up:
            return False
        busy = [each for each in self._by_other.values() if each.busy]
        own = sum(each.client is client for each in busy)
        return len(busy) < MAX_OFFLOADS and own < MAX_CLIENT_OFFLOADS

    def begin(self, client: Client, file: FileId, now: float) -> Offload:
        """One more. Raises Nfs4Error DELAY where there are too many states."""
        begun = Offload(self._core.new_other(client, now), client, file)
        done = [each for each in self._by_other.values() if not each.busy]
        for each in done:
            if not self._core.alive(each.client):
                self.forget(each)
        for each in [each for each in done if each.client is client][:-MAX_DONE_OFFLOADS]:
            self.forget(each)
        self._by_other[begun.stateid.other] = begun
        return begun

    def find(self, stateid: Stateid, client: Client | None, file: FileId) -> Offload:
        """A client's copy into a file. Raises Nfs4Error BAD_STATEID, for a seqid of 0 too (RFC 7862 4.8)."""
        found = self._by_other.get(stateid.other)
        if found is None or (found.stateid, found.client, found.file) != (stateid, client, file):
            raise Nfs4Error(Status.BAD_STATEID)
        return found

    def wanted(self, offload: Offload) -> bool:
        """Whether it is to go on: it was not cancelled, and its client is there."""
        if not self._core.alive(offload.client):
            self.forget(offload)
        return offload.stateid.other in self._by_other

    def forget(self, offload: Offload) -> None:
        """Its stateid is none any more."""
        self._by_other.pop(offload.stateid.other, None)
