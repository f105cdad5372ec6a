from __future__ import annotations

from contextlib import suppress
from struct import pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labemu_nfs.errors import ProtocolError
from labemu_nfs.limits import MAX_FRAGMENTS, MAX_RECORD, MAX_UNSENT, REPLIES_TOGETHER
from labemu_nfs.portmap import Mapping, Portmap
from labemu_nfs.rpc.program import Caller, Procedure, Program, null
from labemu_nfs.rpc.records import RecordReader
from labemu_nfs.rpc.server import RpcConnection, RpcServer
from labemu_nfs.xdr import Decoder, XdrError, opaque, padding, u32

from .conftest import auth_sys, record

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def feed(reader, data, step):
    found = []
    view = memoryview(data)
    while view:
        space = reader.space()
        size = min(step, len(space), len(view))
        assert size
        space[:size] = view[:size]
        reader.received(size)
        view = view[size:]
        while (record := reader.next()) is not None:
            found.append(bytes(record))
    return found


@given(
    records=st.lists(st.lists(st.binary(max_size=5000), min_size=1, max_size=5), max_size=6),
    step=st.integers(1, 70000),
)
@SETTINGS
def test_records_come_out_whole_however_they_are_cut_into_fragments_and_chunks(records, step):
    stream = b""
    for fragments in records:
        for at, fragment in enumerate(fragments):
            last = 0x80000000 if at == len(fragments) - 1 else 0
            stream += pack(">I", last | len(fragment)) + fragment
    assert feed(RecordReader(), stream, step) == [b"".join(fragments) for fragments in records]


def test_a_record_of_the_greatest_size_passes_and_one_byte_more_does_not():
    assert len(feed(RecordReader(), pack(">I", 0x80000000 | MAX_RECORD) + bytes(MAX_RECORD), 100_000)[0]) == MAX_RECORD
    with pytest.raises(ProtocolError):
        feed(RecordReader(), pack(">I", 0x80000000 | (MAX_RECORD + 1)), 4)


def test_endless_fragments_end_the_connection():
    with pytest.raises(ProtocolError):
        feed(RecordReader(), bytes(4) * (MAX_FRAGMENTS + 1), 4)
    with pytest.raises(ProtocolError):
        feed(RecordReader(), (pack(">I", 8192) + bytes(8192)) * (MAX_RECORD // 8192 + 1), 8196)


@given(st.binary(max_size=400))
@SETTINGS
def test_no_message_raises_anything_but_a_protocol_error(make, data):
    client = make()
    with suppress(ProtocolError):
        client.exchange(pack(">I", 0x80000000 | len(data)) + data)
    client.server.datagram(data, Caller("10.0.0.2", "udp"))


@given(
    number=st.integers(0, 25), body=st.binary(max_size=200), program=st.sampled_from([100003, 100005]), fh=st.booleans()
)
@SETTINGS
def test_no_arguments_raise_anything(make, number, body, program, fh):
    client = make()
    arguments = (opaque(client.root) if fh else b"") + body
    assert client.send(client.message(number, arguments, program=program)).xid == client.xid


@given(cuts=st.lists(st.integers(1, 700), max_size=30))
@SETTINGS
def test_the_replies_do_not_depend_on_how_the_calls_arrive(make, cuts):
    def run(pieces):
        client = make()
        client.export.fsid = 7
        messages = [
            client.message(0, b""),
            client.message(1, opaque(b"bad")),
            client.message(99, b""),
            client.message(0, b""),
        ]
        stream = b"".join(pack(">I", 0x80000000 | len(m)) + m for m in messages)
        out = b""
        for size in pieces:
            client.engine.receive_data(stream[:size], 0.0)
            out += b"".join(client.engine.data_to_send())
            stream = stream[size:]
        client.engine.receive_data(stream, 0.0)
        return out + b"".join(client.engine.data_to_send())

    assert run(cuts) == run([])


def test_replies_that_nobody_takes_stop_the_work(make):
    client = make()
    handle = client.create(b"f")
    for at in range(4):
        client.write(handle, at << 20, bytes(1 << 20))
    message = client.message(6, opaque(handle) + pack(">QI", 0, 1 << 20))
    client.engine.receive_data((pack(">I", 0x80000000 | len(message)) + message) * 100, 0.0)
    assert client.engine.busy
    assert client.engine._unsent < MAX_UNSENT + (2 << 20)
    taken = 0
    while client.engine.data_to_send():
        taken += 1
        client.engine.proceed(0.0)
    assert taken == 25


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (pack(">6I", 1, 0, 3, 100003, 3, 0), pack(">6I", 1, 1, 1, 0, 2, 2)),  # RPC_MISMATCH
        (pack(">6I", 1, 0, 2, 4711, 3, 0), pack(">6I", 1, 1, 0, 0, 0, 1)),  # PROG_UNAVAIL
        (pack(">6I", 1, 0, 2, 100003, 9, 0), pack(">8I", 1, 1, 0, 0, 0, 2, 3, 3)),  # PROG_MISMATCH
        (pack(">6I", 1, 0, 2, 100003, 3, 22), pack(">6I", 1, 1, 0, 0, 0, 3)),  # PROC_UNAVAIL
        (pack(">6I", 1, 0, 2, 100003, 3, 1), pack(">6I", 1, 1, 0, 0, 0, 4)),  # GARBAGE_ARGS
        (pack(">6I", 1, 0, 2, 100003, 3, 0), pack(">6I", 1, 1, 0, 0, 0, 0)),
    ],
)
def test_each_refusal_is_the_rfcs(make, head, answer):
    assert make().exchange(pack(">I", 0x80000000 | 40) + head + bytes(16)) == [answer]


