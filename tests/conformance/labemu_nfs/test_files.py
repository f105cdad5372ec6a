"""CREATE, REMOVE, RENAME, LINK, READ, WRITE, COMMIT, READLINK, READDIR: RFC 7530 16, RFC 8881 18."""

from __future__ import annotations

from errno import EIO
from struct import pack

import pytest

from labemu_nfs.nfs4.constants import Attribute
from labemu_nfs.nfs4.status import Status
from labemu_nfs.nfs4.types import decode_bitmap
from labemu_nfs.xdr import u32, u64
from labemu_store.file import LocalFileStore, MemoryFileStore, Ownership

A = Attribute
U64_MAX = 2**64 - 1


def change_info(decoder) -> tuple[bool, int, int]:
    return decoder.boolean(), decoder.u64(), decoder.u64()


def test_a_new_directory_is_current_and_its_parents_change_is_told(client4):
    ops = client4.ops
    before = client4.number("gold", A.CHANGE)
    reply = client4.send(*client4.at("gold"), ops.mkdir(b"new", (A.MODE, u32(0o711))), ops.getattr(A.MODE), ops.GETFH)
    assert reply.status == Status.OK
    decoder = reply.skip(0, 0)
    assert change_info(decoder) == (True, before, client4.number("gold", A.CHANGE))
    assert decode_bitmap(decoder) == 1 << A.MODE
    assert client4.number("gold/new", A.MODE) == 0o711
    assert client4.status(*client4.at("gold"), ops.mkdir(b"new")) == Status.EXIST
    assert client4.status(*client4.at("gold/file"), ops.mkdir(b"new")) == Status.NOTDIR


@pytest.mark.parametrize("kind", [1, 8, 9, 99])
def test_regular_files_and_unknown_kinds_are_not_created(client4, kind):
    assert client4.status(*client4.at("gold"), client4.ops.mknod(kind, b"x")) == Status.BADTYPE


def test_symlinks_lead_where_they_say(client4):
    ops = client4.ops
    assert client4.status(*client4.at("gold"), ops.symlink(b"way", b"../some/where")) == Status.OK
    reply = client4.send(*client4.at("gold/way"), ops.READLINK)
    assert reply.skip(0, 0, 0).string(99) == b"../some/where"
    assert client4.status(*client4.at("gold"), ops.symlink(b"empty", b"")) == Status.INVAL
    assert client4.status(*client4.at("gold/file"), ops.READLINK) == Status.INVAL


def test_special_files_and_who_may_make_them(client4):
    ops = client4.ops
    assert client4.status(*client4.at("gold"), ops.mknod(7, b"fifo")) == Status.OK
    assert client4.number("gold/fifo", A.TYPE) == 7
    client4.uid = 1
    store = client4.exports["/gold"].store
    assert client4.status(*client4.at("gold"), ops.mknod(7, b"fifo2")) == Status.ACCESS
    client4.uid = 0
    assert client4.status(*client4.at("gold"), ops.setattr((A.MODE, u32(0o777)))) == Status.OK
    client4.uid = 1
    assert store.getattr(store.root).mode == 0o777
    assert client4.status(*client4.at("gold"), ops.mknod(3, b"disk", pack(">II", 8, 0))) == Status.PERM


def test_remove_takes_files_and_empty_directories(client4):
    ops = client4.ops
    assert client4.status(*client4.at("gold/dir"), ops.mkdir(b"sub")) == Status.OK
    assert client4.status(*client4.at("gold"), ops.remove(b"dir")) == Status.NOTEMPTY
    reply = client4.send(*client4.at("gold/dir"), ops.remove(b"sub"))
    atomic, before, after = change_info(reply.skip(0, 0, 0))
    assert atomic
    assert before < after
    for name in (b"dir", b"file", b"link"):
        assert client4.status(*client4.at("gold"), ops.remove(name)) == Status.OK
    assert client4.listing("gold") == []


