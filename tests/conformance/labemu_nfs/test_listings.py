"""Listings of many entries: the store is asked for each entry once, and for no more at a time than a reply holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from labemu_nfs.xdr import Decoder, opaque
from labemu_store.file import FileStore, LocalFileStore, MemoryFileStore, Ownership
from tests.conformance.labemu_nfs.conftest import make_client4
from tests.unit.labemu_nfs.conftest import make_client

ENTRIES = 100_000
REPLY = 32_768
"""Bytes of a reply at most, as Linux asks for."""


class Asked:
    """A store that counts what its listings were asked for."""

    def __init__(self, files: FileStore) -> None:
        self._files = files
        self.entries = self.most = self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def readdir(self, directory: bytes, cookie: int, size: int) -> tuple[list[Any], bool]:
        found, last = self._files.readdir(directory, cookie, size)
        self.calls += 1
        self.entries += len(found)
        self.most = max(self.most, len(found))
        return found, last


@pytest.fixture(scope="module", params=["memory", "local"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileStore]:
    if request.param == "memory":
        store = MemoryFileStore()
        for number in range(ENTRIES):
            store.create(store.root, b"file-%06d" % number, Ownership(mode=0o644, uid=0, gid=0))
        yield store
        return
    folder: Path = tmp_path_factory.mktemp("many")
    for number in range(ENTRIES):
        os.mknod(folder / f"file-{number:06d}")
    local = LocalFileStore(folder)
    yield local
    local.close()
    shutil.rmtree(folder)


def entries3(reply: Decoder, *, plus: bool) -> tuple[list[bytes], int, bool]:
    """Names, the last cookie, and whether that was all (RFC 1813 3.3.16, 3.3.17)."""
    if reply.boolean():
        reply.fixed(84)
    reply.fixed(8)
    names, cookie = [], 0
    while reply.boolean():
        reply.fixed(8)
        names.append(reply.string(255))
        cookie = reply.u64()
        if plus:
            if reply.boolean():
                reply.fixed(84)
            if reply.boolean():
                reply.string(64)
    return names, cookie, reply.boolean()


@pytest.mark.parametrize("plus", [False, True], ids=["readdir", "readdirplus"])
def test_nfs3_lists_each_entry_once(many: FileStore, plus: bool) -> None:
    asked = Asked(many)
    client = make_client(asked, squash="none")
    found, cookie, last = [], 0, False
    while not last:
        sizes = pack(">II", REPLY // 4, REPLY) if plus else pack(">I", REPLY)
        reply = client.call("READDIRPLUS" if plus else "READDIR", opaque(client.root) + pack(">Q8x", cookie) + sizes)
        assert reply.status == 0
        names, cookie, last = entries3(reply.rest, plus=plus)
        found += names
    held(found, asked)


def test_nfs4_lists_each_entry_once(many: FileStore) -> None:
    asked = Asked(many)
    client = make_client4({"/gold": asked}, squash="none")
    held([b".", b"..", *(name for name, _, _ in client.listing("gold", 1, 20, size=REPLY))], asked)


def held(found: list[bytes], asked: Asked) -> None:
    """The listing is whole, and took work and room in proportion."""
    assert len(found) == len(set(found)) == ENTRIES + 2
    assert asked.entries < ENTRIES * 1.5
    assert asked.most < REPLY / 20  # what fits a reply: the shortest entry takes 24 bytes and its name
    assert asked.calls < ENTRIES / 50
