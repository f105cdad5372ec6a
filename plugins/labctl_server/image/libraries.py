"""Finds the shared libraries that unpacked programs need, with the unpacked tree's own dynamic linker.

Neither the host's libraries nor its tools have a say, so the result is the same wherever the image is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from labctl.errors import LabError
from labctl_server.image.tools import run_tool

LINKER = "lib64/ld-linux-x86-64.so.2"
_LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
_LINE = re.compile(r"^\s*(?P<name>\S+)(?: => (?:not found|(?P<path>\S+)))?", re.MULTILINE)


def needed_libraries(tree: Path, programs: Iterable[str]) -> dict[str, Path]:
    """The libraries that programs of `tree` are linked with, by the name they are looked up by.

    Args:
        tree: where packages were unpacked.
        programs: paths inside the tree.

    Raises:
        LabError: a library is in none of the packages.
    """
    search = ":".join(str(tree / folder) for folder in _LIBRARY_FOLDERS)
    found: dict[str, Path] = {}
    for program in programs:
        listing = run_tool(
            [_linker(tree), "--inhibit-cache", "--library-path", search, "--list", tree / program]
        ).decode()
        for name, path in parse_listing(listing).items():
            if path is None or not Path(path).is_relative_to(tree):
                raise LabError(f"no unpacked package holds {name}, which {program} needs")
            found[name] = Path(path)
    return found


def parse_listing(text: str) -> dict[str, str | None]:
    """What `ld.so --list` prints: library to path, or to None where it is not found; without linker and vDSO."""
    found: dict[str, str | None] = {}
    for match in _LINE.finditer(text):
        name = match["name"]
        if "/" not in name and not name.startswith("linux-vdso"):
            found[name] = match["path"]
    return found


def _linker(tree: Path) -> Path:
    for candidate in (tree / LINKER, tree / "usr" / LINKER):
        if candidate.exists():
            return candidate.resolve()
    raise LabError("the unpacked packages hold no dynamic linker")
