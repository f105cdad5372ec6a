"""The state of a resource, from those of its units: the worst of what is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from labctl.model.unit import Health, Observation, RecordedUnit, UnitState


class ResourceState(StrEnum):
    """What `status` shows."""

    READY = "ready"  # it has no units of its own (a cluster)
    RUNNING = "running"
    STOPPED = "stopped"
    STARTING = "starting"
    CHANGING = "changing"
    REMOVING = "removing"
    BROKEN = "broken"  # a part is missing; `up` makes it again
    NOT_RESPONDING = "not responding"


_BY_UNIT = {
    UnitState.CREATING: ResourceState.STARTING,
    UnitState.UPDATING: ResourceState.CHANGING,
    UnitState.DELETING: ResourceState.REMOVING,
}
_BY_HEALTH = {
    Health.OK: ResourceState.RUNNING,
    Health.STOPPED: ResourceState.STOPPED,
    Health.MISSING: ResourceState.BROKEN,
    Health.UNREACHABLE: ResourceState.NOT_RESPONDING,
}
_WORST_LAST = (
    ResourceState.READY,
    ResourceState.RUNNING,
    ResourceState.STOPPED,
    ResourceState.NOT_RESPONDING,
    ResourceState.BROKEN,
    ResourceState.CHANGING,
    ResourceState.STARTING,
    ResourceState.REMOVING,
)


def resource_state(
    records: Iterable[RecordedUnit], observations: Mapping[str, Observation]
) -> tuple[ResourceState, str]:
    """The state of a resource and a few words to it.

    Args:
        records: its recorded units.
        observations: how they were found; one that is not listed is taken to be well.
    """
    worst, detail = ResourceState.READY, ""
    for record in records:
        seen = observations.get(record.unit.id, Observation(health=Health.OK))
        state = _BY_UNIT.get(record.state) or _BY_HEALTH[seen.health]
        if _WORST_LAST.index(state) > _WORST_LAST.index(worst):
            worst, detail = state, ""
        if state is worst and not detail:
            detail = seen.detail
    return worst, detail
