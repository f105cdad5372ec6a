"""What the shell completes: names of labs, of resources, of shipped topologies.

Rule: completion never fails and never waits: whatever goes wrong, it offers nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

COMPLETION_TIMEOUT = 1.0


def labs(ctx: Any, incomplete: str) -> list[str]:
    """The labs there are."""
    try:
        from labctl.cli.target import home_of
        from labctl.daemon.launcher import known_labs

        return [name for name in known_labs(home_of(_parameter(ctx, "home"))) if name.startswith(incomplete)]
    except Exception:
        return []


def nodes(ctx: Any, incomplete: str) -> list[str]:
    """Resources by name that can be entered."""
    return [
        item["name"]
        for item in _resources(ctx)
        if item["name"].startswith(incomplete) and (item.get("node") or item.get("guest"))
    ]


def guests(ctx: Any, incomplete: str) -> list[str]:
    """VMs by name."""
    return [item["name"] for item in _resources(ctx) if item["name"].startswith(incomplete) and item.get("guest")]


def resources(ctx: Any, incomplete: str) -> list[str]:
    """Resources by address, `kind.name`."""
    addresses = [f"{item['kind']}.{item['name']}" for item in _resources(ctx)]
    return [address for address in addresses if address.startswith(incomplete)]


def topologies(incomplete: str) -> list[str]:
    """Shipped examples, and TOML files of this folder."""
    try:
        from labctl.plugin.loader import load_plugins
        from labctl.topology.load import shipped_topologies

        shipped = sorted(shipped_topologies(load_plugins()))
    except Exception:
        shipped = []
    folder = Path(os.path.dirname(incomplete) or ".")  # noqa: PTH120 - keeps a trailing slash apart
    files = [str(file) for file in sorted(folder.glob("*.toml"))] if folder.is_dir() else []
    return [name for name in [*shipped, *files] if name.startswith(incomplete)]


def _resources(ctx: Any) -> list[dict[str, Any]]:
    try:
        from labctl.cli.target import lab_client

        client = lab_client(_parameter(ctx, "lab"), _parameter(ctx, "home"), start=False)
        status = client.get("/v1/status", timeout=COMPLETION_TIMEOUT)
        return list(status["resources"])
    except Exception:
        return []


def _parameter(ctx: Any, name: str) -> Any:
    return ctx.params.get(name)
