"""The screen of `labctl top`: hosts, VMs and arrays, anew every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Footer, Static

from labctl.errors import LabError
from labctl_server.top.cells import (
    ARRAY_COLUMNS,
    HOST_COLUMNS,
    ORDERS,
    VM_COLUMNS,
    array_cells,
    host_cells,
    sorted_vms,
    vm_cells,
)
from labctl_server.top.rates import Rates, rates

Look = Callable[[], dict[str, Any]]
"""Gives labd's answer at /v1/metrics. Raises LabError."""


class TopApp(App[None]):
    """The screen.

    Args:
        lab: the lab's name.
        look: at its metrics.
        interval: seconds between looks.
        order: what VMs are sorted by at first.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    DataTable { height: auto; margin-bottom: 1; }
    #vms { height: 1fr; }
    #head { text-style: bold; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(order[0], f"order('{order}')", f"by {order}") for order in ORDERS),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, lab: str, look: Look, *, interval: float, order: str) -> None:
        super().__init__()
        self._lab = lab
        self._look = look
        self._interval = interval
        self._order = order
        self._before: dict[str, Any] | None = None
        self._shown: Rates | None = None

    def compose(self) -> ComposeResult:
        """A line, and three tables."""
        yield Static(f"labctl top: {self._lab}", id="head")
        with Vertical():
            for name in ("hosts", "vms", "arrays"):
                yield DataTable(id=name, show_cursor=False)
        yield Footer()

    def on_mount(self) -> None:
        """Look, and go on looking."""
        for name, columns in (("hosts", HOST_COLUMNS), ("vms", VM_COLUMNS), ("arrays", ARRAY_COLUMNS)):
            self._table(name).add_columns(*columns)
        self.run_worker(self._watch, thread=True, exclusive=True)

    def action_order(self, order: str) -> None:
        """Sort VMs by something else."""
        self._order = order
        if self._shown is not None:
            self.show(self._shown)

    def _watch(self) -> None:
        """Runs in a thread, since a look may wait for an agent that is silent."""
        first = min(1.0, self._interval)
        while self.is_running:
            try:
                after = self._look()
            except LabError as error:
                self.call_from_thread(self._say, f"{error.message}; {error.hint or ''}")
                self._before = None
            else:
                before, self._before = self._before, after
                if before is not None:
                    self.call_from_thread(self.show, rates(before, after))
            time.sleep(first if self._shown is None else self._interval)

    def show(self, found: Rates) -> None:
        """Fill the screen."""
        self._shown = found
        clock = time.strftime("%H:%M:%S", time.localtime(found.time))
        self._say(
            f"{clock}  {len(found.hosts)} hosts, {len(found.vms)} VMs running, by {self._order}, over {found.seconds:.1f} s"
        )
        self._fill("hosts", [host_cells(row) for row in found.hosts])
        self._fill("vms", [vm_cells(row) for row in sorted_vms(found.vms, self._order)])
        self._fill("arrays", [array_cells(row) for row in found.arrays])

    def _say(self, text: str) -> None:
        self.query_one("#head", Static).update(f"labctl top: {self._lab}  {text}")

    def _fill(self, name: str, rows: Sequence[tuple[str, ...]]) -> None:
        table = self._table(name)
        table.clear()
        table.add_rows(rows)

    def _table(self, name: str) -> DataTable[str]:
        return self.query_one(f"#{name}", DataTable)
