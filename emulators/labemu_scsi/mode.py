"""Mode pages (SPC-4 7.5, SBC-3 6.5): MODE SENSE and MODE SELECT, (6) and (10).

A page is built from the unit's settings; the mask beside it says which bits MODE SELECT may change.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import GOOD, Command, Outcome, Response
from labemu_scsi.durable import flush_then
from labemu_scsi.nexus import MODE_CHANGED
from labemu_scsi.sense import InvalidField, InvalidParameter, ParameterListLength, SavingNotSupported
from labemu_scsi.threshold import USED, Threshold
from labemu_scsi.unit import LogicalUnit, ModeSettings

if TYPE_CHECKING:
    from labemu_scsi.command import Buffer

_CURRENT, _CHANGEABLE, _DEFAULT, _SAVED = range(4)
_ALL: Final = 0x3F
_DPOFUA: Final = 0x10
_WP: Final = 0x80
_ALL_SUBPAGES: Final = 0xFF
_THRESHOLDS: Final = (16, 24)  # places of the descriptors in the logical block provisioning page
_ENABLED: Final = 0x80
_INCREASING: Final = 0x01


@dataclass(frozen=True, kw_only=True)
class Page:
    """A mode page.

    Args:
        length: PAGE LENGTH, without what is before it and itself.
        build: settings to the page's body.
        mask: the changeable bits, by byte of the whole page.
        apply: the whole page to settings; only for pages that can be changed.
        thin: only thin units have it.
    """

    length: int
    build: Callable[[ModeSettings], dict[int, int]]
    mask: Mapping[int, int]
    apply: Callable[[ModeSettings, Buffer], None] | None = None
    thin: bool = False


def _apply_caching(settings: ModeSettings, page: Buffer) -> None:
    settings.write_cache = bool(page[2] & 0x04)


def _apply_control(settings: ModeSettings, page: Buffer) -> None:
    settings.descriptor_sense = bool(page[2] & 0x04)
    settings.software_write_protect = bool(page[4] & 0x08)
    settings.task_aborted_status = bool(page[5] & 0x40)


def _build_provisioning(settings: ModeSettings) -> dict[int, int]:
    """SBC-3 6.5.9: a soft threshold for what is free and one for what is used."""
    values = {4: int(settings.single_attention)}
    for at, each in zip(_THRESHOLDS, settings.thresholds, strict=True):
        values[at] = (_ENABLED if each.enabled else 0) | (_INCREASING if each.resource == USED else 0)
        values[at + 1] = each.resource
        values |= dict(enumerate(each.count.to_bytes(4, "big"), at + 4))
    return values


def _apply_provisioning(settings: ModeSettings, page: Buffer) -> None:
    settings.single_attention = bool(page[4] & 0x01)
    settings.thresholds = [
        Threshold(
            resource=each.resource,
            enabled=bool(page[at] & _ENABLED),
            count=int.from_bytes(page[at + 4 : at + 8], "big"),
        )
        for at, each in zip(_THRESHOLDS, settings.thresholds, strict=True)
    ]


_PROVISIONING_MASK = {4: 0x01} | {
    at + index: mask for at in _THRESHOLDS for index, mask in ((0, _ENABLED), (4, 255), (5, 255), (6, 255), (7, 255))
}

PAGES: Mapping[tuple[int, int], Page] = {
    (0x01, 0x00): Page(length=10, build=lambda _: {2: 0xC0}, mask={}),  # read-write error recovery: AWRE, ARRE
    (0x02, 0x00): Page(length=14, build=lambda _: {}, mask={}),  # disconnect-reconnect
    (0x08, 0x00): Page(  # caching: WCE
        length=18,
        build=lambda settings: {2: 0x04 if settings.write_cache else 0},
        mask={2: 0x04},
        apply=_apply_caching,
    ),
    (0x0A, 0x00): Page(  # control: D_SENSE, SWP, TAS; unrestricted reordering
        length=10,
        build=lambda settings: {
            2: 0x04 if settings.descriptor_sense else 0,
            3: 0x10,
            4: 0x08 if settings.software_write_protect else 0,
            5: 0x40 if settings.task_aborted_status else 0,
            8: 0xFF,
            9: 0xFF,
        },
        mask={2: 0x04, 4: 0x08, 5: 0x40},
        apply=_apply_control,
    ),
    (0x1C, 0x00): Page(length=10, build=lambda _: {3: 0x00}, mask={}),  # informational exceptions control
    (0x1C, 0x02): Page(  # logical block provisioning
        length=28, build=_build_provisioning, mask=_PROVISIONING_MASK, apply=_apply_provisioning, thin=True
    ),
}


def _render(code: tuple[int, int], page: Page, values: Mapping[int, int]) -> bytes:
    """The page with its header, which is longer where there is a subpage code (SPC-4 7.5.7)."""
    if code[1]:
        data = bytearray(struct.pack(">BBH", 0x40 | code[0], code[1], page.length)) + bytes(page.length)
    else:
        data = bytearray((code[0], page.length)) + bytes(page.length)
    for index, value in values.items():
        data[index] = value
    return bytes(data)


def _pages(unit: LogicalUnit, cdb: bytes) -> bytes:
    control, code, subpage = cdb[2] >> 6, cdb[2] & 0x3F, cdb[3]
    if control == _SAVED:
        raise SavingNotSupported()
    codes = [
        each
        for each in sorted(PAGES)
        if code in (_ALL, each[0]) and subpage in (_ALL_SUBPAGES, each[1]) and (unit.thin or not PAGES[each].thin)
    ]
    if not codes:
        raise InvalidField(pointer=3 if any(each[0] == code for each in PAGES) else 2)
    settings = ModeSettings() if control == _DEFAULT else unit.mode
    return b"".join(
        _render(each, PAGES[each], PAGES[each].mask if control == _CHANGEABLE else PAGES[each].build(settings))
        for each in codes
    )


def _device_flags(unit: LogicalUnit) -> int:
    protected = unit.read_only or unit.mode.software_write_protect
    return _DPOFUA | (_WP if protected else 0)


def _descriptor(unit: LogicalUnit, *, wide: bool) -> bytes:
    """A block descriptor, SBC-3 6.4.2."""
    if wide:
        return unit.blocks.to_bytes(8, "big") + bytes(4) + unit.block_size.to_bytes(4, "big")
    return min(unit.blocks, 0xFFFFFFFF).to_bytes(4, "big") + unit.block_size.to_bytes(4, "big")


def mode_sense6(unit: LogicalUnit, command: Command) -> Outcome:
    """MODE SENSE(6), SPC-4 6.13."""
    cdb = command.cdb
    descriptor = b"" if cdb[1] & 0x08 else _descriptor(unit, wide=False)
    pages = _pages(unit, cdb)
    header = bytes((3 + len(descriptor) + len(pages), 0, _device_flags(unit), len(descriptor)))
    return Response(0, cut(header + descriptor + pages, cdb[4]))


def mode_sense10(unit: LogicalUnit, command: Command) -> Outcome:
    """MODE SENSE(10), SPC-4 6.14."""
    cdb = command.cdb
    wide = bool(cdb[1] & 0x10)
    descriptor = b"" if cdb[1] & 0x08 else _descriptor(unit, wide=wide)
    pages = _pages(unit, cdb)
    length = (6 + len(descriptor) + len(pages)).to_bytes(2, "big")
    header = (
        length + bytes((0, _device_flags(unit), int(wide and bool(descriptor)), 0)) + len(descriptor).to_bytes(2, "big")
    )
    return Response(0, cut(header + descriptor + pages, int.from_bytes(cdb[7:9], "big")))


def _select(unit: LogicalUnit, command: Command, *, length: int, header: int) -> Outcome:
    """SPC-4 6.11: all pages are checked before any is applied."""
    flags = command.cdb[1]
    if flags & 0x01:  # SP
        raise InvalidField(pointer=1, bit=0)
    if not flags & 0x10:  # PF: without it the pages are vendor specific
        raise InvalidField(pointer=1, bit=4)
    if not length:
        return GOOD
    data = bytes(command.data[:length])
    if len(data) < header:
        raise ParameterListLength()
    descriptors = data[3] if header == 4 else int.from_bytes(data[6:8], "big")
    changes = _parse_pages(unit, data, header + descriptors)
    cached = unit.mode.write_cache
    for page, body in changes:
        if page.apply is not None:
            page.apply(unit.mode, body)
    if changes:
        unit.update_guard()
        unit.attentions.establish_for_others(command.nexus, MODE_CHANGED)
    done = Response(0, wanted=length)
    return (
        flush_then(unit, done) if cached and not unit.mode.write_cache else done
    )  # what was cached is durable from now on


def _parse_pages(unit: LogicalUnit, data: bytes, at: int) -> list[tuple[Page, bytes]]:
    changes = []
    while at < len(data):
        code = data[at] & 0x3F, 0
        if data[at] & 0x40:  # SPF
            code = code[0], data[at + 1] if at + 1 < len(data) else 0
        page = PAGES.get(code)
        if page is None or (page.thin and not unit.thin):
            raise InvalidParameter(pointer=at)
        header = 4 if code[1] else 2
        body = data[at : at + header + page.length]
        if len(body) < header + page.length:
            raise ParameterListLength()
        if body[1:header] != _render(code, page, {})[1:header]:
            raise InvalidParameter(pointer=at + header - 1)
        now = _render(code, page, page.build(unit.mode))
        for index in range(header, len(body)):
            if (body[index] ^ now[index]) & ~page.mask.get(index, 0):
                raise InvalidParameter(pointer=at + index)
        changes.append((page, body))
        at += len(body)
    return changes


def mode_select6(unit: LogicalUnit, command: Command) -> Outcome:
    """MODE SELECT(6), SPC-4 6.11."""
    return _select(unit, command, length=command.cdb[4], header=4)


def mode_select10(unit: LogicalUnit, command: Command) -> Outcome:
    """MODE SELECT(10), SPC-4 6.12."""
    return _select(unit, command, length=int.from_bytes(command.cdb[7:9], "big"), header=8)


COMMANDS = (
    CommandSpec(
        opcode=0x1A, name="MODE SENSE(6)", usage="1a08ffffff07", handler=mode_sense6, access=Access.READ, medium=False
    ),
    CommandSpec(
        opcode=0x5A,
        name="MODE SENSE(10)",
        usage="5a18ffff000000ffff07",
        handler=mode_sense10,
        access=Access.READ,
        medium=False,
    ),
    CommandSpec(
        opcode=0x15,
        name="MODE SELECT(6)",
        usage="15110000ff07",
        handler=mode_select6,
        access=Access.WRITE,
        medium=False,
    ),
    CommandSpec(
        opcode=0x55,
        name="MODE SELECT(10)",
        usage="55110000000000ffff07",
        handler=mode_select10,
        access=Access.WRITE,
        medium=False,
    ),
)
