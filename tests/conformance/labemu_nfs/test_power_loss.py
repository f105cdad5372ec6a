"""Power loss: whatever was answered is there, wherever the power goes (RFC 1813 4.8, RFC 7530 3.1.1, 16.36).

The power is cut after every step that reaches the medium (tests.models.file_power), and what may be found is held to what was said.
"""

from __future__ import annotations

import random
from struct import pack
from typing import Any, Protocol

import pytest

from labemu_nfs.xdr import opaque, u32
from labemu_store.file import FileKind
from tests.conformance.labemu_nfs.conftest import Ops, make_client4
from tests.conformance.labemu_nfs.state.conftest import Peer40, World, unchecked
from tests.models.file_power import FileModel, PowerFiles, Promised
from tests.unit.labemu_nfs.conftest import make_client

MODE = 0o640
CALLS = 60


class Client(Protocol):
    """What the test asks of a version of NFS; paths are of folders, names of what is in them."""

    def create(self, folder: str, name: str) -> None: ...
    def mkdir(self, folder: str, name: str) -> None: ...
    def symlink(self, folder: str, name: str, target: str) -> None: ...
    def remove(self, folder: str, name: str, *, directory: bool) -> None: ...
    def rename(self, folder: str, name: str, to: str, to_name: str) -> None: ...
    def link(self, path: str, folder: str, name: str) -> None: ...
    def chmod(self, path: str, mode: int) -> None: ...
    def truncate(self, path: str, size: int) -> None: ...
    def empty(self, folder: str, name: str) -> None: ...
    def write(self, path: str, offset: int, data: bytes, *, stable: bool) -> None: ...
    def commit(self, path: str) -> None: ...


class V3:
    """NFSv3."""

    def __init__(self, files: PowerFiles) -> None:
        self._client = make_client(files, squash="none")

    def _handle(self, path: str) -> bytes:
        handle = self._client.root
        for name in path.split("/")[1:]:
            reply = self._client.call("LOOKUP", opaque(handle) + opaque(name.encode()))
            assert reply.status == 0, path
            handle = reply.rest.string(64)
        return handle

    def _do(self, name: str, arguments: bytes) -> None:
        assert self._client.call(name, arguments).status == 0

    def _at(self, folder: str, name: str) -> bytes:
        return opaque(self._handle(folder)) + opaque(name.encode())

    @staticmethod
    def _attributes(mode: int | None = None, size: int | None = None) -> bytes:
        words = u32(0) if mode is None else pack(">II", 1, mode)
        return words + bytes(8) + (u32(0) if size is None else pack(">IQ", 1, size)) + bytes(8)

    def create(self, folder: str, name: str) -> None:
        self._do("CREATE", self._at(folder, name) + u32(0) + self._attributes(MODE))

    def mkdir(self, folder: str, name: str) -> None:
        self._do("MKDIR", self._at(folder, name) + self._attributes(MODE))

    def symlink(self, folder: str, name: str, target: str) -> None:
        self._do("SYMLINK", self._at(folder, name) + self._attributes() + opaque(target.encode()))

    def remove(self, folder: str, name: str, *, directory: bool) -> None:
        self._do("RMDIR" if directory else "REMOVE", self._at(folder, name))

    def rename(self, folder: str, name: str, to: str, to_name: str) -> None:
        self._do("RENAME", self._at(folder, name) + self._at(to, to_name))

    def link(self, path: str, folder: str, name: str) -> None:
        self._do("LINK", opaque(self._handle(path)) + self._at(folder, name))

    def chmod(self, path: str, mode: int) -> None:
        self._do("SETATTR", opaque(self._handle(path)) + self._attributes(mode) + u32(0))

    def truncate(self, path: str, size: int) -> None:
        self._do("SETATTR", opaque(self._handle(path)) + self._attributes(size=size) + u32(0))

    def empty(self, folder: str, name: str) -> None:
        self._do("CREATE", self._at(folder, name) + u32(0) + self._attributes(size=0))

    def write(self, path: str, offset: int, data: bytes, *, stable: bool) -> None:
        assert self._client.write(self._handle(path), offset, data, 2 if stable else 0).status == 0

    def commit(self, path: str) -> None:
        self._do("COMMIT", opaque(self._handle(path)) + bytes(12))


