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
