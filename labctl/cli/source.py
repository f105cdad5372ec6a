"""Where a topology's text comes from: a file, `-` for standard input, or a shipped example by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labctl.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Source:
    """A topology as it was found.

    Args:
        text: the file's content.
        path: its path, for messages, or `<stdin>`.
    """

    text: str
    path: str


def read_topology(name: str) -> Source:
    """Find and read a topology. A file wins over an example of the same name.

    Raises:
        UsageError: there is neither.
    """
    if name == "-":
        return Source(text=sys.stdin.read(), path="<stdin>")
    file = Path(name)
    if not file.is_file():
        file = _example(name)
    try:
        return Source(text=file.read_text(encoding="utf-8"), path=name if file == Path(name) else str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the topology {file}: {error}") from error


def _example(name: str) -> Path:
    from labctl.model.suggest import did_you_mean
    from labctl.plugin.loader import load_plugins

    folders: Sequence[Path] = load_plugins().topologies
    examples = {file.stem: file for folder in folders for file in sorted(folder.glob("*.toml"))}
    found = examples.get(name.removesuffix(".toml")) if "/" not in name else None
    if found is None:
        raise UsageError(
            f"there is no file {name} and no shipped topology of that name",
            hint=did_you_mean(name, examples, what="the shipped topologies"),
        )
    return found
