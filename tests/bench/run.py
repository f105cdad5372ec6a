"""Run a benchmark by name: `./bootstrap.sh bench NAME`, which is `python tests/bench/run.py NAME [options]`.

A benchmark is a module beside this one that has `main(arguments) -> exit status`; its docstring's first line is its description.
On the command line, its name's underscores are dashes.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """The benchmarks there are: the modules that define main, this one aside."""
    modules = (path for path in HERE.glob("*.py") if path != Path(__file__).resolve())
    return sorted(path.stem.replace("_", "-") for path in modules if "\ndef main(arguments" in path.read_text())


def main(arguments: list[str]) -> int:
    """Run the benchmark named first with the arguments that follow."""
    if not arguments or arguments[0] not in names():
        sys.stderr.write(f"usage: bench NAME [options]; NAME is one of: {', '.join(names())}\n")
        return 2
    sys.path.insert(0, str(HERE))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is timed has run before, so it is compiled, as a user's is
    status: int = importlib.import_module(arguments[0].replace("-", "_")).main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
