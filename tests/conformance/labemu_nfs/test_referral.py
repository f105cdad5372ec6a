"""Referrals: RFC 8881 11.4, RFC 7530 8. A client sees that a file system is elsewhere, and where."""

from __future__ import annotations

import pytest

from labemu_nfs.nfs4.constants import Attribute
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import Decoder, u32, u64
from labemu_store.file import MemoryFileStore

PLACES = (("10.0.0.9", "/tank/gold"), ("other", "/"))


@pytest.fixture
def wire(make4):
    it = make4({"/gold": MemoryFileStore(), "/far/away": MemoryFileStore()})
    it.exports["/far/away"].refer = PLACES
    return it


def words(decoder: Decoder) -> list[bytes]:
    return [decoder.string(255) for _ in range(decoder.u32())]


def test_a_way_there_ends_with_moved(wire):
    away = wire.at("far/away")
    assert wire.status(*away) == Status.OK
    for operation in (wire.ops.GETFH, wire.ops.getattr(Attribute.TYPE), wire.ops.lookup(b"x"), wire.ops.readdir()):
        assert wire.status(*away, operation) == Status.MOVED
    assert wire.status(*away, wire.ops.access(1)) == Status.MOVED
    assert wire.status(*away, wire.ops.SAVEFH, wire.ops.PUTROOTFH, wire.ops.RESTOREFH, wire.ops.GETFH) == Status.MOVED
    assert wire.status(*wire.at("far"), wire.ops.remove(b"away")) != Status.OK


def test_where_it_is_can_be_asked(wire):
    away = wire.exports["/far/away"]
    mask, values = wire.attributes(
        "far/away", Attribute.TYPE, Attribute.FSID, Attribute.FS_LOCATIONS, Attribute.MOUNTED_ON_FILEID
    )
    assert mask == 1 << Attribute.FSID | 1 << Attribute.FS_LOCATIONS | 1 << Attribute.MOUNTED_ON_FILEID
    assert (values.u64(), values.u64()) == (away.fsid, 0)
    assert words(values) == [b"far", b"away"]
    assert values.u32() == 2
    assert (words(values), words(values)) == ([b"10.0.0.9"], [b"tank", b"gold"])
    assert (words(values), words(values)) == ([b"other"], [])
    assert values.u64() == wire.context.pseudo.mounted_on(away)


def test_a_listing_says_that_it_moved_where_it_may(wire):
    asked = (Attribute.TYPE, Attribute.FSID, Attribute.RDATTR_ERROR)
    ((name, mask, values),) = wire.listing("far", *asked)
    assert (name, mask) == (b"away", 1 << Attribute.FSID | 1 << Attribute.RDATTR_ERROR)
    assert values == u64(wire.exports["/far/away"].fsid) + u64(0) + u32(Status.MOVED)
    assert wire.status(*wire.at("far"), wire.ops.readdir(0, Attribute.TYPE)) == Status.MOVED


def test_a_file_system_that_is_here_is_nowhere_else(wire):
    mask, values = wire.attributes("gold", Attribute.FS_LOCATIONS)
    assert mask == 1 << Attribute.FS_LOCATIONS
    assert words(values) == [b"gold"]
    assert values.u32() == 0
