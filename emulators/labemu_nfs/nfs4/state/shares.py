"""Share reservations (RFC 7530 9.9): what an open may do, and what it keeps others from doing."""

from __future__ import annotations

from collections.abc import Iterable

from labemu_nfs.nfs4.status import Nfs4Error, Status

READ, WRITE, BOTH = 1, 2, 3
"""OPEN4_SHARE_ACCESS_* and OPEN4_SHARE_DENY_*."""

Share = tuple[int, int]
"""Access and deny bits of one OPEN."""


def check(access: int, deny: int) -> None:
    """Raise Nfs4Error INVAL for bits that mean nothing or an open that may do nothing (RFC 7530 16.16.4)."""
    if not READ <= access <= BOTH or not 0 <= deny <= BOTH:
        raise Nfs4Error(Status.INVAL)


def conflict(one: Share, other: Share) -> bool:
    """Whether two opens of different owners cannot be at once."""
    return bool(one[0] & other[1] or one[1] & other[0])


def union(shares: Iterable[Share]) -> Share:
    """What several OPENs of one owner add up to."""
    access = deny = 0
    for more_access, more_deny in shares:
        access |= more_access
        deny |= more_deny
    return access, deny


def downgrade(opened: Iterable[Share], wanted: Share) -> frozenset[Share]:
    """The OPENs that remain when their union becomes what is wanted.

    Args:
        opened: the shares of the OPENs that are in effect.
        wanted: by OPEN_DOWNGRADE.

    Raises:
        Nfs4Error: INVAL unless it is the union of some of them (RFC 7530 16.19.4).
    """
    check(*wanted)
    kept = frozenset((access, deny) for access, deny in opened if not access & ~wanted[0] and not deny & ~wanted[1])
    if union(kept) != wanted:
        raise Nfs4Error(Status.INVAL)
    return kept
