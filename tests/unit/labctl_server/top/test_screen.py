"""The screen, driven as a user drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.widgets import DataTable, Static

from labctl.contracts.metrics import Metrics
from labctl.errors import NotRunningError
from labctl_server.top.screen import TopApp


class Lab:
    """Two VMs: web1 uses the processor, db1 its disk."""

    def __init__(self) -> None:
        self.looks = 0
        self.gone = False

    def __call__(self) -> dict[str, object]:
        if self.gone:
            raise NotRunningError("labd of lab blue does not answer", hint="`labctl up` starts it again")
        self.looks += 1
        metrics = Metrics()
        metrics.gauge("labctl_agent_up", "", 1.0, node="esx1")
        metrics.gauge("labctl_resource_state", "", 1.0, kind="host", name="esx1", state="running")
        for name, cpu, written in (("web1", 1.0, 0.0), ("db1", 0.1, 1e6)):
            labels = {"host": "esx1", "vm": name}
            metrics.gauge("labctl_vm_running", "", 1.0, **labels)
            metrics.counter("labctl_vm_cpu_seconds_total", "", self.looks * cpu, **labels)
            metrics.counter("labctl_vm_disk_written_bytes_total", "", self.looks * written, **labels, disk="disk0")
        return {"time": float(self.looks), "metrics": metrics.to_json(), "silent": []}


def names(app: TopApp) -> list[str]:
    table = app.query_one("#vms", DataTable)
    return [str(table.get_row_at(row)[0]) for row in range(table.row_count)]


def head(app: TopApp) -> str:
    return str(app.query_one("#head", Static).render())


async def until(pilot, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await pilot.pause(0.02)


async def test_vms_are_shown_and_sorted_by_the_key_that_is_pressed_and_a_lab_that_went_away_is_said_so() -> None:
    lab = Lab()
    app = TopApp("blue", lab, interval=0.02, order="cpu")
    async with app.run_test(size=(140, 30)) as pilot:
        await until(pilot, lambda: names(app) == ["web1", "db1"])
        await pilot.press("d")
        await until(pilot, lambda: names(app) == ["db1", "web1"])
        assert "2 VMs running, by disk" in head(app)
        lab.gone = True
        await until(pilot, lambda: "labd of lab blue does not answer; `labctl up` starts it again" in head(app))
        lab.gone = False
        await until(pilot, lambda: "2 VMs running" in head(app))
        await pilot.press("q")
