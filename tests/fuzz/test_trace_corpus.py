"""Every input that the fuzzer of the trace found worth keeping: nothing is raised, and both ways of decoding say the same."""

from __future__ import annotations

import pytest

from labctl.trace.columns import lanes
from tests.fuzz import trace_input

INPUTS = sorted(trace_input.CORPUS.iterdir())


@pytest.fixture(autouse=True)
def _lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fuzzer sets is put back."""
    monkeypatch.setattr(lanes, "FEWEST", lanes.FEWEST)
    monkeypatch.setattr(lanes, "LONGEST", lanes.LONGEST)


def test_there_is_a_corpus() -> None:
    assert len(INPUTS) > 40


def test_no_input_of_the_corpus_breaks_the_trace() -> None:
    for path in INPUTS:
        trace_input.one_input(path.read_bytes())


def test_the_fuzzers_segments_are_decoded() -> None:
    """Otherwise nothing behind TCP would ever be reached."""
    found = [
        trace_input.decoded(
            list(trace_input.segments(data[1:], trace_input.PORTS[data[0] % trace_input.MODES - 1])), by_column=False
        )[0]
        for data in (path.read_bytes() for path in INPUTS)
        if data and data[0] % trace_input.MODES in (1, 2)
    ]
    assert {command.operation for commands in found for command in commands} >= {"LOGIN", "READ(10)", "LOOKUP"}
