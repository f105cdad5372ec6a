"""What all calls of NFS share, whatever its version."""

from __future__ import annotations

from collections.abc import Callable

from labemu_nfs.exports import ExportTable
from labemu_nfs.handles import Handles


class Context:
    """What all calls share.

    Args:
        exports: what is served.
        handles: makes and opens handles.
        verifier: 8 bytes, other ones after each start (RFC 1813 3.3.7): a client that sees them change sends unstable data again.
    """

    def __init__(self, exports: ExportTable, handles: Handles, verifier: bytes) -> None:
        self.exports = exports
        self.handles = handles
        self.verifier = verifier
        self.bytes_read = 0
        self.bytes_written = 0
        self.foreign: Callable[[tuple[int, bytes], int], bool] | None = None
        """Whether a version that knows no opens may read (1), write (2) or otherwise change (4) a file now: see nfs4.state.api."""

    def lost_writes(self) -> None:
        """Unstable data may be lost (the disk refused it): change the verifier, so that every client sends its own again."""
        self.verifier = (int.from_bytes(self.verifier, "big") + 1 & 2**64 - 1).to_bytes(8, "big")
