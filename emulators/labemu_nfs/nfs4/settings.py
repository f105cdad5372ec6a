"""Attributes that a client sets (RFC 8881 5.5, 18.30): a fattr4 as a change, and what a caller may change."""

from __future__ import annotations

from dataclasses import dataclass, replace

from labemu_nfs.nfs3.attributes import allowed_change as allowed_change3
from labemu_nfs.nfs3.status import Nfs3Error
from labemu_nfs.nfs4.acl import decode_acl
from labemu_nfs.nfs4.attributes import SETTABLE, SUPPORTED
from labemu_nfs.nfs4.constants import MAX_FATTR, MAX_OPAQUE, Attribute
from labemu_nfs.nfs4.idmap import parse_owner
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_bitmap, decode_time
from labemu_nfs.xdr import Decoder, XdrError
from labemu_store.file.access import Identity
from labemu_store.file.types import NOW, AttributeChange, Attributes, Now, Ownership

_PERMISSIONS = 0o777
_MODE = 0o7777
_SERVER_TIME, _CLIENT_TIME = 0, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """A fattr4 to be set.

    Args:
        mask: which attributes it has.
        change: what they say, but for the mode where that depends on the present one.
        permissions: an ACL's nine bits.
        masked: mode_set_masked: bits, and which of the mode's bits to set to them (RFC 8881 6.2.5).
        umask: mode_umask's, with its mode in `change` (RFC 8275 6).
    """

    mask: int
    change: AttributeChange
    permissions: int | None = None
    masked: tuple[int, int] | None = None
    umask: int | None = None

    def over(self, mode: int) -> AttributeChange:
        """The change to a node of this mode."""
        change = self.change
        if change.mode is not None:
            mode = change.mode & ~(self.umask or 0)
        elif self.masked is not None:
            bits, which = self.masked
            mode = mode & ~which | bits & which
        elif self.permissions is None:
            return change
        if self.permissions is not None:  # RFC 8881 6.4.1.3: both are given, the ACL has the nine bits
            mode = mode & ~_PERMISSIONS | self.permissions
        return replace(change, mode=mode)

    def owner(self, who: Identity, mode: int) -> Ownership:
        """Whose a new node is: the caller's, unless root says otherwise; `mode` where none is given."""
        change = self.over(mode)
        root = who.uid == 0
        uid = change.uid if root and change.uid is not None else who.uid
        may_give = change.gid is not None and (root or who.in_group(change.gid))
        gid = change.gid if may_give and change.gid is not None else who.gid
        return Ownership(mode=mode if change.mode is None else change.mode, uid=uid, gid=gid)

    def times(self) -> AttributeChange | None:
        """The times of a new node, where they are given."""
        if self.change.atime is None and self.change.mtime is None:
            return None
        return AttributeChange(atime=self.change.atime, mtime=self.change.mtime)


def _mode(decoder: Decoder) -> int:
    mode = decoder.u32()
    if mode & ~_MODE:
        raise Nfs4Error(Status.INVAL)
    return mode


def _set_time(decoder: Decoder) -> int | Now:
    how = decoder.u32()
    if how not in (_SERVER_TIME, _CLIENT_TIME):
        raise XdrError("no such time_how4")
    return decode_time(decoder) if how == _CLIENT_TIME else NOW


def decode_fattr(decoder: Decoder) -> tuple[int, Decoder]:
    """fattr4: the mask of attributes, and a decoder of their values."""
    mask = decode_bitmap(decoder)
    return mask, Decoder(decoder.opaque(MAX_FATTR))


def decode_settings(decoder: Decoder, minor: int) -> Settings:
    """A fattr4 that is to be set.

    Raises:
        Nfs4Error: ATTRNOTSUPP, or INVAL for what can only be read (RFC 7530 16.32.4, RFC 8881 5.5); INVAL, BADOWNER for values.
        XdrError: the values do not fit the mask.
    """
    mask, values = decode_fattr(decoder)
    if mask & ~SUPPORTED[minor]:
        raise Nfs4Error(Status.ATTRNOTSUPP)
    if mask & ~SETTABLE:
        raise Nfs4Error(Status.INVAL)
    if mask >> Attribute.MODE_SET_MASKED & 1 and mask >> Attribute.MODE & 1:
        raise Nfs4Error(Status.INVAL)  # RFC 8881 6.2.5
    settings = _values(mask, values)
    if values.at != len(values.view):
        raise XdrError("more values than attributes")
    return settings


def _values(mask: int, values: Decoder) -> Settings:
    """The values, in the order of the attributes' numbers."""
    size = values.u64() if mask >> Attribute.SIZE & 1 else None
    permissions = decode_acl(values) if mask >> Attribute.ACL & 1 else None
    mode = _mode(values) if mask >> Attribute.MODE & 1 else None
    uid = parse_owner(values.string(MAX_OPAQUE)) if mask >> Attribute.OWNER & 1 else None
    gid = parse_owner(values.string(MAX_OPAQUE)) if mask >> Attribute.OWNER_GROUP & 1 else None
    atime = _set_time(values) if mask >> Attribute.TIME_ACCESS_SET & 1 else None
    mtime = _set_time(values) if mask >> Attribute.TIME_MODIFY_SET & 1 else None
    masked = (_mode(values), _mode(values)) if mask >> Attribute.MODE_SET_MASKED & 1 else None
    umask = None
    if mask >> Attribute.MODE_UMASK & 1:
        mode, umask = _mode(values), _mode(values) & _PERMISSIONS
    change = AttributeChange(mode=mode, uid=uid, gid=gid, size=size, atime=atime, mtime=mtime)
    return Settings(mask=mask, change=change, permissions=permissions, masked=masked, umask=umask)


def allowed_change(before: Attributes, who: Identity, change: AttributeChange) -> AttributeChange:
    """The change as `who` may make it, by the rules of chmod, chown, truncate and utimes. Raises Nfs4Error, OSError."""
    try:
        return allowed_change3(before, who, change)
    except Nfs3Error as error:
        raise Nfs4Error(Status(error.status)) from None
