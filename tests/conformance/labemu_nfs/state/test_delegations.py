"""Delegations, their recall and revocation, calls back: RFC 8881 10.2 to 10.4, 18.6, 18.38, 18.49, 20; RFC 7530 10, 17."""

from __future__ import annotations

from struct import pack, unpack_from

import pytest

from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection, RpcServer
from labemu_nfs.xdr import Decoder, opaque, u32, u64

READ, WRITE, BOTH = 1, 2, 3
WANT_READ, WANT_WRITE, WANT_ANY, WANT_NONE = 0x101, 0x203, 0x303, 0x401
RECALL, GETATTR = 4, 3
REVOKED = 0x40


def calls(engine: RpcConnection) -> list[bytes]:
    """What the server calls: whole messages."""
    out, found = b"".join(engine.data_to_send()), []
    while out:
        size = unpack_from(">I", out)[0] & 0x7FFF_FFFF
        found.append(out[4 : 4 + size])
        out = out[4 + size :]
    return found


def answer(engine: RpcConnection, call: bytes, results: bytes) -> None:
    reply = call[:4] + pack(">IIIII", 1, 0, 0, 0, 0) + results
    engine.receive_data(u32(0x8000_0000 | len(reply)) + reply, 0.0)


def in_sequence(operation: int, status: int = 0, body: bytes = b"") -> bytes:
    """CB_COMPOUND4res of CB_SEQUENCE and one more."""
    return pack(">III", status, 0, 2) + pack(">II", 11, 0) + bytes(32) + pack(">II", operation, status) + body


def recalled(engine: RpcConnection) -> tuple[bytes, Decoder]:
    """The one CB_RECALL that was sent: the call, and its arguments."""
    (call,) = calls(engine)
    decoder = Decoder(memoryview(call), 40)
    decoder.opaque(99)
    assert (decoder.u32(), decoder.u32(), decoder.u32()) == (1, 0, 2)
    assert decoder.u32() == 11
    decoder.fixed(16 + 16 + 4)
    assert decoder.u32() == RECALL
    return call, decoder


def giveback(stateid: bytes) -> bytes:
    return u32(Number.DELEGRETURN) + stateid


@pytest.mark.parametrize(
    ("want", "kind"), [(WANT_READ, 1), (WANT_WRITE, 2), (WANT_ANY, 2), (READ, 1), (BOTH, 0), (0x301, 1)]
)
def test_what_is_wanted_is_given_where_nobody_else_uses_the_file(world, want, kind):
    status, opened, _ = world.peer41().open(b"file", want)
    assert (status, opened.delegation) == (Status.OK, kind)


def test_reasons_for_giving_none(world):
    peer, other = world.peer41(), world.peer41(b"other")
    assert (peer.open(b"file", WANT_NONE)[1].delegation, peer.open(b"file", WANT_NONE)[1].rest) == (3, 0)
    other.open(b"file", WRITE)
    opened = peer.open(b"file", WANT_READ)[1]
    assert (opened.delegation, opened.rest) == (3, 1)
    deaf = world.peer41(b"deaf", connect=False)
    deaf.number, deaf.creation = (decoder := deaf.exchange_id()[1]).u64(), decoder.u32()
    deaf.session = bytes(deaf.create_session(flags=0)[1].fixed(16))
    deaf.status(u32(Number.RECLAIM_COMPLETE) + u32(0))
    opened = deaf.open(b"link2", WANT_READ, how=u32(1) + u32(0) + bytes(8))[1]
    assert (opened.delegation, opened.rest) == (3, 2)


def test_a_conflicting_open_waits_until_the_delegation_is_returned(world):
    peer, other = world.peer41(), world.peer41(b"other")
    _, opened, handle = peer.open(b"file", WANT_READ)
    assert other.open(b"file", READ)[0] == Status.OK
    assert other.open(b"file", BOTH, owner=b"w")[0] == Status.DELAY
    call, arguments = recalled(peer.wire.engine)
    assert unpack_from(">5I", call, 4) == (0, 2, 0x40000001, 1, 1)
    assert bytes(arguments.fixed(16)) == opened.rest
    assert not arguments.boolean()
    assert arguments.string(128) == handle
    answer(peer.wire.engine, call, in_sequence(RECALL))
    assert other.open(b"file", BOTH, owner=b"w")[0] == Status.DELAY
    assert calls(peer.wire.engine) == []
    assert peer.on(handle, giveback(opened.rest)) == Status.OK
    assert peer.on(handle, giveback(opened.rest)) == Status.BAD_STATEID
    assert other.open(b"file", BOTH, owner=b"w")[0] in (Status.OK, Status.DELAY)


