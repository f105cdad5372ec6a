"""Block stores: bytes at offsets, with holes, behind one protocol, and filters that wrap any of them."""

from labemu_store.block.api import BlockStore, Buffer, Capabilities, Extent, Operation, VectoredStore
from labemu_store.block.file import FileBlockStore
from labemu_store.block.memory import MemoryBlockStore
from labemu_store.block.open import open_block_store

__all__ = [
    "BlockStore",
    "Buffer",
    "Capabilities",
    "Extent",
    "FileBlockStore",
    "MemoryBlockStore",
    "Operation",
    "VectoredStore",
    "open_block_store",
]
