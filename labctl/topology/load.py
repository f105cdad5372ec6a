"""Reads a topology in phases: syntax, lab table, declarations, references, cycles, the kinds' own checks.

Only a fault of syntax stops at once; all the other phases add their problems to one list, so that a file is mended in one go. A later
phase never judges what an earlier one has already found faulty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.graph import closure, cycles, reverse
from labctl.model.problem import Problem, Severity
from labctl.model.reference import Reference
from labctl.model.resource import Resource
from labctl.model.suggest import did_you_mean, nearest
from labctl.plugin.api import Machine
from labctl.plugin.loader import Plugins
from labctl.topology.declare import LAB_TABLE, Declarations
from labctl.topology.errors import TopologyError, fault_of_kind, has_errors, tidy
from labctl.topology.explain import explain, show
from labctl.topology.names import MAX_LAB_NAME, NAME, NAME_RULE
from labctl.topology.parse import parse
from labctl.topology.topology import Topology, look_at_machine


class LabTable(BaseModel):
    """The keys of `[lab]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""


def load(path: Path, plugins: Plugins, *, name: str | None = None, machine: Machine | None = None) -> Topology:
    """Read a topology from a file.

    Args:
        path: the file.
        plugins: where the kinds come from.
        name: the lab's name, in place of the file's.
        machine: in place of the one that this runs on, for tests.

    Raises:
        TopologyError: the file has errors; it carries all of them.
        LabError: the file cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}", hint="is the path right?") from error
    except UnicodeDecodeError as error:
        raise LabError(f"{path} is no UTF-8 text", hint="a topology is a TOML file") from error
    return load_text(text, str(path), plugins, name=name, machine=machine)


def load_text(
    text: str, file: str, plugins: Plugins, *, name: str | None = None, machine: Machine | None = None
) -> Topology:
    """Read a topology from its text; see load.

    Raises:
        TopologyError: it has errors; it carries all of them.
    """
    data, positions = parse(text, file)
    problems: list[Problem] = []
    lab = _lab_table(data, name, problems)
    found = Declarations(plugins.kinds, failed=[failure.plugin for failure in plugins.failures])
    found.read(data)
    problems += found.problems
    sound = {address: resource for address, resource in found.declared.items() if resource is not None}
    broken = {address for address, resource in found.declared.items() if resource is None}
    broken |= _check_references(found, problems)
    broken |= _check_cycles(found, problems)
    topology = Topology(
        name=lab.name,
        description=lab.description,
        file=file,
        text=text,
        declared=sound,
        references={address: found.references[address] for address in sound},
        positions=positions,
        this_machine=machine or look_at_machine(),
    )
    problems += _own_checks(topology, plugins, broken)
    located = [topology.locate(problem) for problem in problems]
    if has_errors(located):
        raise TopologyError(located)
    return replace(topology, warnings=tuple(tidy(located)))


def _lab_table(data: Mapping[str, Any], name: str | None, problems: list[Problem]) -> LabTable:
    raw = data.get(LAB_TABLE, {})
    if not isinstance(raw, Mapping):
        problems.append(Problem(path=(LAB_TABLE,), message=f"must be a table, not {show(raw)}", hint="write [lab]"))
        raw = {}
    elif name is None and "name" not in raw:
        path: tuple[str, ...] = (LAB_TABLE,) if LAB_TABLE in data else ()
        message = '"name" is missing' if path else "the lab has no name"
        problems.append(Problem(path=path, message=message, hint='write name = "my-lab" under [lab]'))
    merged = {"name": "unnamed", **raw, **({"name": name} if name is not None else {})}
    _check_lab_name(merged["name"], problems)
    try:
        return LabTable.model_validate(merged)
    except ValidationError as error:
        problems += explain(error, (LAB_TABLE,), merged, LabTable)
        return LabTable(name="unnamed")


def _check_lab_name(name: object, problems: list[Problem]) -> None:
    path = (LAB_TABLE, "name")
    if not isinstance(name, str):
        return  # its type is complained of elsewhere
    if not NAME.fullmatch(name):
        problems.append(Problem(path=path, message=f'"{name}" cannot be the name of a lab', hint=NAME_RULE))
    elif len(name) > MAX_LAB_NAME:
        message = f'the name "{name}" is too long: {len(name)} characters'
        problems.append(Problem(path=path, message=message, hint=f"a lab's name has at most {MAX_LAB_NAME} characters"))


def _check_references(found: Declarations, problems: list[Problem]) -> set[Address]:
    """Report references to nothing; returns the resources that have one."""
    bad: set[Address] = set()
    for address, links in found.references.items():
        for link in links:
            if not any(Address(kind, link.name) in found.declared for kind in link.kinds):
                bad.add(address)
                problems.append(_dangling(found, link))
    return bad


def _dangling(found: Declarations, reference: Reference) -> Problem:
    kinds = " or ".join(filter(None, (", ".join(reference.kinds[:-1]), reference.kinds[-1])))
    names = [address.name for address in found.declared if address.kind in reference.kinds]
    hint = did_you_mean(reference.name, names)
    for kind in reference.kinds:
        family = found.families.get(Address(kind, reference.name))
        if family:
            hint = f"{kind}.{reference.name} stands for {', '.join(family[:3])}{' …' if len(family) > 3 else ''}"
    kind, dot, rest = reference.name.partition(".")
    if dot and kind in reference.kinds and rest in names:
        hint = f'its name alone is enough: "{rest}"'
    others = [address for address in found.declared if address.name == reference.name]
    if hint is None and others:
        hint = f"{others[0]} is a {others[0].kind}"
    if hint is None and not names:
        hint = f"there is no {kinds} in this topology"
    elif hint is None:
        hint = (
            f"there {'are' if len(names) > 1 else 'is'} {', '.join(sorted(names)[:8])}{' …' if len(names) > 8 else ''}"
        )
    return Problem(path=found.place(reference), message=f'no {kinds} named "{reference.name}"', hint=hint)


def _check_cycles(found: Declarations, problems: list[Problem]) -> set[Address]:
    edges = {address: [target for target, _ in _targets(found, links)] for address, links in found.references.items()}
    bad: set[Address] = set()
    for cycle in cycles(edges):
        bad.update(cycle)
        reference = next(link for target, link in _targets(found, found.references[cycle[0]]) if target == cycle[1])
        way = " → ".join(str(address) for address in cycle)
        message = "refers to itself" if len(cycle) == 2 else f"refers to itself: {way}"
        problems.append(Problem(path=found.place(reference), message=message, hint="one of these references must go"))
    return bad


def _targets(found: Declarations, links: list[Reference]) -> Iterator[tuple[Address, Reference]]:
    for link in links:
        for kind in link.kinds:
            target = Address(kind, link.name)
            if link.ordered and target in found.declared:
                yield target, link
                break


def _own_checks(topology: Topology, plugins: Plugins, broken: set[Address]) -> Iterator[Problem]:
    """The kinds' checks, for resources that neither are faulty nor lead to one that is."""
    edges = {
        address: [Address(kind, link.name) for link in links for kind in link.kinds]
        for address, links in topology.references.items()
    }
    spoilt = closure(broken, reverse(edges))
    for address, resource in topology.declared.items():
        if address not in spoilt:
            yield from _one_check(topology, plugins, resource)


def _one_check(topology: Topology, plugins: Plugins, resource: Resource[Any]) -> Iterator[Problem]:
    kind = plugins.kinds[resource.address.kind]
    try:
        yield from kind.check(resource, topology)
    except LabError as error:
        yield Problem(path=resource.table, message=error.message, hint=error.hint, severity=Severity.ERROR)
    except Exception as error:
        message, hint = fault_of_kind(kind, resource.address.kind, "checking", error)
        yield Problem(path=resource.table, message=message, hint=hint)


def find_topology(name_or_path: str, plugins: Plugins) -> Path:
    """The file that a user means: a path, or the name of an example that a plugin ships.

    Raises:
        LabError: there is neither; suggests the nearest example.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    examples = shipped_topologies(plugins)
    if name_or_path in examples:
        return examples[name_or_path]
    if path.is_dir():
        raise LabError(f"{name_or_path} is a folder", hint="name the topology file in it")
    guess = nearest(name_or_path, examples)
    hint = f'did you mean "{guess}"?' if guess else f"the examples are: {', '.join(sorted(examples)) or 'none'}"
    raise LabError(f'there is no file and no example named "{name_or_path}"', hint=hint)


def shipped_topologies(plugins: Plugins) -> dict[str, Path]:
    """The example topologies by name; those of labctl itself first, then the plugins'."""
    found: dict[str, Path] = {}
    for folder in (*_own_examples(), *plugins.topologies):
        for file in sorted(folder.glob("*.toml")):
            found.setdefault(file.stem, file)
    return found


def _own_examples() -> list[Path]:
    try:
        import labctl_topologies  # a package of data: imported only when somebody looks for an example
    except ImportError:
        return []
    return [Path(folder) for folder in labctl_topologies.__path__]
