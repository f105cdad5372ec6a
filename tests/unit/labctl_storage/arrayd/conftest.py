"""An array whose management interface is called without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from labctl.agent.config import AgentConfig
from labctl_storage.arrayd.application import ArrayApplication
from labemu_iscsi.io.server import IscsiServer
from labemu_scsi.unit import LogicalUnit

MIB = 1 << 20
TARGET = "iqn.2026-11.lab.demo:san1.gold"
DISK = "/v1/datastores/gold/volumes/web1-disk0"


class Array:
    """An array in a folder, which does not listen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[tuple[str, dict[str, Any]]] = []
        config = AgentConfig(
            lab="demo",
            node="san1",
            address="127.0.0.1",
            port=1,
            certificate=folder,
            key=folder,
            authority=folder,
            directory=folder,
            socket=folder,
            config={"protocols": ["iscsi", "nfs"], "portals": ["127.0.0.1"], "backing": (folder / "data").as_uri()},
        )
        self.application = ArrayApplication(config, lambda event, /, **more: self.events.append((event, more)))
        asgi = httpx.ASGITransport(Starlette(routes=list(self.application.routes())))
        self.client = httpx.AsyncClient(transport=asgi, base_url="http://san1")

    @property
    def server(self) -> IscsiServer:
        server = self.application._services._iscsi
        assert server is not None
        return server

    def unit(self, lun: int = 0) -> LogicalUnit:
        return self.server.targets[TARGET].device.units[lun]

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return (await self.client.request(method, path, json=body)).json()

    async def provision(self) -> None:
        gold = {"name": "gold", "protocol": "iscsi", "size": 64 * MIB, "where": TARGET}
        await self.call("PUT", "/v1/datastores/gold", gold)
        await self.put_disk()

    async def put_disk(self, name: str = "web1-disk0", size: int = MIB, lun: int = 0) -> Any:
        disk = {"datastore": "gold", "name": name, "size": size, "lun": lun}
        return await self.call("PUT", f"/v1/datastores/gold/volumes/{name}", disk)

    async def volumes(self) -> Any:
        return await self.call("GET", "/v1/volumes")

    async def stop(self) -> None:
        await self.client.aclose()
        await self.application.stop()

    async def restore(self) -> None:
        """Begin again as `start` does, but without listening."""
        await self.application._restore()
        await self.application._settle()


@pytest.fixture
async def array(tmp_path: Path) -> AsyncIterator[Array]:
    made = Array(tmp_path)
    await made.provision()
    yield made
    await made.stop()
