"""Command descriptor blocks (SPC-4, SBC-3) as scapy layers: `CDB(data)` makes one of the class that its operation code says."""

from __future__ import annotations

from typing import Any, ClassVar

from scapy.fields import BitField, ByteField, IntField, LongField, ShortField, StrLenField, ThreeBytesField, XByteField
from scapy.packet import Packet

from labctl.trace.protocols.iscsi.cdb import name_of


class CDB(Packet):
    """Any command; what is made of bytes is of the class of its operation code."""

    name = "CDB"
    fields_desc: ClassVar[list[Any]] = [XByteField("opcode", 0), StrLenField("rest", b"", length_from=lambda _: 15)]

    @classmethod
    def dispatch_hook(cls, _pkt: bytes | None = None, *_args: Any, **_kargs: Any) -> type[Packet]:
        """The class for these bytes."""
        if cls is not CDB or not _pkt:
            return cls
        return BY_OPCODE.get(_pkt[0], CDB)

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """A CDB is padded to 16 bytes in iSCSI."""
        return b"", s

    def mysummary(self) -> str:
        """The standard's name."""
        raw = bytes(self)
        return name_of(raw[0], raw[1] & 0x1F if len(raw) > 1 else 0)


_LAYOUTS: dict[str, list[Any]] = {
    "6": [
        BitField("reserved", 0, 3), BitField("lba", 0, 21), ByteField("blocks", 0), XByteField("control", 0),
    ],
    "10": [
        XByteField("flags", 0), IntField("lba", 0), XByteField("group", 0), ShortField("blocks", 0), XByteField("control", 0),
    ],
    "12": [
        XByteField("flags", 0), IntField("lba", 0), IntField("blocks", 0), XByteField("group", 0), XByteField("control", 0),
    ],
    "16": [
        XByteField("flags", 0), LongField("lba", 0), IntField("blocks", 0), XByteField("group", 0), XByteField("control", 0),
    ],
    "none": [BitField("reserved", 0, 32), XByteField("control", 0)],
    "inquiry": [
        BitField("reserved", 0, 7), BitField("evpd", 0, 1), XByteField("page", 0), ShortField("allocation_length", 96),
        XByteField("control", 0),
    ],
    "sense6": [
        XByteField("flags", 0), XByteField("page", 0), XByteField("subpage", 0), ByteField("allocation_length", 0),
        XByteField("control", 0),
    ],
    "request_sense": [
        XByteField("flags", 0), ShortField("reserved", 0), ByteField("allocation_length", 252), XByteField("control", 0),
    ],
    "capacity10": [
        XByteField("flags", 0), IntField("lba", 0), ThreeBytesField("reserved", 0), XByteField("control", 0),
    ],
    "list10": [
        XByteField("flags", 0), IntField("reserved", 0), XByteField("group", 0), ShortField("list_length", 0), XByteField("control", 0),
    ],
    "action16": [
        BitField("reserved", 0, 3), BitField("action", 0x10, 5), LongField("lba", 0), IntField("allocation_length", 32),
        XByteField("flags", 0), XByteField("control", 0),
    ],
    "compare": [
        XByteField("flags", 0), LongField("lba", 0), ThreeBytesField("reserved", 0), ByteField("blocks", 1), XByteField("group", 0),
        XByteField("control", 0),
    ],
    "report_luns": [
        XByteField("reserved", 0), XByteField("select", 0), ThreeBytesField("reserved2", 0), IntField("allocation_length", 1024),
        XByteField("reserved3", 0), XByteField("control", 0),
    ],
    "reserve_in": [
        BitField("reserved", 0, 3), BitField("action", 0, 5), IntField("reserved2", 0), XByteField("reserved3", 0),
        ShortField("allocation_length", 1024), XByteField("control", 0),
    ],
    "reserve_out": [
        BitField("reserved", 0, 3), BitField("action", 0, 5), BitField("scope", 0, 4), BitField("type", 0, 4), ShortField("reserved2", 0),
        IntField("list_length", 24), XByteField("control", 0),
    ],
    "copy": [
        BitField("reserved", 0, 3), BitField("action", 0, 5), LongField("reserved2", 0), IntField("list_length", 0),
        XByteField("reserved3", 0), XByteField("control", 0),
    ],
    "maintenance": [
        BitField("reserved", 0, 3), BitField("action", 0x0A, 5), IntField("specific", 0), IntField("allocation_length", 1024),
        XByteField("reserved2", 0), XByteField("control", 0),
    ],
}  # fmt: skip
_CLASSES: dict[int, tuple[str, str]] = {
    0x00: ("TestUnitReady", "none"), 0x03: ("RequestSense", "request_sense"), 0x08: ("Read6", "6"), 0x0A: ("Write6", "6"),
    0x12: ("Inquiry", "inquiry"), 0x1A: ("ModeSense6", "sense6"), 0x25: ("ReadCapacity10", "capacity10"), 0x28: ("Read10", "10"),
    0x2A: ("Write10", "10"), 0x2E: ("WriteAndVerify10", "10"), 0x2F: ("Verify10", "10"), 0x34: ("Prefetch10", "10"),
    0x35: ("SynchronizeCache10", "10"), 0x41: ("WriteSame10", "10"), 0x42: ("Unmap", "list10"),
    0x5E: ("PersistentReserveIn", "reserve_in"), 0x5F: ("PersistentReserveOut", "reserve_out"), 0x83: ("ExtendedCopy", "copy"),
    0x84: ("ReceiveCopyResults", "copy"), 0x88: ("Read16", "16"), 0x89: ("CompareAndWrite", "compare"), 0x8A: ("Write16", "16"),
    0x8B: ("OrWrite16", "16"), 0x8E: ("WriteAndVerify16", "16"), 0x8F: ("Verify16", "16"), 0x90: ("Prefetch16", "16"),
    0x91: ("SynchronizeCache16", "16"), 0x93: ("WriteSame16", "16"), 0x9E: ("ServiceActionIn16", "action16"),
    0xA0: ("ReportLuns", "report_luns"), 0xA3: ("MaintenanceIn", "maintenance"), 0xA4: ("MaintenanceOut", "maintenance"),
    0xA8: ("Read12", "12"), 0xAA: ("Write12", "12"), 0xAE: ("WriteAndVerify12", "12"), 0xAF: ("Verify12", "12"),
}  # fmt: skip


def _make(opcode: int, name: str, layout: str) -> type[CDB]:
    title = (
        name_of(opcode, 0) if layout not in ("action16", "maintenance", "copy", "reserve_in", "reserve_out") else name
    )
    fields = [XByteField("opcode", opcode), *(field.copy() for field in _LAYOUTS[layout])]
    return type(name, (CDB,), {"name": title, "fields_desc": fields, "__doc__": f"{title}.", "__module__": __name__})


BY_OPCODE: dict[int, type[CDB]] = {opcode: _make(opcode, *row) for opcode, row in _CLASSES.items()}
"""The class of each operation code."""

_BY_NAME: dict[str, type[CDB]] = {made.__name__: made for made in BY_OPCODE.values()}


def __getattr__(name: str) -> type[CDB]:
    """The classes by their names: Read10, CompareAndWrite and so on."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise AttributeError(f"there is no CDB {name}; there are {', '.join(sorted(_BY_NAME))}") from None
