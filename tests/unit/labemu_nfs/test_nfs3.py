from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.nfs3.status import Status
from labemu_nfs.xdr import opaque

DEFAULT_SATTR = bytes(24)


def names_in(client, procedure="READDIR", count=4096):
    """All names, page by page."""
    found, cookie, verifier, eof = [], 0, bytes(8), False
    while not eof:
        sizes = pack(">I", count) if procedure == "READDIR" else pack(">II", count, count * 4)
        reply = client.call(procedure, opaque(client.root) + pack(">Q", cookie) + verifier + sizes)
        assert reply.status == 0
        reply.rest.fixed(88)
        verifier = bytes(reply.rest.fixed(8))
        while reply.rest.boolean():
            reply.rest.u64()
            found.append(reply.rest.string(255))
            cookie = reply.rest.u64()
            if procedure == "READDIRPLUS":
                if reply.rest.boolean():
                    reply.rest.fixed(84)
                if reply.rest.boolean():
                    reply.rest.string(64)
        eof = reply.rest.boolean()
    return found


def test_what_is_written_is_read_back_with_eof_at_the_end(client):
    handle = client.create(b"file")
    assert client.write(handle, 3, b"hello").status == 0
    assert client.read(handle, 0, 100) == (b"\0\0\0hello", True)
    assert client.read(handle, 0, 4) == (b"\0\0\0h", False)
    assert client.read(handle, 8, 4) == (b"", True)
    assert client.read(handle, 2**63, 4) == (b"", True)


def test_all_22_procedures_answer_garbage_with_garbage_args_or_a_status(client):
    for number in range(1, 22):
        assert client.send(client.message(number, b"")).accept == 4
    assert client.send(client.message(0, b"")).accept == 0
    assert client.send(client.message(22, b"")).accept == 3


def test_listings_give_every_name_once_in_pages(client):
    names = {f"file-{number:03}".encode() for number in range(300)}
    for name in names:
        client.create(name)
    for procedure in ("READDIR", "READDIRPLUS"):
        found = names_in(client, procedure, 600)
        assert len(found) == len(set(found))
        assert set(found) == names | {b".", b".."}


def test_a_listing_survives_removal_of_what_it_has_given_already(client):
    for number in range(200):
        client.create(b"%03d" % number)
    reply = client.call("READDIR", opaque(client.root) + pack(">Q8sI", 0, b"", 1000))
    reply.rest.fixed(96)
    seen, cookie = [], 0
    while reply.rest.boolean():
        reply.rest.u64()
        seen.append(reply.rest.string(255))
        cookie = reply.rest.u64()
    for name in seen:
        if name not in (b".", b".."):
            assert client.call("REMOVE", opaque(client.root) + opaque(name)).status == 0
    reply = client.call("READDIR", opaque(client.root) + pack(">Q8sI", cookie, b"", 60000))
    reply.rest.fixed(96)
    while reply.rest.boolean():
        reply.rest.u64()
        seen.append(reply.rest.string(255))
        reply.rest.u64()
    assert len(seen) == len(set(seen)) == 202


def test_readdir_with_no_room_for_an_entry_is_toosmall(client):
    assert client.call("READDIR", opaque(client.root) + pack(">Q8sI", 0, b"", 10)).status == Status.TOOSMALL
    assert client.call("READDIRPLUS", opaque(client.root) + pack(">Q8sII", 0, b"", 0, 0)).status == Status.TOOSMALL


def test_a_foreign_cookie_verifier_is_bad_cookie(client):
    arguments = opaque(client.root) + pack(">Q8sI", 7, b"otherone", 4096)
    assert client.call("READDIR", arguments).status == Status.BAD_COOKIE


def test_forged_handles_are_bad_and_dead_ones_are_stale(client):
    handle = client.create(b"file")
    for at in range(len(handle)):
        forged = handle[:at] + bytes((handle[at] ^ 1,)) + handle[at + 1 :]
        assert client.call("GETATTR", opaque(forged)).status == Status.BADHANDLE
    assert client.call("GETATTR", opaque(b"")).status == Status.BADHANDLE
    assert client.call("REMOVE", opaque(client.root) + opaque(b"file")).status == 0
    assert client.call("GETATTR", opaque(handle)).status == Status.STALE
    assert client.write(handle, 0, b"x").status == Status.STALE


