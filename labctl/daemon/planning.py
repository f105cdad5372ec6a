"""The plan of a lab that runs, asked of its labd; or of one that does not, made from nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from labctl.daemon.launcher import connect, known_labs, running_labs
from labctl.runtime.paths import LabPaths


def plan_for(home: Path, lab: str, topology: str, path: str, *, restart: bool) -> dict[str, Any]:
    """What `up` would do (labctl.runtime.report.plan_to_json).

    Args:
        home: the folder of all labs.
        lab: the lab's name.
        topology: the topology's text.
        path: where that came from, for messages.
        restart: as `up --restart`.

    Raises:
        TopologyError: the topology has errors.
        LabError: labd refused, or the lab's journal is there without a labd.
    """
    if lab in running_labs(home) or lab in known_labs(home):
        body: dict[str, bool | str] = {"topology": topology, "path": path, "restart": restart}
        return dict(connect(home, lab).post("/v1/plan", body))
    return _from_nothing(LabPaths(home, lab), topology, path)


def _from_nothing(paths: LabPaths, text: str, path: str) -> dict[str, Any]:
    from labctl.plan.diff import make_plan
    from labctl.plugin.loader import load_plugins
    from labctl.runtime.lab import Handlers
    from labctl.runtime.report import plan_to_json
    from labctl.topology.compile import compile_topology
    from labctl.topology.load import load_text

    plugins = load_plugins()
    wanted = load_text(text, path, plugins, name=paths.lab)
    compiled = compile_topology(wanted, paths.info(rootless=os.geteuid() != 0), {}, plugins)
    return dict(plan_to_json(make_plan(compiled.units, {}, {}, Handlers(plugins, {}))))
