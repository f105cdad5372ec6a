"""The cgroups of a lab's nodes; nothing where the machine gives us none."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from labctl.errors import LabError
from labctl.linux import cgroups

log = logging.getLogger(__name__)


class NodeCgroups:
    """Makes and removes the groups of one lab.

    Args:
        lab: the lab's name.
    """

    def __init__(self, lab: str) -> None:
        self._lab = lab
        self._hierarchy = cgroups.find()
        self._made: dict[str, Path] = {}

    def __call__(self, node: str) -> Path | None:
        """A node's group, made where that is possible, else None."""
        if self._hierarchy is None:
            return None
        known = self._made.get(node)
        if known is not None and known.is_dir():
            return known
        try:
            self._made[node] = cgroups.ensure(self._hierarchy, self._lab, node)
        except LabError as error:
            log.warning("no cgroup for %s: %s", node, error.message)
            return None
        return self._made[node]

    def keep_only(self, nodes: Collection[str]) -> None:
        """Remove the groups of nodes that are gone, with whatever still runs in them (a user's shell)."""
        if self._hierarchy is None:
            return
        folder = self._hierarchy.unified / cgroups.FOLDER / self._lab
        found = {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder.is_dir() else set()
        for node in found - set(nodes):
            self._made.pop(node, None)
            cgroups.remove(self._hierarchy, self._lab, node)

    def remove(self) -> None:
        """Remove the lab's group, with whatever still runs in it."""
        if self._hierarchy is not None:
            cgroups.remove(self._hierarchy, self._lab)
