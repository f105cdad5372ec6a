"""READDIR's entries in their usual form: nodes of one export that are there, with attributes that have a Packer."""

from __future__ import annotations

from struct import Struct

from labemu_nfs.nfs4.attributes import plan_of
from labemu_nfs.nfs4.compound import Compound
from labemu_nfs.nfs4.constants import Attribute
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.ops.directories import Listing
from labemu_nfs.nfs4.packing import Packer
from labemu_store.file.types import DirectoryEntry

_HEADS = tuple(Struct(f">IQI{size}s{-size & 3}x") for size in range(256))
"""entry4 up to its attributes, by the length of the name."""

_WANTS_KEY = 1 << Attribute.FILEHANDLE | 1 << Attribute.CHANGE


class UnusualError(Exception):
    """There is something about an entry that the general form has to tell."""


class QuickListing(Listing):
    """One READDIR under way, of an export that no other one is below, by somebody who may look names up.

    Args:
        compound: which it is of.
        node: the directory.
        packer: of the attributes.
    """

    def __init__(self, compound: Compound, node: Node, packer: Packer) -> None:
        super().__init__(compound, node, plan_of(packer.mask, compound.minor))
        self._store = node.store
        self._key = node.key
        self._pack = packer.encode
        self._wants_key = packer.mask & _WANTS_KEY

    def entry(self, entry: DirectoryEntry) -> bytes:
        """entry4. Raises UnusualError."""
        _, name, cookie = entry
        size = len(name)
        if size >= len(_HEADS):
            raise UnusualError
        try:
            if self._wants_key:
                key, attributes = self._store.peek(self._key, name)
            else:
                key, attributes = b"", self._store.glance(self._key, name)
        except OSError:
            raise UnusualError from None
        return _HEADS[size].pack(1, cookie, size, name) + self._pack(key, attributes)
