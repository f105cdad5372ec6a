"""What suites for servers ask of every kind of node, over the tree that they make: file, directory, symlink, FIFO, socket, devices."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.nfs4.attributes import SUPPORTED
from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32, u64
from labemu_store.file import FileKind, MemoryFileStore, Ownership

KINDS = ("dir", "file", "link", "socket", "fifo", "block", "char")
NOT_FILES = KINDS[2:]
NOT_DIRECTORIES = KINDS[1:]
SIZE, MODE, ACL = Attribute.SIZE, Attribute.MODE, Attribute.ACL


@pytest.fixture
def tree(make4):
    """A client of a server with a node of every kind in /gold."""
    client = make4({"/gold": MemoryFileStore()})
    store = client.exports["/gold"].store
    owner = Ownership(mode=0o644, uid=0, gid=0)
    store.mkdir(store.root, b"dir", Ownership(mode=0o755, uid=0, gid=0))
    store.write(store.create(store.root, b"file", owner), 0, b"contents")
    store.symlink(store.root, b"link", b"/etc/X11", owner)
    special = {"socket": FileKind.SOCKET, "fifo": FileKind.FIFO, "block": FileKind.BLOCK, "char": FileKind.CHARACTER}
    for name, kind in special.items():
        store.mknod(store.root, name.encode(), kind, (1, 2), owner)
    return client


def status(client, kind: str, *operations: bytes) -> Status:
    return client.status(*client.at(f"gold/{kind}"), *operations)


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_that_there_are_none_of_are_left_out(tree, kind):
    for number in (1000, 2047):
        assert tree.attributes(f"gold/{kind}", number)[0] == 0
    assert status(tree, kind, u32(Number.GETATTR) + u32(65) + bytes(260)) == Status.BADXDR
    assert tree.attributes(f"gold/{kind}")[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_mandatory_attributes_are_there_and_verify(tree, kind):
    mandatory = [*range(Attribute.RDATTR_ERROR), Attribute.FILEHANDLE]
    mask, values = tree.attributes(f"gold/{kind}", *mandatory)
    assert mask == sum(1 << number for number in mandatory)
    bitmap = u32(1) + u32(mask)
    assert status(tree, kind, u32(Number.VERIFY) + bitmap + opaque(bytes(values.view))) == Status.OK
    wrong = u64(tree.number(f"gold/{kind}", SIZE) + 1)
    assert status(tree, kind, tree.ops.verify((SIZE, wrong))) == Status.NOT_SAME
    assert status(tree, kind, tree.ops.verify((Attribute.RDATTR_ERROR, u32(0)))) == Status.INVAL


@pytest.mark.parametrize("kind", KINDS)
def test_every_attribute_is_settable_or_refused_with_the_right_status(tree, kind):
    settable = {SIZE, ACL, MODE, Attribute.OWNER, Attribute.OWNER_GROUP}
    settable |= {Attribute.TIME_ACCESS_SET, Attribute.TIME_MODIFY_SET}
    for number in set(range(56)) - settable:
        expected = Status.INVAL if SUPPORTED[0] >> number & 1 else Status.ATTRNOTSUPP
        assert status(tree, kind, tree.ops.setattr((number, bytes(8)))) == expected, number


@pytest.mark.parametrize("kind", KINDS)
def test_modes_are_set_on_every_kind(tree, kind):
    before = tree.number(f"gold/{kind}", Attribute.CHANGE)
    assert status(tree, kind, tree.ops.setattr((MODE, u32(0o740)))) == Status.OK
    assert tree.number(f"gold/{kind}", Attribute.CHANGE) != before


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_those_of_files(tree, kind):
    expected = {"file": Status.OK, "dir": Status.ISDIR}.get(kind, Status.INVAL)
    assert status(tree, kind, tree.ops.setattr((SIZE, u64(0)))) == expected


@pytest.mark.parametrize("size", [2**63, 2**64 - 1])
def test_sizes_that_no_file_can_have(tree, size):
    assert status(tree, "file", tree.ops.setattr((SIZE, u64(size)))) in (Status.FBIG, Status.INVAL)
    assert tree.number("gold/file", SIZE) == 8


def test_values_that_do_not_fit_the_mask(tree):
    head = u32(Number.SETATTR) + bytes(16) + pack(">III", 2, 0, 1 << (MODE - 32))
    assert status(tree, "dir", head + opaque(b"")) == Status.BADXDR
    assert status(tree, "dir", head + opaque(u32(0o644) + b"Garbage data")) == Status.BADXDR


def test_reads_at_and_beyond_the_end(tree):
    for offset, count, expected in (
        (1000, 10, b""),
        (2**64 - 1, 10, b""),
        (2**63, 2**32 - 1, b""),
        (2, 2, b"nt"),
        (5, 0, b""),
    ):
        reply = tree.send(*tree.at("gold/file"), tree.ops.read(offset, count))
        assert reply.status == Status.OK
        decoder = reply.skip(0, 0, 0)
        assert decoder.boolean() == (offset + count >= 8)
        assert decoder.string(64) == expected


def test_a_write_of_nothing_leaves_the_times(tree):
    before = tree.attributes("gold/file", Attribute.TIME_MODIFY)[1].view
    assert status(tree, "file", tree.ops.write(5, b"")) == Status.OK
    assert tree.attributes("gold/file", Attribute.TIME_MODIFY)[1].view == before


@pytest.mark.parametrize("kind", NOT_FILES)
def test_data_of_what_is_no_file(tree, kind):
    for operation in (tree.ops.read(0, 1), tree.ops.write(0, b"x"), tree.ops.commit()):
        assert status(tree, kind, operation) == Status.INVAL
        assert status(tree, "dir", operation) == Status.ISDIR


@pytest.mark.parametrize("kind", NOT_DIRECTORIES)
def test_names_in_what_is_no_directory(tree, kind):
    ops, missing = tree.ops, Status.SYMLINK if kind == "link" else Status.NOTDIR
    assert status(tree, kind, ops.lookup(b"foo")) == missing
    assert status(tree, kind, ops.secinfo(b"foo")) == missing
    for operation in (ops.mkdir(b"foo"), ops.remove(b"foo"), ops.LOOKUPP, ops.readdir()):
        assert status(tree, kind, operation) == Status.NOTDIR
    gold, node = tree.at("gold"), tree.at(f"gold/{kind}")
    assert tree.status(*gold, ops.SAVEFH, *node, ops.rename(b"dir", b"foo")) == Status.NOTDIR
    assert tree.status(*node, ops.SAVEFH, *gold, ops.rename(b"foo", b"bar")) == Status.NOTDIR
    assert tree.status(*tree.at("gold/file"), ops.SAVEFH, *node, ops.link(b"foo")) == Status.NOTDIR


@pytest.mark.parametrize("kind", KINDS)
def test_links_to_every_kind(tree, kind):
    made = tree.status(*tree.at(f"gold/{kind}"), tree.ops.SAVEFH, *tree.at("gold"), tree.ops.link(b"new"))
    assert made == (Status.ISDIR if kind == "dir" else Status.OK)
    if kind != "dir":
        assert tree.number(f"gold/{kind}", Attribute.NUMLINKS) == 2


def test_handles_are_the_same_by_name_and_by_handle(tree):
    for kind in KINDS:
        handle = tree.handle(f"gold/{kind}")
        assert tree.send(tree.ops.putfh(handle), tree.ops.GETFH).skip(0).string(128) == handle
    assert tree.status(tree.ops.putfh(b"abc")) == Status.BADHANDLE


def test_acl_entries_about_nothing_may_name_anybody(tree):
    def acl(*entries: tuple[int, bytes]) -> bytes:
        return u32(len(entries)) + b"".join(pack(">III", 0, 0, mask) + opaque(who) for mask, who in entries)

    nothing = [(0, b"%d" % (10_000 + number)) for number in range(20)]
    assert status(tree, "file", tree.ops.setattr((ACL, acl(*nothing)))) == Status.OK
    assert tree.number("gold/file", MODE) == 0
    assert status(tree, "file", tree.ops.setattr((ACL, acl((1, b"OWNER@"), *nothing)))) == Status.OK
    assert tree.number("gold/file", MODE) == 0o400
    assert status(tree, "file", tree.ops.setattr((ACL, acl((1, b"123"))))) == Status.ATTRNOTSUPP


def test_names_that_do_not_end_where_they_say(tree):
    assert tree.status(tree.ops.PUTROOTFH, u32(Number.LOOKUP) + u32(0xCCCC_CCCC) + b"buggy...") == Status.BADXDR


@pytest.mark.parametrize("minor", [0, 1])
def test_operations_that_there_are_none_of(tree, minor):
    for number in (0, 1, 2, 200, 10044, 2**32 - 1):
        reply = tree.send(u32(number), minor=minor)
        assert (reply.status, reply.results.u32()) == (Status.OP_ILLEGAL, 10044)
    assert tree.send(u32(0), minor=50).count == 0
