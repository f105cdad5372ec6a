"""Clients of NFSv4.1 and 4.2: EXCHANGE_ID (RFC 8881 18.35), and what CREATE_SESSION and DESTROY_CLIENTID do to them (18.36, 18.50)."""

from __future__ import annotations

from labemu_nfs.limits import MAX_CLIENTS
from labemu_nfs.nfs4.state.core import Core
from labemu_nfs.nfs4.state.grace import Grace
from labemu_nfs.nfs4.state.model import Client, Principal
from labemu_nfs.nfs4.status import Nfs4Error, Status

SUPP_MOVED_REFER = 0x1
SUPP_MOVED_MIGR = 0x2
BIND_PRINC_STATEID = 0x100
USE_NON_PNFS = 0x10000
USE_PNFS_MDS = 0x20000
USE_PNFS_DS = 0x40000
UPD_CONFIRMED_REC_A = 0x4000_0000
CONFIRMED_R = 0x8000_0000
_ASKABLE = (
    SUPP_MOVED_REFER
    | SUPP_MOVED_MIGR
    | BIND_PRINC_STATEID
    | USE_NON_PNFS
    | USE_PNFS_MDS
    | USE_PNFS_DS
    | UPD_CONFIRMED_REC_A
)


class Clients41:
    """The records by name (co_ownerid)."""

    def __init__(self, core: Core, grace: Grace) -> None:
        self._core = core
        self._grace = grace
        self._confirmed: dict[bytes, Client] = {}
        self._drafts: dict[bytes, Client] = {}

    def _known(self, table: dict[bytes, Client], name: bytes) -> Client | None:
        client = table.get(name)
        if client is not None and client.number not in self._core.clients:
            del table[name]
            return None
        return client

    def exchange(self, name: bytes, verifier: bytes, principal: Principal, flags: int, now: float) -> Client:
        """EXCHANGE_ID.

        Returns:
            the client, confirmed or not.

        Raises:
            Nfs4Error: INVAL for flags that no client may set, NOENT, NOT_SAME, PERM for an update, CLID_INUSE, DELAY.
        """
        if flags & ~_ASKABLE:
            raise Nfs4Error(Status.INVAL)
        held = self._known(self._confirmed, name)
        if flags & UPD_CONFIRMED_REC_A:
            return self._update(held, verifier, principal)
        if held is not None and held.principal != principal:
            if self._core.has_state(held, now):
                raise Nfs4Error(Status.CLID_INUSE)  # case 3
            self._core.drop_client(held)
            self._grace.forget(held)
            held = None
        if held is not None and held.verifier == verifier:
            held.renewed = now
            return held  # case 2
        draft = self._known(self._drafts, name)
        if draft is not None:
            self._core.drop_client(draft)  # case 4
        self._drafts, self._confirmed = self._pruned(self._drafts), self._pruned(self._confirmed)
        client = self._drafts[name] = self._core.new_client(name, verifier, principal, 1, now)  # cases 1 and 5
        return client

    def _pruned(self, table: dict[bytes, Client]) -> dict[bytes, Client]:
        """Without the names of clients that had to make room, once there are many."""
        if len(table) <= 2 * MAX_CLIENTS:
            return table
        return {name: client for name, client in table.items() if self._core.alive(client)}

    def _update(self, held: Client | None, verifier: bytes, principal: Principal) -> Client:
        if held is None:
            raise Nfs4Error(Status.NOENT)  # case 7
        if held.verifier != verifier:
            raise Nfs4Error(Status.NOT_SAME)  # case 8
        if held.principal != principal:
            raise Nfs4Error(Status.PERM)  # case 9
        return held  # case 6

    def get(self, number: int, now: float) -> Client:
        """The client of a clientid, confirmed or not. Raises Nfs4Error STALE_CLIENTID."""
        client = self._core.clients.get(number)
        if client is None or not client.minor:
            raise Nfs4Error(Status.STALE_CLIENTID)
        if not client.confirmed and self._core.lapsed(client, now):  # RFC 8881 18.35.4
            self._core.drop_client(client)
            raise Nfs4Error(Status.STALE_CLIENTID)
        return client

    def confirm(self, client: Client, principal: Principal, now: float) -> None:
        """A session is made: the record is confirmed, and a former instance of the client is gone with all that it had.

        Raises:
            Nfs4Error: CLID_INUSE where another principal has made the record (RFC 8881 18.36.4).
        """
        client.renewed = now
        if client.confirmed:
            return
        if client.principal != principal:
            raise Nfs4Error(Status.CLID_INUSE)
        held = self._known(self._confirmed, client.name)
        if held is not None:
            self._core.drop_client(held)
        self._drafts.pop(client.name, None)
        self._confirmed[client.name] = client
        client.confirmed = True

    def destroy(self, number: int, now: float) -> None:
        """DESTROY_CLIENTID. Raises Nfs4Error STALE_CLIENTID, CLIENTID_BUSY while it has sessions or state."""
        client = self.get(number, now)
        if client.sessions or client.states:
            raise Nfs4Error(Status.CLIENTID_BUSY)
        self._core.drop_client(client)
        self._grace.forget(client)
