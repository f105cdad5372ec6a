"""A host's agent that keeps its VMs in a dictionary, and a cache whose only image takes no time to build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from labctl.agent.client import AgentUnreachableError
from labctl.errors import ConflictError, LabError, NotRunningError
from labctl.model.json import Json
from labctl_server.image.recipe import Image
from labctl_server.image.store import ImageStore


class FakeHost:
    """Answers as labctl_server.hostd.application does."""

    def __init__(self) -> None:
        self.vms: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.reachable = True
        self.tools = "running"
        self.refuses: set[str] = set()

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Json:
        self.calls.append(f"{method} {path}")
        if not self.reachable:
            raise AgentUnreachableError("the agent of esx1 does not answer")
        if path == "/v1/vms":
            return {name: dict(vm) for name, vm in self.vms.items()}
        name, _, query = path.split("/")[3].partition("?")
        if method == "PUT":
            assert isinstance(body, dict)
            return self._put(name, body)
        if method == "DELETE":
            if not query or self.vms.get(name, {}).get("moved"):
                self.vms.pop(name, None)
            return {}
        if name not in self.vms:
            raise NotRunningError(f"host esx1 has no VM {name}")
        return self.vms[name]

    def _put(self, name: str, body: dict[str, Any]) -> Json:
        if name in self.refuses:
            raise LabError(f"VM {name} did not start")
        if self.vms.get(name, {}).get("moved"):
            raise ConflictError(f"{name} was migrated to {self.vms[name]['moved']['host']}")
        on = body["power"] == "on"
        self.vms[name] = {
            "machine": body["machine"],
            "state": "running" if on else "off",
            "reason": "",
            "tools": self.tools if on else "off",
            "pid": 1234 if on else None,
            "since": 1.0,
            "pending": False,
            "console": "/console.sock",
            "console_log": "/console.log",
        }
        return self.vms[name]


class FakeRecipe:
    name = "micro"
    fingerprint = "1"

    def __init__(self) -> None:
        self.builds = 0

    def build(self, folder: Path, packages: Path, progress: Callable[[str], None]) -> Image:
        self.builds += 1
        progress("building")
        for file in ("kernel", "initrd", "rootfs.raw"):
            (folder / file).write_bytes(b"")
        return Image(
            name=self.name,
            version="",
            recipe=self.fingerprint,
            rootfs=Path("rootfs.raw"),
            rootfs_size=0,
            kernel=Path("kernel"),
            initrd=Path("initrd"),
            cmdline="console=ttyS0",
        )


def store_of(recipe: FakeRecipe) -> Callable[[Path], ImageStore]:
    return lambda cache: ImageStore(cache, [recipe])
