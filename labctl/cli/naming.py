"""The name that a lab gets: `--name`, else what its topology says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from labctl.cli.source import Source
from labctl.errors import UsageError
from labctl.topology.names import MAX_LAB_NAME, NAME, NAME_RULE


def lab_name(source: Source, name: str | None) -> str:
    """The lab's name.

    Args:
        source: the topology. One that is not TOML gets the file's name: labd then tells all that is wrong with it.
        name: from `--name`.

    Raises:
        UsageError: `name` will not do as a name.
    """
    if name is not None:
        if not _suits(name):
            raise UsageError(
                f'"{name}" cannot be the name of a lab', hint=f"{NAME_RULE}; {MAX_LAB_NAME} characters at most"
            )
        return name
    try:
        lab = tomllib.loads(source.text).get("lab", {})
    except tomllib.TOMLDecodeError:
        lab = {}
    found = lab.get("name") if isinstance(lab, dict) else None
    if isinstance(found, str) and _suits(found):
        return found
    fallback = re.sub(r"[^a-z0-9-]+", "-", Path(source.path).stem.lower()).strip("-")[:MAX_LAB_NAME]
    return fallback if _suits(fallback) else "lab"


def _suits(name: str) -> bool:
    return NAME.fullmatch(name) is not None and len(name) <= MAX_LAB_NAME