def test_a_handle_stays_good_when_its_file_is_renamed(client):
    handle = client.create(b"old")
    client.write(handle, 0, b"content")
    arguments = opaque(client.root) + opaque(b"old") + opaque(client.root) + opaque(b"new")
    assert client.call("RENAME", arguments).status == 0
    assert client.read(handle, 0, 100) == (b"content", True)
    assert client.call("LOOKUP", opaque(client.root) + opaque(b"old")).status == Status.NOENT


def test_guarded_create_refuses_and_unchecked_keeps_what_is_there(client):
    handle = client.create(b"file")
    client.write(handle, 0, b"content")
    assert client.create(b"file") == handle
    assert client.read(handle, 0, 100)[0] == b"content"
    guarded = opaque(client.root) + opaque(b"file") + pack(">I", 1) + DEFAULT_SATTR
    assert client.call("CREATE", guarded).status == Status.EXIST
    cut = opaque(client.root) + opaque(b"file") + pack(">I", 0) + pack(">IIII", 0, 0, 0, 1) + pack(">QII", 2, 0, 0)
    assert client.call("CREATE", cut).status == 0
    assert client.read(handle, 0, 100)[0] == b"co"


def test_exclusive_create_knows_its_own_repetition_and_refuses_another(client):
    def create(verifier):
        return client.call("CREATE", opaque(client.root) + opaque(b"file") + pack(">I8s", 2, verifier)).status

    assert create(b"abcdefgh") == 0
    assert create(b"abcdefgh") == 0
    assert create(b"12345678") == Status.EXIST


@pytest.mark.parametrize("name", [b".", b".."])
def test_dots_cannot_be_made_removed_or_renamed(client, name):
    root = opaque(client.root)
    assert client.call("CREATE", root + opaque(name) + pack(">I", 0) + DEFAULT_SATTR).status == Status.EXIST
    assert client.call("MKDIR", root + opaque(name) + DEFAULT_SATTR).status == Status.EXIST
    assert client.call("REMOVE", root + opaque(name)).status == Status.ISDIR
    assert client.call("RMDIR", root + opaque(name)).status in (Status.INVAL, Status.EXIST)
    assert client.call("RENAME", root + opaque(name) + root + opaque(b"x")).status == Status.INVAL


def test_names_out_of_the_directory_are_refused(client):
    for name in (b"", b"a/b", b"../x", b"/etc", b"a\0b"):
        assert client.call("LOOKUP", opaque(client.root) + opaque(name)).status == Status.ACCES
    assert client.call("LOOKUP", opaque(client.root) + opaque(b"n" * 256)).status == Status.NAMETOOLONG


def test_dotdot_of_the_root_is_the_root(client):
    reply = client.call("LOOKUP", opaque(client.root) + opaque(b".."))
    assert reply.status == 0
    assert reply.rest.string(64) == client.root


def test_directories_are_made_found_and_removed_only_when_empty(client):
    root = opaque(client.root)
    reply = client.call("MKDIR", root + opaque(b"d") + DEFAULT_SATTR)
    assert (reply.status, reply.rest.u32()) == (0, 1)
    directory = reply.rest.string(64)
    client.create(b"f", directory=directory)
    up = client.call("LOOKUP", opaque(directory) + opaque(b".."))
    assert up.rest.string(64) == client.root
    assert client.call("RMDIR", root + opaque(b"d")).status == Status.NOTEMPTY
    assert client.call("REMOVE", root + opaque(b"d")).status == Status.ISDIR
    assert client.call("REMOVE", opaque(directory) + opaque(b"f")).status == 0
    assert client.call("RMDIR", root + opaque(b"d")).status == 0
    assert client.call("GETATTR", opaque(directory)).status == Status.STALE


def test_symlinks_and_hard_links(client):
    root = opaque(client.root)
    reply = client.call("SYMLINK", root + opaque(b"s") + DEFAULT_SATTR + opaque(b"../../etc/passwd"))
    assert (reply.status, reply.rest.u32()) == (0, 1)
    link = reply.rest.string(64)
    reply = client.call("READLINK", opaque(link))
    reply.rest.fixed(88)
    assert (reply.status, reply.rest.string(4096)) == (0, b"../../etc/passwd")
    assert client.call("READ", opaque(link) + pack(">QI", 0, 10)).status == Status.INVAL
    file = client.create(b"f")
    assert client.call("LINK", opaque(file) + root + opaque(b"g")).status == 0
    assert client.call("LINK", opaque(file) + root + opaque(b"g")).status == Status.EXIST
    assert client.call("REMOVE", root + opaque(b"f")).status == 0
    assert client.call("GETATTR", opaque(file)).status == 0


