"""Which lab a command is about."""

from __future__ import annotations

from pathlib import Path

from labctl.daemon.client import DaemonClient
from labctl.daemon.launcher import connect, ensure_daemon, known_labs
from labctl.errors import NotRunningError, UsageError
from labctl.runtime.paths import default_home


def home_of(home: Path | None) -> Path:
    """The folder that labs are kept in."""
    return (home or default_home()).absolute()


def lab_client(lab: str | None, home: Path | None, *, start: bool = True) -> DaemonClient:
    """The client of the lab named, or of the only one there is. A labd that died is started again: it takes up what runs.

    Args:
        lab: the lab's name, or None.
        home: the folder of all labs, or None for the usual one.
        start: whether to start a labd that died.

    Raises:
        NotRunningError: there is no such lab, or none at all.
        UsageError: there are several and none was named.
    """
    place = home_of(home)
    name = lab or only_lab(place)
    if start and name in known_labs(place):
        return ensure_daemon(place, name)
    return connect(place, name)


def only_lab(place: Path) -> str:
    """The name of the only lab there is.

    Raises:
        NotRunningError: there is none.
        UsageError: there are several.
    """
    known = known_labs(place)
    if not known:
        raise NotRunningError("no lab is running", hint="`labctl up quickstart` brings one up")
    if len(known) > 1:
        raise UsageError(f"several labs are running: {', '.join(known)}", hint=f"say which: --lab {known[0]}")
    return known[0]
