"""What 4.1 and 4.2 add that needs no state: RFC 7862 15, RFC 8276 8, RFC 8881 18.45."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32
from labemu_store.file import Ownership

A = Attribute
BLOCK = 65536
STATE = bytes(16)
U64_MAX = 2**64 - 1


def op(number: int, *arguments: bytes) -> bytes:
    return u32(number) + b"".join(arguments)


@pytest.fixture
def sparse(client42):
    """gold/sparse: a hole, data, a hole, `end`; of a block each but for the last."""
    gold = client42.exports["/gold"].store
    key = gold.create(gold.root, b"sparse", Ownership(mode=0o644, uid=0, gid=0))
    gold.write(key, BLOCK, b"d" * BLOCK)
    gold.write(key, 3 * BLOCK, b"end")
    return client42


def result(client, path: str, operation: bytes, *before: bytes):
    """What follows the status of an operation that succeeds on a path."""
    way = (*before, *client.at(path))
    reply = client.send(*way, operation)
    assert reply.status == Status.OK, Status(reply.status)
    return reply.skip(*(0 for _ in way))


def seek(client, offset: int, what: int) -> tuple[bool, int]:
    decoder = result(client, "gold/sparse", op(Number.SEEK, STATE, pack(">QI", offset, what)))
    return decoder.boolean(), decoder.u64()


def test_seek_finds_data_and_holes(sparse):
    assert seek(sparse, 0, 0) == (False, BLOCK)
    assert seek(sparse, 0, 1) == (False, 0)
    assert seek(sparse, BLOCK, 1) == (False, 2 * BLOCK)
    assert seek(sparse, 3 * BLOCK, 1) == (True, 3 * BLOCK + 3)
    file = sparse.at("gold/sparse")
    for what in (0, 1):
        assert sparse.status(*file, op(Number.SEEK, STATE, pack(">QI", 3 * BLOCK + 3, what))) == Status.NXIO
        assert sparse.status(*file, op(Number.SEEK, STATE, pack(">QI", U64_MAX, what))) == Status.NXIO
    assert sparse.status(*file, op(Number.SEEK, STATE, pack(">QI", 0, 2))) == Status.UNION_NOTSUPP
    assert sparse.status(*sparse.at("gold/dir"), op(Number.SEEK, STATE, pack(">QI", 0, 0))) == Status.ISDIR
    assert sparse.status(*sparse.at("gold/link"), op(Number.SEEK, STATE, pack(">QI", 0, 0))) == Status.SYMLINK


def read_plus(client, offset: int, count: int) -> tuple[bool, list[tuple[int, bytes | int]]]:
    decoder = result(client, "gold/sparse", op(Number.READ_PLUS, STATE, pack(">QI", offset, count)))
    eof, found = decoder.boolean(), []
    for _ in range(decoder.u32()):
        kind, at = decoder.u32(), decoder.u64()
        found.append((at, decoder.u64() if kind else decoder.string(1 << 20)))
    return eof, found


def test_read_plus_tells_holes_by_their_length(sparse):
    assert read_plus(sparse, 0, 1 << 20) == (
        True,
        [(0, BLOCK), (BLOCK, b"d" * BLOCK), (2 * BLOCK, BLOCK), (3 * BLOCK, b"end")],
    )
    assert read_plus(sparse, 10, 20) == (False, [(10, 20)])
    assert read_plus(sparse, BLOCK + 1, 3) == (False, [(BLOCK + 1, b"ddd")])
    assert read_plus(sparse, U64_MAX, 10) == (True, [])


def test_room_is_taken_and_given_back(sparse):
    def ranged(number: int, offset: int, size: int) -> bytes:
        return op(number, STATE, pack(">QQ", offset, size))

    file = sparse.at("gold/sparse")
    before, change = sparse.number("gold/sparse", A.SPACE_USED), sparse.number("gold/sparse", A.CHANGE)
    assert sparse.status(*file, ranged(Number.ALLOCATE, 0, BLOCK)) == Status.OK
    assert sparse.number("gold/sparse", A.SPACE_USED) >= before + BLOCK
    assert sparse.number("gold/sparse", A.CHANGE) > change
    assert sparse.status(*file, ranged(Number.ALLOCATE, 0, 5 * BLOCK)) == Status.OK
    assert sparse.number("gold/sparse", A.SIZE) == 5 * BLOCK
    assert sparse.status(*file, ranged(Number.DEALLOCATE, 0, 1 << 62)) == Status.OK
    assert sparse.number("gold/sparse", A.SIZE) == 5 * BLOCK
    assert sparse.number("gold/sparse", A.SPACE_USED) == 0
    for number in (Number.ALLOCATE, Number.DEALLOCATE):
        assert sparse.status(*file, ranged(number, 0, 0)) == Status.INVAL
        assert sparse.status(*file, ranged(number, U64_MAX, 1)) == Status.INVAL
        assert sparse.status(*sparse.at("gold/dir"), ranged(number, 0, 1)) == Status.ISDIR
    assert sparse.status(*file, ranged(Number.ALLOCATE, 1 << 63, 1)) == Status.FBIG
    assert sparse.status(*file, ranged(Number.DEALLOCATE, 1 << 63, 1)) == Status.OK


def copy(offset: int, to: int, count: int, servers: int = 0) -> bytes:
    return op(Number.COPY, STATE, STATE, pack(">QQQIII", offset, to, count, 1, 1, servers))


def from_sparse(client) -> tuple[bytes, ...]:
    return (*client.at("gold/sparse"), client.ops.SAVEFH)


def test_a_copy_is_made_by_the_server(sparse):
    decoder = result(sparse, "gold/file", copy(BLOCK, 2, 100), *from_sparse(sparse))
    assert [decoder.u32(), decoder.u64(), decoder.u32(), decoder.fixed(8)] == [0, 100, 0, b"verifier"]
    assert [decoder.boolean(), decoder.boolean()] == [True, True]
    data = sparse.exports["/gold"].store
    assert data.read(data.lookup(data.root, b"file"), 0, 200) == b"co" + b"d" * 100
    result(sparse, "gold/file", copy(0, 0, 0), *from_sparse(sparse))
    assert data.read(data.lookup(data.root, b"file"), BLOCK, 4 * BLOCK)[-3:] == b"end"


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (copy(0, 0, 3 * BLOCK + 4), Status.INVAL),
        (copy(4 * BLOCK, 0, 0), Status.INVAL),
        (copy(U64_MAX, 0, 10), Status.INVAL),
        (copy(0, U64_MAX, 10), Status.INVAL),
        (copy(0, 2**63 - 2, 10), Status.FBIG),
        (copy(0, 0, 1, servers=1), Status.NOTSUPP),
    ],
)
def test_copies_that_cannot_be_are_refused(sparse, operation, status):
    assert sparse.status(*from_sparse(sparse), *sparse.at("gold/file"), operation) == status


def test_a_file_is_not_copied_over_itself(sparse):
    file = (*from_sparse(sparse), *sparse.at("gold/sparse"))
    assert sparse.status(*file, copy(0, 10, BLOCK)) == Status.INVAL
    assert sparse.status(*file, copy(0, 8 * BLOCK, BLOCK)) == Status.OK
    assert sparse.status(*sparse.at("gold/file"), copy(0, 0, 1)) == Status.NOFILEHANDLE


def test_a_stateid_that_is_none_names_no_copy(client42):
    for number in (Number.OFFLOAD_STATUS, Number.OFFLOAD_CANCEL):
        assert client42.status(*client42.at("gold/file"), op(number, bytes(16))) == Status.BAD_STATEID


def test_a_clone_is_equal_or_refused_as_not_supported(sparse):
    clone = op(Number.CLONE, STATE, STATE, pack(">QQQ", 0, 0, 0))
    status = sparse.status(*from_sparse(sparse), *sparse.at("gold/file"), clone)
    data = sparse.exports["/gold"].store
    if data.url == "memory://":
        assert status == Status.OK
        assert data.read(data.lookup(data.root, b"file"), 3 * BLOCK, 10) == b"end"
    else:
        assert status in (Status.OK, Status.NOTSUPP)


def test_advice_is_taken_politely(client42):
    advice = op(Number.IO_ADVISE, STATE, pack(">QQ", 0, 0), pack(">II", 1, 2))
    assert result(client42, "gold/file", advice).u32() == 0


# -- extended attributes -------------------------------------------------------------------------------------------------


def setx(name: bytes, value: bytes, how: int = 0) -> bytes:
    return op(Number.SETXATTR, u32(how), opaque(name), opaque(value))


def getx(name: bytes) -> bytes:
    return op(Number.GETXATTR, opaque(name))


@pytest.fixture
def marked(client42):
    if not client42.exports["/gold"].store.capabilities.xattrs:
        pytest.skip("this file system keeps no extended attributes")
    return client42


def test_extended_attributes_come_and_go(marked):
    file = marked.at("gold/file")
    change = marked.number("gold/file", A.CHANGE)
    decoder = result(marked, "gold/file", setx(b"colour", b"blue"))
    assert (decoder.boolean(), decoder.u64(), decoder.u64()) == (True, change, marked.number("gold/file", A.CHANGE))
    assert result(marked, "gold/file", getx(b"colour")).string(99) == b"blue"
    assert marked.status(*file, setx(b"colour", b"red", 1)) == Status.EXIST
    assert marked.status(*file, setx(b"colour", b"red", 2)) == Status.OK
    assert marked.status(*file, setx(b"other", b"red", 2)) == Status.NOXATTR
    assert marked.status(*file, setx(b"other", b"red", 3)) == Status.INVAL
    assert marked.status(*file, op(Number.REMOVEXATTR, opaque(b"colour"))) == Status.OK
    assert marked.status(*file, op(Number.REMOVEXATTR, opaque(b"colour"))) == Status.NOXATTR
    assert marked.status(*file, getx(b"colour")) == Status.NOXATTR


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (b"", b"x", Status.INVAL),
        (b"\xff", b"x", Status.INVAL),
        (b"n" * 251, b"x", Status.NAMETOOLONG),
        (b"big", bytes(65537), Status.XATTR2BIG),
    ],
)
def test_extended_attributes_that_cannot_be_are_refused(marked, name, value, status):
    assert marked.status(*marked.at("gold/file"), setx(name, value)) == status


def test_extended_attributes_are_listed_in_portions(marked):
    names = [b"name-%02d" % number for number in range(20)]
    for name in names:
        assert marked.status(*marked.at("gold/file"), setx(name, b"")) == Status.OK
    found, cookie, eof = [], 0, False
    while not eof:
        decoder = result(marked, "gold/file", op(Number.LISTXATTRS, pack(">QI", cookie, 64)))
        cookie = decoder.u64()
        found += [decoder.string(99) for _ in range(decoder.u32())]
        eof = decoder.boolean()
    assert found == names
    file = marked.at("gold/file")
    assert marked.status(*file, op(Number.LISTXATTRS, pack(">QI", 0, 4))) == Status.TOOSMALL
    assert marked.status(*file, op(Number.LISTXATTRS, pack(">QI", 99, 64))) == Status.BAD_COOKIE


def test_extended_attributes_are_for_those_who_may(marked):
    marked.uid = 4242
    assert marked.status(*marked.at("gold/file"), setx(b"a", b"b")) == Status.ACCESS
    assert marked.status(*marked.at("gold/file"), getx(b"a")) == Status.NOXATTR
    reply = marked.send(*marked.at("gold/file"), marked.ops.access(0x1C0))
    decoder = reply.skip(0, 0, 0)
    assert [decoder.u32(), decoder.u32()] == [0x1C0, 0x140]


def test_a_store_without_extended_attributes_says_so(sparse):
    capable = sparse.exports["/gold"].store.capabilities.xattrs
    assert sparse.number("gold/file", A.XATTR_SUPPORT) == capable
    assert sparse.status(sparse.ops.PUTROOTFH, getx(b"a")) == Status.NOTSUPP


# -- what 4.1 changed ----------------------------------------------------------------------------------------------------


def test_optional_operations_are_not_supported_rather_than_unknown(client42):
    optional = (
        Number.LAYOUTGET, Number.LAYOUTCOMMIT, Number.LAYOUTRETURN, Number.GETDEVICEINFO, Number.GETDEVICELIST,
        Number.LAYOUTERROR, Number.LAYOUTSTATS, Number.COPY_NOTIFY, Number.WRITE_SAME,
        Number.SETCLIENTID, Number.RENEW, Number.OPEN_CONFIRM, Number.RELEASE_LOCKOWNER,
    )  # fmt: skip
    for number in optional:
        assert client42.status(*client42.at("gold/file"), op(number)) == Status.NOTSUPP, number


def test_secinfo_uses_the_filehandle_up(client42):
    ops = client42.ops
    for operation in (ops.secinfo(b"file"), op(Number.SECINFO_NO_NAME, u32(0)), op(Number.SECINFO_NO_NAME, u32(1))):
        assert client42.status(*client42.at("gold"), operation) == Status.OK
        assert client42.status(*client42.at("gold"), operation, ops.GETFH) == Status.NOFILEHANDLE
    assert client42.status(*client42.at("gold"), op(Number.SECINFO_NO_NAME, u32(2))) == Status.BADXDR
    assert client42.status(ops.PUTROOTFH, op(Number.SECINFO_NO_NAME, u32(1))) == Status.NOENT


def test_a_mode_is_set_in_part(client42):
    ops = client42.ops
    file = client42.at("gold/file")
    assert client42.status(*file, ops.setattr((A.MODE_SET_MASKED, pack(">II", 0o022, 0o077)))) == Status.OK
    assert client42.number("gold/file", A.MODE) == 0o622
    both = ((A.MODE, u32(0)), (A.MODE_SET_MASKED, pack(">II", 0, 0)))
    assert client42.status(*file, ops.setattr(*both)) == Status.INVAL
    assert client42.status(*file, ops.setattr((A.MODE_UMASK, pack(">II", 0o777, 0)))) == Status.INVAL
    assert (
        client42.status(*client42.at("gold"), ops.mkdir(b"d", (A.MODE_UMASK, pack(">II", 0o777, 0o027)))) == Status.OK
    )
    assert client42.number("gold/d", A.MODE) == 0o750


def test_wrong_kinds_have_words_of_their_own(client42):
    ops = client42.ops
    assert client42.status(*client42.at("gold"), ops.mknod(7, b"fifo")) == Status.OK
    assert client42.status(*client42.at("gold/fifo"), ops.read(0, 1)) == Status.WRONG_TYPE
    assert client42.status(*client42.at("gold/file"), ops.READLINK) == Status.WRONG_TYPE
    assert client42.status(ops.PUTROOTFH, ops.RESTOREFH) == Status.NOFILEHANDLE
