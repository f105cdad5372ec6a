"""Credentials: AUTH_NONE and AUTH_SYS (RFC 5531 8.2, appendix A)."""

from __future__ import annotations

from dataclasses import dataclass

from labemu_nfs.limits import MAX_CREDENTIALS, MAX_GROUPS, MAX_MACHINE_NAME
from labemu_nfs.xdr import Decoder, XdrError

AUTH_NONE = 0
AUTH_SYS = 1


@dataclass(frozen=True, slots=True, eq=False)
class Credential:
    """Who calls, as the call claims; with AUTH_NONE the numbers mean nothing.

    It is compared by identity, so that tables keyed by it are quick: Credentials gives the same one for the same bytes.
    """

    flavor: int
    uid: int = 0
    gid: int = 0
    groups: frozenset[int] = frozenset()
    machine: bytes = b""


class AuthError(Exception):
    """The credential is of an unknown flavour (`too_weak`) or does not decode."""

    def __init__(self, *, too_weak: bool) -> None:
        super().__init__("unknown flavour" if too_weak else "bad credential")
        self.too_weak = too_weak


def decode_credential(raw: bytes) -> Credential:
    """A whole opaque_auth as a Credential. Raises AuthError."""
    decoder = Decoder(memoryview(raw))
    flavor = decoder.u32()
    body_size = decoder.u32()
    if flavor == AUTH_NONE:
        return Credential(AUTH_NONE)
    if flavor != AUTH_SYS:
        raise AuthError(too_weak=True)
    try:
        body = Decoder(decoder.fixed(body_size))
        body.u32()  # the stamp
        machine = body.string(MAX_MACHINE_NAME)
        uid, gid, count = body.u32(), body.u32(), body.u32()
        if count > MAX_GROUPS:
            raise AuthError(too_weak=False)
        return Credential(AUTH_SYS, uid, gid, frozenset(body.u32() for _ in range(count)), machine)
    except XdrError:
        raise AuthError(too_weak=False) from None


class Credentials:
    """Remembers decoded credentials: a client sends the same one with every call."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Credential] = {}

    def get(self, raw: bytes) -> Credential:
        """The Credential of an opaque_auth. Raises AuthError."""
        known = self._known.get(raw)
        if known is None:
            known = decode_credential(raw)
            if len(self._known) >= MAX_CREDENTIALS:
                self._known.clear()
            self._known[raw] = known
        return known
