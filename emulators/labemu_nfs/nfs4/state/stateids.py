"""Stateids (RFC 7530 9.1.4, RFC 8881 8.2): what a client names its opens, locks and delegations with.

Theory: `other` is the number of this start of the server and a counter, so that one of an earlier start is told from one that
was never given out. `seqid` counts the changes of the state that `other` names.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from labemu_nfs.nfs4.status import Nfs4Error, Status

OTHER_SIZE = 12
_OTHER = Struct(">IQ")
_U32 = 0xFFFF_FFFF


class Stateid(NamedTuple):
    """stateid4."""

    seqid: int
    other: bytes


_ZEROS, _ONES = bytes(OTHER_SIZE), b"\xff" * OTHER_SIZE

ANONYMOUS = Stateid(0, _ZEROS)
"""No state: READ and WRITE without an open."""

BYPASS = Stateid(_U32, _ONES)
"""READ past the locks, where the server allows it (RFC 7530 9.1.4.3)."""

CURRENT = Stateid(1, _ZEROS)
"""The stateid that an operation before in the COMPOUND has set; 4.1 (RFC 8881 8.2.3)."""

INVALID = Stateid(_U32, _ZEROS)
"""What a client puts where it has none; 4.1 (RFC 8881 8.2.3)."""


def make_other(boot: int, counter: int) -> bytes:
    """The lasting part of a new stateid."""
    return _OTHER.pack(boot, counter)


def boot_of(other: bytes) -> int:
    """The start of the server that gave it out."""
    boot: int = _OTHER.unpack(other)[0]
    return boot


def following(seqid: int) -> int:
    """The next seqid of a stateid: after 2^32 - 1 comes 1, since 0 means any (RFC 7530 9.1.4.2, RFC 8881 8.2.2)."""
    return seqid + 1 if seqid < _U32 else 1


def check_seqid(given: int, held: int, *, any_allowed: bool) -> None:
    """Whether a stateid's seqid is the one that its state has now.

    Args:
        given: by the client.
        held: by the state.
        any_allowed: 0 stands for whatever it is (RFC 8881 8.2.2); not so in 4.0.

    Raises:
        Nfs4Error: OLD_STATEID, BAD_STATEID for one of the future (RFC 7530 9.1.4.4).
    """
    if given == held or (given == 0 and any_allowed):
        return
    behind = held - given & _U32
    raise Nfs4Error(Status.OLD_STATEID if behind < 0x8000_0000 else Status.BAD_STATEID)


def is_special(stateid: Stateid) -> bool:
    """Whether it names no state. Raises Nfs4Error BAD_STATEID for what only looks special (RFC 7530 9.1.4.3)."""
    if stateid.other not in (_ZEROS, _ONES):
        return False
    if stateid in (ANONYMOUS, BYPASS):
        return True
    raise Nfs4Error(Status.BAD_STATEID)