@pytest.mark.parametrize(
    ("name", "to", "status"),
    [
        (b"file", b"new", Status.OK),
        (b"file", b"link", Status.OK),
        (b"file", b"file", Status.OK),
        (b"dir", b"dir2", Status.OK),
        (b"dir", b"full", Status.NOTEMPTY),
        (b"file", b"dir", Status.EXIST),
        (b"dir", b"file", Status.EXIST),
        (b"nothing", b"new", Status.NOENT),
    ],
)
def test_renames_replace_what_they_may(client4, name, to, status):
    ops = client4.ops
    for made in (ops.mkdir(b"dir2"), ops.mkdir(b"full")):
        assert client4.status(*client4.at("gold"), made) == Status.OK
    assert client4.status(*client4.at("gold/full"), ops.mkdir(b"x")) == Status.OK
    assert client4.status(*client4.at("gold"), ops.SAVEFH, ops.rename(name, to)) == status


def test_renames_stay_within_an_export_and_out_of_themselves(make4):
    client = make4({"/a": MemoryFileStore(), "/b": MemoryFileStore()})
    ops = client.ops
    assert client.status(*client.at("a"), ops.mkdir(b"d")) == Status.OK
    assert client.status(*client.at("a"), ops.SAVEFH, *client.at("b"), ops.rename(b"d", b"d")) == Status.XDEV
    assert client.status(*client.at("a"), ops.SAVEFH, *client.at("a/d"), ops.rename(b"d", b"x")) == Status.INVAL
    assert client.status(*client.at("a"), ops.rename(b"d", b"x")) == Status.NOFILEHANDLE


def test_a_link_is_another_name_of_the_same_file(client4):
    ops = client4.ops
    file, gold = client4.at("gold/file"), client4.at("gold")
    assert client4.status(*file, ops.SAVEFH, *client4.at("gold/dir"), ops.link(b"again")) == Status.OK
    assert client4.number("gold/dir/again", A.NUMLINKS) == 2
    assert client4.handle("gold/dir/again") == client4.handle("gold/file")
    assert client4.status(*file, ops.SAVEFH, *gold, ops.link(b"dir")) == Status.EXIST
    assert client4.status(*client4.at("gold/dir"), ops.SAVEFH, *gold, ops.link(b"x")) == Status.ISDIR
    assert client4.status(*file, ops.SAVEFH, ops.link(b"x")) == Status.NOTDIR
    names = (*gold, ops.SAVEFH, *client4.at("gold/dir"), ops.rename(b"file", b"again"))
    before = client4.number("gold", A.CHANGE)
    assert client4.status(*names) == Status.OK
    assert client4.number("gold", A.CHANGE) == before
    assert client4.status(*client4.at("gold/file")) == Status.OK


def read(client, path: str, offset: int, count: int) -> tuple[bool, bytes]:
    way = client.at(path)
    reply = client.send(*way, client.ops.read(offset, count))
    assert reply.status == Status.OK, Status(reply.status)
    decoder = reply.skip(*(0 for _ in way))
    return decoder.boolean(), decoder.string(1 << 20)


def test_what_is_written_is_read(client4):
    ops = client4.ops
    big = bytes(range(256)) * 1000
    reply = client4.send(*client4.at("gold/file"), ops.write(100, big), ops.commit(), ops.getattr(A.SIZE))
    assert reply.status == Status.OK
    decoder = reply.skip(0, 0, 0)
    assert [decoder.u32(), decoder.u32(), decoder.fixed(8)] == [len(big), 0, b"verifier"]
    decoder = reply.skip()
    assert decoder.fixed(8) == b"verifier"
    assert read(client4, "gold/file", 100, 1 << 20) == (True, big)
    assert read(client4, "gold/file", 0, 9) == (False, b"contents\0")
    assert read(client4, "gold/file", 101, 3) == (False, big[1:4])


@pytest.mark.parametrize("offset", [8, 1000, 1 << 63, U64_MAX])
def test_reading_beyond_the_end_finds_it(client4, offset):
    assert read(client4, "gold/file", offset, 0xFFFFFFFF) == (True, b"")


