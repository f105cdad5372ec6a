"""The parameter list of EXTENDED COPY (LID1), SPC-4 6.4.3: what it says, checked as far as it can be without looking at a unit.

Every fault of the list itself is told before a byte is copied. Which unit a descriptor names, and whether its blocks are there, is
found out when its segment's turn comes (SPC-4 6.4.4).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from labemu_scsi.copy_page import BLOCK_TO_BLOCK, IDENTIFICATION, VERIFY_CSCD
from labemu_scsi.limits import MAX_COPY_CSCDS, MAX_COPY_LIST_BYTES, MAX_COPY_SEGMENTS
from labemu_scsi.sense import (
    InlineDataLength,
    InvalidParameter,
    ParameterListLength,
    TooManySegments,
    TooManyTargets,
    UnsupportedSegment,
    UnsupportedTarget,
)

_HEADER: Final = struct.Struct(">BBH4xII")
_SEGMENT: Final = struct.Struct(">BBHHHxxHQQ")
_CSCD_BYTES: Final = 32
_MAX_DESIGNATOR: Final = 20
_HOLD, _DISCARD, _NO_IDENTIFIER = 0, 2, 3  # LIST ID USAGE, SPC-4 table 107
_DC: Final = 0x02
_NUL: Final = 0x20


class Cscd(NamedTuple):
    """A copy source or copy destination, as its designator names it.

    Args:
        designator: code set, designator type and the identifier; empty for a null one.
        block_length: bytes of a block as the initiator believes; 0 leaves it open.
    """

    designator: tuple[int, int, bytes] | None
    block_length: int


class Segment(NamedTuple):
    """A stretch to copy, or, without blocks and with `verify`, a unit to look for.

    Args:
        source: index of its CSCD.
        destination: index of its CSCD.
        blocks: how many.
        counts_destination: whether `blocks` are the destination's, not the source's.
        source_lba: where it begins.
        destination_lba: where it goes.
        verify: only see that the source is there.
    """

    source: int
    destination: int
    blocks: int
    counts_destination: bool
    source_lba: int
    destination_lba: int
    verify: bool = False


class CopyList(NamedTuple):
    """A parameter list.

    Args:
        identifier: by which RECEIVE COPY RESULTS asks; None if there is none.
        hold: the outcome is to be kept.
        cscds: the sources and destinations.
        segments: what to copy, in this order.
    """

    identifier: int | None
    hold: bool
    cscds: list[Cscd]
    segments: list[Segment]


def parse(data: bytes) -> CopyList:
    """Read a parameter list; raises IllegalRequest of the kind that fits."""
    if len(data) < _HEADER.size:
        raise ParameterListLength()
    identifier, flags, cscd_bytes, segment_bytes, inline_bytes = _HEADER.unpack_from(data)
    usage = flags >> 3 & 0x03
    if usage == 1 or (usage == _NO_IDENTIFIER and identifier):
        raise InvalidParameter(pointer=1 if usage == 1 else 0)
    if inline_bytes:
        raise InlineDataLength(pointer=12)
    end = _HEADER.size + cscd_bytes
    if cscd_bytes + segment_bytes > MAX_COPY_LIST_BYTES or end + segment_bytes > len(data):
        raise ParameterListLength()
    if cscd_bytes % _CSCD_BYTES:
        raise InvalidParameter(pointer=2)
    if cscd_bytes // _CSCD_BYTES > MAX_COPY_CSCDS:
        raise TooManyTargets(pointer=2)
    cscds = [_cscd(data, at) for at in range(_HEADER.size, end, _CSCD_BYTES)]
    return CopyList(
        None if usage == _NO_IDENTIFIER else identifier,
        usage == _HOLD,
        cscds,
        _segments(data, end, end + segment_bytes),
    )


def _cscd(data: bytes, at: int) -> Cscd:
    """An identification descriptor, SPC-4 6.4.5.3; LU ID TYPE is ignored."""
    if data[at] != IDENTIFICATION:
        raise UnsupportedTarget(pointer=at)
    block_length = int.from_bytes(data[at + 29 : at + 32], "big")
    if data[at + 1] & _NUL:
        return Cscd(None, block_length)
    if data[at + 1] & 0x1F:  # no block device
        raise InvalidParameter(pointer=at + 1, bit=4)
    length = data[at + 7]
    if data[at + 5] & 0x30:  # it names a port or a device
        raise InvalidParameter(pointer=at + 5, bit=5)
    if not 0 < length <= _MAX_DESIGNATOR:
        raise InvalidParameter(pointer=at + 7)
    return Cscd((data[at + 4] & 0x0F, data[at + 5] & 0x0F, data[at + 8 : at + 8 + length]), block_length)


def _segments(data: bytes, at: int, end: int) -> list[Segment]:
    segments: list[Segment] = []
    while at < end:
        if len(segments) == MAX_COPY_SEGMENTS:
            raise TooManySegments(pointer=8)
        kind = data[at]
        wanted = {BLOCK_TO_BLOCK: _SEGMENT.size, VERIFY_CSCD: 12}.get(kind)
        if wanted is None:
            raise UnsupportedSegment(pointer=at)
        if at + wanted > end:
            raise ParameterListLength()
        if int.from_bytes(data[at + 2 : at + 4], "big") != wanted - 4:
            raise InvalidParameter(pointer=at + 2)
        segments.append(_block_to_block(data, at) if kind == BLOCK_TO_BLOCK else _verify(data, at))
        at += wanted
    return segments


def _block_to_block(data: bytes, at: int) -> Segment:
    """SPC-4 6.4.6.4."""
    _, flags, _, source, destination, blocks, source_lba, destination_lba = _SEGMENT.unpack_from(data, at)
    return Segment(source, destination, blocks, bool(flags & _DC), source_lba, destination_lba)


def _verify(data: bytes, at: int) -> Segment:
    """SPC-4 6.4.6.9: is it there?"""
    source = int.from_bytes(data[at + 4 : at + 6], "big")
    return Segment(source, source, 0, counts_destination=False, source_lba=0, destination_lba=0, verify=True)
