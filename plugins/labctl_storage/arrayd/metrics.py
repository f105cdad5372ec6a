"""An array's metrics: its processor and memory, its datastores and disks, who is connected, its links."""

from __future__ import annotations

import os

from labctl.agent.metrics import add_links
from labctl.contracts.metrics import Metrics
from labctl.linux.usage import link_usage, process_usage
from labctl_storage.arrayd.registry import Registry
from labctl_storage.arrayd.services import ArrayServices


class ArrayMetrics:
    """Tells an array's metrics.

    Args:
        array: its name.
        registry: its datastores and volumes.
        services: what serves them.
    """

    def __init__(self, array: str, registry: Registry, services: ArrayServices) -> None:
        self._array = array
        self._registry = registry
        self._services = services

    async def collect(self) -> Metrics:
        """All of them, as they are now."""
        metrics, array = Metrics(), self._array
        own = process_usage(os.getpid())
        if own is not None:
            metrics.counter("labctl_array_cpu_seconds_total", "Processor time of the array", own.cpu, array=array)
            metrics.gauge("labctl_array_memory_used_bytes", "Memory that the array takes", own.memory, array=array)
        for protocol, sessions in self._services.sessions().items():
            metrics.gauge("labctl_array_sessions", "Sessions", len(sessions), array=array, protocol=protocol)
        for datastore in self._registry.datastores.values():
            volumes = self._registry.volumes(datastore.name)
            labels = {"array": array, "datastore": datastore.name}
            shown = self._services.datastore_properties(datastore, volumes)
            for key in ("capacity", "used"):
                metrics.gauge(f"labctl_datastore_{key}_bytes", f"Bytes, {key}", _number(shown.get(key)), **labels)
            for volume in volumes:
                found = self._services.volume_properties(datastore, volume)
                for key in ("size", "used"):
                    value = _number(found.get(key))
                    metrics.gauge(f"labctl_volume_{key}_bytes", f"Bytes, {key}", value, **labels, volume=volume.name)
        add_links(metrics, array, link_usage())
        return metrics


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