class V4:
    """NFSv4.0, with an OPEN for each file that is made."""

    def __init__(self, files: PowerFiles) -> None:
        wire = make_client4({"/gold": files}, squash="none")
        self._world = World(wire)
        self._peer: Peer40 = self._world.peer40()
        self._wire: Any = self._peer.wire

    def _at(self, path: str) -> tuple[bytes, ...]:
        return self._wire.at(f"gold{path}")  # type: ignore[no-any-return]

    def _do(self, *operations: bytes) -> None:
        assert self._wire.status(*operations) == 0

    def create(self, folder: str, name: str) -> None:
        self._open(folder, name, u32(1) + u32(0) + pack(">IIII", 2, 0, 1 << 1, 4) + u32(MODE))

    def empty(self, folder: str, name: str) -> None:
        self._open(folder, name, unchecked(0))

    def _open(self, folder: str, name: str, how: bytes) -> None:
        operation = self._peer.open_op(b"owner", name.encode(), 3, 0, how, self._peer.next(b"owner"))
        reply = self._wire.send(*self._at(folder), operation, Ops.GETFH)
        assert reply.status == 0

    def mkdir(self, folder: str, name: str) -> None:
        self._do(*self._at(folder), Ops.mkdir(name.encode(), (33, u32(MODE))))

    def symlink(self, folder: str, name: str, target: str) -> None:
        self._do(*self._at(folder), Ops.symlink(name.encode(), target.encode()))

    def remove(self, folder: str, name: str, *, directory: bool) -> None:
        self._do(*self._at(folder), Ops.remove(name.encode()))

    def rename(self, folder: str, name: str, to: str, to_name: str) -> None:
        self._do(*self._at(folder), Ops.SAVEFH, *self._at(to), Ops.rename(name.encode(), to_name.encode()))

    def link(self, path: str, folder: str, name: str) -> None:
        self._do(*self._at(path), Ops.SAVEFH, *self._at(folder), Ops.link(name.encode()))

    def chmod(self, path: str, mode: int) -> None:
        self._do(*self._at(path), Ops.setattr((33, u32(mode))))

    def truncate(self, path: str, size: int) -> None:
        self._do(*self._at(path), Ops.setattr((4, pack(">Q", size))))

    def write(self, path: str, offset: int, data: bytes, *, stable: bool) -> None:
        self._do(*self._at(path), Ops.write(offset, data, 2 if stable else 0))

    def commit(self, path: str) -> None:
        self._do(*self._at(path), Ops.commit())


