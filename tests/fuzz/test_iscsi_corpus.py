"""Every input that the fuzzer found worth keeping: nothing is raised, and the limits hold."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from labemu_iscsi.pdu import NopOut


def _fuzzer() -> ModuleType:
    path = Path(__file__).with_name("iscsi_input.py")
    spec = importlib.util.spec_from_file_location("fuzz_iscsi_input", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FUZZER = _fuzzer()
INPUTS = sorted(FUZZER.CORPUS.iterdir())


def test_there_is_a_corpus() -> None:
    assert len(INPUTS) > 40


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_no_input_of_the_corpus_breaks_the_engine(path: Path) -> None:
    data = path.read_bytes()
    for mode in {data[0], *range(0, len(FUZZER.MODES) * len(FUZZER.CUTS), 5)}:
        FUZZER.one_input(bytes((mode,)) + data[1:])


def test_streams_are_what_they_were_after_both_ways() -> None:
    stream = NopOut(itt=1, cmd_sn=1).encode(b"12345678") + NopOut(itt=2, cmd_sn=2).encode()
    assert b"".join(FUZZER.pdus(FUZZER.encode(stream))) == stream
