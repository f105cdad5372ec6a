"""Filehandles (RFC 1813 2.4): what a client holds for a file, signed so that it cannot make one up.

Layout: version (1 byte), export (8 bytes, its fsid), key (1 to 32 bytes, the store's), signature (16 bytes: keyed BLAKE2b of all before).
A handle is good for as long as the secret, the export and the file are: across restarts where the secret is kept.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest

from labemu_nfs.limits import MAX_HANDLE, MAX_HANDLES

_VERSION = b"\x01"
_EXPORT_END = 9
_SIGNATURE = 16
SECRET_SIZE = 32


class BadHandleError(ValueError):
    """Not a handle of this server's making."""


class Handles:
    """Makes and opens handles.

    Args:
        secret: SECRET_SIZE random bytes, kept across restarts.
    """

    __slots__ = ("_known", "_made", "_secret")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"the secret must have {SECRET_SIZE} bytes")
        self._secret = secret
        self._known: dict[bytes, tuple[int, bytes]] = {}
        self._made: dict[tuple[int, bytes], bytes] = {}

    def _sign(self, body: bytes) -> bytes:
        return blake2b(body, digest_size=_SIGNATURE, key=self._secret).digest()

    def make(self, fsid: int, key: bytes) -> bytes:
        """The handle of a node of an export."""
        made = self._made.get((fsid, key))
        if made is not None:
            return made
        body = _VERSION + fsid.to_bytes(8, "big") + key
        handle = body + self._sign(body)
        if len(handle) > MAX_HANDLE:
            raise ValueError("a store's key is too long for a handle")
        if len(self._made) >= MAX_HANDLES:
            self._made.clear()
        self._made[fsid, key] = handle
        return handle

    def open(self, handle: bytes) -> tuple[int, bytes]:
        """The export's fsid and the node's key. Raises BadHandleError."""
        known = self._known.get(handle)
        if known is not None:
            return known
        body, signature = handle[:-_SIGNATURE], handle[-_SIGNATURE:]
        if len(body) <= _EXPORT_END or body[:1] != _VERSION or not compare_digest(signature, self._sign(body)):
            raise BadHandleError("not a handle of this server")
        opened = int.from_bytes(body[1:_EXPORT_END], "big"), body[_EXPORT_END:]
        if len(self._known) >= MAX_HANDLES:
            self._known.clear()
        self._known[handle] = opened
        return opened
