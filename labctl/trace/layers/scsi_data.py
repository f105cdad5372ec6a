"""What SCSI commands send and get (SPC-4, SBC-3) as scapy layers: sense data, parameter lists, and the answers that describe a disk.

`sent(cdb, data)` and `received(cdb, data)` make a layer of a command's data, `Sense(data)` one of sense data in either format. Counts and
lengths are filled in where they are left out, and taken as they are otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from scapy.fields import (
    BitEnumField,
    BitField,
    ByteField,
    FieldLenField,
    FieldListField,
    IntField,
    LongField,
    PacketListField,
    ShortField,
    StrFixedLenField,
    StrLenField,
    ThreeBytesField,
    XByteField,
    XLongField,
    XStrField,
    XStrFixedLenField,
    XStrLenField,
)
from scapy.packet import Packet, Raw

from labctl.trace.layers.xdr import MOST, Struct
from labctl.trace.protocols.iscsi.sense import KEYS

_SENSE_KEYS: Final = dict(enumerate(KEYS))
_DESCRIPTORS: Final = 0x72
"""Response codes from here on are of the descriptor format (SPC-4 4.5.2)."""


class Sense(Struct):
    """Sense data; what is made of bytes is of the class of its response code."""

    name = "sense data"

    @classmethod
    def dispatch_hook(cls, _pkt: bytes | None = None, *_args: Any, **_kargs: Any) -> type[Packet]:
        """The class for these bytes."""
        if cls is not Sense or not _pkt:
            return cls
        return DescriptorSense if _pkt[0] & 0x7F >= _DESCRIPTORS else FixedSense


class FixedSense(Sense):
    """SPC-4 4.5.3."""

    name = "sense data, fixed format"
    fields_desc: ClassVar[list[Any]] = [
        BitField("valid", 0, 1), BitField("response_code", 0x70, 7), ByteField("obsolete", 0), BitField("filemark", 0, 1),
        BitField("eom", 0, 1), BitField("ili", 0, 1), BitField("reserved", 0, 1), BitEnumField("key", 0, 4, _SENSE_KEYS),
        IntField("information", 0), FieldLenField("additional_length", None, length_of="rest", fmt="B", adjust=lambda _, size: size + 10),
        IntField("command_specific", 0), XByteField("asc", 0), XByteField("ascq", 0), ByteField("fru", 0),
        XStrFixedLenField("key_specific", bytes(3), 3),
        XStrLenField("rest", b"", length_from=lambda packet: max((packet.additional_length or 10) - 10, 0)),
    ]  # fmt: skip


class DescriptorSense(Sense):
    """SPC-4 4.5.2."""

    name = "sense data, descriptor format"
    fields_desc: ClassVar[list[Any]] = [
        BitField("reserved", 0, 1), BitField("response_code", 0x72, 7), BitField("reserved2", 0, 4),
        BitEnumField("key", 0, 4, _SENSE_KEYS), XByteField("asc", 0), XByteField("ascq", 0), ThreeBytesField("reserved3", 0),
        FieldLenField("additional_length", None, length_of="descriptors", fmt="B"),
        XStrLenField("descriptors", b"", length_from=lambda packet: packet.additional_length or 0),
    ]  # fmt: skip


class UnmapDescriptor(Struct):
    """SBC-3 5.28.2."""

    name = "UNMAP block descriptor"
    fields_desc: ClassVar[list[Any]] = [LongField("lba", 0), IntField("blocks", 0), IntField("reserved", 0)]


class UnmapList(Struct):
    """SBC-3 5.28.2."""

    name = "UNMAP parameter list"
    fields_desc: ClassVar[list[Any]] = [
        FieldLenField("data_length", None, length_of="descriptors", fmt="!H", adjust=lambda _, size: size + 6),
        FieldLenField("descriptors_length", None, length_of="descriptors", fmt="!H"), IntField("reserved", 0),
        PacketListField("descriptors", [], UnmapDescriptor, length_from=lambda packet: packet.descriptors_length, max_count=MOST),
    ]  # fmt: skip


class ReserveOutList(Struct):
    """SPC-4 6.16.3."""

    name = "PERSISTENT RESERVE OUT parameter list"
    fields_desc: ClassVar[list[Any]] = [
        XLongField("reservation_key", 0), XLongField("service_action_key", 0), IntField("obsolete", 0), BitField("reserved", 0, 4),
        BitField("spec_i_pt", 0, 1), BitField("all_tg_pt", 0, 1), BitField("reserved2", 0, 1), BitField("aptpl", 0, 1),
        ByteField("reserved3", 0), ShortField("obsolete2", 0), XStrField("rest", b""),
    ]  # fmt: skip


class ReserveInKeys(Struct):
    """SPC-4 6.15.2."""

    name = "READ KEYS data"
    fields_desc: ClassVar[list[Any]] = [
        IntField("generation", 0), FieldLenField("additional_length", None, length_of="keys", fmt="!I"),
        FieldListField("keys", [], XLongField("", 0), length_from=lambda packet: packet.additional_length, max_count=MOST),
    ]  # fmt: skip


class Reservation(Struct):
    """SPC-4 6.15.3.2."""

    name = "reservation"
    fields_desc: ClassVar[list[Any]] = [
        XLongField("reservation_key", 0), IntField("obsolete", 0), ByteField("reserved", 0), BitField("scope", 0, 4),
        BitField("type", 0, 4), ShortField("obsolete2", 0),
    ]  # fmt: skip


class ReserveInReservation(Struct):
    """SPC-4 6.15.3."""

    name = "READ RESERVATION data"
    fields_desc: ClassVar[list[Any]] = [
        IntField("generation", 0), FieldLenField("additional_length", None, length_of="reservations", fmt="!I"),
        PacketListField("reservations", [], Reservation, length_from=lambda packet: packet.additional_length),
    ]  # fmt: skip


class Capacity10(Struct):
    """SBC-3 5.15.2."""

    name = "READ CAPACITY(10) data"
    fields_desc: ClassVar[list[Any]] = [IntField("last_lba", 0), IntField("block_length", 512)]


class Capacity16(Struct):
    """SBC-3 5.16.2."""

    name = "READ CAPACITY(16) data"
    fields_desc: ClassVar[list[Any]] = [
        LongField("last_lba", 0), IntField("block_length", 512), BitField("reserved", 0, 4), BitField("p_type", 0, 3),
        BitField("prot_en", 0, 1), BitField("p_i_exponent", 0, 4), BitField("blocks_per_physical", 0, 4), BitField("lbpme", 0, 1),
        BitField("lbprz", 0, 1), BitField("lowest_aligned", 0, 14), XStrField("rest", bytes(16)),
    ]  # fmt: skip


class LbaStatusDescriptor(Struct):
    """SBC-3 5.6.2."""

    name = "LBA status descriptor"
    fields_desc: ClassVar[list[Any]] = [
        LongField("lba", 0), IntField("blocks", 0), BitField("reserved", 0, 4),
        BitEnumField("provisioning", 0, 4, {0: "mapped", 1: "deallocated", 2: "anchored"}), ThreeBytesField("reserved2", 0),
    ]  # fmt: skip


class LbaStatus(Struct):
    """SBC-3 5.6.2."""

    name = "GET LBA STATUS data"
    fields_desc: ClassVar[list[Any]] = [
        FieldLenField("data_length", None, length_of="descriptors", fmt="!I", adjust=lambda _, size: size + 4), IntField("reserved", 0),
        PacketListField(
            "descriptors", [], LbaStatusDescriptor, length_from=lambda packet: max(packet.data_length - 4, 0), max_count=MOST
        ),
    ]  # fmt: skip


class Luns(Struct):
    """SPC-4 6.33."""

    name = "REPORT LUNS data"
    fields_desc: ClassVar[list[Any]] = [
        FieldLenField("list_length", None, length_of="luns", fmt="!I"), IntField("reserved", 0),
        FieldListField("luns", [], XLongField("", 0), length_from=lambda packet: packet.list_length, max_count=MOST),
    ]  # fmt: skip


class StandardInquiry(Struct):
    """SPC-4 6.6.2."""

    name = "standard INQUIRY data"
    fields_desc: ClassVar[list[Any]] = [
        BitField("qualifier", 0, 3), BitField("device_type", 0, 5), BitField("removable", 0, 1), BitField("reserved", 0, 7),
        ByteField("version", 6), XByteField("flags3", 2), ByteField("additional_length", 31), XByteField("flags5", 0),
        XByteField("flags6", 0), XByteField("flags7", 2), StrFixedLenField("vendor_id", b"", 8), StrFixedLenField("product_id", b"", 16),
        StrFixedLenField("product_revision", b"", 4), XStrField("rest", b""),
    ]  # fmt: skip


class VitalPage(Struct):
    """SPC-4 7.8.1."""

    name = "vital product data page"
    fields_desc: ClassVar[list[Any]] = [
        BitField("qualifier", 0, 3), BitField("device_type", 0, 5), XByteField("page", 0),
        FieldLenField("page_length", None, length_of="data", fmt="!H"),
        StrLenField("data", b"", length_from=lambda packet: packet.page_length or 0),
    ]  # fmt: skip


class CopyDevice(Struct):
    """SPC-4 6.4.5: 32 bytes that name a disk; E4h is by its designator."""

    name = "CSCD descriptor"
    fields_desc: ClassVar[list[Any]] = [
        XByteField("type", 0xE4), XByteField("device", 0), ShortField("initiator_port", 0), BitField("reserved", 0, 4),
        BitField("code_set", 1, 4), BitField("reserved2", 0, 2), BitField("association", 0, 2), BitField("designator_type", 3, 4),
        ByteField("reserved3", 0), ByteField("designator_length", 8), XStrFixedLenField("designator", bytes(20), 20),
        XByteField("flags", 0), ThreeBytesField("block_length", 512),
    ]  # fmt: skip


class CopySegment(Struct):
    """SPC-4 6.4.6: type 02h, from blocks to blocks."""

    name = "segment descriptor, block to block"
    fields_desc: ClassVar[list[Any]] = [
        XByteField("type", 2), BitField("reserved", 0, 6), BitField("dc", 0, 1), BitField("cat", 0, 1), ShortField("length", 24),
        ShortField("source", 0), ShortField("destination", 0), ShortField("reserved2", 0), ShortField("blocks", 0),
        LongField("source_lba", 0), LongField("destination_lba", 0),
    ]  # fmt: skip


class OtherSegment(Struct):
    """A segment of another type."""

    name = "segment descriptor"
    fields_desc: ClassVar[list[Any]] = [
        XByteField("type", 0), XByteField("flags", 0), FieldLenField("length", None, length_of="data", fmt="!H"),
        XStrLenField("data", b"", length_from=lambda packet: packet.length or 0),
    ]  # fmt: skip


def _segment(_packet: Any, _before: list[Any], _current: Any, remain: bytes) -> type[Packet] | None:
    if not remain:
        return None
    return CopySegment if remain[0] == 2 and remain[2:4] == b"\0\x18" else OtherSegment


class CopyList(Struct):
    """SPC-4 6.4.3, of a length of LID1."""

    name = "EXTENDED COPY(LID1) parameter list"
    fields_desc: ClassVar[list[Any]] = [
        ByteField("list_id", 0), BitField("reserved", 0, 2), BitField("str", 0, 1), BitField("list_id_usage", 0, 2),
        BitField("priority", 0, 3), FieldLenField("devices_length", None, length_of="devices", fmt="!H"), IntField("reserved2", 0),
        FieldLenField("segments_length", None, length_of="segments", fmt="!I"),
        FieldLenField("inline_length", None, length_of="inline", fmt="!I"),
        PacketListField("devices", [], CopyDevice, length_from=lambda packet: packet.devices_length, max_count=MOST),
        PacketListField("segments", [], next_cls_cb=_segment, length_from=lambda packet: packet.segments_length, max_count=MOST),
        XStrLenField("inline", b"", length_from=lambda packet: packet.inline_length or 0),
    ]  # fmt: skip


_SENT: Final[dict[tuple[int, int | None], type[Packet]]] = {
    (0x42, None): UnmapList,
    (0x5F, None): ReserveOutList,
    (0x83, 0): CopyList,
}
_RECEIVED: Final[dict[tuple[int, int | None], type[Packet]]] = {
    (0x03, None): Sense, (0x25, None): Capacity10, (0x5E, 0): ReserveInKeys, (0x5E, 1): ReserveInReservation,
    (0x9E, 0x10): Capacity16, (0x9E, 0x12): LbaStatus, (0xA0, None): Luns, (0x12, 0): StandardInquiry, (0x12, 1): VitalPage,
}  # fmt: skip


def sent(cdb: bytes, data: bytes) -> Packet | None:
    """What a command sends; None for a disk's contents, and for what is not known."""
    return _made(_SENT, cdb, data)


def received(cdb: bytes, data: bytes) -> Packet | None:
    """What it gets; likewise."""
    return _made(_RECEIVED, cdb, data)


def _made(table: Mapping[tuple[int, int | None], type[Packet]], cdb: bytes, data: bytes) -> Packet | None:
    if len(cdb) < 2 or not data:
        return None
    kind = table.get((cdb[0], None)) or table.get((cdb[0], cdb[1] & 0x1F))
    return None if kind is None else _whole(kind, data)


def _whole(kind: type[Packet], data: bytes) -> Packet:
    """A layer of these bytes; raw where they are fewer than its fields, as an initiator's allocation length may have it."""
    try:
        return kind(data)
    except Exception:  # scapy's fields raise whatever struct and Python do on bytes that are cut
        return Raw(data)


def of_response(data: bytes) -> Packet | None:
    """The sense data of a SCSI Response's data segment (RFC 7143 11.4.7: its length stands before it), or None."""
    length = int.from_bytes(data[:2], "big")
    return _whole(Sense, data[2 : 2 + length]) if length and len(data) > 2 else None
