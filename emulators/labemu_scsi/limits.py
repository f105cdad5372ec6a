"""Every number with a reason."""

from __future__ import annotations

from typing import Final

MAX_TRANSFER_BYTES: Final = 16 << 20
"""One READ or WRITE; what Linux's own target and tgt allow at most is the same order."""

OPTIMAL_TRANSFER_BYTES: Final = 1 << 20
"""Large enough that the cost of a command vanishes, small enough that others get their turn."""

MAX_WRITE_SAME_BLOCKS: Final = 0xFFFF
"""One WRITE SAME, whether (10) or (16); a larger wipe comes as several commands, so that it can be watched and aborted."""

INLINE_WRITE_SAME_BYTES: Final = 4 << 20
"""A pattern up to this size is written at once; a larger one leaves the event loop."""

MAX_INLINE_OR_BYTES: Final = 1 << 20
"""An ORWRITE up to this size is done at once, in about 5 ms; a larger one leaves the event loop."""

MAX_COPY_CSCDS: Final = 16
"""Source and destination descriptors of one EXTENDED COPY; ESXi and libiscsi send one or two."""

MAX_COPY_SEGMENTS: Final = 64
"""Segments of one EXTENDED COPY; ESXi sends up to 8 where it may."""

MAX_COPY_LIST_BYTES: Final = 32 * MAX_COPY_CSCDS + 28 * MAX_COPY_SEGMENTS
"""Both lists of descriptors together."""

MAX_COPY_SEGMENT_BYTES: Final = 32 << 20
"""One segment: what a block count of 16 bits can say of 512-byte blocks."""

COPY_CHUNK: Final = 1 << 20
"""Copied in one step, in which no other command reads and changes blocks of the destination."""

WIPE_STEPS: Final = 64
"""Steps of one pass over a medium that is sanitized or formatted, at least: what progress is told in."""

WIPE_STEP_BYTES: Final = 64 << 20
"""One such step at most, so that it does not keep a thread for long."""

MAX_COPIES: Final = 64
"""Copies that a unit remembers for RECEIVE COPY RESULTS; the oldest that is done gives way."""

MAX_ATOMIC_BYTES: Final = 1 << 20
"""One WRITE ATOMIC: a single write of the store, so not more than a store takes in one go."""

THRESHOLD_SET_BYTES: Final = 1 << 20
"""The unit that used and free space of a thin unit are counted in (SBC-3 4.7.3.7): 4 PiB still fit into its 32 bits."""

MAX_UNMAP_DESCRIPTORS: Final = 256
"""Of one UNMAP parameter list; Linux sends one, ESXi up to 100."""

MAX_UNMAP_BLOCKS: Final = 1 << 20
"""Of one UNMAP command, all descriptors together."""

MAX_COMPARE_BLOCKS: Final = 255
"""Of COMPARE AND WRITE: what its one-byte field can say; ESXi asks for 1."""

GRANULARITY: Final = 4096
"""Bytes of a page of the cache behind: writes and holes of this size and alignment need no read."""

MAX_ATTENTIONS: Final = 16
"""Unit attentions queued for an I_T nexus; a newer one than that replaces all by one for a reset (SAM-5 5.14.4)."""

MAX_REGISTRATIONS: Final = 1024
"""Persistent reservation keys of a logical unit; more answer INSUFFICIENT REGISTRATION RESOURCES."""

MAX_LUN: Final = 16383
"""The largest of flat space addressing (SAM-5 4.7.7.3)."""
