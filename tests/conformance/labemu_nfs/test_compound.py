"""COMPOUND itself, filehandles and lookups: RFC 7530 16.2, RFC 8881 16.2 and 18."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.exports import parse_clients
from labemu_nfs.faults import Faults
from labemu_nfs.nfs4.constants import ILLEGAL, Attribute, Number
from labemu_nfs.nfs4.faulty import faulty_procedures
from labemu_nfs.nfs4.ops.table import OPS
from labemu_nfs.nfs4.program import nfs4_procedures
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32
from labemu_store.file import MemoryFileStore, Ownership


def test_null_answers(client4):
    assert len(client4.exchange(0, b"")) == 24


def test_an_empty_compound_succeeds_and_echoes_its_tag(client4):
    reply = client4.send(tag="grüße".encode())
    assert (reply.status, reply.tag, reply.count) == (Status.OK, "grüße".encode(), 0)


def test_a_tag_that_is_not_utf8_is_refused(client4):
    assert client4.send(client4.ops.PUTROOTFH, tag=b"\xff").status == Status.INVAL


def test_a_minor_version_that_there_is_none_of_has_no_results(client4):
    reply = client4.send(client4.ops.PUTROOTFH, minor=3, tag=b"t")
    assert (reply.status, reply.tag, reply.count) == (Status.MINOR_VERS_MISMATCH, b"t", 0)


@pytest.mark.parametrize(("minor", "number"), [(0, 0), (0, 2), (0, 40), (0, 9999), (1, 59), (2, 76), (1, 2)])
def test_an_operation_that_there_is_none_of_is_illegal(client4, minor, number):
    reply = client4.send(u32(number), minor=minor)
    assert (reply.status, reply.count) == (Status.OP_ILLEGAL, 1)
    assert (reply.results.u32(), reply.results.u32()) == (ILLEGAL, Status.OP_ILLEGAL)


def test_operations_stop_at_the_first_that_fails(client4):
    ops = client4.ops
    reply = client4.send(ops.PUTROOTFH, ops.lookup(b"nowhere"), ops.GETFH)
    assert (reply.status, reply.count) == (Status.NOENT, 2)


def test_too_many_operations_are_refused_without_a_session(client4):
    assert client4.status(*[client4.ops.PUTROOTFH] * 129) == Status.RESOURCE
    assert client4.status(*[client4.ops.PUTROOTFH] * 128) == Status.OK


@pytest.mark.parametrize("minor", [1, 2])
def test_an_operation_outside_a_session_is_refused(client4, minor):
    assert client4.status(client4.ops.PUTROOTFH, minor=minor) == Status.OP_NOT_IN_SESSION


def test_arguments_that_do_not_decode_fail_their_operation_alone(client4):
    arguments = opaque(b"") + pack(">II", 0, 2) + client4.ops.PUTROOTFH + u32(Number.LOOKUP) + u32(1 << 20)
    reply = client4.parse(client4.exchange(1, arguments))
    assert (reply.status, reply.count) == (Status.BADXDR, 2)


def test_a_compound_whose_head_does_not_decode_is_garbage(client4):
    reply = client4.exchange(1, u32(1 << 20))
    assert reply[20:24] == u32(4)


@pytest.mark.parametrize(
    "operation",
    ["GETFH", "SAVEFH", "LOOKUPP", "READLINK"],
)
def test_without_a_filehandle_there_is_nothing_to_do(client4, operation):
    assert client4.status(getattr(client4.ops, operation)) == Status.NOFILEHANDLE


def test_without_a_filehandle_operations_with_arguments_fail_too(client4):
    ops = client4.ops
    for operation in (
        ops.lookup(b"x"), ops.getattr(1), ops.access(1), ops.read(0, 1), ops.write(0, b""), ops.commit(), ops.readdir(),
        ops.remove(b"x"), ops.mkdir(b"x"), ops.verify(), ops.nverify(), ops.secinfo(b"x"), ops.link(b"x"), ops.rename(b"x", b"y"),
    ):  # fmt: skip
        assert client4.status(operation) == Status.NOFILEHANDLE, operation


def test_a_failed_setattr_says_that_nothing_was_set(client4):
    reply = client4.send(client4.ops.setattr((Attribute.MODE, u32(0))))
    assert reply.status == Status.NOFILEHANDLE
    assert bytes(reply.results.view[reply.results.at :]) == u32(Number.SETATTR) + u32(Status.NOFILEHANDLE) + u32(0)


def test_handles_survive_and_wrong_ones_are_told(client4):
    handle = client4.handle("gold/file")
    ops = client4.ops
    assert client4.status(ops.putfh(handle), ops.getattr(Attribute.SIZE)) == Status.OK
    assert client4.status(ops.putfh(handle[:-1] + bytes([handle[-1] ^ 1]))) == Status.BADHANDLE
    assert client4.status(ops.putfh(b"")) == Status.BADHANDLE
    assert client4.status(ops.putfh(bytes(129))) == Status.BADXDR
    assert client4.status(*client4.at("gold"), ops.remove(b"file")) == Status.OK
    assert client4.status(ops.putfh(handle)) == Status.STALE


def test_the_saved_filehandle_comes_back(client4):
    ops = client4.ops
    reply = client4.send(*client4.at("gold/dir"), ops.SAVEFH, ops.PUTROOTFH, ops.RESTOREFH, ops.GETFH)
    assert reply.skip(0, 0, 0, 0, 0, 0).string(128) == client4.handle("gold/dir")


def test_nothing_saved_cannot_come_back(client4):
    assert client4.status(client4.ops.PUTROOTFH, client4.ops.RESTOREFH) == Status.RESTOREFH


def test_the_public_filehandle_is_the_roots(client4):
    reply = client4.send(client4.ops.PUTPUBFH, client4.ops.GETFH)
    assert reply.skip(0).string(128) == client4.handle("")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (b"", Status.INVAL),
        (b".", Status.BADNAME),
        (b"..", Status.BADNAME),
        (b"a/b", Status.BADNAME),
        (b"a\0b", Status.BADCHAR),
        (b"\xff\xfe", Status.INVAL),
        (b"\xed\xa0\x80", Status.INVAL),
        (b"\xc0\xaf", Status.INVAL),
        (b"n" * 256, Status.NAMETOOLONG),
        (b"n" * 5000, Status.NAMETOOLONG),
        (b"nothing", Status.NOENT),
        ("grüße".encode(), Status.NOENT),
    ],
)
def test_names_are_checked_as_the_rfc_says(client4, name, status):
    gold = client4.at("gold")
    ops = client4.ops
    assert client4.status(*gold, ops.lookup(name)) == status
    assert client4.status(*gold, ops.remove(name)) == status
    assert client4.status(*gold, ops.SAVEFH, ops.rename(name, b"new")) == status
    if status is not Status.NOENT:
        assert client4.status(*gold, ops.mkdir(name)) == status
        assert client4.status(*gold, ops.SAVEFH, ops.rename(b"file", name)) == status
        assert client4.status(*client4.at("gold/file"), ops.SAVEFH, *gold, ops.link(name)) == status


def test_lookups_go_through_directories_alone(client4):
    assert client4.status(*client4.at("gold/file/x")) == Status.NOTDIR
    assert client4.status(*client4.at("gold/link/x")) == Status.SYMLINK
    assert client4.status(*client4.at("gold/link")) == Status.OK


def test_lookups_need_the_right_to_search(client4):
    gold = client4.exports["/gold"].store
    assert client4.status(*client4.at("gold"), client4.ops.setattr((Attribute.MODE, u32(0o700)))) == Status.OK
    client4.uid, client4.gid = 77, 77
    assert gold.getattr(gold.root).mode == 0o700
    assert client4.status(*client4.at("gold/file")) == Status.ACCESS


def test_the_way_up_ends_at_the_root(client4):
    ops = client4.ops
    reply = client4.send(*client4.at("gold/dir"), ops.LOOKUPP, ops.GETFH)
    assert reply.skip(0, 0, 0, 0).string(128) == client4.handle("gold")
    reply = client4.send(*client4.at("gold"), ops.LOOKUPP, ops.GETFH)
    assert reply.skip(0, 0, 0).string(128) == client4.handle("")
    assert client4.status(ops.PUTROOTFH, ops.LOOKUPP) == Status.NOENT
    assert client4.status(*client4.at("gold/file"), ops.LOOKUPP) == Status.NOTDIR


def test_the_pseudo_root_leads_to_every_export(make4):
    client = make4({"/tank/a": MemoryFileStore(), "/tank/b": MemoryFileStore(), "/c": MemoryFileStore()})
    assert sorted(name for name, _, _ in client.listing("")) == [b"c", b"tank"]
    assert sorted(name for name, _, _ in client.listing("tank")) == [b"a", b"b"]
    fsids = {client.number(path, Attribute.FSID) for path in ("", "tank", "tank/a", "tank/b", "c")}
    assert len(fsids) == 4
    assert client.number("", Attribute.FSID) == client.number("tank", Attribute.FSID)


def test_nothing_can_be_changed_in_the_pseudo_file_system(client4):
    ops = client4.ops
    assert client4.status(ops.PUTROOTFH, ops.mkdir(b"new")) == Status.ROFS
    assert client4.status(ops.PUTROOTFH, ops.remove(b"gold")) == Status.ROFS
    assert client4.status(ops.PUTROOTFH, ops.setattr((Attribute.MODE, u32(0)))) == Status.ROFS


def test_an_export_inside_another_is_entered_from_there(make4):
    outer, inner = MemoryFileStore(), MemoryFileStore()
    below = outer.mkdir(outer.root, b"sub", Ownership(mode=0o755, uid=0, gid=0))
    outer.mkdir(below, b"inner", Ownership(mode=0o755, uid=0, gid=0))
    inner.mkdir(inner.root, b"treasure", Ownership(mode=0o755, uid=0, gid=0))
    client = make4({"/": outer, "/sub/inner": inner})
    assert client.status(*client.at("sub/inner/treasure")) == Status.OK
    reply = client.send(*client.at("sub/inner"), client.ops.LOOKUPP, client.ops.GETFH)
    assert reply.skip(0, 0, 0, 0).string(128) == client.handle("sub")
    ((_, mask, values),) = client.listing("sub", Attribute.FSID, Attribute.MOUNTED_ON_FILEID)
    assert mask == 1 << Attribute.FSID | 1 << Attribute.MOUNTED_ON_FILEID
    assert int.from_bytes(values[:8], "big") == client.exports["/sub/inner"].fsid
    assert client.status(*client.at("sub"), client.ops.remove(b"inner")) == Status.FILE_OPEN


def test_an_export_that_comes_and_goes_is_seen_at_once(make4):
    client = make4()
    before = client.number("", Attribute.CHANGE)
    export = client.context.exports.remove("/gold")
    assert client.status(*client.at("gold")) == Status.NOENT
    assert client.number("", Attribute.CHANGE) != before
    client.context.exports.add(export)
    assert client.status(*client.at("gold")) == Status.OK


def test_hosts_and_credentials_that_are_not_admitted_are_refused(make4):
    client = make4(clients=parse_clients("10.9.0.0/16"))
    assert client.status(*client.at("gold")) == Status.ACCESS
    client = make4(security=frozenset(["sys"]))
    client.flavor = 0
    assert client.status(*client.at("gold")) == Status.WRONGSEC
    reply = client.send(client.ops.PUTROOTFH, client.ops.secinfo(b"gold"))
    decoder = reply.skip(0)
    assert [decoder.u32(), decoder.u32()] == [1, 1]


def test_a_call_of_40_that_comes_again_is_answered_as_before_and_not_done_again(client4):
    ops = client4.ops
    calls = (
        (*client4.at("gold"), ops.mkdir(b"new"), ops.GETFH),
        (*client4.at("gold"), ops.SAVEFH, ops.rename(b"new", b"newer")),
        (ops.putfh(client4.handle("gold")), ops.getattr(Attribute.SIZE), ops.remove(b"newer")),
    )
    for operations in calls:
        first = client4.send(*operations)
        assert first.status == Status.OK
        client4.xid -= 1
        again = client4.send(*operations)
        assert bytes(again.results.view) == bytes(first.results.view)
    assert client4.server.replies.hits == 3


def test_the_same_replies_are_kept_while_faults_are_ordered(client4):
    plain = nfs4_procedures(client4.context, OPS)[1]
    faulty = faulty_procedures(client4.context, OPS, Faults())[1]
    for operations in (
        (client4.ops.PUTROOTFH, client4.ops.remove(b"x")),
        (client4.ops.PUTROOTFH, client4.ops.read(0, 1)),
    ):
        arguments = memoryview(opaque(b"") + pack(">II", 0, 2) + b"".join(operations))
        assert plain.once(arguments, 0) == faulty.once(arguments, 0) == (client4.ops.remove(b"x") in operations)


@pytest.mark.parametrize("operation", ["read", "getattr", "readdir"])
def test_replies_to_calls_that_may_be_done_again_are_not_kept(client4, operation):
    arguments = {"read": (0, 4), "getattr": (1,), "readdir": ()}[operation]
    client4.send(*client4.at("gold/file"), getattr(client4.ops, operation)(*arguments))
    assert len(client4.server.replies) == 0


def test_replies_of_sessions_are_not_kept_twice(client42):
    assert client42.status(*client42.at("gold"), client42.ops.mkdir(b"new")) == Status.OK
    assert len(client42.server.replies) == 0