def test_a_recall_that_the_client_refuses_is_made_again_when_somebody_asks(world):
    peer, other = world.peer41(), world.peer41(b"other")
    peer.open(b"file", WANT_READ)
    for _ in range(3):
        assert other.open(b"file", WRITE)[0] == Status.DELAY
        answer(peer.wire.engine, recalled(peer.wire.engine)[0], in_sequence(RECALL, Status.DELAY))


def test_a_delegation_that_does_not_come_back_is_revoked_and_the_client_told(world):
    peer, other = world.peer41(), world.peer41(b"other")
    _, opened, handle = peer.open(b"file", WANT_READ)
    assert other.open(b"file", WRITE)[0] == Status.DELAY
    recalled(peer.wire.engine)
    world.now += 46
    assert peer.status() == Status.OK
    assert other.open(b"file", WRITE)[0] == Status.OK
    ops = peer.wire.ops
    assert peer.on(handle, ops.read(0, 9, opened.rest)) == Status.DELEG_REVOKED
    assert peer.flags() & REVOKED
    tested = peer.send(u32(Number.TEST_STATEID) + u32(1) + opened.rest).skip(36)
    assert (tested.u32(), tested.u32()) == (1, Status.DELEG_REVOKED)
    assert peer.status(u32(Number.FREE_STATEID) + opened.rest) == Status.OK
    assert peer.flags() & REVOKED == 0
    assert peer.on(handle, ops.read(0, 9, opened.rest)) == Status.BAD_STATEID


def test_giving_up_a_revoked_delegation_leaves_alone_what_others_hold_since(world):
    peer, other = world.peer41(), world.peer41(b"other")
    _, opened, handle = peer.open(b"file", WANT_READ)
    assert peer.on(handle, u32(Number.CLOSE) + u32(0) + opened.stateid) == Status.OK
    assert other.open(b"file", WRITE)[0] == Status.DELAY
    recalled(peer.wire.engine)
    world.now += 46
    assert peer.status() == Status.OK
    _, theirs, _ = other.open(b"file", WRITE, 2)
    assert peer.status(u32(Number.FREE_STATEID) + opened.rest) == Status.OK
    assert peer.open(b"file", WRITE)[0] == Status.SHARE_DENIED
    assert other.on(handle, u32(Number.CLOSE) + u32(0) + theirs.stateid) == Status.OK


def test_a_recall_goes_out_again_over_a_new_session(world):
    peer, other = world.peer41(), world.peer41(b"other")
    peer.open(b"file", WANT_READ)
    assert other.open(b"file", WRITE)[0] == Status.DELAY
    assert len(calls(peer.wire.engine)) == 1
    assert peer.wire.status(u32(Number.DESTROY_SESSION) + peer.session, minor=1) == Status.OK
    head = u32(Number.CREATE_SESSION) + pack(">QII", peer.number, peer.creation, 2)
    channel = pack(">7I", 0, 1 << 20, 1 << 20, 8192, 64, 8, 0)
    arguments = opaque(b"") + pack(">II", 1, 1) + head + channel + channel + u32(0x40000001) + u32(1) + u32(0)
    message = pack(">6I", 99, 0, 2, 100003, 4, 1) + peer.wire.credential() + bytes(8) + arguments
    peer.wire.engine.receive_data(u32(0x8000_0000 | len(message)) + message, 0.0)
    kinds = sorted(unpack_from(">I", each, 4)[0] for each in calls(peer.wire.engine))
    assert kinds == [0, 1]  # the recall, and the answer


def test_changes_by_others_wait_for_a_delegation(world):
    peer, other = world.peer41(), world.peer41(b"other")
    _, opened, handle = peer.open(b"file", WANT_READ)
    ops = other.wire.ops
    gold = other.wire.at("gold")
    changes = (
        (*other.wire.at("gold/file"), ops.setattr((Attribute.MODE, u32(0o600)))),
        (*other.wire.at("gold/file"), ops.write(0, b"x")),
        (*gold, ops.remove(b"file")),
        (*gold, ops.SAVEFH, ops.rename(b"file", b"elsewhere")),
        (*gold, ops.SAVEFH, *other.wire.at("gold"), ops.mkdir(b"unrelated")),
    )
    assert [other.status(*change) for change in changes] == [Status.DELAY] * 4 + [Status.OK]
    assert other.status(*other.wire.at("gold/file"), ops.read(0, 9)) == Status.OK
    calls(peer.wire.engine)
    assert peer.on(handle, giveback(opened.rest)) == Status.OK
    assert other.status(*changes[0]) == Status.OK


