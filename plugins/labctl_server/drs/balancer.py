"""DRS of one cluster in labd: measures, recommends, and migrates what was recommended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from labctl.errors import ConflictError
from labctl.model.resource import Resource
from labctl.plugin.api import ActionContext
from labctl_server.drs.engine import Move, recommend, violations
from labctl_server.drs.load import Load
from labctl_server.drs.measure import SECONDS, Look, load_between, look
from labctl_server.kinds import migration
from labctl_server.kinds.cluster_spec import ClusterSpec

State = Literal["running", "completed", "failed"]


@dataclass(kw_only=True)
class Balancing:
    """The task that does what was recommended.

    Args:
        cluster: which.
        moves: what it does, in their order.
        state: running until all were tried; failed if one did not go.
        moving: the VM that is on its way, if any.
        moved: VM → the host that it went to.
        failed: VM → why it did not go.
        started: seconds since the epoch.
        ended: the same, or None.
    """

    cluster: str
    moves: Sequence[Move]
    state: State = "running"
    moving: str | None = None
    moved: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    ended: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For whoever asks."""
        return {**asdict(self), "moves": [move.to_json() for move in self.moves]}


class Balancer:
    """The DRS of a cluster; it remembers the last look, recommendations and task, for as long as labd lives."""

    def __init__(self) -> None:
        self._last: Look | None = None
        self._told: set[tuple[str, str]] = set()
        self._task: asyncio.Task[None] | None = None
        self.balancing: Balancing | None = None

    async def measure(self, context: ActionContext, cluster: Resource[ClusterSpec]) -> Load:
        """The load of the last SECONDS."""
        hosts = cluster.spec.hosts
        before = await look(context, hosts)
        await asyncio.sleep(SECONDS)
        return load_between(context, hosts, before, await look(context, hosts))

    def recommend(self, cluster: Resource[ClusterSpec], load: Load) -> Sequence[Move]:
        """What the cluster's mode and threshold ask for."""
        return () if cluster.spec.drs == "off" else recommend(load, cluster.spec.drs_threshold)

    def begin(self, context: ActionContext, cluster: Resource[ClusterSpec], moves: Sequence[Move]) -> Balancing:
        """Migrate, one after another.

        Raises:
            ConflictError: DRS is off, or it is under way already.
        """
        if cluster.spec.drs == "off":
            raise ConflictError(
                f"DRS of {cluster.address} is off",
                hint=f'switch it on: drs = "manual" in [cluster.{cluster.name}], and labctl up',
            )
        if self.busy:
            raise ConflictError(
                f"DRS of {cluster.address} is migrating already", hint=f"look: labctl cluster drs {cluster.name}"
            )
        self.balancing = Balancing(cluster=cluster.name, moves=moves)
        self._task = asyncio.create_task(self._run(context, cluster, self.balancing))
        return self.balancing

    @property
    def busy(self) -> bool:
        """Whether VMs are being moved."""
        return self._task is not None and not self._task.done()

    async def tend(self, context: ActionContext, cluster: Resource[ClusterSpec]) -> None:
        """What is done each interval: recommend by the load since the last time; do it too, if fully automated."""
        if self.busy or cluster.spec.drs == "off":
            return
        before, self._last = self._last, await look(context, cluster.spec.hosts)
        if before is None:
            return
        moves = self.recommend(cluster, load_between(context, cluster.spec.hosts, before, self._last))
        told, self._told = self._told, {(move.vm, move.destination) for move in moves}
        for move in moves:
            if (move.vm, move.destination) not in told:
                context.services.emit(
                    "cluster.drs_recommends",
                    resource=cluster.address,
                    message=f"{move.vm} from {move.source} to {move.destination}: {move.reason}",
                )
        if moves and cluster.spec.drs == "fully-automated":
            self.begin(context, cluster, moves)
            self._last = None  # what was measured before VMs moved says nothing about their new hosts

    async def _run(self, context: ActionContext, cluster: Resource[ClusterSpec], balancing: Balancing) -> None:
        try:
            for move in balancing.moves:
                balancing.moving = move.vm
                why = await migration.carry(context, move.vm, move.destination)
                if why:
                    balancing.failed[move.vm] = why
                else:
                    balancing.moved[move.vm] = move.destination
        finally:
            balancing.moving, balancing.ended = None, time.time()
            balancing.state = (
                "failed" if balancing.failed or len(balancing.moved) < len(balancing.moves) else "completed"
            )
            for vm, why in balancing.failed.items():
                context.services.emit(
                    "cluster.drs_failed", resource=cluster.address, message=f"{vm} was not migrated: {why}"
                )


def as_json(cluster: Resource[ClusterSpec], load: Load, moves: Sequence[Move]) -> dict[str, Any]:
    """A cluster's load, and what is recommended."""
    scores = load.scores()
    return {
        "cluster": cluster.name,
        "mode": cluster.spec.drs,
        "threshold": cluster.spec.drs_threshold,
        "score": round(load.score(), 1),
        "hosts": [
            {
                "name": host.name,
                "open": host.open,
                "cpu": round(load.cpu(host.name) * host.cpus, 3),
                "cpus": host.cpus,
                "memory": load.taken(host.name),
                "memory_size": host.memory,
            }
            for host in load.hosts.values()
        ],
        "vms": [
            {
                "name": vm.name,
                "host": vm.host,
                "running": vm.running,
                "cpu": round(vm.cpu, 3),
                "memory": vm.memory,
                "score": round(scores[vm.name], 1) if vm.name in scores else None,
            }
            for vm in load.vms.values()
        ],
        "recommendations": [move.to_json() for move in moves],
        "violations": violations(load),
    }
