"""What a host lacks to run a machine that runs elsewhere: asked before a migration, on the host itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

from labctl_server.machine import FileSource, IscsiSource, Machine, NfsSource

CONNECT_DEADLINE = 3.0
"""Seconds for a storage array to take a connection; the storage network is local."""

PORTMAP_PORT = 111
"""Where QEMU's NFS client asks first."""


async def missing_for(machine: Machine) -> list[str]:
    """Sentences, one for each disk or vSwitch that is out of reach; none where all is well.

    It connects to each portal and NFS server from where QEMU would.
    """
    found = [
        fault for fault in await asyncio.gather(*(_disk(source, name) for source, name in _sources(machine))) if fault
    ]
    return list(dict.fromkeys(found))


def _sources(machine: Machine) -> Iterable[tuple[IscsiSource | NfsSource | FileSource, str]]:
    return [(disk.source, disk.name) for disk in machine.disks]


async def _disk(source: IscsiSource | NfsSource | FileSource, name: str) -> str | None:
    match source:
        case IscsiSource():
            address, _, port = source.portal.rpartition(":")
            return await _reach(address.strip("[]"), int(port), f"disk {name}: its iSCSI portal {source.portal}")
        case NfsSource():
            return await _reach(source.server, PORTMAP_PORT, f"disk {name}: its NFS server {source.server}")
        case FileSource():
            return f"disk {name} is a file of its host, on no shared datastore"


async def _reach(address: str, port: int, what: str) -> str | None:
    try:
        async with asyncio.timeout(CONNECT_DEADLINE):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no answer"
        return f"{what} cannot be reached ({why})"
    writer.close()
    return None
