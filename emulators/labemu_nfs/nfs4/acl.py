"""ACLs (RFC 7530 6, RFC 8881 6) over permission bits: what the bits say comes out as entries, and entries that bits can say go in.

Theory: a list for OWNER@, GROUP@ and EVERYONE@ says no more than nine bits do (RFC 8881 6.3.2). Reading gives the list that means
exactly the mode; writing works out what each class would be allowed, first entry first, and sets the mode. Entries for other users or
groups, and those for audit and alarm, cannot be kept, and are refused rather than forgotten.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from labemu_nfs.limits import MAX_PATH
from labemu_nfs.nfs4.constants import MAX_ACES
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.xdr import Decoder, XdrError, opaque, u32
from labemu_store.file.types import FileKind

ALLOW, DENY = 0, 1
SUPPORT = 1 << ALLOW | 1 << DENY
"""aclsupport (RFC 8881 6.2.1.2)."""

_IDENTIFIER_GROUP = 0x40
_READ_DATA, _WRITE_DATA, _APPEND_DATA, _EXECUTE = 0x1, 0x2, 0x4, 0x20
_DELETE_CHILD = 0x40
_READ_ATTRIBUTES, _WRITE_ATTRIBUTES = 0x80, 0x100
_READ_ACL, _WRITE_ACL, _SYNCHRONIZE = 0x20000, 0x40000, 0x100000
_EVERY_BIT = 0x1F01FF
_ALWAYS = _READ_ATTRIBUTES | _READ_ACL | _SYNCHRONIZE
_OWNERS = _WRITE_ATTRIBUTES | _WRITE_ACL
_ACE = Struct(">III")
_OWNER, _GROUP, _EVERYONE = b"OWNER@", b"GROUP@", b"EVERYONE@"


class _Entry(NamedTuple):
    type: int
    flags: int
    mask: int
    who: bytes


def _mask(bits: int, *, directory: bool) -> int:
    """What r, w and x mean as an access mask (RFC 8881 6.3.2)."""
    mask = _READ_DATA if bits & 4 else 0
    if bits & 2:
        mask |= _WRITE_DATA | _APPEND_DATA | (_DELETE_CHILD if directory else 0)
    return mask | (_EXECUTE if bits & 1 else 0)


def encode_acl(mode: int, kind: FileKind) -> bytes:
    """The ACL that means exactly a mode.

    A class that has less than a later one is denied the difference first, since everyone includes the owner and the group.
    """
    directory = kind is FileKind.DIRECTORY
    owner, group, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    entries = [_Entry(DENY, 0, _mask((group | other) & ~owner, directory=directory), _OWNER)]
    entries.append(_Entry(ALLOW, 0, _mask(owner, directory=directory) | _ALWAYS | _OWNERS, _OWNER))
    entries.append(_Entry(DENY, _IDENTIFIER_GROUP, _mask(other & ~group, directory=directory), _GROUP))
    entries.append(_Entry(ALLOW, _IDENTIFIER_GROUP, _mask(group, directory=directory) | _ALWAYS, _GROUP))
    entries.append(_Entry(ALLOW, 0, _mask(other, directory=directory) | _ALWAYS, _EVERYONE))
    kept = [entry for entry in entries if entry.mask]
    return u32(len(kept)) + b"".join(_ACE.pack(*entry[:3]) + opaque(entry.who) for entry in kept)


def decode_acl(decoder: Decoder) -> int:
    """The nine permission bits that an ACL means.

    Raises:
        Nfs4Error: ATTRNOTSUPP for what bits cannot say: others than the three classes, audit and alarm (RFC 8881 6.2.1.1); INVAL for
            access bits that there are none of.
        XdrError: it does not decode.
    """
    count = decoder.u32()
    if count > MAX_ACES:
        raise XdrError(f"an ACL of {count} entries")
    allowed = {_OWNER: 0, _GROUP: 0, _EVERYONE: 0}
    decided = dict(allowed)
    for _ in range(count):
        kind, flags, mask = decoder.unpack(_ACE)
        entry = _Entry(kind, flags, mask, decoder.string(MAX_PATH))
        if entry.mask & ~_EVERY_BIT:
            raise Nfs4Error(Status.INVAL)
        if entry.type in (ALLOW, DENY) and not entry.mask:
            continue  # about nothing, whomever it names: nothing is lost
        if entry.type not in (ALLOW, DENY) or entry.who not in allowed:
            raise Nfs4Error(Status.ATTRNOTSUPP)
        for who in allowed if entry.who == _EVERYONE else (entry.who,):
            if entry.type == ALLOW:
                allowed[who] |= entry.mask & ~decided[who]
            decided[who] |= entry.mask
    return sum(_bits(allowed[who]) << shift for who, shift in ((_OWNER, 6), (_GROUP, 3), (_EVERYONE, 0)))


def _bits(mask: int) -> int:
    read, write, execute = mask & _READ_DATA, mask & _WRITE_DATA, mask & _EXECUTE
    return (4 if read else 0) | (2 if write else 0) | (1 if execute else 0)
