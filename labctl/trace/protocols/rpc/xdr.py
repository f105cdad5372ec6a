"""Reading XDR (RFC 4506) where it lies."""

from __future__ import annotations

import struct
from typing import Final

from labctl.trace.flows.stream import Buffer
from labctl.trace.limits import MAX_TEXT

_UINT: Final = struct.Struct(">I").unpack_from
_HYPER: Final = struct.Struct(">Q").unpack_from


class ShortError(Exception):
    """The bytes end before the value does: they were cut, or are no such thing."""


class Reader:
    """Reads values one after another.

    Args:
        buffer: holds them.
        at: where they begin.
        end: where they end.
    """

    __slots__ = ("at", "buffer", "end")

    def __init__(self, buffer: Buffer, at: int, end: int) -> None:
        self.buffer = buffer
        self.at = at
        self.end = end

    def uint(self) -> int:
        """An unsigned int. Raises ShortError, as all do."""
        at = self.at
        if at + 4 > self.end:
            raise ShortError
        self.at = at + 4
        return int(_UINT(self.buffer, at)[0])

    def hyper(self) -> int:
        """An unsigned hyper."""
        at = self.at
        if at + 8 > self.end:
            raise ShortError
        self.at = at + 8
        return int(_HYPER(self.buffer, at)[0])

    def skip(self, count: int) -> None:
        """Leave bytes out; they count as padded."""
        self.at += count + 3 & ~3
        if self.at > self.end:
            raise ShortError

    def fixed(self, count: int) -> bytes:
        """So many bytes."""
        at = self.at
        self.skip(count)
        return bytes(self.buffer[at : at + count])

    def opaque(self) -> bytes:
        """Bytes with their count before them."""
        return self.fixed(self.uint())

    def skip_opaque(self) -> int:
        """Leave bytes with their count out; returns the count."""
        count = self.uint()
        self.skip(count)
        return count

    def text(self) -> str:
        """A string, for people: cut where it is endless, and what is not UTF-8 replaced."""
        return self.opaque()[:MAX_TEXT].decode(errors="replace")

    def words(self) -> list[int]:
        """An array of unsigned ints."""
        count = self.uint()
        if count > (self.end - self.at) // 4:
            raise ShortError
        return [self.uint() for _ in range(count)]

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return self.end - self.at
