"""The reference of the hooks and the hooks themselves say the same."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from labctl.plugin import hookspecs

DOCS = Path(__file__).parents[3] / "docs"


def test_every_hook_stands_in_the_reference_with_its_exact_arguments() -> None:
    hooks = [
        f"{name}{inspect.signature(hook)}".replace("'", "")
        for name, hook in inspect.getmembers(hookspecs, inspect.isfunction)
        if name.startswith("labctl_")
    ]
    documented = re.findall(r"^## `(.*)`$", (DOCS / "reference/hooks.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(hooks)
