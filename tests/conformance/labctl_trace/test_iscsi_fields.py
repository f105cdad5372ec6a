"""iSCSI field by field: the scapy layers and the decoder's details against tshark, on open-iscsi's, libiscsi's, QEMU's and tgt's traffic.

The bytes of the PDUs come by way of tshark's `follow`, so that nothing here rests on our reassembly. tgt sends sense data with UNMAP's
status GOOD: tshark leaves it out there, we show it, so senses are compared where the status is CHECK CONDITION.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from html import unescape
from typing import Any

import pytest
import zstandard

from labctl.trace.command import Command
from labctl.trace.layers.iscsi import ISCSI, ScsiCommand
from labctl.trace.protocols.iscsi.sense import KEYS
from labctl.trace.views.show import scsi_layers

from .test_oracle import CAPTURES, ours
from .test_oracle import ISCSI as NAMES

pytestmark = pytest.mark.needs("tshark")

FIELDS = {
    "iscsi.opcode": "opcode", "iscsi.initiatortasktag": "itt", "iscsi.cmdsn": "cmd_sn", "iscsi.statsn": "stat_sn",
    "iscsi.expstatsn": "exp_stat_sn", "iscsi.expcmdsn": "exp_cmd_sn", "iscsi.maxcmdsn": "max_cmd_sn", "iscsi.datasn": "data_sn",
    "iscsi.expdatasn": "exp_data_sn", "iscsi.bufferOffset": "offset", "iscsi.r2tsn": "r2t_sn", "iscsi.desireddatalength": "length",
    "iscsi.targettransfertag": "ttt", "iscsi.totalahslength": "ahs_length", "iscsi.datasegmentlength": "data_length",
    "iscsi.scsicommand.expecteddatatransferlength": "edtl", "iscsi.scsicommand.attr": "attr", "iscsi.scsiresponse.status": "status",
    "iscsi.scsiresponse.residualcount": "residual", "iscsi.scsidata.readresidualcount": "residual", "iscsi.login.T": "T",
    "iscsi.login.csg": "csg", "iscsi.login.nsg": "nsg", "iscsi.versionmax": "version_max", "iscsi.tsih": "tsih", "iscsi.cid": "cid",
    "iscsi.logout.reason": "reason", "iscsi.logout.response": "response", "iscsi.time2wait": "time2wait",
    "iscsi.time2retain": "time2retain", "iscsi.taskmanfun.function": "function", "iscsi.taskmanfun.response": "response",
    "iscsi.taskmanfun.referencedtasktag": "referenced_tag", "iscsi.refcmdsn": "ref_cmd_sn",
}  # fmt: skip
"""tshark's fields and ours."""

DATA = {
    "FixedSense": {"scsi.sns.key": "key", "scsi.sns.asc": "asc", "scsi.sns.ascq": "ascq", "scsi.sns.fru": "fru",
                   "scsi.sns.info": "information", "scsi.sns.addlen": "additional_length"},
    "DescriptorSense": {},
    "Capacity10": {"scsi_sbc.returned_lba": "last_lba", "scsi_sbc.blocksize": "block_length"},
    "Capacity16": {"scsi_sbc.blocksize": "block_length", "scsi_sbc.prot_en": "prot_en", "scsi_sbc.lbppbe": "blocks_per_physical",
                   "scsi_sbc.lbpme": "lbpme", "scsi_sbc.lbprz": "lbprz", "scsi_sbc.lalba": "lowest_aligned"},
    "ReserveInKeys": {"scsi.persresvin.generation_number": "generation", "scsi.persresvin.additional_length": "additional_length"},
    "ReserveInReservation": {"scsi.persresvin.generation_number": "generation",
                             "scsi.persresvin.additional_length": "additional_length"},
    "StandardInquiry": {"scsi.inquiry.add_len": "additional_length", "scsi.inquiry.qualifier": "qualifier"},
    "VitalPage": {"scsi.inquiry.evpd.pagelength": "page_length"},
    "Luns": {"scsi.reportluns.lun_list_length": "list_length"},
    "LbaStatus": {"scsi_sbc.get_lba_status.data_length": "data_length"},
    "CopyList": {"scsi.extcopy.list_id": "list_id", "scsi.extcopy.cscd_list_len": "devices_length",
                 "scsi.extcopy.seg_desc_list_len": "segments_length", "scsi.extcopy.inline_data_len": "inline_length",
                 "scsi.extcopy.seg_desc_num_of_blocks": "segments.blocks", "scsi.extcopy.source_lba": "segments.source_lba",
                 "scsi.extcopy.dest_lba": "segments.destination_lba", "scsi.extcopy.seg_desc_type": "segments.type",
                 "scsi.extcopy.disk_block_len": "devices.block_length", "scsi.extcopy.cscd_des_len": "devices.designator_length"},
    "UnmapList": {"scsi_sbc.unmap.data_length": "data_length", "scsi_sbc.unmap.lba": "descriptors.lba",
                  "scsi_sbc.unmap.num_blocks": "descriptors.blocks"},
    "ReserveOutList": {},
}  # fmt: skip
"""Of what commands send and get, by the layer's class: tshark's fields and ours."""

