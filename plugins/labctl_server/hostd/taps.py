"""The host's side of VMs' NICs: a tap on a vSwitch for each, for as long as the VM is powered on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from labctl.linux.links import delete_links
from labctl.linux.sockets import SocketPool
from labctl.linux.taps import Tap, ensure_taps
from labctl_server.hostd.process import OWN_NAMESPACE
from labctl_server.machine import Machine

INTERFACE_NAME_LIMIT = 15
"""IFNAMSIZ less its terminator."""


def tap_names(machine: Machine) -> list[str]:
    """The names of a VM's taps, in the order of its NICs: readable where the VM's name is short."""
    return [tap_name(machine.name, index) for index in range(len(machine.nics))]


def tap_name(vm: str, index: int) -> str:
    """The name of a VM's tap: `web1.0`, or a hash where that would be too long."""
    plain = f"{vm}.{index}"
    if len(plain) <= INTERFACE_NAME_LIMIT:
        return plain
    digest = hashlib.sha256(vm.encode()).hexdigest()[:6]
    suffix = f"~{digest}.{index}"
    return vm[: INTERFACE_NAME_LIMIT - len(suffix)] + suffix


class Taps:
    """Makes and removes taps in the namespace that hostd lives in.

    Args:
        namespace: another one, for tests.
    """

    def __init__(self, namespace: Path = OWN_NAMESPACE) -> None:
        self._namespace = namespace
        self._pool = SocketPool()

    def ensure(self, machine: Machine) -> Sequence[str]:
        """Have the VM's taps on their vSwitches; returns their names.

        Raises:
            LabError: one cannot be made.
        """
        names = tap_names(machine)
        taps = [
            Tap(namespace=self._namespace, name=name, mtu=nic.mtu, bridge=nic.vswitch)
            for name, nic in zip(names, machine.nics, strict=True)
        ]
        failures = ensure_taps(self._pool, taps) if taps else {}
        for failure in failures.values():
            raise failure
        return names

    def remove(self, machine: Machine) -> None:
        """Remove the VM's taps; those that are gone are fine.

        Raises:
            LabError: one cannot be removed.
        """
        names = tap_names(machine)
        failures = delete_links(self._pool, [(self._namespace, name) for name in names]) if names else {}
        for failure in failures.values():
            raise failure

    def close(self) -> None:
        """Close what was opened to do so."""
        self._pool.close()
