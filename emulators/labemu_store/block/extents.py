"""Runs of data and holes, as several stores' answers become one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from labemu_store.block.api import Extent


def joined(pieces: Iterable[Extent]) -> Iterator[Extent]:
    """Neighbours of one kind become one extent; empty ones go."""
    held: Extent | None = None
    for piece in pieces:
        if not piece.length:
            continue
        if held is None:
            held = piece
        elif held.is_data == piece.is_data:
            held = Extent(held.offset, held.length + piece.length, is_data=held.is_data)
        else:
            yield held
            held = piece
    if held is not None:
        yield held
