"""Mode pages (SPC-4 7.5, SBC-3 6.5): MODE SENSE and MODE SELECT, (6) and (10).

A page is built from the unit's settings; the mask beside it says which bits MODE SELECT may change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import GOOD, Command, Outcome, Response
from labemu_scsi.nexus import MODE_CHANGED
from labemu_scsi.sense import InvalidField, InvalidParameter, ParameterListLength, SavingNotSupported
from labemu_scsi.unit import LogicalUnit, ModeSettings

if TYPE_CHECKING:
    from labemu_scsi.command import Buffer

_CURRENT, _CHANGEABLE, _DEFAULT, _SAVED = range(4)
_ALL: Final = 0x3F
_DPOFUA: Final = 0x10
_WP: Final = 0x80


@dataclass(frozen=True, kw_only=True)
class Page:
    """A mode page.

    Args:
        length: PAGE LENGTH, without the two bytes before.
        build: settings to the page's body.
        mask: the changeable bits, by byte of the whole page.
        apply: the whole page to settings; only for pages that can be changed.
    """

    length: int
    build: Callable[[ModeSettings], dict[int, int]]
    mask: Mapping[int, int]
    apply: Callable[[ModeSettings, Buffer], None] | None = None


def _apply_caching(settings: ModeSettings, page: Buffer) -> None:
    settings.write_cache = bool(page[2] & 0x04)


def _apply_control(settings: ModeSettings, page: Buffer) -> None:
    settings.descriptor_sense = bool(page[2] & 0x04)
    settings.software_write_protect = bool(page[4] & 0x08)
    settings.task_aborted_status = bool(page[5] & 0x40)


PAGES: Mapping[int, Page] = {
    0x01: Page(length=10, build=lambda _: {2: 0xC0}, mask={}),  # read-write error recovery: AWRE, ARRE
    0x02: Page(length=14, build=lambda _: {}, mask={}),  # disconnect-reconnect
    0x08: Page(  # caching: WCE
        length=18,
        build=lambda settings: {2: 0x04 if settings.write_cache else 0},
        mask={2: 0x04},
        apply=_apply_caching,
    ),
    0x0A: Page(  # control: D_SENSE, SWP, TAS; unrestricted reordering
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
    0x1C: Page(length=10, build=lambda _: {3: 0x00}, mask={}),  # informational exceptions control
}


def _render(code: int, page: Page, values: Mapping[int, int]) -> bytes:
    data = bytearray(2 + page.length)
    data[0], data[1] = code, page.length
    for index, value in values.items():
        data[index] = value
    return bytes(data)


def _pages(unit: LogicalUnit, cdb: bytes) -> bytes:
    control, code, subpage = cdb[2] >> 6, cdb[2] & 0x3F, cdb[3]
    if control == _SAVED:
        raise SavingNotSupported()
    if subpage not in (0x00, 0xFF) or (code != _ALL and code not in PAGES):
        raise InvalidField(pointer=3 if subpage not in (0x00, 0xFF) else 2)
    settings = ModeSettings() if control == _DEFAULT else unit.mode
    codes = sorted(PAGES) if code == _ALL else [code]
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
    for page, body in changes:
        if page.apply is not None:
            page.apply(unit.mode, body)
    if changes:
        unit.attentions.establish_for_others(command.nexus, MODE_CHANGED)
    return Response(0, wanted=length)


def _parse_pages(unit: LogicalUnit, data: bytes, at: int) -> list[tuple[Page, bytes]]:
    changes = []
    while at < len(data):
        code = data[at] & 0x3F
        page = PAGES.get(code)
        if page is None or data[at] & 0x40:
            raise InvalidParameter(pointer=at)
        body = data[at : at + 2 + page.length]
        if len(body) < 2 + page.length:
            raise ParameterListLength()
        if body[1] != page.length:
            raise InvalidParameter(pointer=at + 1)
        now = _render(code, page, page.build(unit.mode))
        for index in range(2, len(body)):
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
