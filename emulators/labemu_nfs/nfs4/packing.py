"""Attributes in one struct: a set of them, of the nodes of one export, ready to be packed.

Theory: of what clients ask for, most is a field of Attributes, a time, an owner or the handle; the rest is the same for a whole export.
So a set is made once into places in one long tuple, and a struct whose only changing parts are the lengths of owners and handle; a struct
for each of those lengths is kept. A set with anything else in it (space, ACL, locations) has no Packer, and a Plan encodes it; both
give the same bytes.
"""

from __future__ import annotations

from operator import itemgetter
from struct import Struct

from labemu_nfs.exports import Export
from labemu_nfs.nfs4.attributes import Facts, Field, plan_of, values_by_number
from labemu_nfs.nfs4.constants import Attribute
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.idmap import encode_owner
from labemu_nfs.xdr import opaque
from labemu_store.file.types import Attributes, Key

_A = Attribute
_SECOND = 1_000_000_000
_MAX_OWNERS = 4096
"""Pairs of owner and group whose text is remembered."""

_FIELDS = Attributes._fields
_NAMES = (*_FIELDS, "atime", "", "mtime", "", "ctime", "", "major", "minor", "owners", "length", "handle", "mounted")
_PLACES = {name: place for place, name in enumerate(_NAMES) if name}
"""Of the long tuple: Attributes, its times again in seconds and nanoseconds, and what `encode` adds; constants follow."""

_OF_AN_EXPORT = frozenset(
    (
        _A.LINK_SUPPORT,
        _A.SYMLINK_SUPPORT,
        _A.FSID,
        _A.LEASE_TIME,
        _A.MAXLINK,
        _A.MAXNAME,
        _A.TIME_DELTA,
        _A.XATTR_SUPPORT,
    )
)
"""Attributes whose encoders look at the export and the server alone."""

_NO_NODE = Attributes._make([0] * len(_FIELDS))
_OWNERS, _HANDLE = "owners", "handle"


class Packer:
    """A set of attributes, of the nodes of an export.

    Args:
        context: what all calls share.
        export: where the nodes are.
        mask: the set, as it is asked for, without what can only be set.
        minor: the minor version.

    Raises:
        LookupError: something in it takes more than a struct.
    """

    __slots__ = (
        "_constants", "_fsid", "_get", "_handles", "_mounted", "_owners", "_parts", "_root", "_shapes", "_texts",
        "mask",
    )  # fmt: skip

    def __init__(self, context: Context4, export: Export, mask: int, minor: int) -> None:
        plan = plan_of(mask, minor)
        self.mask = plan.mask
        parts = _Parts(plan.bitmap)
        facts = Facts(context, export, b"", _NO_NODE)
        values = values_by_number(minor)
        for number in Attribute:
            if plan.mask >> number & 1:
                value = values[number]
                parts.add(number, value(facts) if number in _OF_AN_EXPORT and callable(value) else value)
        self._parts = tuple(parts.formats)
        self._get = itemgetter(*parts.places)
        self._constants = tuple(parts.constants)
        self._owners: dict[tuple[int, int], bytes] = {}
        self._texts = (bool(plan.mask >> _A.OWNER & 1), bool(plan.mask >> _A.OWNER_GROUP & 1))
        self._shapes: dict[tuple[int, int], tuple[Struct, int]] = {}
        self._handles = context.handles if plan.mask >> _A.FILEHANDLE & 1 else None
        self._fsid = export.fsid
        outer = context.pseudo.export
        self._root = export.store.root if export is not outer else None
        self._mounted = context.pseudo.mounted_on(export)

    def encode(self, key: Key, attributes: Attributes) -> bytes:
        """fattr4 of a node."""
        _, _, _, uid, gid, _, _, device, fileid, atime, mtime, ctime, _ = attributes
        owners = self._owners.get((uid, gid))
        if owners is None:
            owners = self._owners_of(uid, gid)
        handles = self._handles
        handle = b"" if handles is None else opaque(handles.make(self._fsid, key))
        shape, length = self._shapes.get((len(owners), len(handle))) or self._shape(len(owners), len(handle))
        mounted = fileid if key != self._root else self._mounted
        every = (
            *attributes, *divmod(atime, _SECOND), *divmod(mtime, _SECOND), *divmod(ctime, _SECOND), *device, owners,
            length, handle, mounted, *self._constants,
        )  # fmt: skip
        return shape.pack(*self._get(every))

    def _owners_of(self, uid: int, gid: int) -> bytes:
        """Owner and group, of which the set may have one or none; their numbers are neighbours."""
        if len(self._owners) >= _MAX_OWNERS:
            self._owners.clear()
        owner, group = self._texts
        text = (encode_owner(uid) if owner else b"") + (encode_owner(gid) if group else b"")
        self._owners[uid, gid] = text
        return text

    def _shape(self, owners: int, handle: int) -> tuple[Struct, int]:
        """The struct for texts of these lengths, and what its values are long."""
        sizes = {_OWNERS: f"{owners}s", _HANDLE: f"{handle}s"}
        formats = [sizes.get(part, part) for part in self._parts]
        found = Struct(">" + "".join(formats)), Struct(">" + "".join(formats[2:])).size
        self._shapes[owners, handle] = found
        return found


class _Parts:
    """A struct in the making: formats, and places of what goes in; the bitmap and the length of the values come first."""

    def __init__(self, bitmap: bytes) -> None:
        self.formats: list[str] = []
        self.places: list[int] = []
        self.constants: list[bytes] = []
        self._constant(bitmap)
        self._put("I", "length")

    def _put(self, form: str, name: str) -> None:
        self.formats.append(form)
        self.places.append(_PLACES[name])

    def _constant(self, value: bytes) -> None:
        self.formats.append(f"{len(value)}s")
        self.places.append(len(_NAMES) + len(self.constants))
        self.constants.append(value)

    def add(self, number: Attribute, value: object) -> None:
        """The next attribute, by its number, and its value as it stands in the table. Raises LookupError."""
        if isinstance(value, bytes):
            self._constant(value)
        elif isinstance(value, Field) and value.shape != "t":
            self.formats.append(value.shape)
            self.places.append(_FIELDS.index(value.name))
        elif isinstance(value, Field):
            self.formats.append("qI")
            self.places += (_PLACES[value.name], _PLACES[value.name] + 1)
        elif number in (_A.OWNER, _A.OWNER_GROUP):
            if _PLACES[_OWNERS] not in self.places:
                self._put(_OWNERS, _OWNERS)
        elif number == _A.FILEHANDLE:
            self._put(_HANDLE, _HANDLE)
        elif number == _A.RAWDEV:
            self._put("I", "major")
            self._put("I", "minor")
        elif number == _A.MOUNTED_ON_FILEID:
            self._put("Q", "mounted")
        else:
            raise LookupError(number)