KEPT = frozenset((
    *FIELDS, "iscsi.keyvalue", "scsi.sns.key", "scsi.sns.ascascq", "scsi.persresv.reskey", "scsi.persresv.sareskey", "scsi.persresv.type",
    "scsi_sbc.unmap.lba", "scsi_sbc.unmap.num_blocks", *(word for words in DATA.values() for word in words),
))  # fmt: skip

LINE = re.compile(r'\s*<(proto|field) name="([^"]+)"')
SHOWN = re.compile(r' show="([^"]*)"')

Place = tuple[str, str]
"""A TCP stream's number and the source port of one of its directions."""


@cache
def told(name: str) -> list[tuple[Place, dict[str, list[str]]]]:
    """Every PDU as tshark sees it, with what it says of the SCSI command in it.

    Lines are searched rather than parsed as XML: of 60 MB, a hundredth is wanted.
    """
    words = ["tshark", "-r", "-", "-d", "tcp.port==3261,iscsi", "-T", "pdml", "-Y", "iscsi"]
    said = subprocess.run(words, input=plain(name), capture_output=True, check=True).stdout.decode()
    found: list[tuple[Place, dict[str, list[str]]]] = []
    stream = port = ""
    for line in said.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        if match[1] == "proto":
            if match[2] == "iscsi":
                found.append(((stream, port), defaultdict(list)))
        elif match[2] == "tcp.stream":
            stream = SHOWN.findall(line)[0]
        elif match[2] == "tcp.srcport":
            port = SHOWN.findall(line)[0]
        elif match[2] in KEPT:
            found[-1][1][match[2]] += map(unescape, SHOWN.findall(line))
    return found


@cache
def plain(name: str) -> bytes:
    """A capture, unpacked."""
    return zstandard.ZstdDecompressor().stream_reader((CAPTURES / f"{name}.pcapng.zst").read_bytes()).read()


@cache
def pdus(name: str, streams: frozenset[str]) -> dict[Place, list[Any]]:
    """The layers of every PDU, by direction."""
    follow = [word for stream in sorted(streams) for word in ("-z", f"follow,tcp,raw,{stream}")]
    said = subprocess.run(
        ["tshark", "-r", "-", "-q", *follow], input=plain(name), capture_output=True, check=True
    ).stdout.decode()
    found = {}
    for part in said.split("Filter: tcp.stream eq ")[1:]:
        stream, *lines = part.splitlines()
        nodes = [line.rpartition(":")[2] for line in lines if line.startswith("Node ")]
        sides = bytearray(), bytearray()
        for line in lines:
            if line.strip() and set(line.strip()) <= set("0123456789abcdef"):
                sides[line.startswith("\t")].extend(bytes.fromhex(line))
        header, payload = (f"{kind}Digest=CRC32C".encode() in sides[1][:4096] for kind in ("Header", "Data"))
        for port, side in zip(nodes, sides, strict=True):
            found[stream, port] = list(_split(bytes(side), header, payload))
    return found


def _split(data: bytes, header: bool, payload: bool) -> Iterator[Any]:
    while len(data) >= 48:
        login = data[0] & 0x3F in (0x03, 0x23)
        size = int.from_bytes(data[5:8], "big")
        digests = (header, payload) if not login else (False, False)
        end = 48 + 4 * data[4] + 4 * digests[0] + (size + 3 & ~3) + 4 * (digests[1] and size > 0)
        kind = ISCSI.dispatch_hook(data)
        yield type(kind.__name__, (kind,), {"digests": digests})(data[:end])
        data = data[end:]


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_every_pdu_is_the_one_that_tshark_sees(name: str) -> None:
    theirs: dict[Place, list[dict[str, list[str]]]] = defaultdict(list)
    for place, fields in told(name):
        theirs[place].append(fields)
    mine = pdus(name, frozenset(stream for stream, _ in theirs))
    compared: dict[str, int] = defaultdict(int)
    for place, protos in theirs.items():
        assert len(mine[place]) == len(protos), place
        for layer, fields in zip(mine[place], protos, strict=True):
            for word, field in FIELDS.items():
                for text in fields.get(word, ())[:1]:
                    assert int(layer.getfieldval(field)) == int(text, 0), (word, layer.show(dump=True))
                    compared[word] += 1
            for text in fields.get("iscsi.keyvalue", ()):
                assert text.encode() in layer.data.split(b"\0")
                compared["keys"] += 1
    assert sum(compared.values()) > 1000
    assert compared["iscsi.r2tsn"] > 0
    assert compared["keys"] > 20


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_commands_send_and_get_is_what_tshark_sees(name: str) -> None:
    theirs: dict[Place, list[dict[str, list[str]]]] = defaultdict(list)
    cdbs: dict[tuple[str, int], bytes] = {}
    for place, fields in told(name):
        theirs[place].append(fields)
    mine = pdus(name, frozenset(stream for stream, _ in theirs))
    compared: dict[str, int] = defaultdict(int)
    for place in sorted(theirs, key=lambda each: each[1] in ("3260", "3261")):  # requests first
        for pdu, fields in zip(mine[place], theirs[place], strict=True):
            if isinstance(pdu, ScsiCommand):
                cdbs[place[0], pdu.itt] = bytes(pdu.cdb).ljust(16, b"\0")
            for layer in scsi_layers(pdu, cdbs.get((place[0], pdu.itt), b"")):
                for word, field in DATA.get(type(layer).__name__, {}).items():
                    shown = [int(text, 0) for text in fields.get(word, ())]
                    assert not shown or numbers(layer, field) == shown, (word, layer.show(dump=True))
                    compared[type(layer).__name__] += len(shown)
    known = {
        "FixedSense",
        "Capacity10",
        "Capacity16",
        "ReserveInKeys",
        "StandardInquiry",
        "VitalPage",
        "Luns",
        "CopyList",
    }
    assert {kind for kind, count in compared.items() if count} >= known, compared


