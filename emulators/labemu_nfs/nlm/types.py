"""What NLM carries: statuses, the lock as arguments and as a holder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from labemu_nfs.xdr import Decoder, opaque

MAX_COOKIE = 1024
"""Bytes (RFC 1813 appendix II, MAXNETOBJ_SZ)."""

MAX_CALLER = 1024
"""Bytes of caller_name (LM_MAXSTRLEN)."""

TO_EOF = 1 << 64
"""The exclusive end of a lock whose length is 0: up to the end of the file, however far that moves."""

_PID_AND_RANGE = Struct(">IQQ")
_HELD = Struct(">II")
_SPAN = Struct(">QQ")


class Stat(IntEnum):
    """nlm4_stats."""

    GRANTED = 0
    DENIED = 1
    DENIED_NOLOCKS = 2
    BLOCKED = 3
    DENIED_GRACE_PERIOD = 4
    DEADLCK = 5
    ROFS = 6
    STALE_FH = 7
    FBIG = 8
    FAILED = 9


@dataclass(frozen=True, slots=True)
class Locker:
    """Who locks.

    Args:
        address: of its host.
        caller: the host's own name for itself, by which it tells of its restarts.
        handle: what the host calls the process (`oh`).
        process: its number there (`svid`).
    """

    address: str
    caller: bytes
    handle: bytes
    process: int


@dataclass(frozen=True, slots=True)
class LockArguments:
    """nlm4_lock.

    Args:
        locker: who.
        file: the filehandle.
        start: first byte.
        end: exclusive; TO_EOF where there is none.
    """

    locker: Locker
    file: bytes
    start: int
    end: int


def lock_arguments(decoder: Decoder, address: str, max_handle: int) -> LockArguments:
    """Decode nlm4_lock. Raises XdrError."""
    caller, file, handle = decoder.string(MAX_CALLER), decoder.string(max_handle), decoder.string(MAX_COOKIE)
    process, start, length = decoder.unpack(_PID_AND_RANGE)
    return LockArguments(Locker(address, caller, handle, process), file, start, start + length if length else TO_EOF)


def length_of(start: int, end: int) -> int:
    """A range's length as NLM has it: 0 up to the end of the file."""
    return 0 if end == TO_EOF else end - start


def encode_lock(lock: LockArguments) -> bytes:
    """nlm4_lock."""
    who = lock.locker
    tail = _PID_AND_RANGE.pack(who.process, lock.start, length_of(lock.start, lock.end))
    return opaque(who.caller) + opaque(lock.file) + opaque(who.handle) + tail


def encode_holder(*, exclusive: bool, process: int, handle: bytes, start: int, end: int) -> bytes:
    """nlm4_holder."""
    return _HELD.pack(exclusive, process) + opaque(handle) + _SPAN.pack(start, length_of(start, end))
