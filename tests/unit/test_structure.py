"""The structure of the source: what STYLE asks of every module.

The graph has every import that stands in a file, also those inside functions and under TYPE_CHECKING: a circle that only the type
checker sees ties two modules together all the same. Importing a package's module runs the package's `__init__`, but that is no
edge: only names that a file asks for count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 500


def find_modules(*roots: Path) -> dict[str, Path]:
    """Every module of the packages in some folders, by its dotted name."""
    modules = {}
    for root in roots:
        for path in sorted(root.glob("*/**/*.py")):
            package = root / path.relative_to(root).parts[0]
            if (package / "__init__.py").exists():
                parts = path.relative_to(root).with_suffix("").parts
                modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def imported(name: str, path: Path, modules: Mapping[str, Path]) -> set[str]:
    """The modules of ours that a module imports: of `from a import b`, a.b where that is a module, else a."""
    found = set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in modules else source)
    return found & modules.keys()


def find_cycle(modules: Mapping[str, Path]) -> list[str] | None:
    """A circle of imports, each module importing the next, or None where there is none."""
    graph = TopologicalSorter({name: imported(name, path, modules) for name, path in modules.items()})
    try:
        graph.prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return None


def unannotated(path: Path) -> Iterator[str]:
    """Public functions and methods of a file with a parameter or a return that has no type."""
    pending: list[ast.AST] = [parse(path)]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if not node.name.startswith("_") and lacks_types(node):
                    yield f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{node.lineno} {node.name}"
            elif not (isinstance(node, ast.ClassDef) and node.name.startswith("_")):
                pending.append(node)


def lacks_types(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    untyped = [each.arg for each in every if each is not None and each.annotation is None]
    return function.returns is None or any(name not in ("self", "cls") for name in untyped)


SOURCE = find_modules(ROOT, ROOT / "plugins", ROOT / "emulators", ROOT / "topologies")
SOURCE = {name: path for name, path in SOURCE.items() if not name.startswith("tests")}


def test_the_source_is_found() -> None:
    packages = {name.partition(".")[0] for name in SOURCE}
    assert {"labctl", "labctl_server", "labctl_topologies", "labemu_iscsi", "labemu_scsi"} <= packages


def test_no_module_is_in_an_import_cycle() -> None:
    cycle = find_cycle(SOURCE)
    assert cycle is None, " imports ".join(cycle)


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {name: path.read_bytes().count(b"\n") for name, path in SOURCE.items()}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_every_module_opens_with_a_docstring() -> None:
    assert [name for name, path in SOURCE.items() if not ast.get_docstring(parse(path))] == []


def test_every_public_function_is_annotated() -> None:
    assert [place for path in SOURCE.values() for place in unannotated(path)] == []


@pytest.mark.parametrize(
    "back",
    [
        "import pack.a",
        "from pack import a",
        "from pack.a import A",
        "from . import a",
        "from .a import A",
        "def late():\n    from pack.a import A",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.a import A",
    ],
)
def test_a_cycle_is_found_however_it_is_written(tmp_path: Path, back: str) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from pack.b import B\n")
    (package / "b.py").write_text(back)
    assert set(find_cycle(find_modules(tmp_path)) or ()) == {"pack.a", "pack.b"}


@pytest.mark.parametrize(
    "source", ["def f(): ...", "def f(a) -> None: ...", "class C:\n    async def f(self, *a) -> None: ..."]
)
def test_a_missing_annotation_is_found(tmp_path: Path, source: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert len(list(unannotated(path))) == 1
