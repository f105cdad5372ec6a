"""Checks in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def asked(table: Mapping[str, Any]) -> str:
    """What a check asks: `3 x WRITE of web1 on gold within 1 s`, `never a command that failed within 10 s`.

    Args:
        table: the check's table, as its spec dumps it.
    """
    never, count = table["never"], int(table["count"])
    words = "never " if never else f"{count} x " if count > 1 else ""
    words += table["op"] or ("a command" if count == 1 else "any command")
    whose = " and ".join(table[key] for key in ("vm", "host") if table[key])
    words += f" of {whose}" if whose else ""
    words += f" on {table['datastore']}" if table["datastore"] else ""
    words += f" slower than {seconds(table['slower'])}" if table["slower"] else ""
    words += " that failed" if table["failed"] else ""
    return f"{words} within {seconds(table['within'])}"


def seconds(value: float) -> str:
    """`1.5 s`, `20 ms`, `250 us`."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value / 1e-6:g} us"
