"""The scapy layers of NFSv4 see in Linux's traffic what tshark sees, field by field, and build it again byte for byte.

The bytes come by way of tshark, too (its `follow`), so that nothing here rests on our reassembly.

What is not compared: fields that tshark computes (hashes, names it remembers), flags that it shows bit by bit beside their word, and
attribute values for which it has no field that is theirs alone (`nfs.attr` counts them).
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard

from labctl.trace.layers.nfs4 import COMPOUND4args, COMPOUND4res
from labctl.trace.layers.rpc import dissect
from labctl.trace.layers.xdr import bits

from .test_oracle import CAPTURES, NFS4, dissected

pytestmark = pytest.mark.needs("tshark")

Fields = dict[str, list[Any]]

NUMBERS = {
    "nfs.minorversion": ("minorversion",),
    "nfs.ops.count": ("argarray_count", "resarray_count"),
    "nfs.opcode": ("opcode",),
    "nfs.stateid.seqid": ("stateid_seqid", "open_stateid_seqid", "lock_stateid_seqid", "src_stateid_seqid", "dst_stateid_seqid",
                          "delegate_stateid_seqid", "deleg_stateid_seqid"),
    "nfs.offset4": ("offset", "src_offset", "dst_offset"),
    "nfs.length4": ("length", "CLONE.count", "COPY.count"),
    "nfs.slotid": ("slotid",),
    "nfs.high_slotid": ("highest_slotid",),
    "nfs.target_high_slotid": ("target_highest_slotid",),
    "nfs.cachethis4": ("cachethis",),
    "nfs.clientid": ("clientid",),
    "nfs.cookie4": ("READDIR.cookie", "entry4.cookie"),
    "nfs.changeid4.before": ("cinfo_before", "source_cinfo_before", "target_cinfo_before"),
    "nfs.changeid4.after": ("cinfo_after", "source_cinfo_after", "target_cinfo_after"),
    "nfs.open.opentype": ("opentype",),
    "nfs.open.claim_type": ("claim",),
    "nfs.open.delegation_type": ("delegation_type",),
    "nfs.open4.share_access": ("share_access",),
    "nfs.open4.share_deny": ("share_deny",),
    "nfs.createmode4": ("createmode",),
    "nfs.fattr4.size": ("size.value",),
    "nfs.fattr4.fileid": ("fileid.value",),
    "nfs.fattr4.mounted_on_fileid": ("mounted_on_fileid.value",),
    "nfs.fattr4.numlinks": ("numlinks.value",),
    "nfs.fattr4.space_used": ("space_used.value",),
    "nfs.fattr4.maxread": ("maxread.value",),
    "nfs.fattr4.maxwrite": ("maxwrite.value",),
    "nfs.fattr4.maxfilesize": ("maxfilesize.value",),
    "nfs.fattr4.lease_time": ("lease_time.value",),
    "nfs.fsid4.major": ("fsid.major",),
    "nfs.fsid4.minor": ("fsid.minor",),
    "nfs.nfs_ftype4": ("objtype",),
    "nfs.nfstime4.nseconds": ("time_access.value_nseconds", "time_modify.value_nseconds", "time_metadata.value_nseconds",
                              "time_delta.value_nseconds", "impl_date_nseconds", "time_access_set.value_nseconds",
                              "time_modify_set.value_nseconds", "time_create.value_nseconds"),
    "nfs.maxreqsize4": ("maxrequestsize",),
    "nfs.maxops4": ("maxoperations",),
    "nfs.fh.length": ("object_length", "filehandle.value_length"),
    "nfs.write.data_length": ("WRITE.data_length",),
    "nfs.read.data_length": ("READ.data_length",),
    "nfs.eof": ("READ.eof", "SEEK.eof", "READ_PLUS.eof"),
}  # fmt: skip
"""tshark's numbers and the fields of ours that are the same."""

BYTES = {
    "nfs.stateid.other": ("stateid_other", "open_stateid_other", "lock_stateid_other", "src_stateid_other", "dst_stateid_other",
                          "delegate_stateid_other", "deleg_stateid_other"),
    "nfs.session_id4": ("sessionid", "sessid"),
    "nfs.fhandle": ("object", "filehandle.value"),
    "nfs.verifier4": ("verifier", "writeverf", "createverf", "cookieverf"),
    "nfs.entry_name": ("entry_name",),
    "nfs.fattr4_owner": ("owner.value",),
    "nfs.fattr4_owner_group": ("owner_group.value",),
}  # fmt: skip
"""tshark's bytes and names."""


@cache
def records(name: str) -> list[bytes]:
    """Every RPC record of a capture's connection to port 2049, each connection's calls first."""
    packed = (CAPTURES / f"{name}.pcapng.zst").read_bytes()
    plain = zstandard.ZstdDecompressor().stream_reader(packed).read()
    return [record for stream in _streams(plain) for side in _follow(plain, stream) for record in _split(side)]


def _tshark(plain: bytes, *words: str) -> str:
    return subprocess.run(["tshark", "-r", "-", *words], input=plain, capture_output=True, check=True).stdout.decode()


def _streams(plain: bytes) -> list[int]:
    said = _tshark(plain, "-Y", "nfs && tcp.dstport == 2049", "-T", "fields", "-e", "tcp.stream")
    return sorted({int(line) for line in said.split()})


