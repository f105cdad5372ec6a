"""The structures that operations share (RFC 7531 and its successors), as bytes and back."""

from __future__ import annotations

from struct import Struct

from labemu_nfs.limits import MAX_PATH
from labemu_nfs.nfs4.constants import MAX_BITMAP
from labemu_nfs.nfs4.state.stateids import OTHER_SIZE, Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.xdr import Decoder, XdrError

_STATEID = Struct(f">I{OTHER_SIZE}s")
_CHANGE_INFO = Struct(">IQQ")
_TIME = Struct(">qI")
_BITMAPS = tuple(Struct(f">{count + 1}I") for count in range(MAX_BITMAP + 1))
_SECOND = 1_000_000_000
_U32 = 0xFFFF_FFFF


def decode_stateid(decoder: Decoder) -> Stateid:
    """stateid4 (RFC 7530 2.2.16)."""
    seqid, other = decoder.unpack(_STATEID)
    return Stateid(seqid, other)  # type: ignore[arg-type] # what Struct gives for "s" is bytes


def encode_stateid(stateid: Stateid) -> bytes:
    """stateid4."""
    return _STATEID.pack(*stateid)


def change_info(before: int, after: int, *, atomic: bool = True) -> bytes:
    """change_info4 (RFC 7530 2.2.10): a directory's change attribute before and after.

    Ours is atomic: nothing else is worked on meanwhile.
    """
    return _CHANGE_INFO.pack(atomic, before & 2**64 - 1, after & 2**64 - 1)


def decode_bitmap(decoder: Decoder) -> int:
    """bitmap4 (RFC 7530 2.2.6) as an integer: bit n is attribute n."""
    count = decoder.u32()
    if count > MAX_BITMAP:
        raise XdrError(f"a bitmap of {count} words")
    mask = 0
    for word in range(count):
        mask |= decoder.u32() << 32 * word
    return mask


def encode_bitmap(mask: int) -> bytes:
    """bitmap4, without words that are zero at its end."""
    count = (mask.bit_length() + 31) // 32
    return _BITMAPS[count].pack(count, *(mask >> 32 * word & _U32 for word in range(count)))


def decode_text(decoder: Decoder, bound: int = MAX_PATH) -> bytes:
    """A utf8string that is not a name. Raises Nfs4Error INVAL for an empty one or bad UTF-8 (RFC 7530 12.6, RFC 8881 14.5)."""
    text = decoder.string(bound)
    if not text:
        raise Nfs4Error(Status.INVAL)
    if not text.isascii():
        require_utf8(text)
    return text


def require_utf8(text: bytes) -> None:
    """Raise Nfs4Error INVAL for what is not UTF-8 (RFC 8881 14.5); surrogates and overlong forms are not."""
    try:
        text.decode()
    except UnicodeDecodeError:
        raise Nfs4Error(Status.INVAL) from None


def decode_component(decoder: Decoder, longest: int = 255) -> bytes:
    """component4: a file's name.

    Args:
        decoder: the arguments.
        longest: bytes that the store takes.

    Raises:
        Nfs4Error: INVAL for an empty name or bad UTF-8, NAMETOOLONG, BADNAME for `.`, `..` and a slash (RFC 7530 12.6, RFC 8881 14.5),
            BADCHAR for a zero byte (RFC 8881 15.1.7.1).
    """
    size = decoder.u32()
    name = bytes(decoder.fixed(size))
    if not size:
        raise Nfs4Error(Status.INVAL)
    if size > longest:
        raise Nfs4Error(Status.NAMETOOLONG)
    if not name.isascii():
        require_utf8(name)
    if name in (b".", b"..") or b"/" in name:
        raise Nfs4Error(Status.BADNAME)
    if b"\0" in name:
        raise Nfs4Error(Status.BADCHAR)
    return name


def encode_time(nanoseconds: int) -> bytes:
    """nfstime4 (RFC 7530 2.2.1)."""
    return _TIME.pack(*divmod(nanoseconds, _SECOND))


def decode_time(decoder: Decoder) -> int:
    """nfstime4 in nanoseconds. Raises Nfs4Error INVAL for a fraction of a second or more."""
    seconds, nanoseconds = decoder.unpack(_TIME)
    if nanoseconds >= _SECOND:
        raise Nfs4Error(Status.INVAL)
    return seconds * _SECOND + nanoseconds
