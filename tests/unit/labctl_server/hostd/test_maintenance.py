"""A host's own part of maintenance mode."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware

from labctl.agent.wire import ErrorsMiddleware
from labctl.errors import ConflictError
from labctl_server.hostd.maintenance import Maintenance, MaintenanceRoutes


def client(maintenance: Maintenance, running: list[str]) -> httpx.AsyncClient:
    routes = MaintenanceRoutes(maintenance, lambda: running).routes()
    app = Starlette(routes=routes, middleware=[Middleware(ErrorsMiddleware, where="hostd")])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://esx1")


def test_the_state_outlives_the_agent_and_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "maintenance.json"
    maintenance = Maintenance(file, "esx1")
    maintenance.refuse("web1")
    for state, doing in (("entering", "is entering"), ("on", "is in")):
        maintenance.set(state)  # type: ignore[arg-type]
        again = Maintenance(file, "esx1")
        with pytest.raises(ConflictError, match=f"^web1 cannot run on esx1, which {doing} maintenance mode$") as caught:
            again.refuse("web1")
        assert caught.value.hint == "end that: labctl host exit-maintenance esx1"
    maintenance.set("off")
    Maintenance(file, "esx1").refuse("web1")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "?"}', "{}"])
def test_a_file_that_was_cut_short_is_taken_for_entering(tmp_path: Path, content: str) -> None:
    file = tmp_path / "maintenance.json"
    file.write_text(content)
    assert Maintenance(file, "esx1").state == "entering"


async def test_it_is_on_only_where_no_vm_runs(tmp_path: Path) -> None:
    maintenance, running = Maintenance(tmp_path / "maintenance.json", "esx1"), ["web1", "db1"]
    async with client(maintenance, running) as host:
        refused = await host.put("/v1/maintenance", json={"state": "on"})
        assert "VMs run here: web1, db1" in refused.text
        assert (await host.put("/v1/maintenance", json={"state": "entering"})).json() == {
            "state": "entering", "running": ["web1", "db1"],
        }  # fmt: skip
        running.clear()
        assert (await host.put("/v1/maintenance", json={"state": "on"})).json()["state"] == "on"
        assert (await host.get("/v1/maintenance")).json() == {"state": "on", "running": []}
        assert (
            "maintenance is off, entering or on, not 'maybe'"
            in (await host.put("/v1/maintenance", json={"state": "maybe"})).text
        )
