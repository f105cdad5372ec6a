"""Opens: share reservations of owners on files (RFC 7530 9.9, 9.10, 16.16 to 16.19; RFC 8881 9.7, 18.16 to 18.18)."""

from __future__ import annotations

from labemu_nfs.limits import MAX_OWNERS
from labemu_nfs.nfs4.state import shares
from labemu_nfs.nfs4.state.core import Core, full
from labemu_nfs.nfs4.state.model import Client, FileId, Open, OpenOwner, State
from labemu_nfs.nfs4.state.shares import Share
from labemu_nfs.nfs4.state.stateids import Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status


class Opens:
    """Makes, changes and ends opens."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def owner(self, client: Client, name: bytes, now: float) -> OpenOwner:
        """The open-owner of a name, known or new. Raises Nfs4Error RESOURCE, DELAY where there are too many."""
        owner = client.open_owners.get(name)
        if owner is None:
            if len(client.open_owners) >= MAX_OWNERS:
                self._drop_idle(client)
            owner = client.open_owners[name] = OpenOwner(client, name)
        owner.used = now
        return owner

    def _drop_idle(self, client: Client) -> None:
        idle = [owner for owner in client.open_owners.values() if not owner.opens]
        if not idle:
            raise full(client.minor)
        eldest = min(idle, key=lambda owner: owner.used)
        self._core.settle(eldest)
        del client.open_owners[eldest.name]

    def owner_of(self, stateid: Stateid) -> OpenOwner:
        """Whose an open of 4.0 is, also one just closed, whatever its seqid.

        Raises:
            Nfs4Error: BAD_STATEID, STALE_STATEID, EXPIRED.
        """
        state: State | None = self._core.states.get(stateid.other) or self._core.closed.get(stateid.other)
        if isinstance(state, Open):
            return state.owner
        if state is not None:
            raise Nfs4Error(Status.BAD_STATEID)
        self._core.find(stateid, 0, client=None, file=None)
        raise Nfs4Error(Status.BAD_STATEID)

    def restart(self, owner: OpenOwner) -> None:
        """An owner that was never confirmed begins anew: what it had opened is dropped (RFC 7530 16.18.5)."""
        for opened in tuple(owner.opens.values()):
            self._core.release(opened)
        owner.sequence.seqid = None
        owner.sequence.answer = None

    def find(
        self, stateid: Stateid, minor: int, *, client: Client | None, file: FileId, confirmed: bool = True
    ) -> Open:
        """The open of a stateid.

        Args:
            stateid: of it.
            minor: of the COMPOUND.
            client: whose, in 4.1.
            file: of what.
            confirmed: whether its owner must have been confirmed.

        Raises:
            Nfs4Error: as Core.find; BAD_STATEID for another kind of state.
        """
        state = self._core.find(stateid, minor, client=client, file=file)
        if not isinstance(state, Open) or (confirmed and not state.owner.confirmed):
            raise Nfs4Error(Status.BAD_STATEID)
        return state

    def require(self, owner: OpenOwner, file: FileId, share: Share, now: float) -> None:
        """Whether the owner may open the file so; what it denied itself counts too (RFC 7530 9.9, RFC 8881 9.7).

        Raises:
            Nfs4Error: INVAL, SHARE_DENIED.
        """
        shares.check(*share)
        state = self._core.files.get(file)
        if state is None:
            return
        against = [each for each in state.opens if shares.conflict(each.share, share)]
        if any(each.owner is owner for each in against):
            raise Nfs4Error(Status.SHARE_DENIED)
        if against and not self._core.give_way((each.client for each in against), now):
            raise Nfs4Error(Status.SHARE_DENIED)

    def open(self, owner: OpenOwner, file: FileId, share: Share, now: float) -> Open:
        """Open it, or add to what the owner has open (RFC 7530 9.11). Raises Nfs4Error as `require`; RESOURCE, DELAY."""
        self.require(owner, file, share, now)
        held = owner.opens.get(file)
        if held is not None:
            held.shares |= {share}
            held.bump()
            return held
        other = self._core.new_other(owner.client, now)
        opened = Open(other, owner, self._core.file_state(file))
        opened.shares = frozenset((share,))
        self._core.add(opened)
        return opened

    def confirm(self, opened: Open) -> Stateid:
        """OPEN_CONFIRM (RFC 7530 16.18). Raises Nfs4Error BAD_STATEID where the owner is confirmed already."""
        if opened.owner.confirmed:
            raise Nfs4Error(Status.BAD_STATEID)
        opened.owner.confirmed = True
        return opened.bump()

    def downgrade(self, opened: Open, share: Share) -> Stateid:
        """OPEN_DOWNGRADE. Raises Nfs4Error INVAL."""
        opened.shares = shares.downgrade(opened.shares, share)
        return opened.bump()

    def close(self, opened: Open) -> Stateid:
        """CLOSE: its locks go with it (RFC 7530 16.2.4). Returns the stateid, which is good for nothing more."""
        last = opened.bump()
        owner = opened.owner
        self._core.release(opened)
        if not owner.client.minor:
            self._core.settle(owner, opened)
        elif not owner.opens:
            owner.client.open_owners.pop(owner.name, None)
        return last
