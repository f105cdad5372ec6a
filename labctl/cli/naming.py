"""The name that a lab gets: `--name`, else what its topology says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from labctl.cli.source import Source
from labctl.errors import UsageError

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
"""Names of labs go into names of folders, namespaces and certificates."""


def lab_name(source: Source, name: str | None) -> str:
    """The lab's name.

    Args:
        source: the topology. One that is not TOML gets the file's name: labd then tells all that is wrong with it.
        name: from `--name`.

    Raises:
        UsageError: `name` will not do as a name.
    """
    if name is not None:
        if not NAME.fullmatch(name):
            raise UsageError(
                f'"{name}" will not do as a lab\'s name',
                hint="lower-case letters, digits and dashes; at most 32, a letter first",
            )
        return name
    try:
        lab = tomllib.loads(source.text).get("lab", {})
    except tomllib.TOMLDecodeError:
        lab = {}
    found = lab.get("name") if isinstance(lab, dict) else None
    if isinstance(found, str) and NAME.fullmatch(found):
        return found
    fallback = re.sub(r"[^a-z0-9-]+", "-", Path(source.path).stem.lower()).strip("-")[:32]
    return fallback if NAME.fullmatch(fallback) else "lab"