def numbers(layer: Any, field: str) -> list[int]:
    head, _, tail = field.partition(".")
    value = layer.getfieldval(head)
    return [part.getfieldval(tail) for part in value if tail in part.fields] if tail else [value]


def asked(name: str) -> dict[int, list[dict[str, list[str]]]]:
    """What tshark says of each SCSI command, by its task tag: those begin anywhere, and no two streams share one."""
    found: dict[int, list[dict[str, list[str]]]] = defaultdict(list)
    for _, fields in told(name):
        entries = found[int(fields["iscsi.initiatortasktag"][0], 16)]
        opcode = int(fields["iscsi.opcode"][0], 16)
        if opcode == 0x01:
            entries.append({"r2ts": [], **fields})
        elif opcode == 0x31:
            entries[-1]["r2ts"].append("")
        elif opcode == 0x21 and int(fields["iscsi.scsiresponse.status"][0], 16) == 2:
            entries[-1].update({word: values for word, values in fields.items() if word.startswith("scsi.sns.")})
        elif opcode == 0x05:
            entries[-1].update({word: values for word, values in fields.items() if word.startswith("scsi_sbc.unmap.")})
    return found


def same_sense(command: Command, fields: dict[str, list[str]]) -> bool:
    if "scsi.sns.key" not in fields:
        return False
    code = int(fields["scsi.sns.ascascq"][0], 0)
    key = KEYS[int(fields["scsi.sns.key"][0], 0)]
    assert command.sense.startswith(f"{key} {code >> 8:02x}/{code & 255:02x}"), command
    return True


def same_keys(command: Command, fields: dict[str, list[str]]) -> bool:
    if "scsi.persresv.reskey" not in fields:
        return False
    for word, detail in (("reskey", "reservation_key"), ("sareskey", "service_action_key")):
        shown = fields[f"scsi.persresv.{word}"][0].replace(":", "").removeprefix("0x")
        assert f"0x{shown}" == command.details[detail], command
    return True


def same_ranges(command: Command, fields: dict[str, list[str]]) -> bool:
    if fields["r2ts"]:  # a list in several PDUs: tshark takes each for a list of its own
        return False
    blocks, counts = (fields.get(f"scsi_sbc.unmap.{word}", []) for word in ("lba", "num_blocks"))
    ranges = [(int(block) * 512, int(count) * 512) for block, count in zip(blocks, counts, strict=True)]
    assert not ranges or command.details.get("ranges", [(command.offset, command.length)]) == ranges, command
    return bool(ranges)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_command_is_what_tshark_says(name: str) -> None:
    """Its R2Ts, its sense, its reservation's keys, and the blocks that it unmaps."""
    theirs = asked(name)
    seen: dict[str, int] = defaultdict(int)
    for command in ours(name):
        if "cdb" not in command.details:
            continue
        fields = theirs[command.tag].pop(0)
        assert command.round_trips == len(fields["r2ts"]), command
        seen["r2ts"] += command.round_trips
        seen["senses"] += same_sense(command, fields)
        seen["keys"] += same_keys(command, fields)
        seen["unmaps"] += same_ranges(command, fields)
    assert not any(theirs.values())
    assert seen["r2ts"] > 0
    assert seen["unmaps"] > 0
    if name != "linux-iscsi-digests":
        assert seen["senses"] > 10
        assert seen["keys"] >= 5
