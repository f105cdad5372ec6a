"""What the operations on files, and NFSv3, ask of the state: may this be done now?

Theory: every call that reads, writes, shrinks, removes or renames a file first asks here. The answer is nothing, or an Nfs4Error: DELAY
while a delegation is being recalled, LOCKED where a share reservation forbids it, and what is wrong with a stateid.
"""

from __future__ import annotations

from typing import Protocol

from labemu_nfs.nfs4.state.model import FileId, Session
from labemu_nfs.nfs4.state.stateids import Stateid

READ, WRITE, CHANGE = 1, 2, 4


class Asker(Protocol):
    """What the state wants to know of a COMPOUND under way; `compound.Compound` is one."""

    @property
    def minor(self) -> int:
        """The minor version."""

    @property
    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    @property
    def file(self) -> FileId:
        """The current filehandle's file. Raises Nfs4Error NOFILEHANDLE."""

    @property
    def session(self) -> Session | None:
        """Of the SEQUENCE that the COMPOUND began with."""

    stateid: Stateid | None
    """The current stateid (RFC 8881 16.2.3.1.2); the operation that changes the current filehandle makes it None."""


class FileStates(Protocol):
    """The questions."""

    def check_io(self, asker: Asker, stateid: Stateid, access: int) -> None:
        """READ, WRITE, and SETATTR of the size, ALLOCATE and so on: of the current file, with this stateid.

        Args:
            asker: the COMPOUND.
            stateid: as it came; special ones are understood.
            access: READ or WRITE.

        Raises:
            Nfs4Error: BAD_STATEID, OLD_STATEID, STALE_STATEID, EXPIRED, ADMIN_REVOKED, DELEG_REVOKED, OPENMODE, LOCKED, GRACE, DELAY.
        """

    def may_io(self, asker: Asker, seqid: int, other: bytes, access: int) -> bool:
        """Whether `check_io` surely has nothing against a stateid, whose parts these are; if so the lease is renewed, as there."""

    def check_change(self, asker: Asker, file: FileId) -> None:
        """Attributes other than the size change, a name is added, removed or replaced: SETATTR, LINK, REMOVE, RENAME.

        Raises:
            Nfs4Error: DELAY while a delegation of another client is recalled, GRACE.
        """

    def changed_elsewhere(self, asker: Asker, file: FileId) -> tuple[int, int] | None:
        """Before GETATTR gives change or size: what the holder of a write delegation says they are (CB_GETATTR), if there is one.

        Raises:
            Nfs4Error: DELAY until it has answered.
        """

    def is_open(self, file: FileId) -> bool:
        """Whether anybody has it open, so that its bytes must outlive its last name."""

    def check_foreign(self, file: FileId, access: int, now: float) -> bool:
        """For NFSv3, which knows no state: whether READ, WRITE or another CHANGE may be done now; where not, it answers JUKEBOX."""
