"""SCSI's data as layers: built as the standards' figures have it, taken apart again, raw where it was cut."""

from __future__ import annotations

import pytest
from scapy.packet import Packet, Raw

from labctl.trace.layers import scsi_data as data
from labctl.trace.layers.scsi_data import of_response, received, sent

CASES: list[tuple[Packet, str]] = [
    (data.FixedSense(key=5, asc=0x24, ascq=0), "70 00 05 00000000 0a 00000000 24 00 00 000000"),
    (data.FixedSense(key=14, asc=0x1D, valid=1, information=7, rest=b"ab"), "f0 00 0e 00000007 0c 00000000 1d 00 00 000000 6162"),
    (data.DescriptorSense(key=5, asc=0x24, descriptors=bytes(4)), "72 05 24 00 000000 04 00000000"),
    (data.UnmapList(descriptors=[data.UnmapDescriptor(lba=8, blocks=1)]), "0016 0010 00000000 0000000000000008 00000001 00000000"),
    (data.UnmapList(), "0006 0000 00000000"),
    (data.ReserveOutList(service_action_key=0xABCD, aptpl=1), "0000000000000000 000000000000abcd 00000000 01 00 0000"),
    (data.ReserveInKeys(generation=3, keys=[1, 2]), "00000003 00000010 0000000000000001 0000000000000002"),
    (data.ReserveInReservation(reservations=[data.Reservation(reservation_key=1, type=5)]),
     "00000000 00000010 0000000000000001 00000000 00 05 0000"),
    (data.Capacity10(last_lba=8191), "00001fff 00000200"),
    (data.Capacity16(last_lba=1, lbpme=1, blocks_per_physical=3), "0000000000000001 00000200 00 03 8000" + "00" * 16),
    (data.LbaStatus(descriptors=[data.LbaStatusDescriptor(lba=1, blocks=2, provisioning=1)]),
     "00000014 00000000 0000000000000001 00000002 01 000000"),
    (data.Luns(luns=[0, 1 << 48]), "00000010 00000000 0000000000000000 0001000000000000"),
    (data.StandardInquiry(vendor_id=b"LABCTL  ", product_id=b"DISK".ljust(16), product_revision=b"1   "),
     "00 00 06 02 1f 00 00 02" + (b"LABCTL  " + b"DISK".ljust(16) + b"1   ").hex()),
    (data.VitalPage(page=0x80, data=b"abc"), "00 80 0003 616263"),
    (data.CopyList(list_id=1, devices=[data.CopyDevice()], segments=[data.CopySegment(blocks=8, destination_lba=16),
                                                                     data.OtherSegment(type=0x14, data=b"x")]),
     "01 00 0020 00000000 00000021 00000000 e4 00 0000 01 03 00 08" + "00" * 20 + "00 000200"
     "02 00 0018 0000 0000 0000 0008 0000000000000000 0000000000000010 14 00 0001 78"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "written"), CASES, ids=lambda value: value.name if isinstance(value, Packet) else "")
def test_each_is_built_and_taken_apart(layer: Packet, written: str) -> None:
    raw = bytes.fromhex(written)
    assert bytes(layer) == raw
    again = type(layer)(raw)
    assert not again.payload
    assert again.show(dump=True) == type(layer)(bytes(layer)).show(dump=True)
    built = type(layer)(**{name: value for name, value in again.fields.items() if not name.endswith("_length")})
    assert bytes(built) == raw or layer.name == "standard INQUIRY data"


@pytest.mark.parametrize(
    ("cdb", "kind"),
    [
        ("2500", data.Capacity10), ("5e00", data.ReserveInKeys), ("5e01", data.ReserveInReservation), ("9e10", data.Capacity16),
        ("9e12", data.LbaStatus), ("a000", data.Luns), ("1200", data.StandardInquiry), ("1201", data.VitalPage), ("0300", data.FixedSense),
    ],
)  # fmt: skip
def test_what_a_command_gets_is_found_by_its_cdb(cdb: str, kind: type[Packet]) -> None:
    raw = bytes.fromhex(cdb).ljust(16, b"\0")
    assert type(received(raw, b"\x70" + bytes(63))) is kind
    assert received(raw, b"") is None
    assert sent(raw, bytes(64)) is None


@pytest.mark.parametrize(
    ("cdb", "kind"), [("4200", data.UnmapList), ("5f06", data.ReserveOutList), ("8300", data.CopyList)]
)
def test_what_a_command_sends_is_found_by_its_cdb(cdb: str, kind: type[Packet]) -> None:
    raw = bytes.fromhex(cdb).ljust(16, b"\0")
    assert type(sent(raw, bytes(64))) is kind
    assert received(raw, bytes(64)) is None


@pytest.mark.parametrize("cdb", ["28", "2800", "8301", "5e03", "c100", ""])
def test_a_disks_contents_and_what_is_not_known_are_no_layers(cdb: str) -> None:
    assert sent(bytes.fromhex(cdb), bytes(64)) is None
    assert received(bytes.fromhex(cdb), bytes(64)) is None


def test_what_was_cut_is_raw() -> None:
    found = received(bytes.fromhex("9e10").ljust(16, b"\0"), bytes(5))
    assert isinstance(found, Raw)
    assert found.load == bytes(5)


def test_the_sense_of_a_response() -> None:
    fixed, descriptors = bytes(data.FixedSense(key=6, asc=0x29)), bytes(data.DescriptorSense(key=6, asc=0x29))
    for raw, kind in ((fixed, data.FixedSense), (descriptors, data.DescriptorSense)):
        found = of_response(len(raw).to_bytes(2, "big") + raw + b"padding")
        assert type(found) is kind
        assert (found.key, found.asc) == (6, 0x29)
    assert of_response(b"") is None
    assert of_response(b"\0\0") is None
    assert of_response(b"\0\5") is None
