"""Traffic shaping of a port: how much it may carry, as nftables limits. Pure.

A token bucket for each port and direction, filled with the average rate: what finds it empty is dropped, and TCP slows down by it.
Nothing is queued. The kernel's bucket holds what the rate brings in one second and the burst besides (nft_limit.c: unit * (rate +
burst) / rate), so none holds less than a second's worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEAST_AVERAGE = 131072
"""Bytes a second. The kernel hands on segments in packets of up to 64 KiB (GSO): a smaller bucket would let none of them through."""


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """How much a port may carry.

    Args:
        average: bytes a second.
        burst: bytes that may go at once; a second's worth at least.
        inward: whether it holds for what comes from behind the port.
        outward: whether it holds for what goes to whoever is behind it.
    """

    average: int
    burst: int
    inward: bool = True
    outward: bool = True


def limits(interface: str, shaping: Shaping) -> Iterator[tuple[str, str, int, int]]:
    """The buckets of a port: map, name, bytes a second, bytes above a second's worth.

    Args:
        interface: the port's.
        shaping: what it may carry.
    """
    for way, held in zip(MAPS, (shaping.inward, shaping.outward), strict=True):
        if held:
            yield way, f"{way}/{interface}", shaping.average, max(1, shaping.burst - shaping.average)


INWARD, OUTWARD = "shaped-in", "shaped-out"
MAPS: Sequence[str] = (INWARD, OUTWARD)
"""The maps from a port to its bucket."""
