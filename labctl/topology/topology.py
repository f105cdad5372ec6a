"""A topology that has been read: its resources, validated and looked up by address."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.reference import Reference
from labctl.model.resource import Resource
from labctl.plugin.api import Machine
from labctl.topology.positions import PositionIndex


@dataclass(frozen=True, kw_only=True)
class Topology:
    """What a file declares. It is the TopologyView that kinds check against.

    Args:
        name: the lab's name.
        description: the lab's description, or "".
        file: where it was read, for people.
        text: the file's whole text; the journal keeps it.
        declared: the resources in the file's order.
        references: what each resource refers to; all of it exists.
        positions: where everything is written.
        this_machine: what the machine has.
        warnings: findings that do not stop the work.
    """

    name: str
    description: str
    file: str
    text: str
    declared: Mapping[Address, Resource[Any]]
    references: Mapping[Address, Sequence[Reference]]
    positions: PositionIndex
    this_machine: Machine
    warnings: Sequence[Problem] = field(default=())

    def resource(self, address: Address) -> Resource[Any]:
        """The resource of that address.

        Raises:
            KeyError: there is none.
        """
        return self.declared[address]

    def resources(self, kind: str) -> Sequence[Resource[Any]]:
        """All resources of a kind, in the file's order."""
        return self._by_kind.get(kind, ())

    def machine(self) -> Machine:
        """What the machine has."""
        return self.this_machine

    def locate(self, problem: Problem) -> Problem:
        """The problem with its position in the file."""
        if problem.position is not None:
            return problem
        unknown = problem.message.startswith("unknown ")
        find = self.positions.key if unknown else self.positions.value
        return replace(problem, position=find(problem.path))

    @cached_property
    def _by_kind(self) -> Mapping[str, Sequence[Resource[Any]]]:
        found: dict[str, list[Resource[Any]]] = {}
        for address, resource in self.declared.items():
            found.setdefault(address.kind, []).append(resource)
        return found


def look_at_machine() -> Machine:
    """The size of the machine that labctl runs on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(memory=memory, cpus=len(os.sched_getaffinity(0)))