def test_reading_nothing_is_no_error(client4):
    assert read(client4, "gold/file", 0, 0) == (False, b"")


def test_writing_where_no_file_reaches_is_refused(client4):
    file = client4.at("gold/file")
    assert client4.status(*file, client4.ops.write(U64_MAX, b"x")) == Status.INVAL
    assert client4.status(*file, client4.ops.write(1 << 63, b"x")) == Status.FBIG
    assert client4.status(*file, client4.ops.write(0, b"")) == Status.OK
    assert client4.status(*file, client4.ops.write(0, b"x", 3)) == Status.BADXDR
    assert client4.status(*file, client4.ops.commit(U64_MAX, 1)) == Status.INVAL


@pytest.mark.parametrize(("path", "status"), [("gold/dir", Status.ISDIR), ("gold/link", Status.INVAL)])
def test_only_regular_files_have_bytes(client4, path, status):
    ops = client4.ops
    for operation in (ops.read(0, 1), ops.write(0, b"x"), ops.commit()):
        assert client4.status(*client4.at(path), operation) == status


def test_bytes_are_for_those_who_may(client4):
    ops = client4.ops
    file = client4.at("gold/file")
    assert client4.status(*file, ops.setattr((A.MODE, u32(0o600)))) == Status.OK
    client4.uid = 4242
    assert client4.status(*file, ops.read(0, 1)) == Status.ACCESS
    assert client4.status(*file, ops.write(0, b"x")) == Status.ACCESS


def test_a_read_only_export_takes_nothing(make4):
    store = MemoryFileStore()
    store.create(store.root, b"file", Ownership(mode=0o666, uid=0, gid=0))
    client = make4({"/gold": store}, read_only=True)
    ops = client.ops
    gold, file = client.at("gold"), client.at("gold/file")
    for operations in (
        (*file, ops.write(0, b"x")), (*file, ops.setattr((A.MODE, u32(0)))), (*gold, ops.mkdir(b"x")),
        (*gold, ops.remove(b"file")), (*gold, ops.SAVEFH, ops.rename(b"file", b"x")), (*file, ops.SAVEFH, *gold, ops.link(b"x")),
    ):  # fmt: skip
        assert client.status(*operations) == Status.ROFS


class BrokenDisk(MemoryFileStore):
    def sync(self, node):
        def run():
            raise OSError(EIO, "the disk is gone")

        return run


def test_a_disk_that_fails_fails_the_operation_and_changes_the_verifier(make4):
    store = BrokenDisk()
    store.create(store.root, b"file", Ownership(mode=0o666, uid=0, gid=0))
    client = make4({"/gold": store})
    file = client.at("gold/file")
    assert client.status(*file, client.ops.write(0, b"x", 2), client.ops.GETFH) == Status.IO
    assert client.context.shared.verifier != b"verifier"
    assert client.status(*client.at("gold"), client.ops.mkdir(b"d"), client.ops.GETFH) == Status.IO
    assert client.status(*file, client.ops.write(0, b"x"), client.ops.GETFH) == Status.OK


def test_a_compound_goes_on_after_the_disk_has_written(client4):
    ops = client4.ops
    chain = [op for n in range(5) for op in (ops.write(n, b"%d" % n, 2), ops.commit(), ops.getattr(A.SIZE))]
    reply = client4.send(*client4.at("gold/file"), *chain, ops.GETFH)
    assert (reply.status, reply.count) == (Status.OK, 3 + 15 + 1)
    assert read(client4, "gold/file", 0, 5) == (False, b"01234")


# -- READDIR -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(client4):
    store = client4.exports["/gold"].store
    for number in range(300):
        store.create(store.root, b"name-%03d" % number, Ownership(mode=0o600, uid=0, gid=0))
    return client4


