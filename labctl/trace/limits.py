"""Every bound of the trace, each with its reason. What is beyond a bound is left out and said so; nothing grows with the file."""

from __future__ import annotations

from typing import Final

# --- files --------------------------------------------------------------------------------------------------------------------------

CHUNK_BYTES: Final = 8 << 20
"""Read at a time: enough that numpy's cost for a call vanishes, little beside the 100 MiB that a reading may take."""

MAX_BLOCK_BYTES: Final = 32 << 20
"""A block of pcapng, or a packet of pcap. Wireshark's own bound for a packet is 256 KiB (16 MiB for D-Bus); a list of names is more."""

MAX_LINKS: Final = 4096
"""Interface blocks in a file. A lab has hundreds; 65,536 sections of one interface each would be a way to fill the memory."""

MAX_COMMENT_BYTES: Final = 65_532
"""A comment in a pcapng file: its length is a 16-bit number, and it is padded to 32 bits (draft-ietf-opsawg-pcapng 3.5)."""

READ_AHEAD: Final = 256
"""Zero bytes behind a batch, so that a header can be looked at before it is known to be whole."""

# --- flows --------------------------------------------------------------------------------------------------------------------------

MAX_FLOWS: Final = 65_536
"""Directions of connections that are remembered; the oldest are forgotten. Wireshark remembers all, and grows."""

MAX_HELD_SEGMENTS: Final = 256
"""Segments of one direction that wait for one before them. A sender's window at 10 Gbit/s and 1 ms is about 900 KiB: 20 to 600 of them."""

MAX_HELD_BYTES: Final = 2 << 20
"""Bytes of those segments."""

MAX_HELD_NANOSECONDS: Final = 1_000_000_000
"""How long they wait: past TCP's first retransmission (RFC 6298 2.1), a hole is taken to be the capture's."""

MAX_ENCAPSULATION: Final = 4
"""VLAN tags one in another. Two are QinQ."""

MAX_EXTENSIONS: Final = 8
"""IPv6 extension headers of a packet; RFC 8200 4.1 recommends each at most once, which makes seven."""

# --- messages -----------------------------------------------------------------------------------------------------------------------

MAX_RECORD_BYTES: Final = 16 << 20
"""An RPC record or an iSCSI PDU that is believed. NFS servers take 1 to 4 MiB; an iSCSI data segment is below 16 MiB by its field."""

MAX_KEPT_BYTES: Final = 4 << 20
"""What is kept of a message that lies in several packets, until it is whole."""

MAX_KEPT_TOTAL: Final = 24 << 20
"""The same for all connections together; beyond it, messages in several packets are taken without their data."""

RESYNC_BYTES: Final = 65_536
"""How far into a segment a plausible header is looked for, after the place in the stream was lost."""

# --- commands -----------------------------------------------------------------------------------------------------------------------

MAX_OPEN: Final = 16_384
"""Requests of one session without a response; the oldest is given up. iSCSI's window is 16 bits wide at most in practice."""

MAX_OPEN_TOTAL: Final = 65_536
"""The same for all sessions together."""

MAX_AGE_NANOSECONDS: Final = 120_000_000_000
"""How long a request waits for its response: twice Linux's 60 s for NFS over TCP, and four times its 30 s for SCSI."""

MAX_PATHS: Final = 65_536
"""Filehandles whose names are remembered; the longest unused are forgotten."""

MAX_HANDLE_BYTES: Final = 128
"""A filehandle (RFC 8881 3.3.4)."""

MAX_PATH_PARTS: Final = 64
"""Folders above a file that its path is put together from."""

MAX_PROBLEMS: Final = 10_000
"""Problems that are kept; the rest is counted."""

MAX_DETAIL_ITEMS: Final = 64
"""Items of a list among a command's details: entries of a READDIR, keys of a login."""

MAX_TEXT: Final = 1024
"""Characters of a word from the wire: names are at most 255 bytes, paths 1,024."""

MAX_OPERATIONS: Final = 1024
"""Operations of a COMPOUND. Servers take 16 to 64; XDR would let a hostile one say four billion."""

MAX_ANNOTATIONS: Final = 100_000
"""Annotations that a reading keeps."""