def test_setattr_checks_its_guard(client):
    handle = client.create(b"f")
    arguments = opaque(handle) + pack(">II", 1, 0o600) + bytes(20)
    assert client.call("SETATTR", arguments + pack(">III", 1, 1, 1)).status == Status.NOT_SYNC
    assert client.call("SETATTR", arguments + pack(">I", 0)).status == 0
    reply = client.call("GETATTR", opaque(handle))
    assert (reply.rest.u32(), reply.rest.u32()) == (1, 0o600)


def test_sizes_beyond_what_a_file_can_have_are_refused(client):
    handle = client.create(b"f")
    assert client.write(handle, 2**63 - 1, b"xy").status == Status.FBIG
    assert client.write(handle, 2**64 - 1, b"x").status == Status.FBIG
    huge = opaque(handle) + pack(">IIIIQII", 0, 0, 0, 1, 2**64 - 1, 0, 0) + bytes(4)
    assert client.call("SETATTR", huge).status == Status.FBIG


def test_a_write_whose_count_is_not_its_datas_is_invalid(client):
    handle = client.create(b"f")
    assert client.call("WRITE", opaque(handle) + pack(">QII", 0, 9, 0) + opaque(b"x")).status == Status.INVAL


def test_stable_writes_and_commit_tell_the_verifier_and_what_was_done(client):
    handle = client.create(b"f")
    for stable, told in ((0, 0), (1, 2), (2, 2)):
        reply = client.write(handle, 0, b"data", stable)
        reply.rest.fixed(28 + 88)
        assert (reply.rest.u32(), reply.rest.u32(), bytes(reply.rest.fixed(8))) == (4, told, b"verifier")
    reply = client.call("COMMIT", opaque(handle) + pack(">QI", 0, 0))
    reply.rest.fixed(28 + 88)
    assert (reply.status, bytes(reply.rest.fixed(8))) == (0, b"verifier")


def test_a_disk_that_refuses_a_commit_fails_it_and_changes_the_verifier(make):
    client = make()

    def refuse():
        raise OSError(5, "no")

    handle = client.create(b"f")
    client.export.store.sync = lambda node: refuse
    assert client.call("COMMIT", opaque(handle) + pack(">QI", 0, 0)).status == Status.IO
    assert client.context.verifier != b"verifier"


def test_a_read_only_export_refuses_every_change_and_still_reads(make):
    client = make()
    handle = client.create(b"f")
    client.export.read_only = True
    root = opaque(client.root)
    assert client.write(handle, 0, b"x").status == Status.ROFS
    assert client.call("CREATE", root + opaque(b"g") + pack(">I", 0) + DEFAULT_SATTR).status == Status.ROFS
    assert client.call("MKDIR", root + opaque(b"g") + DEFAULT_SATTR).status == Status.ROFS
    assert client.call("REMOVE", root + opaque(b"f")).status == Status.ROFS
    assert client.call("RENAME", root + opaque(b"f") + root + opaque(b"g")).status == Status.ROFS
    assert client.call("LINK", opaque(handle) + root + opaque(b"g")).status == Status.ROFS
    assert client.call("SETATTR", opaque(handle) + DEFAULT_SATTR + bytes(4)).status == Status.ROFS
    assert client.read(handle, 0, 1) == (b"", True)


def test_strangers_may_do_only_what_the_bits_say(client):
    secret, own = client.create(b"secret", 0o600), client.create(b"own", 0o000)
    client.call("SETATTR", opaque(own) + pack(">6I", 0, 1, 1000, 1, 1000, 0) + bytes(8) + bytes(4))
    client.uid = client.gid = 1000
    assert client.call("READ", opaque(secret) + pack(">QI", 0, 1)).status == Status.ACCES
    assert client.write(secret, 0, b"x").status == Status.ACCES
    assert client.write(own, 0, b"x").status == 0  # RFC 1813 4.4: the owner always may
    assert client.call("SETATTR", opaque(secret) + pack(">II", 1, 0o777) + bytes(20) + bytes(4)).status == Status.PERM
    assert client.call("REMOVE", opaque(client.root) + opaque(b"secret")).status == Status.ACCES
    reply = client.call("ACCESS", opaque(secret) + pack(">I", 63))
    reply.rest.fixed(88)
    assert reply.rest.u32() == 0


