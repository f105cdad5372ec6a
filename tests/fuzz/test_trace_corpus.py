"""Every input that the fuzzer of the trace found worth keeping: nothing is raised, and both ways of decoding say the same."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from labctl.trace.columns import lanes


def _fuzzer() -> ModuleType:
    path = Path(__file__).with_name("trace_input.py")
    spec = importlib.util.spec_from_file_location("fuzz_trace_input", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FUZZER = _fuzzer()
INPUTS = sorted(FUZZER.CORPUS.iterdir())


@pytest.fixture(autouse=True)
def _lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fuzzer sets is put back."""
    monkeypatch.setattr(lanes, "FEWEST", lanes.FEWEST)
    monkeypatch.setattr(lanes, "LONGEST", lanes.LONGEST)


def test_there_is_a_corpus() -> None:
    assert len(INPUTS) > 40


def test_no_input_of_the_corpus_breaks_the_trace() -> None:
    for path in INPUTS:
        FUZZER.one_input(path.read_bytes())


def test_the_fuzzers_segments_are_decoded() -> None:
    """Otherwise nothing behind TCP would ever be reached."""
    found = [
        FUZZER.decoded(list(FUZZER.segments(data[1:], FUZZER.PORTS[data[0] % FUZZER.MODES - 1])), by_column=False)[0]
        for data in (path.read_bytes() for path in INPUTS)
        if data and data[0] % FUZZER.MODES in (1, 2)
    ]
    assert {command.operation for commands in found for command in commands} >= {"LOGIN", "READ(10)", "LOOKUP"}
