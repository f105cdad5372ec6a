"""Fuzz the trace, guided by coverage: `python -m tests.fuzz.fuzz_trace [libFuzzer's options]`.

`-max_total_time=600` stops after ten minutes; `-artifact_prefix=/tmp/` says where an input that breaks something is put. New inputs of
interest go into the first folder that is named, tests/fuzz/corpus/trace where none is.
"""

from __future__ import annotations

import importlib
import sys

import atheris


def main() -> None:
    """Fuzz until something breaks, or as long as the options say."""
    with atheris.instrument_imports(include=["labctl.trace"]):
        module = importlib.import_module("tests.fuzz.trace_input")
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    atheris.Setup([sys.argv[0], "-max_len=8192", *options, *(folders or [str(module.CORPUS)])], module.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
