"""Topology → units: the kinds reserve what the file fixes, then compile, then describe.

Deterministic: the same topology and the same earlier choices give the same units in the same order. The errors of all resources are
reported together, each at its resource's place in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.graph import cycles
from labctl.model.problem import Problem
from labctl.model.resource import Resource
from labctl.model.unit import Unit
from labctl.plugin.api import Description, Kind, LabInfo, Machine
from labctl.plugin.loader import Plugins
from labctl.topology.choices import ChoiceKey, Choices
from labctl.topology.errors import TopologyError, fault_of_kind
from labctl.topology.topology import Topology

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a topology comes to.

    Args:
        units: all units, in the order of the file.
        descriptions: how each resource shows.
        choices: what was chosen, to be given back to the next compilation.
    """

    units: Sequence[Unit]
    descriptions: Mapping[Address, Description]
    choices: Mapping[ChoiceKey, str]


class MissingContractError(LookupError):
    """A resource was asked for a contract that its kind does not offer: the topology puts it where another kind belongs."""


class View:
    """The CompileView that kinds get."""

    def __init__(self, topology: Topology, lab: LabInfo, plugins: Plugins, choices: Choices) -> None:
        self._topology = topology
        self._lab = lab
        self._plugins = plugins
        self._choices = choices
        self._provided: dict[tuple[Address, type[Any]], Any] = {}

    @property
    def lab(self) -> LabInfo:
        """See CompileView."""
        return self._lab

    def resource(self, address: Address) -> Resource[Any]:
        """See TopologyView."""
        return self._topology.resource(address)

    def resources(self, kind: str) -> Sequence[Resource[Any]]:
        """See TopologyView."""
        return self._topology.resources(kind)

    def machine(self) -> Machine:
        """See TopologyView."""
        return self._topology.machine()

    def provider(self, address: Address, contract: type[T]) -> T:
        """See CompileView; asked once a resource and contract, so that a provider may count."""
        key = (address, contract)
        if key not in self._provided:
            resource = self._topology.resource(address)
            provided = self._plugins.kinds[address.kind].provide(contract, resource, self)
            if provided is None:
                raise MissingContractError(f"{address} offers no {contract.__name__}")
            self._provided[key] = provided
        return cast("T", self._provided[key])

    def choose(self, pool: str, key: str, candidates: Iterable[str], *, valid: Callable[[str], bool]) -> str:
        """See CompileView."""
        return self._choices.choose(pool, key, candidates, valid)

    def reserve(self, pool: str, key: str, value: str) -> None:
        """See CompileView."""
        self._choices.reserve(pool, key, value)

    def place(self, pool: str, key: str, candidates: Sequence[str]) -> str:
        """See CompileView."""
        return self._choices.place(pool, key, candidates)


class _Compilation:
    def __init__(self, topology: Topology, plugins: Plugins, view: View) -> None:
        self.topology = topology
        self.plugins = plugins
        self.view = view
        self.problems: list[Problem] = []

    def each(self, work: Callable[[Kind[Any], Resource[Any]], T]) -> dict[Address, T]:
        """Do something for every resource; their errors become problems."""
        done: dict[Address, T] = {}
        for address, resource in self.topology.declared.items():
            kind = self.plugins.kinds[address.kind]
            try:
                done[address] = work(kind, resource)
            except LabError as error:
                self.problems.append(Problem(path=resource.table, message=error.message, hint=error.hint))
            except MissingContractError as error:
                self.problems.append(Problem(path=resource.table, message=str(error)))
            except Exception as error:
                message, hint = fault_of_kind(kind, address.kind, "compiling", error)
                self.problems.append(Problem(path=resource.table, message=message, hint=hint))
        return done

    def stop_on_problems(self) -> None:
        if self.problems:
            raise TopologyError([self.topology.locate(problem) for problem in self.problems])


def compile_topology(topology: Topology, lab: LabInfo, prior: Mapping[ChoiceKey, str], plugins: Plugins) -> Compiled:
    """Compile a topology.

    Args:
        topology: what was read.
        lab: the lab that it is for.
        prior: the choices of the last compilation, from the journal.
        plugins: where the kinds come from.

    Raises:
        TopologyError: some resources cannot be compiled, or their units contradict each other.
    """
    choices = Choices(prior)
    view = View(topology, lab, plugins, choices)
    work = _Compilation(topology, plugins, view)
    work.each(lambda kind, resource: kind.reserve(resource, view))
    work.stop_on_problems()
    units_of = work.each(lambda kind, resource: list(kind.compile(resource, view)))
    work.stop_on_problems()
    units = [unit for units in units_of.values() for unit in units]
    work.problems += _contradictions(units, topology)
    descriptions = work.each(lambda kind, resource: kind.describe(resource, view))
    work.stop_on_problems()
    return Compiled(units=units, descriptions=descriptions, choices=choices.made)


def _contradictions(units: Sequence[Unit], topology: Topology) -> Iterable[Problem]:
    """Ids that two make, needs that nobody makes, and circles of needs."""
    made: dict[str, Unit] = {}
    for unit in units:
        path = topology.resource(unit.resource).table if unit.resource in topology.declared else ()
        if unit.id in made:
            other = made[unit.id].resource
            yield Problem(
                path=path, message=f"{unit.id} is made by {other} too", hint="one of the two must be named otherwise"
            )
        made.setdefault(unit.id, unit)
    for unit in units:
        path = topology.resource(unit.resource).table if unit.resource in topology.declared else ()
        for need in unit.needs:
            if need not in made:
                yield Problem(path=path, message=f"{unit.id} needs {need}, which nothing makes")
    for cycle in cycles({unit.id: unit.needs for unit in made.values()}):
        path = topology.resource(made[cycle[0]].resource).table
        yield Problem(path=path, message=f"needs itself: {' → '.join(cycle)}")
