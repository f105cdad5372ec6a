"""Decoder: whatever the packets look like that carry a conversation, the same commands come of it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labctl.trace.command import Command
from labctl.trace.decoder import Decoder
from labctl.trace.naming import Names, Volume
from labctl.trace.record import Annotation, Packet

from .conversations import FILE, INITIATOR, TARGET, Said, iscsi, nfs3, nfs4
from .talk import CLIENT, LINK, SERVER, START, STEP, Talk, renumbered, shuffled

NFS = ("10.20.0.11", 2049)


def talk(said: Said, *, handshake: bool = True, sizes: Any = None, **more: Any) -> list[Packet]:
    made = Talk(**more)
    if handshake:
        made.open()
    for side, data in said:
        made.say(side, data, sizes(len(data)) if sizes else ())
    return made.packets


def decode(packets: list[Packet], names: Names | None = None, size: int = 7) -> tuple[list[Command], Decoder]:
    decoder = Decoder(names)
    commands = []
    for at in range(0, len(packets), size):
        commands += decoder.feed(packets[at : at + size], [LINK])
    return sorted(commands + decoder.finish(), key=lambda command: command.id), decoder


def told(commands: list[Command]) -> list[tuple[object, ...]]:
    """What does not depend on how the bytes lay in packets."""
    return [
        (
            each.operation,
            each.target,
            each.offset,
            each.length,
            each.sent,
            each.received,
            each.status,
            each.sense,
            each.part,
        )
        for each in commands
    ]


ISCSI = [
    ("LOGIN", "", None, None),
    ("TEST UNIT READY", "LUN 0", None, None),
    ("READ CAPACITY(10)", "LUN 0", None, None),
    ("WRITE(10)", "LUN 0", 4096, 2048),
    ("WRITE(10)", "LUN 0", 32768, 32768),
    ("READ(10)", "LUN 0", 32768, 32768),
    ("UNMAP", "LUN 0", 51200, 25600),
    ("READ(10)", "LUN 0", 1 << 39, 512),
    ("LOGICAL UNIT RESET", "LUN 0", None, None),
    ("LOGOUT", "", None, None),
]


@pytest.mark.parametrize("digests", [False, True])
def test_an_iscsi_session_from_login_to_logout(digests: bool) -> None:
    commands, decoder = decode(talk(iscsi(digests=digests)))
    assert [(each.operation, each.target, each.offset, each.length) for each in commands] == ISCSI
    assert {each.session for each in commands} == {f"{INITIATOR},{TARGET}"}
    assert [each.good for each in commands] == [True, False, *[True] * 5, False, True, True]
    assert commands[1].sense.startswith("UNIT ATTENTION 29/00")
    assert commands[7].sense.startswith("ILLEGAL REQUEST 21/00")
    large = commands[4]
    assert (large.sent, large.round_trips) == (32768, 4)
    assert (commands[5].received, commands[5].status) == (32768, "GOOD")
    assert decoder.problems == []
    assert str(large.client) == "10.20.0.21:40001"


def test_times_are_those_of_the_first_and_the_last_byte() -> None:
    packets = talk(nfs3(), server=NFS)
    (write,) = [each for each in decode(packets)[0] if each.operation == "WRITE"]
    sent = next(packet for packet in packets if b"xxxx" in packet.data)
    assert write.start == sent.time
    assert write.frames[0] == sent.frame
    assert write.end == START + write.frames[1] * STEP


NFS3 = [
    ("MNT", "/gold", None, None, 0, 0, "MNT3_OK"),
    ("LOOKUP", "/gold/disk.qcow2", None, None, 0, 0, "NFS3_OK"),
    ("WRITE", "/gold/disk.qcow2", 65536, 5000, 5000, 0, "NFS3_OK"),
    ("READ", "/gold/disk.qcow2", 0, 4096, 0, 4096, "NFS3_OK"),
    ("COMMIT", "/gold/disk.qcow2", 0, 0, 0, 0, "NFS3_OK"),
    ("READDIRPLUS", "/gold", None, None, 0, 72, "NFS3_OK"),
    ("GETATTR", "handle 7374616c65", None, None, 0, 0, "NFS3ERR_STALE"),
]


def test_nfs3_calls_are_paired_by_xid_and_files_have_their_paths() -> None:
    commands, decoder = decode(talk(nfs3(), server=NFS))
    assert [row[:7] for row in told(commands)] == NFS3
    assert [each.depth for each in commands][2:4] == [0, 1]
    assert commands[2].details["stable"] == "UNSTABLE"
    assert decoder.problems == []


def test_nfs4_compounds_are_told_operation_by_operation() -> None:
    commands, decoder = decode(talk(nfs4(), server=NFS))
    assert [(each.operation, each.target, each.status, each.part) for each in commands] == [
        ("PUTROOTFH", "/", "NFS4_OK", 0),
        ("LOOKUP", "/gold", "NFS4_OK", 1),
        ("LOOKUP", "/gold/disk.raw", "NFS4_OK", 2),
        ("GETFH", "/gold/disk.raw", "NFS4_OK", 3),
        ("PUTFH", "/gold/disk.raw", "NFS4_OK", 0),
        ("WRITE", "/gold/disk.raw", "NFS4_OK", 1),
        ("GETATTR", "/gold/disk.raw", "NFS4_OK", 2),
        ("PUTFH", "/gold/disk.raw", "NFS4_OK", 0),
        ("READ", "/gold/disk.raw", "NFS4ERR_BAD_STATEID", 1),
        ("GETATTR", "/gold/disk.raw", "", 2),
    ]
    assert (commands[5].offset, commands[5].length, commands[5].details["committed"]) == (512, 700, "FILE_SYNC4")
    assert [each.good for each in commands[-2:]] == [False, False]
    assert decoder.problems == []


CONVERSATIONS = {
    "iscsi": (iscsi(), SERVER),
    "digests": (iscsi(digests=True), SERVER),
    "nfs3": (nfs3(), NFS),
    "nfs4": (nfs4(), NFS),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_however_the_bytes_are_cut_and_overtake_one_another_the_commands_are_the_same(name: str, seed: int) -> None:
    said, server = CONVERSATIONS[name]
    chance = random.Random(seed)
    whole = told(decode(talk(said, server=server))[0])

    def sizes(length: int) -> list[int]:
        return [chance.choice((1, 3, 47, 48, 49, 500, 1460, 9000)) for _ in range(length)]

    packets = talk(said, server=server, sizes=sizes)
    assert told(decode(packets, size=chance.randrange(1, 50))[0]) == whole
    again = [packet for packet in packets for _ in range(1 + (chance.random() < 0.1))]
    assert told(decode(shuffled(renumbered(again), chance))[0]) == whole


def test_what_was_sent_again_is_counted() -> None:
    packets = talk(nfs3(), server=NFS)
    place = next(number for number, packet in enumerate(packets) if b"xxxx" in packet.data)
    commands, _ = decode(renumbered([*packets[: place + 1], *packets[place:]]))
    (write,) = [each for each in commands if each.operation == "WRITE"]
    assert write.retransmissions == 1


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_lost_packet_costs_what_lay_in_it_and_what_is_found_again_is_right(name: str) -> None:
    """What the login said of digests, and the mount of names, is lost with them."""
    said, server = CONVERSATIONS[name]
    packets = talk(said, server=server)
    whole = [row[:1] + row[2:] for row in told(decode(packets)[0])]
    for lost in range(5, len(packets)):
        commands, _ = decode(renumbered(packets[:lost] + packets[lost + 1 :]))
        finished = [row[:1] + row[2:] for row in told(commands) if row[6]]
        right = sum(row in whole for row in finished)
        assert len(whole) - right <= 4, lost


@pytest.mark.parametrize("name", ["iscsi", "nfs3"])
def test_a_capture_that_begins_in_the_midst_finds_its_place(name: str) -> None:
    said, server = CONVERSATIONS[name]
    packets = talk(said, server=server, handshake=False)
    assert len(decode(packets[4:])[0]) >= 5


def test_packets_that_were_cut_short_hide_no_other_command() -> None:
    packets = talk(nfs3(), server=NFS)
    short = [replace(packet, data=packet.data[:200]) for packet in packets]
    commands, _ = decode(short)
    assert [each.operation for each in commands] == [row[0] for row in NFS3]


def test_vlan_tags_are_passed_over() -> None:
    assert len(decode(talk(nfs3(), server=NFS, vlan=7))[0]) == len(NFS3)


def test_names_come_from_the_caller_or_from_the_capture() -> None:
    names = Names(
        hosts={CLIENT[0]: "esx1", SERVER[0]: "san1"},
        luns={(TARGET, 0): Volume(array="san1", datastore="gold", vm="web1", disk="web1-disk0")},
        exports={(NFS[0], "/gold/disk.qcow2"): Volume(array="san1", datastore="files", vm="db1")},
    )
    commands, _ = decode(talk(iscsi()), names)
    assert {each.owner.vm for each in commands if each.target == "LUN 0"} == {"web1"}
    decoder = Decoder()
    note = Annotation(time=START, kind="names", data=names.to_json())
    found = decoder.feed([note, *talk(nfs3(), server=NFS)], [LINK])
    assert {each.owner.vm for each in found if each.operation in ("READ", "WRITE")} == {"db1"}
    bad = Decoder()
    bad.feed([Annotation(time=START, kind="names", data={"hosts": 3})], [LINK])
    assert bad.problems[0].message.startswith("an annotation of the capture: not the names of a lab")


def test_a_request_without_a_response_is_told_at_the_end() -> None:
    packets = talk(nfs3()[:5], server=NFS)
    commands, _ = decode(packets)
    assert (commands[-1].operation, commands[-1].end, commands[-1].good, commands[-1].status) == (
        "WRITE",
        None,
        False,
        "",
    )
    assert commands[-1].latency is None


@pytest.mark.parametrize(("name", "operation", "kinds"), [
    ("iscsi", "WRITE(10)", {"SCSI Command", "SCSI Response"}),
    ("nfs3", "READ", {"CALL", "REPLY"}),
])  # fmt: skip
def test_the_messages_of_one_command_are_kept_when_asked_for(name: str, operation: str, kinds: set[str]) -> None:
    said, server = CONVERSATIONS[name]
    packets = talk(said, server=server)
    (wanted, *_) = [each.id for each in decode(packets)[0] if each.operation == operation]
    decoder = Decoder(wanted=wanted)
    decoder.feed(packets, [LINK])
    decoder.finish()
    assert {message.kind for message in decoder.messages} >= kinds
    assert FILE in b"".join(message.data for message in decoder.messages) or name == "iscsi"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), name=st.sampled_from(sorted(CONVERSATIONS)))
@example(seed=8956844, name="nfs3")  # a LOOKUP whose call was cut short, and a reply to it
@example(seed=9739361, name="nfs3")  # a call that is rejected for no known reason
def test_no_bytes_raise_anything(seed: int, name: str) -> None:
    said, server = CONVERSATIONS[name]
    chance = random.Random(seed)
    spoiled = []
    for packet in talk(said, server=server):
        data = bytearray(packet.data)
        for _ in range(chance.choice((0, 0, 1, 5))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.05:
            data = data[: chance.randrange(len(data))]
        spoiled.append(replace(packet, data=bytes(data)))
    decode(spoiled)
