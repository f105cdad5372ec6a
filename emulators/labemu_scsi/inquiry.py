"""INQUIRY (SPC-4 6.6): the standard data, and the way to the vital product data pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import Command, Outcome, Response
from labemu_scsi.sense import InvalidField
from labemu_scsi.vpd import PAGES

if TYPE_CHECKING:
    from labemu_scsi.unit import LogicalUnit

_SPC4: Final = 0x06
_VERSIONS: Final = (0x00A0, 0x0960, 0x0460, 0x04C0)  # SAM-5, iSCSI, SPC-4, SBC-3 (SPC-4 table 142)
_STANDARD_LENGTH: Final = 96
_TPGS: Final = 0x30  # target port groups, changed by command and by themselves (SPC-4 table 145)
NO_UNIT: Final = 0x7F  # qualifier 011b, type 1Fh: there is nothing at this LUN


def _text(value: str, width: int) -> bytes:
    return value.encode("ascii", "replace")[:width].ljust(width)


def standard(peripheral: int, *, removable: bool, vendor: str, product: str, revision: str, access: int = 0) -> bytes:
    """The standard INQUIRY data, SPC-4 table 139; `access` are the TPGS bits."""
    data = bytearray(_STANDARD_LENGTH)
    data[0] = peripheral
    data[1] = 0x80 if removable else 0
    data[2] = _SPC4
    data[3] = 0x12  # HISUP, response data format 2
    data[4] = _STANDARD_LENGTH - 5
    data[5] = access | (0x08 if peripheral != NO_UNIT else 0)  # 3PC: EXTENDED COPY
    data[7] = 0x02  # CMDQUE
    data[8:16] = _text(vendor, 8)
    data[16:32] = _text(product, 16)
    data[32:36] = _text(revision, 4)
    for index, version in enumerate(_VERSIONS):
        data[58 + 2 * index : 60 + 2 * index] = version.to_bytes(2, "big")
    return bytes(data)


def inquiry(unit: LogicalUnit, command: Command) -> Outcome:
    """INQUIRY, SPC-4 6.6."""
    cdb = command.cdb
    allocation = int.from_bytes(cdb[3:5], "big")
    if cdb[1] & 0x02:  # CMDDT, obsolete
        raise InvalidField(pointer=1, bit=1)
    if not cdb[1] & 0x01:
        if cdb[2]:  # a page code without EVPD
            raise InvalidField(pointer=2)
        data = standard(
            0,
            removable=unit.removable,
            vendor=unit.vendor,
            product=unit.product,
            revision=unit.revision,
            access=_TPGS if unit.groups() else 0,
        )
        return Response(0, cut(data, allocation))
    page = PAGES.get(cdb[2])
    if page is None:
        raise InvalidField(pointer=2)
    body = page(unit, command.nexus)
    return Response(0, cut(bytes((0, cdb[2])) + len(body).to_bytes(2, "big") + body, allocation))


COMMANDS = (
    CommandSpec(
        opcode=0x12,
        name="INQUIRY",
        usage="1201ffffff07",
        handler=inquiry,
        access=Access.ALWAYS,
        attention=False,
        medium=False,
    ),
)
