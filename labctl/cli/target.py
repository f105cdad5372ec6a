"""Which lab a command is about."""

from __future__ import annotations

from pathlib import Path

from labctl.daemon.client import DaemonClient
from labctl.daemon.launcher import connect, running_labs
from labctl.errors import NotRunningError, UsageError
from labctl.runtime.paths import default_home


def home_of(home: Path | None) -> Path:
    """The folder that labs are kept in."""
    return (home or default_home()).absolute()


def lab_client(lab: str | None, home: Path | None) -> DaemonClient:
    """The client of the lab named, or of the only one that runs.

    Raises:
        NotRunningError: it does not run, or none does.
        UsageError: several run and none was named.
    """
    place = home_of(home)
    if lab is not None:
        return connect(place, lab)
    running = running_labs(place)
    if not running:
        raise NotRunningError("no lab is running", hint="`labctl up quickstart` brings one up")
    if len(running) > 1:
        raise UsageError(f"several labs are running: {', '.join(running)}", hint=f"say which: --lab {running[0]}")
    return connect(place, running[0])