@pytest.mark.parametrize("size", [300, 1000, 65536])
def test_a_listing_in_portions_has_every_name_once(full, size):
    names = [name for name, _, _ in full.listing("gold", A.FILEID, A.SIZE, A.TYPE, size=size)]
    assert len(names) == 303
    assert set(names) == {b"dir", b"file", b"link", *(b"name-%03d" % n for n in range(300))}


def test_a_listing_tells_the_attributes_that_are_asked_for(client4):
    wanted = (A.TYPE, A.FILEID, A.SIZE, A.CHANGE, A.FILEHANDLE, A.RDATTR_ERROR)
    for name, mask, values in client4.listing("gold", *wanted):
        assert mask == sum(1 << number for number in wanted)
        direct, expected = client4.attributes(f"gold/{name.decode()}", *wanted)
        assert (direct, bytes(expected.view)) == (mask, values)


def test_a_listing_of_numbers_alone_asks_for_no_attributes(client4):
    listed = {name: values for name, _, values in client4.listing("gold", A.FILEID)}
    assert listed[b"file"] == u64(client4.number("gold/file", A.FILEID))


def test_a_portion_is_never_larger_than_asked_for(full):
    for size in (200, 500, 2000):
        reply = full.send(*full.at("gold"), full.ops.readdir(0, A.SIZE, A.FILEHANDLE, size=size))
        assert reply.status == Status.OK
        reply.skip(0, 0)
        assert len(reply.results.view) - reply.results.at <= size


def test_a_portion_without_room_for_one_entry_is_too_small(client4):
    gold = client4.at("gold")
    for size in (0, 15, 40):
        assert client4.status(*gold, client4.ops.readdir(0, A.SIZE, size=size)) == Status.TOOSMALL
    assert client4.status(*gold, client4.ops.readdir(0, size=60)) == Status.OK


@pytest.mark.parametrize("cookie", [1, 2, U64_MAX])
def test_cookies_that_nobody_was_given_are_refused(make4, tmp_path, cookie):
    client = make4({"/gold": LocalFileStore(tmp_path)})
    assert client.status(*client.at("gold"), client.ops.readdir(cookie)) == Status.BAD_COOKIE


def test_another_verifier_is_refused(client4):
    assert client4.status(*client4.at("gold"), client4.ops.readdir(0, verifier=b"otherone")) == Status.NOT_SAME


def test_only_directories_are_listed_and_only_for_those_who_may(client4):
    ops = client4.ops
    assert client4.status(*client4.at("gold/file"), ops.readdir()) == Status.NOTDIR
    assert client4.status(*client4.at("gold/dir"), ops.setattr((A.MODE, u32(0o311)))) == Status.OK
    client4.uid = 4242
    assert client4.status(*client4.at("gold/dir"), ops.readdir()) == Status.ACCESS


def test_what_cannot_be_found_out_about_an_entry_is_told_where_that_is_asked_for(client4):
    ops = client4.ops
    assert client4.status(*client4.at("gold"), ops.setattr((A.MODE, u32(0o744)))) == Status.OK
    handle = client4.handle("gold")
    client4.uid = 4242
    assert client4.status(ops.putfh(handle), ops.readdir(0, A.SIZE)) == Status.ACCESS
    reply = client4.send(ops.putfh(handle), ops.readdir(0, A.SIZE, A.RDATTR_ERROR))
    decoder = reply.skip(0)
    decoder.fixed(8)
    assert decoder.boolean()
    decoder.u64()
    decoder.string(99)
    assert decode_bitmap(decoder) == 1 << A.RDATTR_ERROR
    assert decoder.string(99) == u32(Status.ACCESS)


def test_an_empty_directory_has_no_entries(client4):
    assert client4.listing("gold/dir", A.FILEID) == []


def test_secinfo_of_a_name_that_is_not_there(client4):
    assert client4.status(*client4.at("gold"), client4.ops.secinfo(b"nothing")) == Status.NOENT
    assert client4.status(*client4.at("gold/file"), client4.ops.secinfo(b"x")) == Status.NOTDIR