def _follow(plain: bytes, stream: int) -> tuple[bytes, bytes]:
    sides = bytearray(), bytearray()
    for line in _tshark(plain, "-q", "-z", f"follow,tcp,raw,{stream}").splitlines():
        body = line.strip()
        if body and set(body) <= set("0123456789abcdef"):
            sides[line.startswith("\t")].extend(bytes.fromhex(body))
    return bytes(sides[0]), bytes(sides[1])


def _split(data: bytes) -> Iterator[bytes]:
    while len(data) >= 4:
        size = int.from_bytes(data[:4], "big") & 0x7FFFFFFF
        yield data[4 : 4 + size]
        data = data[4 + size :]


def compounds(name: str) -> Iterator[tuple[int, Any, bytes]]:
    """XID, layer and record of each COMPOUND, calls and replies."""
    calls: dict[int, bytes] = {}
    for record in records(name):
        xid, is_reply = int.from_bytes(record[:4], "big"), record[7] == 1
        if not is_reply:
            calls[xid] = record
        top = dissect(record, calls.get(xid, b"") if is_reply else b"")
        kind = COMPOUND4res if is_reply else COMPOUND4args
        if top.haslayer(kind):
            yield xid, top[kind], record


def walk(layer: Any, place: str = "") -> Iterator[tuple[str, str, Any]]:
    """Place, name and value of every field that is on the wire, in order."""
    for field in layer.fields_desc:
        value = layer.fields.get(field.name)
        if value is None:
            continue
        if isinstance(value, list) and value and hasattr(value[0], "fields_desc"):
            for part in value:
                yield from walk(part, part.name.removesuffix("4args").removesuffix("4res"))
        elif hasattr(value, "fields_desc"):
            yield from walk(value, value.name)
        else:
            yield place, field.name, value


def ours(layer: Any) -> Fields:
    found: Fields = defaultdict(list)
    for place, name, value in walk(layer):
        if name.startswith("open_stateid") and place == "CLOSE" and isinstance(layer, COMPOUND4res):
            continue  # tshark says only that it is deprecated (RFC 8881 18.2.4)
        if name == "cookieverf" and isinstance(layer, COMPOUND4args):
            continue  # tshark has no field for it in a call
        for key in {name, f"{place}.{name}"}:
            found[key].append((len(found["="]), value))
        found["="].append(None)
    return found


def chosen(found: Fields, names: tuple[str, ...]) -> list[Any]:
    return [
        value for _, value in sorted((pair for name in names for pair in found.get(name, ())), key=lambda pair: pair[0])
    ]


def number(text: str) -> int:
    return int(text == "True") if text in ("True", "False") else int(text, 0)


def hexadecimal(text: str) -> str:
    return text.replace(":", "").removeprefix("0x").lower()


@pytest.mark.parametrize("name", NFS4)
def test_every_field_is_the_one_that_tshark_sees(name: str, tmp_path: Path) -> None:
    told: dict[tuple[int, bool], dict[str, list[str]]] = {}
    key = 0, False
    for _, proto, fields in dissected(name, tmp_path, "nfs"):
        if proto == "rpc":
            key = int(fields["rpc.xid"][0], 16), fields["rpc.msgtyp"][0] == "1"
        elif proto == "nfs" and fields["nfs.ops.count"]:
            told[key] = fields
    compared: dict[str, int] = defaultdict(int)
    seen = set()
    for xid, layer, _ in compounds(name):
        key = xid, isinstance(layer, COMPOUND4res)
        found, theirs = ours(layer), told[key]
        seen.add(key)
        for word, names in NUMBERS.items():
            values = [int(value) for value in chosen(found, names)]
            assert values == [number(text) for text in theirs.get(word, ())], (word, hex(xid), layer.show(dump=True))
            compared[word] += len(values)
        for word, names in BYTES.items():
            raw = [bytes(value) for value in chosen(found, names)]
            plain = word in ("nfs.entry_name", "nfs.fattr4_owner", "nfs.fattr4_owner_group")
            shown = [value.decode() if plain else value.hex() for value in raw]
            expected = [text if plain else hexadecimal(text) for text in theirs.get(word, ())]
            assert shown == expected, (word, hex(xid), layer.show(dump=True))
            compared[word] += len(raw)
        masks = [number for name_, values in found.items() if name_.endswith("_mask") and "." not in name_ for _, mask in values
                 for number in bits(mask)]  # fmt: skip
        assert len(masks) <= len(theirs.get("nfs.attr", ()))
    assert seen == set(told)
    assert sum(compared.values()) > 2000
    assert sum(bool(count) for count in compared.values()) > 25


@pytest.mark.parametrize("name", NFS4)
def test_what_linux_says_is_taken_apart_and_put_together_again(name: str) -> None:
    count = 0
    for _, layer, record in compounds(name):
        built = bytes(_again(layer))
        assert len(built) >= 12
        assert record.endswith(built), layer.show(dump=True)
        assert len(record) - len(built) in (24, *range(40, 120, 4))  # a reply's head, or a call's with its credentials
        assert "unread" not in layer.show(dump=True)
        count += 1
    assert count > 80


def _again(layer: Any) -> Any:
    """The same packet from the values of its fields, without counts and lengths: those are found anew."""
    fields = {}
    for name, value in layer.fields.items():
        if name.endswith(("_count", "_length")) and name.rpartition("_")[0] in layer.fields:
            continue
        if isinstance(value, list) and value and hasattr(value[0], "fields_desc"):
            value = [_again(part) for part in value]
        elif hasattr(value, "fields_desc"):
            value = _again(value)
        if value is not None:
            fields[name] = value
    return type(layer)(**fields)