def test_a_new_file_is_its_callers(client):
    client.call("SETATTR", opaque(client.root) + pack(">II", 1, 0o777) + bytes(20) + bytes(4))
    client.uid, client.gid = 1000, 1001
    reply = client.call("GETATTR", opaque(client.create(b"f", 0o640)))
    assert [reply.rest.u32() for _ in range(5)] == [1, 0o640, 1, 1000, 1001]


def test_squashed_root_is_nobody(make):
    client = make(squash="root")
    assert client.call("MKDIR", opaque(client.root) + opaque(b"d") + DEFAULT_SATTR).status == Status.ACCES


def test_clients_outside_the_list_are_refused(make):
    from labemu_nfs.exports import parse_clients

    client = make(clients=parse_clients("10.9.0.0/16"))
    assert client.call("GETATTR", opaque(client.root)).status == Status.ACCES
    inside = make(clients=parse_clients("10.9.0.0/16,10.0.0.2"))
    assert inside.call("GETATTR", opaque(inside.root)).status == 0


def test_a_removed_export_makes_its_handles_stale(make):
    client = make()
    root = client.root
    client.context.exports.remove("/gold")
    assert client.call("GETATTR", opaque(root)).status == Status.STALE


def test_a_resent_call_gets_the_first_answer_also_on_another_connection(client):
    from labemu_nfs.rpc.program import Caller
    from labemu_nfs.rpc.server import RpcConnection

    client.create(b"f")
    message = client.message(12, opaque(client.root) + opaque(b"f"))
    assert client.send(message).status == 0
    assert client.send(message).status == 0
    client.engine = RpcConnection(client.server, Caller(client.address))
    assert client.send(message).status == 0
    client.engine = RpcConnection(client.server, Caller("10.0.0.99"))
    assert client.send(message).status == Status.NOENT


def test_a_call_that_is_under_way_is_not_begun_again_and_both_askers_are_told(make, tmp_path):
    from labemu_nfs.rpc.program import Caller
    from labemu_nfs.rpc.server import RpcConnection
    from labemu_store.file import LocalFileStore

    client = make(LocalFileStore(tmp_path))
    other = RpcConnection(client.server, Caller(client.address))
    message = client.message(9, opaque(client.root) + opaque(b"d") + DEFAULT_SATTR)
    framed = pack(">I", 0x80000000 | len(message)) + message
    (pending,) = client.engine.receive_data(framed, 0.0)
    assert other.receive_data(framed, 0.0) == []
    pending.job.run()
    assert set(client.engine.complete(pending, None, 0.0)) == {client.engine, other}
    assert b"".join(client.engine.data_to_send()) == b"".join(other.data_to_send()) != b""


def test_mount_gives_the_roots_handle_and_that_of_directories_below(client):
    client.call("MKDIR", opaque(client.root) + opaque(b"d") + DEFAULT_SATTR)
    client.create(b"f")

    def mnt(path):
        return client.send(client.message(1, opaque(path), program=100005))

    reply = mnt(b"/gold")
    assert (reply.status, reply.rest.string(64)) == (0, client.root)
    assert mnt(b"/gold/d/").status == 0
    assert mnt(b"/gold/f").status == Status.NOTDIR
    assert mnt(b"/gold/none").status == Status.NOENT
    assert mnt(b"/golden").status == Status.NOENT
    assert mnt(b"/gold/../../etc").status == Status.NOENT
    assert ("10.0.0.2", "/gold") in client.mount.mounts


def test_fsinfo_pathconf_and_fsstat_answer(client):
    for name in ("FSINFO", "PATHCONF", "FSSTAT"):
        assert client.call(name, opaque(client.root)).status == 0


def test_special_files_are_made_but_never_opened(client):
    fifo = opaque(client.root) + opaque(b"p") + pack(">I", 7) + DEFAULT_SATTR
    reply = client.call("MKNOD", fifo)
    assert (reply.status, reply.rest.u32()) == (0, 1)
    handle = reply.rest.string(64)
    assert client.call("READ", opaque(handle) + pack(">QI", 0, 1)).status == Status.INVAL
    wrong = opaque(client.root) + opaque(b"q") + pack(">I", 1) + DEFAULT_SATTR
    assert client.call("MKNOD", wrong).status == Status.BADTYPE
