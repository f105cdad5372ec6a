"""Power loss, simulated, for files: a store that says what may be found after it, and a model of what must be.

What no sync of a node followed may be lost: bytes of a file page by page, its size and mode, and of a directory each name by itself, in
any order. That is what POSIX leaves open; real file systems lose less.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from labemu_store.file import AttributeChange, FileKind, MemoryFileStore, Ownership

PAGE = 512

Content = tuple[int, bytes]
"""A file's mode and bytes; a symlink's are its target."""
Tree = dict[str, tuple[FileKind, int, bytes]]
"""By path: kind, mode and bytes of what is there."""


def mixed(states: list[Content], chance: random.Random) -> Content:
    """What may be found of a node that was in these states since it was durable: of each page any, and any size and mode."""
    mode, size = chance.choice(states)[0], len(chance.choice(states)[1])
    pages = (chance.choice(states)[1][at : at + PAGE].ljust(PAGE, b"\0") for at in range(0, size, PAGE))
    return mode, b"".join(pages)[:size]


class PowerFiles(MemoryFileStore):
    """A store over a medium that remembers what is durable, and what may be lost.

    Args:
        cut: called after each step that reaches the medium.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        super().__init__()
        self._cut = cut
        self._states: dict[bytes, list[Content]] = {}
        self._names: dict[bytes, dict[bytes, list[bytes | None]]] = {}
        self._kinds: dict[bytes, FileKind] = {}
        self._renames = False
        self._born(self.root)
        self._durable(self.root)

    def _content(self, node: bytes) -> Content:
        known = self.getattr(node)
        data = b""
        if known.kind is FileKind.SYMLINK:
            data = self.readlink(node)
        elif known.kind is FileKind.REGULAR and known.size:
            data = bytes(self.read(node, 0, known.size))
        return known.mode, data

    def _born(self, node: bytes) -> None:
        self._kinds[node] = kind = self.getattr(node).kind
        mode, data = self._content(node)
        self._states[node] = [(mode, data) if kind is FileKind.SYMLINK else (0o600, b"")]
        self._names[node] = {}
        self._changed(node)

    def _changed(self, node: bytes) -> None:
        self._states[node].append(self._content(node))

    def _named(self, directory: bytes, name: bytes, node: bytes | None) -> None:
        self._names[directory].setdefault(name, [None]).append(node)

    def _durable(self, node: bytes) -> None:
        self._states[node] = self._states[node][-1:]
        self._names[node] = {name: found[-1:] for name, found in self._names[node].items() if found[-1] is not None}

    def after_power_loss(self, chance: random.Random) -> Tree:
        """What may be found."""
        tree: Tree = {}
        self._found(self.root, "", tree, chance)
        return tree

    def _found(self, node: bytes, path: str, tree: Tree, chance: random.Random) -> None:
        tree[path] = (self._kinds[node], *mixed(self._states[node], chance))
        for name, states in self._names[node].items():
            below = chance.choice(states)
            if below is not None:
                self._found(below, f"{path}/{name.decode()}", tree, chance)

    # --- what clients do ------------------------------------------------------------------------------------------------------------

    def sync(self, node: bytes) -> Callable[[], None]:
        def run() -> None:
            self._durable(node)
            self._cut()

        return run

    def setattr(self, node: bytes, change: AttributeChange) -> None:
        super().setattr(node, change)
        self._changed(node)
        self._cut()

    def write(self, node: bytes, offset: int, data: object) -> int:
        size = super().write(node, offset, data)  # type: ignore[arg-type]
        self._changed(node)
        self._cut()
        return size

    def create(self, directory: bytes, name: bytes, owner: Ownership) -> bytes:
        return self._made(directory, name, super().create(directory, name, owner))

    def mkdir(self, directory: bytes, name: bytes, owner: Ownership) -> bytes:
        return self._made(directory, name, super().mkdir(directory, name, owner))

    def symlink(self, directory: bytes, name: bytes, target: bytes, owner: Ownership) -> bytes:
        return self._made(directory, name, super().symlink(directory, name, target, owner))

    def _made(self, directory: bytes, name: bytes, node: bytes) -> bytes:
        self._born(node)
        self._named(directory, name, node)
        self._cut()
        return node

    def link(self, node: bytes, directory: bytes, name: bytes) -> None:
        super().link(node, directory, name)
        self._named(directory, name, node)
        self._cut()

    def unlink(self, directory: bytes, name: bytes) -> None:
        super().unlink(directory, name)
        self._gone(directory, name)

    def rmdir(self, directory: bytes, name: bytes) -> None:
        super().rmdir(directory, name)
        self._gone(directory, name)

    def _gone(self, directory: bytes, name: bytes) -> None:
        if not self._renames:
            self._named(directory, name, None)
            self._cut()

    def rename(self, directory: bytes, name: bytes, to_directory: bytes, to_name: bytes) -> None:
        node = self.lookup(directory, name)
        self._renames = True  # which may unlink what was there, in one step
        super().rename(directory, name, to_directory, to_name)
        self._renames = False
        self._named(to_directory, to_name, node)
        self._named(directory, name, None)
        self._cut()


@dataclass(eq=False)
class Promised:
    """A node of the model: what was said of it.

    Args:
        kind: what it is.
        modes: those that it may have.
        contents: those that its bytes may be of.
    """

    kind: FileKind
    modes: list[int]
    contents: list[bytes] = field(default_factory=lambda: [b""])

    @property
    def content(self) -> bytes:
        """The bytes that it has now."""
        return self.contents[-1]

    def allows(self, mode: int, found: bytes) -> bool:
        """Whether this may be found of it."""
        if mode not in self.modes or len(found) not in map(len, self.contents):
            return False
        return all(
            any(
                found[at : at + PAGE] == each[at : at + PAGE].ljust(PAGE, b"\0")[: len(found) - at]
                for each in self.contents
            )
            for at in range(0, len(found), PAGE)
        )


class FileModel:
    """What must be found: all that was answered, and of what is under way anything between before and after."""

    def __init__(self) -> None:
        self.nodes: dict[str, Promised] = {"": Promised(FileKind.DIRECTORY, [0o755])}
        self._under_way: dict[str, Promised | None] = {}

    def begin(self, changes: dict[str, Promised | None]) -> None:
        """A call is sent that gives these paths these nodes, or none."""
        self._under_way = changes

    def answered(self) -> None:
        """Its reply is here."""
        for path, node in self._under_way.items():
            if node is None:
                del self.nodes[path]
            else:
                self.nodes[path] = node
        self._under_way = {}

    def check(self, found: Tree) -> None:
        """Hold what was found after the power was lost to what was said."""
        for path in self.nodes.keys() | self._under_way.keys() | found.keys():
            allowed = [self.nodes.get(path), *([self._under_way[path]] if path in self._under_way else [])]
            assert any(self._fits(found.get(path), node) for node in allowed), (path, found.get(path), allowed)

    def _fits(self, found: tuple[FileKind, int, bytes] | None, node: Promised | None) -> bool:
        if found is None or node is None:
            return found is node
        kind, mode, content = found
        # What is being made may be found before it has its mode.
        making = node in self._under_way.values() and node not in self.nodes.values()
        return kind is node.kind and (making or node.allows(mode, content))

    def below(self, folder: str) -> Iterable[str]:
        """The paths in a folder and in those below."""
        return (path for path in self.nodes if path.startswith(f"{folder}/"))
