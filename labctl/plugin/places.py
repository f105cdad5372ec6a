"""Places on the machine that the runtime and plugins must agree on, and that no lab owns."""

from __future__ import annotations

import os
from pathlib import Path


def image_cache() -> Path:
    """The folder of images that all labs share: $LABCTL_CACHE, else root's or the user's own cache folder."""
    given = os.environ.get("LABCTL_CACHE")
    if given:
        return Path(given).absolute()
    return Path("/var/cache/labctl/images") if os.geteuid() == 0 else Path.home() / ".cache" / "labctl" / "images"
