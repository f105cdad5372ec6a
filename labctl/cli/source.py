"""Where a topology's text comes from: a file, `-` for standard input, or a shipped example by name."""

from __future__ import annotations

import sys
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
        LabError: there is neither.
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
    own = _own_example(name)
    if own is not None:
        return own
    from labctl.plugin.loader import load_plugins
    from labctl.topology.load import find_topology

    return find_topology(name, load_plugins())


def _own_example(name: str) -> Path | None:
    """labctl's own example of that name; found without the plugins and pydantic, since a second `up` should be quick."""
    try:
        import labctl_topologies
    except ImportError:
        return None
    files = (Path(folder) / f"{name}.toml" for folder in labctl_topologies.__path__)
    return next((file for file in files if "/" not in name and file.is_file()), None)
