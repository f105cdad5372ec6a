"""Faults of NFS operations: the engine with the layer in place, no socket."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labemu_faults.action import Action, ActionKind
from labemu_faults.errors import FaultError
from labemu_faults.rule import Rule
from labemu_nfs.errors import ProtocolError
from labemu_nfs.faults import ERRORS, Faults, check_rule
from labemu_nfs.nfs3.faulty import faulty, path_of
from labemu_nfs.nfs3.program import TABLE
from labemu_nfs.nfs3.status import Status
from labemu_nfs.rpc.program import Hold
from labemu_nfs.xdr import opaque

from .conftest import NUMBERS, record

NAMES = [name for name, *_ in TABLE]


def order(client, kind: str, *, selectors: dict[str, object] | None = None, **action: object) -> Faults:
    faults = Faults()
    faults.table.add(Rule(id="1", action=Action(kind=ActionKind(kind), **action), **(selectors or {})))
    client.server.replace(faulty(client.server.programs[100003], faults, client.context))
    return faults


def held(client, name: str, arguments: bytes) -> list:
    return client.engine.receive_data(record(client.message(NUMBERS[name], arguments)), 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_procedure_fails_in_its_own_form(client, name):
    order(client, "error", code=(Status.JUKEBOX,))
    reply = client.call(name, opaque(client.root) + opaque(b"name") + bytes(64))
    assert (reply.accept, reply.status) == (0, Status.JUKEBOX)
    sizes = {"GETATTR": 0, "SETATTR": 8, "WRITE": 8, "CREATE": 8, "RENAME": 16, "LINK": 12, "READ": 4, "COMMIT": 8}
    if name in sizes:
        assert len(reply.rest.view) - reply.rest.at == sizes[name]


def test_one_operation_on_one_file_fails_so_often_as_ordered(client):
    one, other = client.create(b"one"), client.create(b"other")
    faults = order(
        client,
        "error",
        code=(ERRORS["stale"],),
        selectors={"operations": ("write",), "path": "/gold/o?e", "count": 2},
    )
    assert [client.write(handle, 0, b"x").status for handle in (one, other, one, one)] == [70, 0, 70, 0]
    assert next(iter(faults.table)).hits == 2
    assert client.read(one, 0, 10) == (b"x", True)


def test_a_name_in_a_directory_is_part_of_the_path(client):
    order(client, "error", code=(Status.ACCES,), selectors={"path": "/gold/secret"})
    assert client.call("LOOKUP", opaque(client.root) + opaque(b"secret")).status == Status.ACCES
    assert client.call("LOOKUP", opaque(client.root) + opaque(b"public")).status == Status.NOENT


def test_the_path_of_a_file_follows_its_renaming_and_goes_down_the_tree(client):
    reply = client.call("MKDIR", opaque(client.root) + opaque(b"below") + bytes(24))
    assert reply.rest.u32() == 1
    folder = reply.rest.string(64)
    file = client.create(b"file", directory=folder)
    assert path_of(client.context, file) == "/gold/below/file"
    renamed = opaque(folder) + opaque(b"file") + opaque(client.root) + opaque(b"up")
    assert client.call("RENAME", renamed).status == 0
    assert path_of(client.context, file) == "/gold/up"
    assert path_of(client.context, client.root) == "/gold"
    assert path_of(client.context, b"nonsense") == ""


def test_a_file_is_selected_by_its_handle_where_its_path_is_not_known(client):
    one, other = client.create(b"one"), client.create(b"other")
    order(client, "error", code=(Status.IO,), selectors={"path": f"handle:{one.hex()[:60]}*"})
    assert client.call("GETATTR", opaque(one)).status == Status.IO
    assert client.call("GETATTR", opaque(other)).status == (
        Status.IO if other.hex().startswith(one.hex()[:60]) else Status.OK
    )


def test_a_client_is_selected_by_its_address(client):
    order(client, "error", code=(Status.IO,), selectors={"clients": ("10.0.0.3",)})
    assert client.call("GETATTR", opaque(client.root)).status == 0


def test_read_only_refuses_changes_alone(client):
    file = client.create(b"file")
    order(client, "readonly")
    assert client.write(file, 0, b"x").status == Status.ROFS
    assert client.call("REMOVE", opaque(client.root) + opaque(b"file")).status == Status.ROFS
    assert client.read(file, 0, 1) == (b"", True)


def test_a_delayed_write_is_done_with_its_own_data_although_the_buffer_is_used_again(client):
    file = client.create(b"file")
    order(client, "latency", average=0.5, selectors={"operations": ("write",)})
    data = opaque(file) + pack(">QII", 0, 4, 0) + opaque(b"mine")
    (pending,) = held(client, "WRITE", data)
    assert isinstance(pending.job, Hold)
    assert pending.job.delay == 0.5
    assert client.read(file, 0, 10) == (b"", True)
    assert client.engine.resume(pending) == [client.engine]
    assert client.engine.data_to_send()
    assert client.read(file, 0, 10) == (b"mine", True)


def test_a_delayed_call_that_does_not_decode_is_garbage_as_ever(client):
    order(client, "latency", average=0.5)
    (pending,) = held(client, "GETATTR", b"\0\0\0\x09")
    client.engine.resume(pending)
    reply = b"".join(client.engine.data_to_send())
    assert reply[-4:] == pack(">I", 4)


def test_a_rate_paces_reads_by_their_bytes(client):
    file = client.create(b"file")
    client.write(file, 0, bytes(4096))
    order(client, "rate", rate=4096)
    (first,) = held(client, "READ", opaque(file) + pack(">QI", 0, 4096))
    (second,) = held(client, "READ", opaque(file) + pack(">QI", 0, 2048))
    assert (first.job.delay, second.job.delay) == (1.0, 1.5)


def test_a_silenced_call_is_not_done_and_is_new_when_it_is_sent_again(client):
    faults = order(client, "silence", selectors={"operations": ("remove",)})
    client.create(b"file")
    message = client.message(NUMBERS["REMOVE"], opaque(client.root) + opaque(b"file"))
    (pending,) = client.engine.receive_data(record(message), 0.0)
    assert pending.job.silent
    client.engine.forget(pending)
    faults.table.clear_all()
    assert client.send(message).status == 0
    assert client.call("LOOKUP", opaque(client.root) + opaque(b"file")).status == Status.NOENT


def test_a_dropped_call_ends_the_connection_and_is_new_when_it_is_sent_again(client):
    faults = order(client, "drop", selectors={"operations": ("remove",)})
    client.create(b"file")
    message = client.message(NUMBERS["REMOVE"], opaque(client.root) + opaque(b"file"))
    with pytest.raises(ProtocolError, match="ordered"):
        client.engine.receive_data(record(message), 0.0)
    faults.table.clear_all()
    again = type(client)(client.server, client.context, client.export, client.mount)
    assert again.send(message).status == 0


def test_counts_of_calls_go_on_when_the_layer_comes_and_goes(client):
    plain = client.server.programs[100003]
    client.call("GETATTR", opaque(client.root))
    order(client, "error", code=(Status.IO,))
    client.call("GETATTR", opaque(client.root))
    client.server.replace(plain)
    assert client.server.calls[plain.versions[3][1]] == 2


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ({"operations": ("wirte",)}, 'did you mean "write"?'),
        ({"action": Action(kind=ActionKind.CORRUPT)}, "it can: drop, error, latency, pause, rate, readonly, silence"),
        ({"lun": 1}, "select by path: /export/file*"),
        (
            {"action": Action(kind=ActionKind.DROP, after=9), "operations": ("read",)},
            "leave out the operations and the path, or the bytes",
        ),
    ],
)
def test_what_no_server_can_do_is_refused(rule, hint):
    with pytest.raises(FaultError) as caught:
        check_rule(Rule(**{"id": "1", "action": Action(kind=ActionKind.PAUSE), **rule}), NAMES)
    assert caught.value.hint == hint


@given(data=st.binary(max_size=200), number=st.integers(1, 21))
def test_no_arguments_make_the_layer_stumble(data, number):
    from labemu_store.file import MemoryFileStore

    from .conftest import make_client

    client = make_client(MemoryFileStore())
    faults = order(client, "error", code=(Status.IO,), selectors={"path": "/gold/*"})
    client.server.replace(faulty(client.server.programs[100003], faults, client.context))
    assert client.send(client.message(number, data)).accept in (0, 4)
    client.export.store.close()
