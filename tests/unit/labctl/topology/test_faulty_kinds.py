"""A kind that falls over is named with its package, and the others' problems are told all the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from labctl.model.problem import Problem
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Kind, TopologyView
from labctl.testing.kinds import compile_text
from labctl.topology.errors import TopologyError


class ClumsySpec(Spec):
    falls_in: str = "check"


class ClumsyKind(Kind[ClumsySpec]):
    name = "clumsy"
    summary = "falls over"
    spec = ClumsySpec

    def check(self, resource: Resource[ClumsySpec], view: TopologyView) -> Iterable[Problem]:
        if resource.spec.falls_in == "check":
            raise KeyError("nothing of that name\nsecond line")
        return ()

    def compile(self, resource: Resource[ClumsySpec], view: CompileView) -> Iterable[Unit]:
        broken: Any = None
        return (broken.unit,)


@pytest.mark.parametrize(
    ("where", "doing", "said"),
    [
        ("check", "checking", "KeyError: 'nothing of that name\\nsecond line'"),
        ("compile", "compiling", "AttributeError: 'NoneType' object has no attribute 'unit'"),
    ],
)
def test_a_kind_that_falls_over_is_named_with_its_package(where: str, doing: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        compile_text(f'[lab]\nname = "demo"\n\n[clumsy.a]\nfalls_in = "{where}"\n', ClumsyKind())
    package = ClumsyKind.__module__.partition(".")[0]
    (problem,) = caught.value.problems
    assert problem.message == f'kind "clumsy" of {package} failed while {doing} it: {said}'
    assert problem.hint == f"this is a bug of {package}; `labctl plugin list` shows which plugin brings it"
    assert problem.position is not None
    assert problem.position.line == 4
