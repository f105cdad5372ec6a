"""Debian packages as material: resolved, fetched and unpacked, never installed.

Everything here works as an ordinary user, since `apt-get download` and `dpkg-deb -x` need no rights. Resolution uses the machine's
package lists; only fetching needs the network. A fetched file is checked against the SHA-256 that the lists state.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labctl.errors import LabError
from labctl_server.image.tools import run_tool

_HARD_DEPENDENCIES = tuple(
    f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
)
_FOLLOWED = re.compile(r"(lib(?!perl|file-|text-|number-)[a-z0-9.+-]+|zlib1g|linux-(image|modules)-[a-z0-9.+-]+)$")
"""Names worth following: shared libraries and kernels. Scripts' interpreters and service managers are not ours to carry."""

_URI_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")

NO_LISTS_HINT = "refresh the package lists: apt-get update (as root)"
NO_NETWORK_HINT = "building an image fetches Debian packages once: check the network and apt's sources, then try again"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package's file as apt's lists describe it.

    Args:
        file: its file's name, which holds name, version and architecture.
        size: bytes.
        sha256: hexadecimal.
    """

    file: str
    size: int
    sha256: str


def parse_dependencies(text: str) -> dict[str, list[str]]:
    """The graph that `apt-cache depends --recurse` prints: package to the packages that it depends on."""
    graph: dict[str, list[str]] = defaultdict(list)
    package = ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            package = line.partition(":")[0]
            graph[package] = []
        else:
            kind, _, name = line.strip(" |").partition(": ")
            if kind in ("Depends", "PreDepends"):
                graph[package].append(name.partition(":")[0])
    return dict(graph)


def closure(graph: Mapping[str, list[str]], roots: Iterable[str]) -> list[str]:
    """Roots and what they need, sorted, following only shared libraries and kernels."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            waiting.extend(name for name in graph.get(package, ()) if _FOLLOWED.match(name))
    return sorted(found)


def resolve(roots: Iterable[str]) -> list[str]:
    """The names of the packages to unpack for `roots`, sorted.

    Raises:
        LabError: a package is unknown to this machine's lists.
    """
    names = sorted(roots)
    known = run_tool(["apt-cache", "depends", "--recurse", *_HARD_DEPENDENCIES, *names], hint=NO_LISTS_HINT).decode()
    graph = parse_dependencies(known)
    missing = [name for name in names if name not in graph]
    if missing:
        raise LabError(f"apt knows no package {', '.join(missing)}", hint=NO_LISTS_HINT)
    return closure(graph, names)


def parse_uris(text: str) -> list[Package]:
    """What `apt-get download --print-uris` says, in order of file name."""
    found = [
        Package(file=match["file"], size=int(match["size"]), sha256=match["sha256"])
        for match in _URI_LINE.finditer(text)
    ]
    return sorted(found, key=lambda package: package.file)


def fetch(names: Iterable[str], folder: Path, progress: Callable[[str], None]) -> list[Package]:
    """Have the candidate version of each package in `folder`; what is there already is not fetched again.

    Raises:
        LabError: no network, or a file that differs from what the lists promise.
    """
    wanted = sorted(names)
    empty = folder / "empty"  # apt leaves out of the answer what lies in the working folder already
    empty.mkdir(parents=True, exist_ok=True)
    listing = run_tool(["apt-get", "download", "--print-uris", *wanted], folder=empty, hint=NO_LISTS_HINT).decode()
    packages = parse_uris(listing)
    missing = [package for package in packages if not _is_whole(folder / package.file, package)]
    if missing:
        progress(f"fetching {len(missing)} packages ({sum(p.size for p in missing) / 1e6:.0f} MB)")
        for package in missing:
            (folder / package.file).unlink(missing_ok=True)
        run_tool(["apt-get", "download", "-q", *wanted], folder=folder, hint=NO_NETWORK_HINT)
    for package in missing:
        if not _is_whole(folder / package.file, package):
            raise LabError(f"{package.file} was not fetched whole", hint=NO_NETWORK_HINT)
    return packages


def _is_whole(path: Path, package: Package) -> bool:
    if not path.is_file() or path.stat().st_size != package.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == package.sha256


def unpack(packages: Iterable[Package], folder: Path, into: Path) -> None:
    """Unpack packages' files below `into`."""
    for package in packages:
        run_tool(["dpkg-deb", "-x", folder / package.file, into])
