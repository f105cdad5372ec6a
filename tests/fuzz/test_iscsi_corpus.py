"""Every input that the fuzzer found worth keeping: nothing is raised, and the limits hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from labemu_iscsi.pdu import NopOut
from tests.fuzz import iscsi_input

INPUTS = sorted(iscsi_input.CORPUS.iterdir())


def test_there_is_a_corpus() -> None:
    assert len(INPUTS) > 40


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_no_input_of_the_corpus_breaks_the_engine(path: Path) -> None:
    data = path.read_bytes()
    for mode in {data[0], *range(0, len(iscsi_input.MODES) * len(iscsi_input.CUTS), 5)}:
        iscsi_input.one_input(bytes((mode,)) + data[1:])


def test_streams_are_what_they_were_after_both_ways() -> None:
    stream = NopOut(itt=1, cmd_sn=1).encode(b"12345678") + NopOut(itt=2, cmd_sn=2).encode()
    assert b"".join(iscsi_input.pdus(iscsi_input.encode(stream))) == stream
