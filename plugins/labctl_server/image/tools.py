"""Running the system's tools, with errors that say what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from labctl.errors import LabError, MissingToolError

PACKAGE_OF = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "lz4": "lz4",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "zstd": "zstd",
}

_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def run_tool(
    argv: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    hint: str | None = None,
    with_errors: bool = False,
) -> bytes:
    """Run a tool to its end and return what it printed, with its error stream where `with_errors`.

    An ordinary user's PATH lacks sbin, where mke2fs lives, so the system's folders are searched too. Its language is fixed, so
    that its output can be read.

    Raises:
        MissingToolError: the machine lacks it.
        LabError: it failed; the message ends with its own last words.
    """
    name = str(argv[0])
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")
    if program is None:
        package = PACKAGE_OF.get(name, name)
        raise MissingToolError(f"{name} is not installed", hint=f"install it: apt-get install {package}")
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if with_errors else subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            check=True,
        )
    except subprocess.CalledProcessError as error:
        words = (error.stdout if with_errors else error.stderr).decode(errors="replace").strip().splitlines()
        last = words[-1] if words else f"exit code {error.returncode}"
        raise LabError(f"{name} failed: {last}", hint=hint) from error
    return done.stdout
