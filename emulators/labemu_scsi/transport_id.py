"""TransportIDs of iSCSI initiator ports (SPC-4 7.6.4.6)."""

from __future__ import annotations

import re
from typing import Final

from labemu_scsi.sense import InvalidParameter

_ISCSI: Final = 0x05
_WITH_ISID: Final = 0x40  # format 01b
_SHORTEST: Final = 24
_LONGEST: Final = 4 + 244  # a name of 223, its separator and ISID, the NUL, padded (SPC-4 7.6.4.6, RFC 7143 4.2.7.1)
_PORT = re.compile(r"[^,\0]+,i,0x[0-9a-f]{12}")
_NAME = re.compile(r"[^,\0]+")


def encode(initiator_port: str) -> bytes:
    """The TransportID of an initiator port, with its ISID."""
    name = initiator_port.encode() + b"\0"
    name = (name + bytes(-len(name) % 4)).ljust(_SHORTEST - 4, b"\0")
    return bytes((_WITH_ISID | _ISCSI, 0)) + len(name).to_bytes(2, "big") + name


def decode(data: bytes, start: int, end: int) -> tuple[str, int]:
    """The TransportID at `start` of a parameter list, which ends before `end`.

    Returns:
        the initiator port, or the initiator's name where it names no port; and where the next one begins.

    Raises:
        InvalidParameter: it is none of iSCSI, malformed, or cut off.
    """
    if end - start < _SHORTEST or data[start] not in (_ISCSI, _WITH_ISID | _ISCSI):
        raise InvalidParameter(pointer=start)
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    stop = start + 4 + length
    if length % 4 or stop > end or not _SHORTEST <= 4 + length <= _LONGEST:
        raise InvalidParameter(pointer=start + 2)
    raw, nul, _ = bytes(data[start + 4 : stop]).partition(b"\0")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise InvalidParameter(pointer=start + 4) from None
    if data[start] & _WITH_ISID:
        place, separator, isid = name.rpartition(",i,")
        name = place + separator + isid.lower()
    if not nul or not (_PORT if data[start] & _WITH_ISID else _NAME).fullmatch(name):
        raise InvalidParameter(pointer=start + 4)
    return name, stop
