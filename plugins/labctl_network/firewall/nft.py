"""Runs nft in a node's namespace: a transaction as JSON, a listing as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labctl.errors import LabError, MissingToolError
from labctl.linux.namespaces import run_in

DEADLINE = 120.0
"""Seconds; ten thousand rules take a few."""


def apply(namespace: Path, commands: Sequence[dict[str, Any]]) -> None:
    """All of the commands, or none.

    Raises:
        LabError: nft refused, told in its words.
    """
    _nft(namespace, ["-j", "-f", "-"], json.dumps({"nftables": list(commands)}))


def listing(namespace: Path, *what: str, terse: bool = False) -> list[dict[str, Any]]:
    """What `nft list …` tells, an object each; [] where there is no such table.

    Raises:
        LabError: nft failed.
    """
    try:
        told = _nft(namespace, ["-j", *(["-t"] if terse else []), "list", *what])
    except _NothingThereError:
        return []
    return [each for each in json.loads(told)["nftables"] if "metainfo" not in each]


class _NothingThereError(LabError):
    """What was to be listed does not exist."""


def _nft(namespace: Path, arguments: list[str], text: str = "") -> str:
    def run() -> subprocess.CompletedProcess[str]:
        argv = ["nft", *arguments]
        return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=DEADLINE, check=False)

    try:
        done = run_in(namespace, run)
    except FileNotFoundError as error:
        if not namespace.exists():
            raise _NothingThereError(f"no namespace {namespace}") from error
        raise MissingToolError("no program nft on PATH", hint="apt-get install nftables") from error
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["nft gave no reason"])[0]
        failure = _NothingThereError if "No such file or directory" in told and "list" in arguments else LabError
        raise failure(f"nft {' '.join(arguments)} failed: {told}")
    return done.stdout
