"""What a server keeps across restarts, each in a file that is there whole or not at all; first the secret that signs filehandles."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from labemu_nfs.handles import SECRET_SIZE

_KEY_FILE = "handle.key"


def load_secret(folder: Path | None) -> bytes:
    """The secret of a state folder, made when first asked for; a new one each time where there is no folder.

    Raises:
        OSError: the folder cannot be read or written.
    """
    if folder is None:
        return secrets.token_bytes(SECRET_SIZE)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / _KEY_FILE
    try:
        kept = file.read_bytes()
    except FileNotFoundError:
        kept = b""
    return kept if len(kept) == SECRET_SIZE else _make_secret(file)


def _make_secret(file: Path) -> bytes:
    secret = secrets.token_bytes(SECRET_SIZE)
    write_whole(file, secret)
    return secret


def write_whole(file: Path, data: bytes) -> None:
    """Replace a file's content durably, so that it is there whole or not at all; only its owner may read it. Raises OSError."""
    draft = file.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(file)
    above = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(above)
    finally:
        os.close(above)
