"""Who may do what: POSIX permission bits against an identity; pure.

Rule: uid 0 may do everything, save executing a file that nobody may execute. A protocol without open files (NFSv3) lets the owner
read and write whatever the bits say, since the check at open time happened elsewhere: RFC 1813 4.4; see `may_io`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from errno import EACCES, EPERM

from labemu_store.file.types import Attributes, FileKind

READ = 4
WRITE = 2
EXECUTE = 1
"""Search, for a directory."""

_STICKY = 0o1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: numbers, as the caller's protocol has proved or claimed them."""

    uid: int
    gid: int
    groups: frozenset[int] = field(default=frozenset())

    def in_group(self, gid: int) -> bool:
        """Whether `gid` is the primary or another group."""
        return gid == self.gid or gid in self.groups


def permitted(attributes: Attributes, who: Identity) -> int:
    """The bits (READ, WRITE, EXECUTE) that `who` holds on a node."""
    if who.uid == 0:
        plain = attributes.kind is not FileKind.DIRECTORY and not attributes.mode & 0o111
        return READ | WRITE if plain else READ | WRITE | EXECUTE
    if who.uid == attributes.uid:
        return attributes.mode >> 6 & 7
    if who.in_group(attributes.gid):
        return attributes.mode >> 3 & 7
    return attributes.mode & 7


def require(attributes: Attributes, who: Identity, want: int) -> None:
    """Raise EACCES unless `who` holds all the bits of `want`."""
    if want & ~permitted(attributes, who):
        raise PermissionError(EACCES, "permission denied")


def require_io(attributes: Attributes, who: Identity, want: int) -> None:
    """As `require`, for READ and WRITE calls of a protocol without open files: the owner always may (RFC 1813 4.4).

    Reading what may only be executed is allowed too, since that is how a client runs a program.
    """
    if who.uid in (0, attributes.uid):
        return
    held = permitted(attributes, who)
    if want == READ and held & EXECUTE:
        return
    if want & ~held:
        raise PermissionError(EACCES, "permission denied")


def require_removal(directory: Attributes, victim: Attributes, who: Identity) -> None:
    """Raise unless `who` may remove or replace `victim` in `directory`: write and search, and the sticky bit."""
    require(directory, who, WRITE | EXECUTE)
    if directory.mode & _STICKY and who.uid not in (0, directory.uid, victim.uid):
        raise PermissionError(EPERM, "the directory is sticky and the file is someone else's")
