"""From bytes to PDUs: one receive buffer, parsed in place.

The data segments handed out are views of the buffer: they hold until the next `receive_buffer()`, which may move what is left.
Digests are checked here (RFC 7143 11.2.3). The buffer never grows by what a peer sends: its size is that of the phase.
"""

from __future__ import annotations

from typing import Final

import crc32c

from labemu_iscsi.errors import DataDigestError, HeaderDigestError, PeerError
from labemu_iscsi.limits import BHS_LENGTH, LOGIN_BUFFER, LOGIN_RECEIVE_DATA, MAX_AHS
from labemu_iscsi.pdu import LENGTHS, Buffer

DIGEST_LENGTH: Final = 4
_EMPTY: Final = memoryview(b"")


def digest(*parts: Buffer) -> bytes:
    """CRC32C of the parts together, in the order of the wire (RFC 7143 13.1: little-endian)."""
    value = 0
    for part in parts:
        value = crc32c.crc32c(part, value)
    return value.to_bytes(DIGEST_LENGTH, "little")


class Framer:
    """Cuts a byte stream into PDUs.

    Args:
        max_data: largest data segment that the peer may send.
        capacity: bytes of the buffer; at least one PDU of the largest kind.
    """

    def __init__(self, *, max_data: int = LOGIN_RECEIVE_DATA, capacity: int = LOGIN_BUFFER) -> None:
        self.max_data = max_data
        self.header_digest = False
        self.data_digest = False
        self.buffer = bytearray(capacity)
        self.view = memoryview(self.buffer)
        self.position = 0  # where the next PDU's header starts in `buffer`; whoever else parses it moves it on
        self.end = 0  # of what was received
        self._check_capacity()

    def check(self, start: int, size: int) -> None:
        """Hold a whole PDU without AHS at `start`, with `size` bytes of data, to its digests.

        Raises:
            PeerError: see `next`.
        """
        self._checked(start, size)

    def _check_capacity(self) -> None:
        largest = BHS_LENGTH + MAX_AHS + 2 * DIGEST_LENGTH + self.max_data + 3
        if len(self.buffer) < largest:
            raise ValueError(f"a buffer of {len(self.buffer)} bytes cannot hold a PDU of {largest}")

    def grow(self, *, max_data: int, capacity: int) -> None:
        """Take a larger buffer; views of the old one stay what they are."""
        old = self.view[self.position : self.end]
        self.max_data = max_data
        self.buffer = bytearray(capacity)
        self.view = memoryview(self.buffer)
        self.view[: len(old)] = old
        self.position, self.end = 0, len(old)
        self._check_capacity()

    def receive_buffer(self) -> memoryview:
        """Where the next bytes go; never empty, because a whole PDU always fits."""
        if self.position == self.end:
            self.position = self.end = 0
        elif self.position:
            left = self.end - self.position
            if left < BHS_LENGTH or len(self.buffer) - self.position < self._pdu_length():
                self.view[:left] = self.view[self.position : self.end]
                self.position, self.end = 0, left
        return self.view[self.end :]

    def _pdu_length(self) -> int:
        (lengths,) = LENGTHS.unpack_from(self.buffer, self.position + 4)
        return self._total(lengths)

    def _total(self, lengths: int) -> int:
        size = lengths & 0xFFFFFF
        total = BHS_LENGTH + (lengths >> 24) * 4 + ((size + 3) & ~3)
        if self.header_digest:
            total += DIGEST_LENGTH
        if self.data_digest and size:
            total += DIGEST_LENGTH
        return total

    def received(self, count: int) -> None:
        """So many bytes were put into the buffer."""
        self.end += count

    def next(self) -> tuple[int, memoryview] | None:
        """The next whole PDU: where its header starts in `buffer`, and its data segment; None when more bytes are needed.

        Raises:
            PeerError: too long, or a header digest that does not match (fatal both).
            DataDigestError: a data digest that does not match.
        """
        start = self.position
        if self.end - start < BHS_LENGTH:
            return None
        (lengths,) = LENGTHS.unpack_from(self.buffer, start + 4)
        size = lengths & 0xFFFFFF
        if size > self.max_data:
            raise PeerError(f"data segment of {size} bytes, {self.max_data} at most")
        plain = not (self.header_digest or self.data_digest)
        total = BHS_LENGTH + (lengths >> 24) * 4 + ((size + 3) & ~3) if plain else self._total(lengths)
        if self.end - start < total:
            return None
        self.position = start + total
        if not plain:
            return start, self._checked(start, lengths)
        if not size:
            return start, _EMPTY
        at = start + BHS_LENGTH + (lengths >> 24) * 4
        return start, self.view[at : at + size]

    def _checked(self, start: int, lengths: int) -> memoryview:
        at = start + BHS_LENGTH + (lengths >> 24) * 4
        view = self.view
        if self.header_digest:
            if digest(view[start:at]) != view[at : at + DIGEST_LENGTH]:
                raise HeaderDigestError("header digest error")  # RFC 7143 7.8: nothing in it can be trusted
            at += DIGEST_LENGTH
        size = lengths & 0xFFFFFF
        if not size:
            return _EMPTY
        padded = (size + 3) & ~3
        if self.data_digest and digest(view[at : at + padded]) != view[at + padded : at + padded + DIGEST_LENGTH]:
            raise DataDigestError("data digest error")
        return view[at : at + size]
