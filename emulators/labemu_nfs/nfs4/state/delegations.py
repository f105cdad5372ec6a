"""Delegations: given where nobody else uses a file, recalled when somebody wants to, revoked when that takes too long (RFC 8881 10.4).

Theory: nothing here waits. Whoever comes in conflict is told DELAY and tries again, and each try sees how far the recall has come.
"""

from __future__ import annotations

from functools import partial

from labemu_nfs.limits import DELEGATION_PAUSE, RECALL_TIME
from labemu_nfs.nfs4.state.core import Core
from labemu_nfs.nfs4.state.model import Client, Delegation, FileId, FileState
from labemu_nfs.nfs4.state.shares import WRITE
from labemu_nfs.nfs4.status import Nfs4Error, Status


class Delegations:
    """Gives and takes them.

    Args:
        core: the tables.
        enabled: whether any are given.
    """

    def __init__(self, core: Core, *, enabled: bool = True) -> None:
        self._core = core
        self.enabled = enabled

    def require_none(self, file: FileId, client: Client | None, access: int, now: float) -> None:
        """Before I/O, an open or a change by `client` (None: by one that has no state).

        Args:
            file: of what.
            client: who wants it; its own delegations are not in its way.
            access: WRITE is in the way of any delegation, READ of write delegations only.
            now: seconds.

        Raises:
            Nfs4Error: DELAY until those in the way are returned or revoked.
        """
        state = self._core.files.get(file)
        if state is None or not state.delegations:
            return
        ways = [each for each in state.delegations if (each.write or access & WRITE) and each.client is not client]
        waiting = False
        for delegation in ways:
            waiting |= self._recall(delegation, now)
        if waiting:
            raise Nfs4Error(Status.DELAY)

    def _recall(self, delegation: Delegation, now: float) -> bool:
        """Recall it, or revoke it in the end; whether it is still there."""
        delegation.file.recalled = now
        path = delegation.client.callback
        if delegation.recalled is None:
            delegation.recalled = now
        if path is None or self._core.lapsed(delegation.client, now) or now - delegation.recalled > RECALL_TIME:
            self._core.revoke(delegation)
            return False
        if not delegation.sent:
            delegation.sent = True
            path.recall(delegation)
        return True

    def new_path(self, client: Client) -> None:
        """The client can be called in another way now: what it was not told, it is told again."""
        path = client.callback
        if path is None:
            return
        for state in tuple(client.states.values()):
            if isinstance(state, Delegation) and state.recalled is not None and not state.dead:
                state.sent = True
                path.recall(state)

    def grant(self, client: Client, file: FileState, *, write: bool, now: float) -> Delegation | None:
        """A delegation along with an open that was just made, where that is wise; None where not."""
        path = client.callback
        if not self.enabled or path is None or not path.up or now - file.recalled < DELEGATION_PAUSE:
            return None
        if any(each.client is client or each.write or write for each in file.delegations):
            return None
        for opened in file.opens:
            if write and opened.client is not client:
                return None
            if not write and opened.access & WRITE:
                return None
        return self.make(client, file, write=write, now=now)

    def make(self, client: Client, file: FileState, *, write: bool, now: float) -> Delegation:
        """A delegation, wise or not: what a client reclaims. Raises Nfs4Error RESOURCE, DELAY where there are too many."""
        other = self._core.new_other(client, now)
        delegation = Delegation(other, client, file, write=write)
        self._core.add(delegation)
        return delegation

    def held(self, client: Client, file: FileId) -> Delegation | None:
        """The delegation that a client has of a file."""
        state = self._core.files.get(file)
        return next((each for each in state.delegations if each.client is client), None) if state else None

    def grant_alone(self, client: Client, file: FileId, *, write: bool, now: float) -> Delegation | None:
        """As `grant`, without an open of the client's."""
        state = self._core.file_state(file)
        granted = self.grant(client, state, write=write, now=now)
        if granted is None:
            self._core.settle_file(state)
        return granted

    def attributes(self, file: FileId, client: Client | None, now: float) -> tuple[int, int] | None:
        """What the holder of a write delegation says of change and size (RFC 8881 10.4.3), where there is one.

        Raises:
            Nfs4Error: DELAY until it has answered, or the delegation is revoked.
        """
        state = self._core.files.get(file)
        holder = (
            next((each for each in state.delegations if each.write and each.client is not client), None)
            if state
            else None
        )
        if holder is None:
            return None
        if holder.answer is not None:
            answer, holder.answer, holder.asked = holder.answer, None, None
            return answer
        path = holder.client.callback
        if path is None or self._core.lapsed(holder.client, now):
            self._core.revoke(holder)
            return None
        if holder.asked is None:
            holder.asked = now
            path.ask_attributes(holder, partial(_answered, holder))
        elif now - holder.asked > RECALL_TIME:
            self._core.revoke(holder)
            return None
        raise Nfs4Error(Status.DELAY)


def _answered(holder: Delegation, change: int, size: int) -> None:
    holder.answer = change, size
