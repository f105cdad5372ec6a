"""Which migrations a cluster is recommended. Pure and deterministic.

Rules that must be kept come first, whatever they cost. Then, one after another, the migration that gains most: the sum of all VMs' scores
and of WISH points for each wish that is kept. One that gains less than its priority asks for is not worth moving a VM's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from labctl_server.drs.load import Load

WISH = 25.0
"""Points that a wish (`should = true`) is worth; a VM's score is at most 100."""

MANDATORY = 1
GAINS = {2: 40.0, 3: 20.0, 4: 10.0, 5: 4.0}
"""Priority → the points that a migration of it gains at least; 1 is for what must be."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A migration that is recommended.

    Args:
        vm: which VM.
        source, destination: from which host to which.
        priority: from 1, a rule that must be kept, to 5, which gains little.
        gain: points.
        reason: in words.
    """

    vm: str
    source: str
    destination: str
    priority: int
    gain: float
    reason: str

    def to_json(self) -> dict[str, Any]:
        """For whoever asks."""
        return {**asdict(self), "gain": round(self.gain, 1)}


def recommend(load: Load, threshold: int = 3) -> Sequence[Move]:
    """The migrations, in the order in which they are to be done.

    Args:
        load: the cluster.
        threshold: the least priority (1 to 5) that is recommended.
    """
    moves: list[Move] = []
    for step in (_mandatory, _balancing):
        while (move := step(load)) is not None and move.priority <= threshold:
            moves.append(move)
            load = load.moved(move.vm, move.destination)
    return moves


def violations(load: Load) -> dict[str, str]:
    """VM → the rule that it breaks and must keep."""
    found = {
        vm.name: load.broken(vm.name, load.places[vm.name], should=False) for vm in load.vms.values() if vm.running
    }
    return {vm: "; ".join(why) for vm, why in found.items() if why}


def _worth(load: Load) -> float:
    """What migrations are to raise."""
    wishes = sum(len(load.broken(vm.name, load.places[vm.name], should=True)) for vm in load.vms.values() if vm.running)
    return sum(load.scores().values()) - WISH * wishes


def _broken_rules(load: Load) -> int:
    return sum(len(load.broken(vm.name, load.places[vm.name], should=False)) for vm in load.vms.values() if vm.running)


def _mandatory(load: Load) -> Move | None:
    """The migration that ends most violations of rules, and of those the one that gains most."""
    before, worth = _broken_rules(load), _worth(load)
    best: tuple[tuple[int, float], Move] | None = None
    for vm, why in violations(load).items():
        for host in load.hosts if load.movable(vm) else ():
            if not load.takes(vm, host):
                continue
            after = load.moved(vm, host)
            ended, gain = before - _broken_rules(after), _worth(after) - worth
            if ended > 0 and (best is None or (ended, gain) > best[0]):
                move = Move(vm=vm, source=load.places[vm], destination=host, priority=MANDATORY, gain=gain, reason=why)
                best = (ended, gain), move
    return best[1] if best else None


def _balancing(load: Load) -> Move | None:
    """The migration that gains most, if any gains enough."""
    worth = _worth(load)
    best: Move | None = None
    for vm in load.vms:
        for host in load.hosts if load.movable(vm) else ():
            if not load.takes(vm, host) or load.broken(vm, host, should=False):
                continue
            gain = _worth(load.moved(vm, host)) - worth
            if best is None or gain > best.gain + 1e-9:
                best = Move(
                    vm=vm,
                    source=load.places[vm],
                    destination=host,
                    priority=_priority(gain),
                    gain=gain,
                    reason=_reason(load, vm, host),
                )
    return best if best is not None and best.priority in GAINS else None


def _priority(gain: float) -> int:
    return next((priority for priority, points in GAINS.items() if gain >= points), max(GAINS) + 1)


def _reason(load: Load, vm: str, host: str) -> str:
    wished = set(load.broken(vm, load.places[vm], should=True)) - set(load.broken(vm, host, should=True))
    if wished:
        return f"{min(wished)} (a wish)"
    here = load.places[vm]
    return f"VMs use {load.cpu(here):.0%} of {here}'s processors, and {load.cpu(host):.0%} of {host}'s"
