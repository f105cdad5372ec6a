"""Compiling a topology without a lab: for drawings and for plans of what does not run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from labctl.cli.source import read_topology

if TYPE_CHECKING:
    from labctl.topology.compile import Compiled


def compile_source(name: str) -> tuple[str, Compiled]:
    """Read and compile a topology as an `up` of it would.

    Args:
        name: a file, or a shipped example's name.

    Returns:
        The lab's name and what was compiled.

    Raises:
        TopologyError: it is not valid.
    """
    from labctl.plugin.loader import load_plugins
    from labctl.runtime.paths import LabPaths, default_home
    from labctl.topology.compile import compile_topology
    from labctl.topology.load import load_text

    source = read_topology(name)
    plugins = load_plugins()
    topology = load_text(source.text, source.path, plugins)
    lab = LabPaths(default_home(), topology.name).info(rootless=os.geteuid() != 0)
    return topology.name, compile_topology(topology, lab, {}, plugins)
