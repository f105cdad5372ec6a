"""Puts an impairment to work on a link, and takes it away again: by netem where the kernel has it, else by a relay.

A link's end is impaired where frames leave it: towards the node that is the switch's port, from the node the node's interface. netem is a
root queueing discipline there. The relay needs three things: a tap beside the end, a redirection of all that would leave the end into
that tap (clsact, u32, mirred), and its process. The redirection comes last and goes first, so that no frame is ever sent to nobody.

Idempotent, as handlers must be: `apply` after a killed `apply` finishes it, `remove` removes whatever part there is. The relay is found by
its configuration's path in its environment, so that no process is lost that was started and not yet recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP

from labctl.errors import LabError, MissingToolError, TimedOutError
from labctl.linux import links, processes
from labctl.linux.namespaces import exists, run_in
from labctl.linux.processes import ProcessId
from labctl.linux.sockets import SocketPool
from labctl.linux.taps import Tap, ensure_taps
from labctl_network.impair.impairment import LinkImpairment

RELAY_VARIABLE = "LABCTL_RELAY"
"""In a relay's environment: its configuration's path."""

RELAY_DEADLINE = 60.0
"""Seconds for the relay to open its taps; a second on a machine with nothing else to do."""

TC_DEADLINE = 30.0
"""Seconds for `tc`: it asks the kernel one question."""

PREFERENCE = "49"
"""Of our filter, so that only it is removed."""

NETEM, RELAY = "netem", "relay"


@dataclass(frozen=True, kw_only=True)
class LinkEnd:
    """One end of a link.

    Args:
        namespace: the file of its network namespace.
        device: the interface.
        mtu: bytes.
    """

    namespace: Path
    device: str
    mtu: int

    @property
    def tap(self) -> str:
        """The name of the relay's tap beside it."""
        return f"imp-{hashlib.sha256(self.device.encode()).hexdigest()[:8]}"


