"""GETATTR, SETATTR, ACCESS, VERIFY, NVERIFY: RFC 7530 5 and 16, RFC 8881 5, 6 and 18."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.nfs4.attributes import EXCLUSIVE, READABLE, SETTABLE, SUPPORTED, WRITE_ONLY, Plan
from labemu_nfs.nfs4.constants import Access, Attribute, Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.nfs4.types import decode_bitmap, encode_bitmap
from labemu_nfs.xdr import Decoder, opaque, u32, u64

A = Attribute
U64_MAX = 2**64 - 1


def acl(*entries: tuple[int, int, int, bytes]) -> bytes:
    return u32(len(entries)) + b"".join(
        pack(">III", kind, flags, mask) + opaque(who) for kind, flags, mask, who in entries
    )


def test_what_is_supported_is_told_and_answered(client4):
    mask, values = client4.attributes("gold/file", A.SUPPORTED_ATTRS)
    supported = decode_bitmap(values)
    assert supported == SUPPORTED[0]
    assert {A.ACL, A.MOUNTED_ON_FILEID, A.TIME_MODIFY_SET} <= {n for n in A if supported >> n & 1}
    readable = [number for number in A if supported >> number & 1 and not WRITE_ONLY >> number & 1]
    mask, _ = client4.attributes("gold/file", *readable)
    assert mask == supported & ~WRITE_ONLY


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_every_supported_attribute_has_a_way_onto_the_wire(minor):
    Plan(SUPPORTED[minor], minor)
    assert {row.number for row in READABLE if row.since <= minor} <= {n for n in A if SUPPORTED[minor] >> n & 1}
    assert SUPPORTED[0] < SUPPORTED[1] < SUPPORTED[2]
    assert EXCLUSIVE & ~SETTABLE == 0


def test_attributes_that_are_not_supported_are_left_out(client4):
    mask, values = client4.attributes("gold/file", A.HIDDEN, A.SIZE, 200)
    assert mask == 1 << A.SIZE
    assert values.u64() == 8


@pytest.mark.parametrize("attribute", [A.TIME_ACCESS_SET, A.TIME_MODIFY_SET])
def test_what_can_only_be_set_cannot_be_asked_for(client4, attribute):
    assert client4.status(*client4.at("gold/file"), client4.ops.getattr(attribute)) == Status.INVAL
    assert client4.status(*client4.at("gold"), client4.ops.readdir(0, attribute)) == Status.INVAL
    assert client4.status(*client4.at("gold/file"), client4.ops.verify((attribute, u32(0)))) == Status.INVAL


def test_a_bitmap_with_words_of_zero_at_its_end_means_the_same(client4):
    long = u32(Number.GETATTR) + pack(">5I", 4, 1 << A.SIZE, 0, 0, 0)
    reply = client4.send(*client4.at("gold/file"), long)
    assert decode_bitmap(reply.skip(0, 0, 0)) == 1 << A.SIZE


def test_an_endless_bitmap_does_not_decode(client4):
    assert client4.status(*client4.at("gold"), u32(Number.GETATTR) + u32(1 << 30)) == Status.BADXDR


def test_the_values_are_those_of_the_file(client4):
    ops = client4.ops
    when = pack(">qI", -5, 7)
    sets = (
        (A.MODE, u32(0o640)), (A.OWNER, opaque(b"1001@lab")), (A.OWNER_GROUP, opaque(b"1002")),
        (A.TIME_ACCESS_SET, u32(1) + when), (A.TIME_MODIFY_SET, u32(1) + pack(">qI", 5, 6)),
    )  # fmt: skip
    if client4.exports["/gold"].store.url != "memory://":
        sets = (sets[0], *sets[3:])
    reply = client4.send(*client4.at("gold/file"), ops.setattr(*sets))
    assert reply.status == Status.OK
    assert decode_bitmap(reply.skip(0, 0, 0)) == sum(1 << number for number, _ in sets)
    _, values = client4.attributes("gold/file", A.TYPE, A.SIZE, A.MODE, A.NUMLINKS, A.TIME_ACCESS, A.TIME_MODIFY)
    assert [values.u32(), values.u64(), values.u32(), values.u32()] == [1, 8, 0o640, 1]
    assert values.fixed(12) == when
    assert values.fixed(12) == pack(">qI", 5, 6)
    if len(sets) == 5:
        _, values = client4.attributes("gold/file", A.OWNER, A.OWNER_GROUP)
        assert [values.string(99), values.string(99)] == [b"1001", b"1002"]


@pytest.mark.parametrize(
    ("attribute", "value", "status"),
    [
        (A.SUPPORTED_ATTRS, u32(0), Status.INVAL),
        (A.TYPE, u32(1), Status.INVAL),
        (A.CHANGE, u64(1), Status.INVAL),
        (A.SPACE_USED, u64(1), Status.INVAL),
        (A.HIDDEN, u32(1), Status.ATTRNOTSUPP),
        (A.MIMETYPE, opaque(b"text"), Status.ATTRNOTSUPP),
        (A.MODE_SET_MASKED, pack(">II", 0, 0), Status.ATTRNOTSUPP),
        (A.XATTR_SUPPORT, u32(1), Status.ATTRNOTSUPP),
        (90, u32(1), Status.ATTRNOTSUPP),
        (A.MODE, u32(0o10000), Status.INVAL),
        (A.MODE, b"", Status.BADXDR),
        (A.MODE, bytes(8), Status.BADXDR),
        (A.OWNER, opaque(b"\xff"), Status.INVAL),
        (A.OWNER, opaque(b"nobody knows"), Status.BADOWNER),
        (A.OWNER, opaque(b""), Status.BADOWNER),
        (A.OWNER, opaque(b"4294967295"), Status.BADOWNER),
        (A.TIME_MODIFY_SET, u32(2), Status.BADXDR),
        (A.TIME_MODIFY_SET, u32(1) + pack(">qI", 0, 1_000_000_000), Status.INVAL),
        (A.SIZE, u64(U64_MAX), Status.FBIG),
        (A.SIZE, u64(1 << 63), Status.FBIG),
        (A.ACL, acl((0, 0, 1, b"alice@lab")), Status.ATTRNOTSUPP),
        (A.ACL, acl((2, 0, 1, b"OWNER@")), Status.ATTRNOTSUPP),
        (A.ACL, acl((0, 0, 1 << 30, b"OWNER@")), Status.INVAL),
        (A.ACL, u32(1 << 20), Status.BADXDR),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_is_set(client4, attribute, value, status):
    before = client4.number("gold/file", A.CHANGE)
    reply = client4.send(*client4.at("gold/file"), client4.ops.setattr((attribute, value)))
    assert Status(reply.status) == status
    assert bytes(reply.results.view[-4:]) == u32(0)
    if status is not Status.FBIG:
        assert client4.number("gold/file", A.CHANGE) == before


def test_an_attribute_that_is_not_supported_is_told_before_one_that_cannot_be_set(client4):
    sets = ((A.TYPE, u32(1)), (A.HIDDEN, u32(1)))
    assert client4.status(*client4.at("gold/file"), client4.ops.setattr(*sets)) == Status.ATTRNOTSUPP


def test_a_file_is_cut_and_grown_by_its_size(client4):
    ops = client4.ops
    for size in (3, 70_000, 0):
        assert client4.status(*client4.at("gold/file"), ops.setattr((A.SIZE, u64(size)))) == Status.OK
        assert client4.number("gold/file", A.SIZE) == size
    assert client4.status(*client4.at("gold/dir"), ops.setattr((A.SIZE, u64(0)))) == Status.ISDIR
    assert client4.status(*client4.at("gold/link"), ops.setattr((A.SIZE, u64(0)))) == Status.INVAL


def test_only_the_owner_changes_modes_and_only_root_gives_away(client4):
    ops = client4.ops
    client4.uid = 4242
    assert client4.status(*client4.at("gold/file"), ops.setattr((A.MODE, u32(0o777)))) == Status.PERM
    assert client4.status(*client4.at("gold/file"), ops.setattr((A.OWNER, opaque(b"4242")))) == Status.PERM
    assert client4.status(*client4.at("gold/file"), ops.setattr((A.SIZE, u64(0)))) == Status.ACCESS


@pytest.mark.parametrize(
    "change",
    [
        lambda c: (*c.at("gold/file"), c.ops.write(0, b"x")),
        lambda c: (*c.at("gold/file"), c.ops.write(0, b"x", 2)),
        lambda c: (*c.at("gold/file"), c.ops.setattr((A.MODE, u32(0o600)))),
        lambda c: (*c.at("gold/file"), c.ops.SAVEFH, *c.at("gold/dir"), c.ops.link(b"another")),
    ],
)
def test_every_change_of_a_file_is_another_change_attribute(client4, change):
    seen = [client4.number("gold/file", A.CHANGE)]
    for count in range(3):
        assert client4.status(*change(client4)) == Status.OK
        seen.append(client4.number("gold/file", A.CHANGE))
        if count < 2:
            client4.send(*client4.at("gold/dir"), client4.ops.remove(b"another"))
    assert seen == sorted(set(seen))


def test_every_change_of_a_directory_is_another_change_attribute(client4):
    ops = client4.ops
    gold = client4.at("gold")
    seen = [client4.number("gold", A.CHANGE)]
    for operations in (
        (*gold, ops.mkdir(b"a")), (*gold, ops.SAVEFH, ops.rename(b"a", b"b")), (*gold, ops.remove(b"b")),
        (*gold, ops.symlink(b"s", b"t")), (*gold, ops.remove(b"s")),
        (*client4.at("gold/file"), ops.SAVEFH, *gold, ops.link(b"again")),
    ):  # fmt: skip
        assert client4.status(*operations) == Status.OK
        seen.append(client4.number("gold", A.CHANGE))
    assert seen == sorted(set(seen))
    assert client4.number("gold", A.CHANGE) == seen[-1]


def test_reading_changes_no_change_attribute(client4):
    before = client4.number("gold/file", A.CHANGE)
    client4.send(*client4.at("gold/file"), client4.ops.read(0, 8))
    client4.listing("gold", A.CHANGE)
    assert client4.number("gold/file", A.CHANGE) == before


def test_the_root_of_an_export_covers_another_fileid(client4):
    _, values = client4.attributes("gold", A.FILEID, A.MOUNTED_ON_FILEID)
    fileid, covered = values.u64(), values.u64()
    assert fileid != covered
    ((_, _, entry),) = client4.listing("", A.MOUNTED_ON_FILEID)
    assert entry == u64(covered)
    _, values = client4.attributes("gold/file", A.FILEID, A.MOUNTED_ON_FILEID)
    assert values.u64() == values.u64()


def test_the_filehandle_is_an_attribute_too(client4):
    _, values = client4.attributes("gold/file", A.FILEHANDLE)
    assert values.string(128) == client4.handle("gold/file")


@pytest.mark.parametrize("mode", [0o000, 0o777, 0o644, 0o750, 0o407, 0o070, 0o123])
def test_an_acl_that_is_read_sets_the_mode_that_it_came_from(client4, mode):
    ops = client4.ops
    file = client4.at("gold/file")
    assert client4.status(*file, ops.setattr((A.MODE, u32(mode)))) == Status.OK
    _, values = client4.attributes("gold/file", A.ACL)
    assert client4.status(*file, ops.setattr((A.MODE, u32(0o4421)))) == Status.OK
    assert client4.status(*file, ops.setattr((A.ACL, bytes(values.view)))) == Status.OK
    assert client4.number("gold/file", A.MODE) == 0o4000 | mode


def test_the_first_entry_of_an_acl_decides(client4):
    entries = acl((1, 0, 2, b"EVERYONE@"), (0, 0, 3, b"OWNER@"), (0, 0x40, 0x20, b"GROUP@"), (0, 0, 1, b"EVERYONE@"))
    assert client4.status(*client4.at("gold/file"), client4.ops.setattr((A.ACL, entries))) == Status.OK
    assert client4.number("gold/file", A.MODE) == 0o454


def test_access_tells_what_is_known_and_what_is_granted(client4):
    everything = 0x1FF
    reply = client4.send(*client4.at("gold/file"), client4.ops.access(everything))
    decoder = reply.skip(0, 0, 0)
    known = Access.READ | Access.MODIFY | Access.EXTEND | Access.EXECUTE
    assert [decoder.u32(), decoder.u32()] == [known, known & ~Access.EXECUTE]
    client4.uid = 4242
    reply = client4.send(*client4.at("gold/dir"), client4.ops.access(everything))
    decoder = reply.skip(0, 0, 0)
    assert decoder.u32() == Access.READ | Access.LOOKUP | Access.MODIFY | Access.EXTEND | Access.DELETE
    assert decoder.u32() == Access.READ | Access.LOOKUP


def test_a_read_only_export_grants_no_change(make4):
    client = make4(read_only=True)
    reply = client.send(*client.at("gold"), client.ops.access(Access.READ | Access.MODIFY))
    decoder = reply.skip(0, 0)
    assert [decoder.u32(), decoder.u32()] == [Access.READ | Access.MODIFY, Access.READ]


def test_verify_goes_on_where_all_is_the_same_and_nverify_where_not(client4):
    ops = client4.ops
    file = client4.at("gold/file")
    same, other = (A.SIZE, u64(8)), (A.SIZE, u64(9))
    assert client4.status(*file, ops.verify(same), ops.GETFH) == Status.OK
    assert client4.status(*file, ops.verify(other)) == Status.NOT_SAME
    assert client4.status(*file, ops.nverify(other), ops.GETFH) == Status.OK
    assert client4.status(*file, ops.nverify(same)) == Status.SAME
    assert client4.status(*file, ops.verify((A.HIDDEN, u32(0)))) == Status.ATTRNOTSUPP
    assert client4.status(*file, ops.nverify((A.RDATTR_ERROR, u32(0)))) == Status.INVAL


def test_a_plan_joins_what_is_always_the_same():
    constants = sum(1 << row.number for row in READABLE if isinstance(row.encode, bytes))
    assert len(Plan(constants, 2).encoders) == 1
    assert Plan(constants, 2).values(None).startswith(u32(0))


def test_a_mask_survives_the_wire():
    for mask in (0, 1, 1 << 31, 1 << 32, 1 << 82 | 5):
        assert decode_bitmap(Decoder(memoryview(encode_bitmap(mask)))) == mask
