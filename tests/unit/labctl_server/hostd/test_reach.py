"""What a host finds out of its reach."""

from __future__ import annotations

import asyncio
import socket

from labctl_server.hostd import reach
from labctl_server.hostd.reach import missing_for
from labctl_server.machine import Disk, FileSource, IscsiSource, Machine, NfsSource


def machine(*sources: IscsiSource | NfsSource | FileSource) -> Machine:
    disks = tuple(Disk(name=f"web1-disk{slot}", source=source) for slot, source in enumerate(sources))
    return Machine(name="web1", uuid="6f1de2c4-6d5c-4b57-9d0c-0123456789ab", memory=2**27, cpus=1, disks=disks)


async def test_each_disk_is_tried_from_here(monkeypatch) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(reach, "PORTMAP_PORT", port)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
        lun = IscsiSource(protocol="iscsi", portal=f"127.0.0.1:{port}", target="iqn.2026-11.lab:gold", lun=0, size=1)
        file = NfsSource(protocol="nfs", server="127.0.0.1", path="/shared/a.qcow2", format="qcow2", size=1)
        local = FileSource(protocol="file", path="/a.raw", format="raw", size=1)
        lost = lun.model_copy(update={"portal": f"127.0.0.1:{closed}"})
        async with server:
            assert await missing_for(machine(lun, file)) == []
            assert await missing_for(machine(lost, local, file)) == [
                f"disk web1-disk0: its iSCSI portal 127.0.0.1:{closed} cannot be reached (Connection refused)",
                "disk web1-disk1 is a file of its host, on no shared datastore",
            ]