def test_unknown_flavours_are_too_weak_and_broken_credentials_bad(make):
    head = pack(">6I", 1, 0, 2, 100003, 3, 1)
    for credential, why in ((pack(">II", 6, 0), 5), (pack(">III", 1, 4, 0), 1)):
        message = head + credential + bytes(8)
        assert make().exchange(pack(">I", 0x80000000 | len(message)) + message) == [pack(">5I", 1, 1, 1, 1, why)]


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", b"abcd", b"abcde"])
def test_opaque_data_is_the_same_both_ways(data):
    wire = opaque(data)
    assert len(wire) % 4 == 0
    assert wire == pack(">I", len(data)) + data + padding(len(data))
    decoder = Decoder(memoryview(wire))
    assert decoder.string(5) == data
    assert decoder.at == len(wire)
    for short in range(len(wire)):
        with pytest.raises(XdrError):
            Decoder(memoryview(wire)[:short]).string(5)
    with pytest.raises(XdrError):
        Decoder(memoryview(wire)).string(len(data) - 1)


def portmap_call(version, procedure, arguments):
    portmap = Portmap("10.0.0.1")
    portmap.publish([Mapping(program=100003, version=3, transport="tcp", port=2049)])
    server = RpcServer((portmap.program(),))
    message = pack(">6I", 9, 0, 2, 100000, version, procedure) + bytes(16) + arguments
    return server.datagram(message, Caller("10.0.0.2", "udp"))[24:]


@pytest.mark.parametrize(
    ("version", "procedure", "arguments", "results"),
    [
        (2, 3, pack(">4I", 100003, 3, 6, 0), pack(">I", 2049)),
        (2, 3, pack(">4I", 100003, 3, 17, 0), pack(">I", 0)),
        (2, 3, pack(">4I", 4711, 3, 6, 0), pack(">I", 0)),
        (2, 1, pack(">4I", 4711, 3, 6, 99), pack(">I", 0)),
        (2, 4, b"", pack(">6I", 1, 100003, 3, 6, 2049, 0)),
        (3, 3, pack(">II", 100003, 3) + opaque(b"tcp") + opaque(b"") * 2, opaque(b"10.0.0.1.8.1")),
        (4, 3, pack(">II", 4711, 3) + opaque(b"tcp") + opaque(b"") * 2, opaque(b"")),
        (4, 9, pack(">II", 100003, 3) + opaque(b"tcp") + opaque(b"") * 2, opaque(b"10.0.0.1.8.1")),
    ],
)
def test_the_port_mapper_tells_what_is_served(version, procedure, arguments, results):
    assert portmap_call(version, procedure, arguments) == results


def test_a_connection_takes_no_reply_for_a_call():
    engine = RpcConnection(RpcServer(()), Caller("10.0.0.2"))
    with pytest.raises(ProtocolError):
        engine.receive_data(pack(">I6I", 0x80000018, 1, 1, 0, 0, 0, 0), 0.0)


def _telling(word):
    """A program whose procedure tells a word and the arguments, and for whom."""

    def told(caller, credential, arguments):
        return [opaque(word), u32(credential.uid), bytes(arguments.fixed(4))]

    return Program(400000, "told", {1: (Procedure("NULL", null), Procedure("TOLD", told))})


def test_calls_with_the_same_head_are_told_apart_by_all_that_matters():
    server = RpcServer((_telling(b"one"),))
    connection = RpcConnection(server, Caller("10.0.0.2"))

    def answer(xid, uid=0, procedure=1, arguments=b"abcd"):
        head = pack(">6I", xid, 0, 2, 400000, 1, procedure) + auth_sys(uid, 0) + bytes(8)
        assert not connection.receive_data(record(head + arguments), 0.0)
        reply = b"".join(connection.data_to_send())[4:]
        assert reply[:4] == pack(">I", xid)
        return reply[24:]

    def results(word, uid=0, arguments=b"abcd"):
        return opaque(word) + u32(uid) + arguments

    assert answer(1) == answer(2) == results(b"one")
    assert answer(3, uid=7) == answer(4, uid=7) == results(b"one", 7)
    assert answer(5, uid=7, arguments=b"wxyz") == results(b"one", 7, b"wxyz")
    assert answer(6, procedure=0) == b""
    assert answer(7) == results(b"one")
    assert answer(8, arguments=b"ab") == b""
    server.replace(_telling(b"two"))
    assert answer(9) == results(b"two")
    assert [procedure.name for procedure in server.calls] == ["NULL", "TOLD"]
    assert sum(server.calls.values()) == 9


def test_the_replies_to_many_calls_leave_in_portions():
    connection = RpcConnection(RpcServer((_telling(b"one"),)), Caller("10.0.0.2"))
    head = pack(">5I", 0, 2, 400000, 1, 0) + bytes(16)
    connection.receive_data(b"".join(record(pack(">I", xid) + head) for xid in range(2 * REPLIES_TOGETHER + 1)), 0.0)
    portions = []
    while output := connection.data_to_send():
        portions.append(len(b"".join(output)) // 28)
        connection.proceed(0.0)
    assert portions == [REPLIES_TOGETHER, REPLIES_TOGETHER, 1]
