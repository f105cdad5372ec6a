"""Owners as strings (RFC 7530 5.9, RFC 8881 5.9): numbers in decimal, as AUTH_SYS clients want them; a few names are understood too."""

from __future__ import annotations

from labemu_nfs.exports import NOBODY
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import require_utf8
from labemu_nfs.xdr import opaque

_NAMES = {b"root": 0, b"nobody": NOBODY, b"nogroup": NOBODY, b"wheel": 0}
_MAX_KNOWN = 4096
_MAX_ID = 0xFFFF_FFFE
"""The highest number: the one above means "leave as is" to chown(2)."""

_known: dict[int, bytes] = {}


def encode_owner(number: int) -> bytes:
    """An owner or group as utf8str_mixed."""
    text = _known.get(number)
    if text is None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        text = _known[number] = opaque(str(number).encode())
    return text


def parse_owner(text: bytes) -> int:
    """The number of an owner or group: decimal, or a known name, each with or without a domain.

    Raises:
        Nfs4Error: BADOWNER for others (RFC 8881 5.9), INVAL for bad UTF-8.
    """
    require_utf8(text)
    name = text.partition(b"@")[0]
    if name.isdigit() and name.isascii() and len(name) <= 10 and int(name) <= _MAX_ID:
        return int(name)
    number = _NAMES.get(name)
    if number is None:
        raise Nfs4Error(Status.BADOWNER)
    return number