class Work:
    """Calls by chance, each with what it promises."""

    def __init__(self, client: Client, model: FileModel, chance: random.Random) -> None:
        self.client, self.model, self.chance = client, model, chance
        self._count = 0

    def _paths(self, *kinds: FileKind) -> list[str]:
        return [path for path, node in self.model.nodes.items() if node.kind in kinds and path]

    def _folder(self) -> str:
        return self.chance.choice(["", *self._paths(FileKind.DIRECTORY)])

    def _new(self) -> tuple[str, str]:
        self._count += 1
        return self._folder(), f"n{self._count}"

    def step(self) -> None:
        """One call."""
        files = self._paths(FileKind.REGULAR)
        choices = [self._make, self._make, self._move, self._remove]
        if files:
            choices += [
                self._link,
                self._empty,
                self._chmod,
                self._truncate,
                *[self._write] * 6,
                self._commit,
                self._commit,
            ]
        self.chance.choice(choices)()
        self.model.answered()

    def _make(self) -> None:
        folder, name = self._new()
        path = f"{folder}/{name}"
        kind = self.chance.choice((FileKind.REGULAR, FileKind.DIRECTORY, FileKind.SYMLINK))
        if kind is FileKind.SYMLINK:
            self.model.begin({path: Promised(kind, [0o777], [b"there"])})
            self.client.symlink(folder, name, "there")
            return
        self.model.begin({path: Promised(kind, [MODE])})
        (self.client.create if kind is FileKind.REGULAR else self.client.mkdir)(folder, name)

    def _leaves(self) -> list[str]:
        """What can be moved or removed: all but folders with something in them."""
        return [path for path in self.model.nodes if path and not any(self.model.below(path))]

    def _remove(self) -> None:
        leaves = self._leaves()
        if leaves:
            path = self.chance.choice(leaves)
            folder, _, name = path.rpartition("/")
            directory = self.model.nodes[path].kind is FileKind.DIRECTORY
            self.model.begin({path: None})
            self.client.remove(folder, name, directory=directory)

    def _move(self) -> None:
        leaves = self._leaves()
        if not leaves:
            return
        path = self.chance.choice(leaves)
        node = self.model.nodes[path]
        (folder, _, name), (to, to_name) = path.rpartition("/"), self._new()
        # Two names of one file: RENAME does nothing (RFC 1813 3.3.14).
        over = [
            each for each in leaves if self.model.nodes[each].kind is node.kind and self.model.nodes[each] is not node
        ]
        if over and self.chance.random() < 0.5:
            to, _, to_name = self.chance.choice(over).rpartition("/")
        if to == path:
            return
        self.model.begin({path: None, f"{to}/{to_name}": node})
        self.client.rename(folder, name, to, to_name)

    def _file(self) -> tuple[str, Promised]:
        path = self.chance.choice(self._paths(FileKind.REGULAR))
        return path, self.model.nodes[path]

    def _link(self) -> None:
        (path, node), (folder, name) = self._file(), self._new()
        self.model.begin({f"{folder}/{name}": node})
        self.client.link(path, folder, name)

    def _chmod(self) -> None:
        path, node = self._file()
        mode = self.chance.choice((0o600, 0o644, 0o755))
        node.modes.append(mode)
        self.client.chmod(path, mode)
        node.modes = [mode]

    def _truncate(self) -> None:
        path, node = self._file()
        size = self.chance.randrange(3000)
        cut = [each[:size].ljust(size, b"\0") for each in node.contents]
        node.contents += cut
        self.client.truncate(path, size)
        node.contents = cut

    def _empty(self) -> None:
        path, node = self._file()
        folder, _, name = path.rpartition("/")
        node.contents.append(b"")
        self.client.empty(folder, name)
        node.contents = [b""]

    def _write(self) -> None:
        path, node = self._file()
        offset, data = self.chance.randrange(2000), self.chance.randbytes(self.chance.randrange(1, 1500))
        stable = self.chance.random() < 0.3
        before = node.content
        after = before[:offset].ljust(offset, b"\0") + data + before[offset + len(data) :]
        node.contents.append(after)
        self.client.write(path, offset, data, stable=stable)
        if stable:
            node.contents = [after]  # the server makes all of the file durable, and says FILE_SYNC

    def _commit(self) -> None:
        path, node = self._file()
        self.client.commit(path)
        node.contents = node.contents[-1:]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("version", [V3, V4], ids=["v3", "v4"])
def test_what_was_answered_is_there_whenever_the_power_goes(version: type[V3 | V4], seed: int) -> None:
    chance = random.Random(seed)
    model = FileModel()
    cuts = 0

    def cut() -> None:
        nonlocal cuts
        cuts += 1
        for _ in range(3):
            model.check(files.after_power_loss(chance))

    files = PowerFiles(cut)
    client = version(files)
    work = Work(client, model, chance)
    for _ in range(CALLS):
        work.step()
        model.check(files.after_power_loss(chance))
    assert cuts > CALLS
