"""The attributes of NFSv4 (RFC 7530 5, RFC 8881 5, RFC 7862 12.2) as a table: how each goes on the wire, and which can be set.

Theory: a client asks for the same few sets of attributes again and again, so a set is made once into a plan: the functions that give its
values, in the order of their numbers, neighbours of constant value joined. What can be set is in nfs4.settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from struct import Struct

from labemu_nfs.exports import Export
from labemu_nfs.limits import MAX_IO
from labemu_nfs.nfs4.acl import SUPPORT, encode_acl
from labemu_nfs.nfs4.constants import Attribute
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.idmap import encode_owner
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.referral import locations
from labemu_nfs.nfs4.status import Status
from labemu_nfs.nfs4.types import encode_bitmap, encode_time
from labemu_nfs.xdr import FALSE, TRUE, opaque, u32, u64
from labemu_store.file.types import MAX_OFFSET, Attributes, Key, Space

MAX_PLANS = 256
"""Sets of attributes that are kept ready: a client asks for a dozen."""

_TWO_U64 = Struct(">QQ")
_TWO_U32 = Struct(">II")
_SECOND = 1_000_000_000
_MONOTONIC = u32(0)
"""NFS4_CHANGE_TYPE_IS_MONOTONIC_INCR (RFC 7862 12.2.3)."""

_ONLY_UTF8 = u32(2)
"""FSCHARSET_CAP4_ALLOWS_ONLY_UTF8 (RFC 8881 14.4)."""


class Facts:
    """What attributes are made from: a node, and what was already asked about it."""

    __slots__ = ("attributes", "context", "export", "key", "space")

    def __init__(self, context: Context4, export: Export, key: Key, attributes: Attributes) -> None:
        self.context = context
        self.export = export
        self.key = key
        self.attributes = attributes
        self.space: Space | None = None

    def full(self) -> Space:
        """How full its file system is."""
        if self.space is None:
            self.space = self.export.store.space()
        return self.space


def facts_of(context: Context4, node: Node) -> Facts:
    """The facts of a current or saved node. Raises OSError."""
    return Facts(context, node.export, node.key, node.attributes)


Encoder = Callable[[Facts], bytes]


@dataclass(frozen=True, slots=True)
class Field:
    """An attribute that is a field of Attributes.

    Args:
        name: the field.
        shape: how it goes on the wire, for struct; `t` is a time.
    """

    name: str
    shape: str


@dataclass(frozen=True, slots=True)
class Readable:
    """An attribute that can be read.

    Args:
        number: its bit.
        encode: gives its value, or says which field it is, or is the value itself where that is always the same.
        since: the first minor version that has it.
    """

    number: Attribute
    encode: Encoder | bytes | Field
    since: int = 0


def _mounted_on(facts: Facts) -> bytes:
    if facts.key == facts.export.store.root and facts.export is not facts.context.pseudo.export:
        return u64(facts.context.pseudo.mounted_on(facts.export))
    return u64(facts.attributes.fileid)


def _granularity(facts: Facts) -> bytes:
    return encode_time(facts.export.store.capabilities.time_granularity)


def _flag(test: Callable[[Facts], bool]) -> Encoder:
    return lambda facts: TRUE if test(facts) else FALSE


_A = Attribute

READABLE: tuple[Readable, ...] = (
    Readable(_A.TYPE, Field("kind", "I")),
    Readable(_A.FH_EXPIRE_TYPE, u32(0)),  # FH4_PERSISTENT (RFC 7530 4.2.3)
    Readable(_A.CHANGE, Field("change", "Q")),
    Readable(_A.SIZE, Field("size", "Q")),
    Readable(_A.LINK_SUPPORT, _flag(lambda f: f.export.store.capabilities.hard_links)),
    Readable(_A.SYMLINK_SUPPORT, _flag(lambda f: f.export.store.capabilities.symlinks)),
    Readable(_A.NAMED_ATTR, FALSE),
    Readable(_A.FSID, lambda f: _TWO_U64.pack(f.export.fsid, 0)),
    Readable(_A.UNIQUE_HANDLES, TRUE),
    Readable(_A.LEASE_TIME, lambda f: u32(f.context.lease)),
    Readable(_A.RDATTR_ERROR, u32(Status.OK)),
    Readable(_A.ACL, lambda f: encode_acl(f.attributes.mode, f.attributes.kind)),
    Readable(_A.ACLSUPPORT, u32(SUPPORT)),
    Readable(_A.CANSETTIME, TRUE),
    Readable(_A.CASE_INSENSITIVE, FALSE),
    Readable(_A.CASE_PRESERVING, TRUE),
    Readable(_A.CHOWN_RESTRICTED, TRUE),
    Readable(_A.FILEHANDLE, lambda f: opaque(f.context.handles.make(f.export.fsid, f.key))),
    Readable(_A.FILEID, Field("fileid", "Q")),
    Readable(_A.FILES_AVAIL, lambda f: u64(f.full().files_available)),
    Readable(_A.FILES_FREE, lambda f: u64(f.full().files_free)),
    Readable(_A.FILES_TOTAL, lambda f: u64(f.full().files_total)),
    Readable(_A.FS_LOCATIONS, lambda f: locations(f.export)),
    Readable(_A.HOMOGENEOUS, TRUE),
    Readable(_A.MAXFILESIZE, u64(MAX_OFFSET)),
    Readable(_A.MAXLINK, lambda f: u32(min(f.export.store.capabilities.max_links, 0xFFFF_FFFF))),
    Readable(_A.MAXNAME, lambda f: u32(f.export.store.capabilities.max_name)),
    Readable(_A.MAXREAD, u64(MAX_IO)),
    Readable(_A.MAXWRITE, u64(MAX_IO)),
    Readable(_A.MODE, Field("mode", "I")),
    Readable(_A.NO_TRUNC, TRUE),
    Readable(_A.NUMLINKS, Field("links", "I")),
    Readable(_A.OWNER, lambda f: encode_owner(f.attributes.uid)),
    Readable(_A.OWNER_GROUP, lambda f: encode_owner(f.attributes.gid)),
    Readable(_A.QUOTA_AVAIL_HARD, lambda f: u64(f.full().available)),
    Readable(_A.QUOTA_AVAIL_SOFT, lambda f: u64(f.full().available)),
    Readable(_A.QUOTA_USED, lambda f: u64(f.full().total - f.full().free)),
    Readable(_A.RAWDEV, lambda f: _TWO_U32.pack(*f.attributes.device)),
    Readable(_A.SPACE_AVAIL, lambda f: u64(f.full().available)),
    Readable(_A.SPACE_FREE, lambda f: u64(f.full().free)),
    Readable(_A.SPACE_TOTAL, lambda f: u64(f.full().total)),
    Readable(_A.SPACE_USED, Field("used", "Q")),
    Readable(_A.TIME_ACCESS, Field("atime", "t")),
    Readable(_A.TIME_DELTA, _granularity),
    Readable(_A.TIME_METADATA, Field("ctime", "t")),
    Readable(_A.TIME_MODIFY, Field("mtime", "t")),
    Readable(_A.MOUNTED_ON_FILEID, _mounted_on),
    Readable(_A.FS_LAYOUT_TYPES, u32(0), 1),  # no pNFS
    Readable(_A.FS_CHARSET_CAP, _ONLY_UTF8, 1),
    Readable(_A.CLONE_BLKSIZE, u32(0), 2),  # no alignment is asked for (RFC 7862 12.2.1)
    Readable(_A.CHANGE_ATTR_TYPE, _MONOTONIC, 2),
    Readable(_A.XATTR_SUPPORT, _flag(lambda f: f.export.store.capabilities.xattrs), 2),
)

SETTABLE = (
    (1 << _A.SIZE | 1 << _A.ACL | 1 << _A.MODE | 1 << _A.OWNER | 1 << _A.OWNER_GROUP)
    | (1 << _A.TIME_ACCESS_SET | 1 << _A.TIME_MODIFY_SET)
    | (1 << _A.MODE_SET_MASKED | 1 << _A.MODE_UMASK)
)
"""What SETATTR, CREATE and OPEN take."""

WRITE_ONLY = 1 << _A.TIME_ACCESS_SET | 1 << _A.TIME_MODIFY_SET | 1 << _A.MODE_SET_MASKED | 1 << _A.MODE_UMASK
"""What may be set only: asking for it is INVAL (RFC 8881 5.5)."""

EXCLUSIVE = SETTABLE & ~(1 << _A.TIME_ACCESS_SET | 1 << _A.TIME_MODIFY_SET)
"""What an exclusive OPEN may set: the times keep its verifier (RFC 8881 18.16.3)."""

_SINCE = {_A.MODE_SET_MASKED: 1, _A.SUPPATTR_EXCLCREAT: 1, _A.MODE_UMASK: 2}


def _mask(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)


def _supported(minor: int) -> int:
    others = (number for number in Attribute if WRITE_ONLY >> number & 1 and _SINCE.get(number, 0) <= minor)
    exclusive = 1 << _A.SUPPATTR_EXCLCREAT if minor else 0
    readable = _mask(row.number for row in READABLE if row.since <= minor)
    return readable | _mask(others) | 1 << _A.SUPPORTED_ATTRS | exclusive


SUPPORTED = tuple(_supported(minor) for minor in range(3))
"""supported_attrs by minor version (RFC 8881 5.8.1.1)."""


def values_by_number(minor: int) -> dict[Attribute, Encoder | bytes | Field]:
    """How each attribute that can be read gets its value, in a minor version."""
    by_number: dict[Attribute, Encoder | bytes | Field] = {row.number: row.encode for row in READABLE}
    by_number[_A.SUPPORTED_ATTRS] = encode_bitmap(SUPPORTED[minor])
    by_number[_A.SUPPATTR_EXCLCREAT] = encode_bitmap(EXCLUSIVE & SUPPORTED[minor])
    return by_number


class Plan:
    """A set of attributes, ready to be encoded.

    Args:
        mask: of those that are asked for; ones that are not supported are left out.
        minor: the minor version.
    """

    __slots__ = ("bitmap", "encoders", "mask")

    def __init__(self, mask: int, minor: int) -> None:
        self.mask = mask & SUPPORTED[minor] & ~WRITE_ONLY
        self.bitmap = encode_bitmap(self.mask)
        by_number = values_by_number(minor)
        self.encoders = _joined(by_number[number] for number in Attribute if self.mask >> number & 1)

    def values(self, facts: Facts) -> bytes:
        """attrlist4, without its length. Raises OSError."""
        return b"".join([encode(facts) for encode in self.encoders])

    def encode(self, facts: Facts) -> bytes:
        """fattr4. Raises OSError."""
        values = b"".join([encode(facts) for encode in self.encoders])
        return self.bitmap + u32(len(values)) + values


def _joined(parts: Iterable[Encoder | bytes | Field]) -> tuple[Encoder, ...]:
    """Encoders, with neighbours made into one: values that are always the same, fields, and times."""
    return tuple(encoder for sort, run in groupby(parts, _sort) for encoder in _encoders(sort, list(run)))


def _sort(part: Encoder | bytes | Field) -> str:
    """What a part can be joined with."""
    if isinstance(part, Field):
        return "times" if part.shape == "t" else "fields"
    return "constant" if isinstance(part, bytes) else "any"


def _encoders(sort: str, run: list[Encoder | bytes | Field]) -> Iterable[Encoder]:
    if sort == "constant":
        value = b"".join(part for part in run if isinstance(part, bytes))
        return [lambda _: value]
    fields = [part for part in run if isinstance(part, Field)]
    places = [Attributes._fields.index(field.name) for field in fields]
    if sort == "times":
        return [_times(places)]
    if sort == "fields":
        return [_fields(Struct(">" + "".join(field.shape for field in fields)), places)]
    return [part for part in run if callable(part)]


def _fields(shape: Struct, places: list[int]) -> Encoder:
    """Fields by their places in Attributes, in one struct."""
    if len(places) == 1:
        (place,) = places
        return lambda facts: shape.pack(facts.attributes[place])
    get = itemgetter(*places)
    return lambda facts: shape.pack(*get(facts.attributes))


def _times(places: list[int]) -> Encoder:
    """Times by their places in Attributes."""
    shape = Struct(">" + "qI" * len(places))

    def encode(facts: Facts) -> bytes:
        values: list[int] = []
        for place in places:
            values += divmod(facts.attributes[place], _SECOND)  # type: ignore[operator] # those places hold integers
        return shape.pack(*values)

    return encode


_plans: dict[tuple[int, int], Plan] = {}


def plan_of(mask: int, minor: int) -> Plan:
    """The plan of a set of attributes."""
    plan = _plans.get((mask, minor))
    if plan is None:
        if len(_plans) >= MAX_PLANS:
            _plans.clear()
        plan = _plans[mask, minor] = Plan(mask, minor)
    return plan
