"""Every bound of the trace, each with its reason. What is beyond a bound is left out and said so; nothing grows with the file."""

from __future__ import annotations

from typing import Final

# --- files --------------------------------------------------------------------------------------------------------------------------

CHUNK_BYTES: Final = 4 << 20
"""Read at a time: enough that numpy's cost for a call vanishes, little beside the 100 MiB that a reading may take."""

MAX_BLOCK_BYTES: Final = 32 << 20
"""A block of pcapng, or a packet of pcap. Wireshark's own bound for a packet is 256 KiB (16 MiB for D-Bus); a list of names is more."""

MAX_LINKS: Final = 4096
"""Interface blocks in a file. A lab has hundreds; 65,536 sections of one interface each would be a way to fill the memory."""

MAX_COMMENT_BYTES: Final = 65_532
"""A comment in a pcapng file: its length is a 16-bit number, and it is padded to 32 bits (draft-ietf-opsawg-pcapng 3.5)."""