def test_attributes_of_a_file_that_is_written_elsewhere_are_asked_for(world):
    peer, other = world.peer41(), world.peer41(b"other")
    peer.open(b"file", WANT_WRITE)
    look = (*other.wire.at("gold/file"), other.wire.ops.getattr(Attribute.SIZE))
    assert other.status(*look) == Status.DELAY
    (call,) = calls(peer.wire.engine)
    assert call.endswith(u32(1) + u32(1 << 3 | 1 << 4))
    values = u32(1) + u32(1 << 3 | 1 << 4) + opaque(u64(7) + u64(12345))
    answer(peer.wire.engine, call, in_sequence(GETATTR, 0, values))
    decoder = other.send(*look).skip(36, 0, 0, 0)
    decoder.fixed(8)
    assert Decoder(decoder.opaque(8)).u64() == 12345


def test_a_delegation_may_be_wanted_without_an_open(world):
    peer = world.peer41()
    handle = peer.wire.handle("gold/file")
    want = u32(Number.WANT_DELEGATION) + u32(0x100) + u32(4)
    reply = peer.send(peer.wire.ops.putfh(handle), want)
    assert (reply.status, reply.skip(36, 0).u32()) == (Status.OK, 1)
    assert peer.on(peer.wire.handle("gold/dir"), want) == Status.ISDIR
    directory = u32(Number.GET_DIR_DELEGATION) + u32(0) + u32(0) + bytes(24) + u32(0) + u32(0)
    reply = peer.send(*peer.wire.at("gold"), directory)
    assert (reply.status, reply.skip(36, 0, 0).u32()) == (Status.OK, 1)


def test_a_file_opened_under_a_delegation_needs_its_stateid(world):
    peer = world.peer41()
    _, opened, _ = peer.open(b"file", WANT_READ)
    head = u32(Number.OPEN) + pack(">IIIQ", 0, READ, 0, 0) + opaque(b"other owner") + u32(0) + u32(2)
    assert peer.status(*peer.wire.at("gold"), head + opened.rest + opaque(b"file")) == Status.OK
    assert peer.status(*peer.wire.at("gold"), head + opened.stateid + opaque(b"file")) == Status.BAD_STATEID


class Phone:
    """A Dialer that keeps the other ends of its connections."""

    def __init__(self) -> None:
        self.lines: list[RpcConnection] = []

    def dial(self, host, port):
        self.lines.append(RpcConnection(RpcServer(()), Caller(host)))
        return self.lines[-1].link


def test_a_client_of_4_0_is_called_at_its_address_and_gets_no_delegation_before_it_answers(world):
    phone = world.wire.context.states.dialer = Phone()
    peer, other = world.peer40(), world.peer40(b"other")
    (probe,) = calls(phone.lines[0])
    assert unpack_from(">5I", probe, 4) == (0, 2, 0x40000000, 1, 0)
    peer.opened(b"o", b"file", READ)
    assert peer.open(b"o", b"file", READ)[1].delegation == 0
    answer(phone.lines[0], probe, b"")
    status, opened, _ = peer.open(b"o", b"file", READ)
    assert (status, opened.delegation) == (Status.OK, 1)
    assert other.open(b"o", b"file", WRITE)[0] == Status.DELAY
    (call,) = calls(phone.lines[0])
    assert unpack_from(">II", call, 24) == (1, 32), "Linux takes no CB_COMPOUND with AUTH_NONE"
    assert call[72:].startswith(pack(">IIIII", 0, 0, 1, 1, RECALL))
    phone.lines[0].link.close()
    assert peer.wire.status(u32(Number.RENEW) + u64(peer.number)) == Status.CB_PATH_DOWN


def test_a_4_0_client_cannot_have_others_called(world):
    phone = world.wire.context.states.dialer = Phone()
    peer = world.peer40(connect=False)
    peer.wire.address = "10.0.0.9"
    peer.wire.engine = RpcConnection(peer.wire.server, Caller("10.0.0.9"))
    peer.connect()
    assert phone.lines == []


@pytest.mark.parametrize(("use", "denied", "delegated"), [(1, True, True), (2, False, False), (4, True, False)])
def test_other_versions_respect_denials_and_delegations(world, use, denied, delegated):
    states = world.wire.context.states
    file = world.wire.exports["/gold"].fsid, (store := world.wire.exports["/gold"].store).lookup(store.root, b"file")
    assert states.check_foreign(file, use, world.now)
    peer = world.peer41()
    _, opened, handle = peer.open(b"file", READ | 0x400, 2)
    assert states.check_foreign(file, use, world.now) is denied
    assert peer.on(handle, u32(Number.CLOSE) + u32(0) + opened.stateid) == Status.OK
    peer.open(b"file", WANT_READ)
    assert states.check_foreign(file, use, world.now) is delegated
