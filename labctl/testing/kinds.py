"""Plugins and topologies for tests, without entry points."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from labctl.plugin.api import CommandGroup, Kind, LabInfo, Machine, UnitHandler
from labctl.plugin.hookspecs import hookimpl
from labctl.plugin.loader import Plugins
from labctl.topology.compile import Compiled, compile_topology
from labctl.topology.load import load_text
from labctl.topology.topology import Topology

SMALL_MACHINE = Machine(memory=8 * 2**30, cpus=4)
"""The machine that tests pretend to run on."""


class TestPlugin:
    """A plugin made of given kinds, handlers and command groups."""

    __test__ = False  # pytest would take the name for a test

    def __init__(
        self,
        kinds: Iterable[Kind[Any]] = (),
        handlers: Iterable[UnitHandler] = (),
        commands: Iterable[CommandGroup] = (),
        topologies: Iterable[Path] = (),
    ) -> None:
        self._kinds = tuple(kinds)
        self._handlers = tuple(handlers)
        self._commands = tuple(commands)
        self._topologies = tuple(topologies)

    @hookimpl
    def labctl_kinds(self) -> Iterable[Kind[Any]]:
        """See the hook."""
        return self._kinds

    @hookimpl
    def labctl_unit_handlers(self) -> Iterable[UnitHandler]:
        """See the hook."""
        return self._handlers

    @hookimpl
    def labctl_commands(self) -> Iterable[CommandGroup]:
        """See the hook."""
        return self._commands

    @hookimpl
    def labctl_topologies(self) -> Iterable[Path]:
        """See the hook."""
        return self._topologies


def plugins_of(*kinds: Kind[Any], handlers: Iterable[UnitHandler] = ()) -> Plugins:
    """Plugins that bring exactly these kinds and handlers."""
    return Plugins.from_modules({"test": TestPlugin(kinds, handlers)})


def lab_info(directory: Path, name: str = "test") -> LabInfo:
    """A lab whose folders are below `directory` (they are not made)."""
    return LabInfo(
        name=name,
        directory=directory / "labs" / name,
        data_directory=directory / "data" / name,
        image_directory=directory / "images",
        rootless=False,
    )


def read_topology(text: str, *kinds: Kind[Any], machine: Machine = SMALL_MACHINE) -> Topology:
    """A topology of these kinds from its text; `[lab] name` may be left out.

    Raises:
        TopologyError: it has errors.
    """
    return load_text(text, "topology.toml", plugins_of(*kinds), name="test", machine=machine)


def compile_text(text: str, *kinds: Kind[Any], directory: Path = Path("/nonexistent")) -> Compiled:
    """What a topology of these kinds compiles to.

    Raises:
        TopologyError: it has errors.
    """
    topology = read_topology(text, *kinds)
    return compile_topology(topology, lab_info(directory, topology.name), {}, plugins_of(*kinds))
