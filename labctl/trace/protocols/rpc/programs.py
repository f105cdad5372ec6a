"""The programs that are understood, by their number and version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from labctl.trace.protocols.rpc.connection import Program
from labctl.trace.protocols.rpc.nfs3 import Nfs3
from labctl.trace.protocols.rpc.nfs4 import Nfs4
from labctl.trace.protocols.rpc.others import Mount, Nlm, Nsm, Portmap

_PORTMAP: Final = Portmap()
_MOUNT: Final = Mount()

PROGRAMS: Final[Mapping[tuple[int, int], Program]] = {
    (100000, 2): _PORTMAP,
    (100000, 3): _PORTMAP,
    (100000, 4): _PORTMAP,
    (100003, 3): Nfs3(),
    (100003, 4): Nfs4(),
    (100005, 1): _MOUNT,
    (100005, 3): _MOUNT,
    (100021, 4): Nlm(),
    (100024, 1): Nsm(),
}
