"""Tables → resources: kinds looked up, ranges and counts expanded, each table validated once by its kind's model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.reference import Reference
from labctl.model.resource import Resource, Spec
from labctl.model.suggest import did_you_mean, nearest
from labctl.topology.explain import explain, show
from labctl.topology.names import MAX_RANGE, NAME, NAME_RULE, expand
from labctl.topology.references import references, references_as_written
from labctl.topology.spread import Spreader

if TYPE_CHECKING:
    from labctl.plugin.api import Kind

LAB_TABLE = "lab"
"""The table that is about the lab itself."""


class Declarations:
    """Collects the resources of a file, and the problems with them.

    `declared` maps the address of every name in the file to its resource, or to None where its table is faulty: a reference to
    it is then sound, and needs no second complaint.

    Args:
        kinds: the kinds that there are.
        failed: the plugins whose kinds are not among them.
    """

    def __init__(self, kinds: Mapping[str, Kind[Any]], *, failed: Iterable[str] = ()) -> None:
        self._kinds = kinds
        self._failed = sorted(set(failed))
        self.problems: list[Problem] = []
        self.declared: dict[Address, Resource[Any] | None] = {}
        self.references: dict[Address, list[Reference]] = {}
        self.families: dict[Address, tuple[str, ...]] = {}  # a name with count, or a range → its names
        self.spreaders: dict[Address, Spreader] = {}
        self.tables: dict[Address, tuple[str, str]] = {}

    def read(self, data: Mapping[str, Any]) -> None:
        """Take in a whole document."""
        for kind_name, tables in data.items():
            if kind_name == LAB_TABLE:
                continue
            kind = self._kinds.get(kind_name)
            if kind is None:
                self._problem((kind_name,), f'unknown kind "{kind_name}"', self._nearest_kind(kind_name))
            elif not isinstance(tables, Mapping):
                self._problem((kind_name,), f"must be a table, not {show(tables)}", f"write [{kind_name}.NAME]")
            else:
                self._read_kind(kind, tables)

    def place(self, reference: Reference) -> tuple[str | int, ...]:
        """Where in the file a reference is written."""
        return (*self.tables[reference.source], *self.spreaders[reference.source].written(reference.path))

    def _nearest_kind(self, written: str) -> str | None:
        if self._failed and nearest(written, self._kinds) is None:
            return f"plugin {', '.join(self._failed)} could not be loaded: see `labctl plugin doctor`"
        return did_you_mean(written, [*self._kinds, LAB_TABLE], what="the kinds")

    def _read_kind(self, kind: Kind[Any], tables: Mapping[str, Any]) -> None:
        stray = [name for name, table in tables.items() if not isinstance(table, Mapping)]
        for name in stray:
            hint = f"its name is missing: write [{kind.name}.NAME]" if name in kind.spec.model_fields else None
            self._problem((kind.name, name), "must be a table", hint or f"write [{kind.name}.{name}]")
        for name, table in tables.items():
            if name not in stray:
                self._read_table(kind, name, table)

    def _read_table(self, kind: Kind[Any], written: str, table: Mapping[str, Any]) -> None:
        path = (kind.name, written)
        names = self._names(kind, written, table)
        body = dict(table)
        if "count" not in kind.spec.model_fields:
            body.pop("count", None)
        spreader = Spreader()
        body = spreader.table(body, kind.spec)
        spec: Spec | None = None
        try:
            spec = kind.spec.model_validate(body)
        except ValidationError as error:
            for problem in explain(error, (), body, kind.spec):
                place = spreader.written(problem.path)
                self.problems.append(Problem(path=(*path, *place), message=problem.message, hint=problem.hint))
        self.families[Address(kind.name, written)] = tuple(names)
        for name in names:
            address = Address(kind.name, name)
            if self._declare(address, spec, path, spreader):
                resource = self.declared[address]
                self.references[address] = (
                    references(resource) if resource else references_as_written(address, kind.spec, body)
                )

    def _declare(self, address: Address, spec: Spec | None, path: tuple[str, str], spreader: Spreader) -> bool:
        if address in self.declared:
            what = "is" if path == (address.kind, address.name) else f"{address} is"
            self._problem(path, f"{what} declared already", "names must differ after ranges and counts are expanded")
            return False
        self.declared[address] = Resource(address=address, spec=spec, table=path) if spec is not None else None
        self.spreaders[address] = spreader
        self.tables[address] = path
        return True

    def _names(self, kind: Kind[Any], written: str, table: Mapping[str, Any]) -> list[str]:
        path = (kind.name, written)
        try:
            names = expand(written)
        except ValueError as error:
            self._problem(path, str(error), None)
            return []
        names = self._counted(kind, path, names, table)
        bad = next((name for name in names if not NAME.fullmatch(name)), None)
        if bad is not None:
            self._problem(path, f'"{bad}" cannot be a name', NAME_RULE)
        long = next((name for name in names if len(name) > kind.max_name_length), None)
        if long is not None:
            limit = f"a {kind.name}'s name has at most {kind.max_name_length} characters"
            self._problem(path, f'the name "{long}" is too long: {len(long)} characters', limit)
        return names

    def _counted(self, kind: Kind[Any], path: tuple[str, str], names: list[str], table: Mapping[str, Any]) -> list[str]:
        count = table.get("count")
        if count is None or "count" in kind.spec.model_fields:
            return names
        if len(names) > 1:
            self._problem((*path, "count"), "a range and a count exclude each other", "leave one of them out")
            return names
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_RANGE:
            message = f"count: must be a whole number from 1 to {MAX_RANGE}, not {show(count)}"
            self._problem((*path, "count"), message, None)
            return names
        return [f"{names[0]}{number}" for number in range(1, count + 1)]

    def _problem(self, path: tuple[str | int, ...], message: str, hint: str | None) -> None:
        self.problems.append(Problem(path=path, message=message, hint=hint))