class Impairer:
    """Impairs links.

    Args:
        pool: netlink sockets.
        folder: where relays' files are kept; made when needed.
    """

    def __init__(self, pool: SocketPool, folder: Path) -> None:
        self._pool = pool
        self._folder = folder

    def apply(self, key: str, ends: Mapping[str, LinkEnd], wanted: LinkImpairment) -> str:
        """Have a link as impaired as wanted, and no more.

        Args:
            key: the link's unit id.
            ends: by direction; the end where frames of that direction leave. `to` is the switch's port.
            wanted: what it shall suffer.

        Returns:
            How it is done: netem, relay, or "" where nothing but the cable's being plugged matters.

        Raises:
            LabError: it cannot be done.
        """
        links.set_up(self._pool, ends["to"].namespace, ends["to"].device, up=not wanted.down)
        if not (wanted.to or wanted.back):
            self._end(key, ends)
            return ""
        if self._netem(ends, wanted):
            return NETEM
        self._relay(key, ends, wanted)
        return RELAY

    def remove(self, key: str, ends: Mapping[str, LinkEnd]) -> None:
        """Let a link be sound again; fine where it is, and where its namespaces are gone.

        Raises:
            LabError: it cannot be done.
        """
        if exists(ends["to"].namespace):
            links.set_up(self._pool, ends["to"].namespace, ends["to"].device, up=True)
        self._end(key, ends)

    def forget(self, key: str) -> None:
        """A link goes, with all that is on it: end its relay, which would keep its namespaces."""
        config = self._config(key)
        if config.exists():
            processes.terminate(processes.find_by_environment(f"{RELAY_VARIABLE}={config}"))
            config.unlink(missing_ok=True)

    def relay(self, key: str) -> ProcessId | None:
        """The living relay of a link, or None."""
        config = self._config(key)
        found = processes.find_by_environment(f"{RELAY_VARIABLE}={config}") if config.exists() else []
        return found[0] if found else None

    def _config(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"

    def _end(self, key: str, ends: Mapping[str, LinkEnd]) -> None:
        for end in ends.values():
            if exists(end.namespace):
                _tc(end, "qdisc", "del", "dev", end.device, "root")
                _tc(end, "qdisc", "del", "dev", end.device, "clsact")
        self.forget(key)
        taps = [(end.namespace, end.tap) for end in ends.values() if exists(end.namespace)]
        for failure in links.delete_links(self._pool, taps).values():
            raise failure

    def _netem(self, ends: Mapping[str, LinkEnd], wanted: LinkImpairment) -> bool:
        """Whether the kernel has netem; if so it is at work afterwards."""
        for direction, impairment in wanted.directions.items():
            end = ends[direction]
            if not impairment:
                _tc(end, "qdisc", "del", "dev", end.device, "root")
                continue
            done = _tc(end, "qdisc", "replace", "dev", end.device, "root", "netem", *impairment.netem())
            if done.returncode and "kind is unknown" in done.stderr:
                return False
            _raise(f"impair {end.device}", done)
        return True

    def _relay(self, key: str, ends: Mapping[str, LinkEnd], wanted: LinkImpairment) -> None:
        config = self._config(key)
        running = self.relay(key)
        self._write(config, ends, wanted)
        if running is None:
            taps = [Tap(namespace=end.namespace, name=end.tap, mtu=end.mtu) for end in ends.values()]
            for failure in ensure_taps(self._pool, taps).values():
                raise failure
            running = processes.spawn(
                [sys.executable, "-m", "labctl_network.impair.relay", str(config)],
                environment={**os.environ, RELAY_VARIABLE: str(config)},
                log=config.with_suffix(".log"),
            )
            self._await(running, ends, config)
        else:
            processes.send_signal(running, SIGHUP)
        for direction, end in ends.items():
            if wanted.directions[direction]:
                _redirect(end)
            else:
                _tc(end, "qdisc", "del", "dev", end.device, "clsact")

    def _write(self, config: Path, ends: Mapping[str, LinkEnd], wanted: LinkImpairment) -> None:
        ports = [
            {
                "namespace": str(end.namespace),
                "device": end.device,
                "tap": end.tap,
                "impairment": wanted.directions[direction].to_json(),
            }
            for direction, end in ends.items()
        ]
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = config.with_suffix(".new")
        fresh.write_text(json.dumps({"ports": ports}))
        fresh.replace(config)

    def _await(self, relay: ProcessId, ends: Mapping[str, LinkEnd], config: Path) -> None:
        """Wait until the relay holds its taps: a tap has a carrier while somebody has it open."""
        deadline = time.monotonic() + RELAY_DEADLINE
        while True:
            seen = links.observe(self._pool, {end.namespace for end in ends.values()})
            if all(end.tap in seen[end.namespace] and seen[end.namespace][end.tap].carrier for end in ends.values()):
                return
            if processes.reap(relay) is not None or not processes.alive(relay):
                raise LabError(
                    f"the relay of an impaired link ended at once; it says why in {config.with_suffix('.log')}"
                )
            if time.monotonic() > deadline:
                processes.terminate([relay])
                raise TimedOutError(f"the relay of an impaired link was not ready after {RELAY_DEADLINE:g} s")
            time.sleep(0.01)


def has_netem(namespace: Path | None = None) -> bool:
    """Whether the kernel has netem, tried on the loopback of a namespace (ours where None: the caller has made it for that)."""
    argv = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0"]

    def attempt() -> bool:
        return subprocess.run(argv, capture_output=True, timeout=TC_DEADLINE, check=False).returncode == 0

    try:
        return attempt() if namespace is None else run_in(namespace, attempt)
    except FileNotFoundError:
        return False


def _redirect(end: LinkEnd) -> None:
    """Send all that would leave the end into its tap instead."""
    _raise(f"redirect {end.device}", _tc(end, "qdisc", "replace", "dev", end.device, "clsact"))
    everything = ("u32", "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", end.tap)
    place = ("dev", end.device, "egress", "pref", PREFERENCE, "handle", "800::1", "protocol", "all")
    _raise(f"redirect {end.device}", _tc(end, "filter", "replace", *place, *everything))


def _tc(end: LinkEnd, *arguments: str) -> subprocess.CompletedProcess[str]:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["tc", *arguments], capture_output=True, text=True, timeout=TC_DEADLINE, check=False)

    try:
        return run_in(end.namespace, run)
    except FileNotFoundError as error:
        raise MissingToolError("no program tc on PATH", hint="apt-get install iproute2") from error


def _raise(what: str, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["tc gave no reason"])[0]
        raise LabError(f"cannot {what}: {told}")
