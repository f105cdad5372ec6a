"""tshark is the oracle: on captures of other people's clients and servers, its dissectors and our decoder see the same.

The captures: Linux's own clients against our servers, libiscsi, libnfs and QEMU against tgt and nfs-ganesha (and libiscsi against ours,
since tgt has no EXTENDED COPY).

Compared are each SCSI command (task tag, operation code, LUN, blocks, the response's frame and status) and each RPC call (XID, procedure,
operations, statuses, the frames of call and reply, and the time between them).

What differs, and why: tshark numbers a message by the packet of its last byte, we note the first and the last; it leaves those responses
of iSCSI without a request's frame whose PDU ends in another packet than it began. It counts a time from the request's last byte, we from
the first; so times are compared where the request lies in one packet.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import zstandard

from labctl.trace.command import Command, Protocol
from labctl.trace.protocols.iscsi.cdb import read_cdb
from labctl.trace.protocols.rpc.nfs3 import PROCEDURES
from labctl.trace.protocols.rpc.nfs4_words import OPERATIONS, STATUS
from labctl.trace.reader import Trace

pytestmark = pytest.mark.needs("tshark")

CAPTURES = Path(__file__).parents[2] / "captures"
NFS3 = ("linux-nfs3", "ganesha-libnfs3")
NFS4 = ("linux-nfs4.0", "linux-nfs4.1", "linux-nfs4.2", "ganesha-libnfs4")
ISCSI = ("linux-iscsi-digests", "tgt-libiscsi", "ours-libiscsi")
MICROSECOND = 1_000

Proto = dict[str, list[str]]
"""Values by field name, in their order."""


def dissected(name: str, folder: Path, wanted: str) -> Iterator[tuple[int, str, Proto]]:
    """Frame, protocol, and the fields of each message, as tshark sees them."""
    path = folder / f"{name}.pcapng"
    with (CAPTURES / f"{name}.pcapng.zst").open("rb") as packed, path.open("wb") as plain:
        zstandard.ZstdDecompressor().copy_stream(packed, plain)
    words = ["tshark", "-r", str(path), "-d", "tcp.port==3261,iscsi", "-T", "pdml", "-Y", wanted]  # tgt's port in ours
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _, packet in ElementTree.iterparse(process.stdout):
            if packet.tag != "packet":
                continue
            frame = 0
            for proto in packet.iter("proto"):
                fields: Proto = defaultdict(list)
                for field in proto.iter("field"):
                    if field.get("name") and field.get("show") is not None:
                        fields[str(field.get("name"))].append(str(field.get("show")))
                if proto.get("name") == "frame":
                    frame = int(fields["frame.number"][0])
                else:
                    yield frame, str(proto.get("name")), fields
            packet.clear()
    assert process.returncode == 0


def ours(name: str) -> list[Command]:
    trace = Trace(str(CAPTURES / f"{name}.pcapng.zst"))
    commands = sorted(trace, key=lambda command: command.id)
    assert commands
    return commands


@pytest.mark.parametrize("name", [*NFS3, *NFS4])
def test_every_rpc_call_is_paired_with_the_reply_that_tshark_finds(name: str, tmp_path: Path) -> None:
    calls: dict[tuple[int, str], tuple[int, int]] = {}
    replies: dict[tuple[int, str], tuple[int, float, int]] = {}
    for frame, proto, fields in dissected(name, tmp_path, "rpc"):
        if proto != "rpc":
            continue
        key = int(fields["rpc.xid"][0], 16), fields["rpc.procedure"][0]
        if fields["rpc.msgtyp"][0] == "0":
            calls[key] = frame, int(fields["rpc.program"][0])
        elif "rpc.repframe" in fields:
            replies[key] = frame, float(fields["rpc.time"][0]), int(fields["rpc.repframe"][0])
    found = {each.tag: each for each in ours(name) if each.part == 0 and each.end is not None}
    missing = [key for key in replies if key[0] not in found]
    assert missing == []
    assert len(found) == len({xid for xid, _ in replies})
    for (xid, procedure), (frame, seconds, request) in replies.items():
        command = found[xid]
        assert command.frames[0] <= calls[xid, procedure][0] == request
        assert command.frames[1] == frame
        if command.frames[0] == request:
            assert command.latency == pytest.approx(seconds * 1e9, abs=MICROSECOND)
        if command.protocol is Protocol.NFS3:
            assert command.operation == PROCEDURES[int(procedure)]


@pytest.mark.parametrize("name", NFS4)
def test_every_operation_of_every_compound_is_the_one_that_tshark_sees(name: str, tmp_path: Path) -> None:
    asked: list[tuple[int, list[int]]] = []
    xid = 0
    for _, proto, fields in dissected(name, tmp_path, "nfs && rpc.msgtyp == 0"):
        if proto == "rpc":
            xid = int(fields["rpc.xid"][0], 16)
        elif proto == "nfs" and fields["nfs.ops.count"]:
            asked.append((xid, [int(number) for number in fields["nfs.opcode"]]))
    by_xid: dict[int, list[str]] = defaultdict(list)
    for command in ours(name):
        if command.protocol is Protocol.NFS4 and command.operation != "NULL":
            by_xid[command.tag].append(command.operation)
    assert len(asked) >= 20
    for xid, numbers in asked:
        assert by_xid[xid] == [OPERATIONS[number] for number in numbers]


@pytest.mark.parametrize("name", NFS4)
def test_every_status_of_every_operation_is_the_one_that_tshark_sees(name: str, tmp_path: Path) -> None:
    told: dict[int, list[str]] = {}
    xid = 0
    for _, proto, fields in dissected(name, tmp_path, "nfs && rpc.msgtyp == 1"):
        if proto == "rpc":
            xid = int(fields["rpc.xid"][0], 16)
        elif proto == "nfs" and fields["nfs.ops.count"]:
            # The COMPOUND's own status stands first; behind those of the operations come READDIR's rdattr_errors.
            count = len(fields["nfs.opcode"])
            told[xid] = [STATUS[int(number)] for number in fields["nfs.status"][1 : 1 + count]]
    by_xid: dict[int, list[str]] = defaultdict(list)
    for command in ours(name):
        if command.protocol is Protocol.NFS4 and command.operation != "NULL" and command.status:
            by_xid[command.tag].append(command.status)
    assert len(told) >= 20
    for xid, statuses in told.items():
        assert by_xid[xid] == statuses


def _commands(name: str, tmp_path: Path) -> tuple[list[Proto], list[tuple[int, Proto]]]:
    requests: list[Proto] = []
    responses: list[tuple[int, Proto]] = []
    for frame, proto, fields in dissected(name, tmp_path, "iscsi"):
        if proto == "iscsi":
            opcode = fields["iscsi.opcode"][0]
            if opcode == "0x01":
                requests.append({**fields, "frame": [str(frame)]})
            elif opcode == "0x21":
                responses.append((frame, fields))
        elif proto == "scsi" and requests and "scsi_sbc.opcode" in fields and "scsi.status" not in fields:
            requests[-1].setdefault("opcode", fields["scsi_sbc.opcode"])
            for field in ("scsi_sbc.rdwr10.lba", "scsi_sbc.rdwr10.xferlen"):
                if field in fields:
                    requests[-1].setdefault(field, fields[field])
    return requests, responses


@pytest.mark.parametrize("name", ISCSI)
def test_every_scsi_command_is_the_one_that_tshark_sees(name: str, tmp_path: Path) -> None:
    requests, responses = _commands(name, tmp_path)
    found = [each for each in ours(name) if "cdb" in each.details]
    assert len(found) == len(requests) > 20
    for command, fields in zip(found, requests, strict=True):
        assert command.tag == int(fields["iscsi.initiatortasktag"][0], 16)
        assert command.frames[0] <= int(fields["frame"][0])
        cdb: Any = bytes.fromhex(str(command.details["cdb"]))
        if "opcode" in fields:
            assert cdb[0] == int(fields["opcode"][0], 16)
        assert command.details["expected_length"] == int(fields["iscsi.scsicommand.expecteddatatransferlength"][0])
        if "scsi_sbc.rdwr10.lba" in fields:
            request = read_cdb(cdb)
            assert request.block == int(fields["scsi_sbc.rdwr10.lba"][0])
            assert request.blocks == int(fields["scsi_sbc.rdwr10.xferlen"][0])
    ended = {(each.tag, each.frames[1]): each for each in found}
    assert responses
    for frame, fields in responses:
        command = ended[int(fields["iscsi.initiatortasktag"][0], 16), frame]
        status = int(fields["iscsi.scsiresponse.status"][0], 16)
        assert (command.status == "GOOD") is (status == 0), command
        if "iscsi.request_frame" in fields and command.frames[0] == int(fields["iscsi.request_frame"][0]):
            assert command.latency == pytest.approx(float(fields["iscsi.time"][0]) * 1e9, abs=MICROSECOND)
