"""XDR (RFC 4506): reading with bounds, and writing as bytes.

Rules: a Decoder never reads beyond its view and never believes a length above the caller's bound; what does not fit is an XdrError,
which RPC answers with GARBAGE_ARGS. Opaque data comes out as a memoryview of the received buffer, valid until the call is answered.
"""

from __future__ import annotations

from struct import Struct, error

_U32 = Struct(">I")
_U64 = Struct(">Q")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

TRUE = b"\0\0\0\1"
FALSE = b"\0\0\0\0"

u32 = _U32.pack
"""An unsigned integer (RFC 4506 4.2)."""

u64 = _U64.pack
"""An unsigned hyper integer (RFC 4506 4.5)."""


class XdrError(ValueError):
    """The arguments of a call cannot be decoded."""


def padding(size: int) -> bytes:
    """What follows `size` bytes of opaque data, so that the next item starts at a multiple of four (RFC 4506 3)."""
    return _PADDING[size & 3]


def opaque(data: bytes) -> bytes:
    """Variable-length opaque data or a string (RFC 4506 4.10, 4.11)."""
    return _U32.pack(len(data)) + data + _PADDING[len(data) & 3]


class Decoder:
    """Reads items one after the other.

    Args:
        view: the bytes.
        at: where to begin.
    """

    __slots__ = ("at", "view")

    def __init__(self, view: memoryview, at: int = 0) -> None:
        self.view = view
        self.at = at

    def unpack(self, shape: Struct) -> tuple[int, ...]:
        """Several fixed items at once, by a precompiled struct."""
        try:
            values = shape.unpack_from(self.view, self.at)
        except error:
            raise XdrError("the message is too short") from None
        self.at += shape.size
        return values

    def u32(self) -> int:
        """An unsigned integer."""
        try:
            value: int = _U32.unpack_from(self.view, self.at)[0]
        except error:
            raise XdrError("the message is too short") from None
        self.at += 4
        return value

    def u64(self) -> int:
        """An unsigned hyper integer."""
        value: int = self.unpack(_U64)[0]
        return value

    def boolean(self) -> bool:
        """A boolean (RFC 4506 4.4)."""
        value = self.u32()
        if value > 1:
            raise XdrError("neither true nor false")
        return value == 1

    def fixed(self, size: int) -> memoryview:
        """Fixed-length opaque data (RFC 4506 4.9)."""
        start, end = self.at, self.at + size
        if end + (-size & 3) > len(self.view):
            raise XdrError("the message is too short")
        self.at = end + (-size & 3)
        return self.view[start:end]

    def opaque(self, bound: int) -> memoryview:
        """Variable-length opaque data of at most `bound` bytes."""
        size = self.u32()
        if size > bound:
            raise XdrError(f"{size} bytes where at most {bound} are allowed")
        start = self.at
        end = start + size
        self.at = at = end + (-size & 3)
        if at > len(self.view):
            raise XdrError("the message is too short")
        return self.view[start:end]

    def string(self, bound: int) -> bytes:
        """A string of at most `bound` bytes."""
        return bytes(self.opaque(bound))
