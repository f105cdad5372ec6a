"""Credentials of a filesystem, in a file of the user's."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from labemu_store.errors import StoreConfigError


def read_secret(path: Path | None) -> dict[str, Any]:
    """The options that a secret holds.

    Raises:
        StoreConfigError: it cannot be read. Nothing of its content is told.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StoreConfigError(f"the secret {path} cannot be read: {error.strerror}", hint="is it there?") from error
    except ValueError:
        raise StoreConfigError(f"the secret {path} is no TOML", hint='write lines such as key = "…"') from None
