"""Clients of NFSv4.0: SETCLIENTID and SETCLIENTID_CONFIRM (RFC 7530 16.33, 16.34), and RENEW.

Theory: a name has at most one confirmed and one unconfirmed record. SETCLIENTID only ever makes the unconfirmed one; confirming
makes it the confirmed one, and if the client was restarted (its verifier is another), takes what the former instance held.
"""

from __future__ import annotations

from labemu_nfs.limits import MAX_CLIENTS
from labemu_nfs.nfs4.state.core import Core
from labemu_nfs.nfs4.state.grace import Grace
from labemu_nfs.nfs4.state.model import CallbackPath, Client, Principal
from labemu_nfs.nfs4.status import Nfs4Error, Status


class _Draft:
    """An unconfirmed record {v, x, c, k, s}; `client` is new, or the confirmed one where only the callback changes."""

    __slots__ = ("callback", "client", "confirmation", "principal")

    def __init__(
        self, client: Client, principal: Principal, callback: CallbackPath | None, confirmation: bytes
    ) -> None:
        self.client = client
        self.principal = principal
        self.callback = callback
        self.confirmation = confirmation


class Clients40:
    """The records by name."""

    def __init__(self, core: Core, grace: Grace) -> None:
        self._core = core
        self._grace = grace
        self._confirmed: dict[bytes, Client] = {}
        self._drafts: dict[bytes, _Draft] = {}

    def _held(self, name: bytes) -> Client | None:
        client = self._confirmed.get(name)
        if client is not None and client.number not in self._core.clients:  # it had to make room
            del self._confirmed[name]
            return None
        return client

    def _drafted(self, name: bytes) -> _Draft | None:
        draft = self._drafts.get(name)
        if draft is not None and draft.client.number not in self._core.clients:
            del self._drafts[name]
            return None
        return draft

    def set(
        self, name: bytes, verifier: bytes, principal: Principal, callback: CallbackPath | None, now: float
    ) -> tuple[int, bytes]:
        """SETCLIENTID.

        Returns:
            the clientid and the verifier to confirm it with.

        Raises:
            Nfs4Error: CLID_INUSE where another principal holds state under that name, RESOURCE.
        """
        held = self._held(name)
        if held is not None and held.principal != principal and self._core.has_state(held, now):
            raise Nfs4Error(Status.CLID_INUSE)
        draft = self._drafted(name)
        if draft is not None:
            self._discard(name, draft)
        if held is not None and held.verifier == verifier and held.principal == principal and not held.expired:
            client = held  # a callback update: RFC 7530 16.33.5, second case
        else:
            client = self._core.new_client(name, verifier, principal, 0, now)
        self._prune()
        confirmation = self._core.confirmation()
        self._drafts[name] = _Draft(client, principal, callback, confirmation)
        return client.number, confirmation

    def _prune(self) -> None:
        """Forget the names of clients that had to make room, once there are many."""
        if len(self._drafts) > 2 * MAX_CLIENTS:
            self._drafts = {name: draft for name, draft in self._drafts.items() if self._core.alive(draft.client)}
        if len(self._confirmed) > 2 * MAX_CLIENTS:
            self._confirmed = {name: client for name, client in self._confirmed.items() if self._core.alive(client)}

    def _discard(self, name: bytes, draft: _Draft) -> None:
        del self._drafts[name]
        if not draft.client.confirmed:
            self._core.drop_client(draft.client)

    def confirm(self, number: int, confirmation: bytes, principal: Principal, now: float) -> Client:
        """SETCLIENTID_CONFIRM.

        Raises:
            Nfs4Error: STALE_CLIENTID for what is unknown, CLID_INUSE for another principal.
        """
        client = self._core.clients.get(number)
        if client is None or client.minor:
            raise Nfs4Error(Status.STALE_CLIENTID)
        draft = self._drafted(client.name)
        if draft is not None and draft.client is client and draft.confirmation == confirmation:
            return self._confirm(client, draft, principal, now)
        if not client.confirmed or client.confirmation != confirmation:
            raise Nfs4Error(Status.STALE_CLIENTID)
        if client.principal != principal:
            raise Nfs4Error(Status.CLID_INUSE)
        client.renewed = now  # sent again: RFC 7530 16.34.5, third case
        return client

    def _confirm(self, client: Client, draft: _Draft, principal: Principal, now: float) -> Client:
        if draft.principal != principal:
            raise Nfs4Error(Status.CLID_INUSE)
        held = self._held(client.name)
        if held is not None and held is not client:
            if held.principal != principal and self._core.has_state(held, now):
                raise Nfs4Error(Status.CLID_INUSE)
            self._core.drop_client(held)
            if held.verifier != client.verifier:
                self._grace.forget(held)
        del self._drafts[client.name]
        self._confirmed[client.name] = client
        client.confirmed = True
        client.confirmation = draft.confirmation
        client.callback = draft.callback
        client.renewed = now
        return client

    def get(self, number: int, now: float) -> Client:
        """The confirmed client of a clientid; its lease is renewed.

        Raises:
            Nfs4Error: STALE_CLIENTID, EXPIRED where its state was taken (RFC 7530 16.29.4).
        """
        client = self._core.clients.get(number)
        if client is None or client.minor or not client.confirmed:
            raise Nfs4Error(Status.STALE_CLIENTID)
        if client.expired:
            raise Nfs4Error(Status.EXPIRED)
        client.renewed = now
        return client
