"""A resource is as its worst unit is."""

from __future__ import annotations

import pytest

from labctl.model.address import Address
from labctl.model.state import ResourceState, resource_state
from labctl.model.unit import Health, Observation, RecordedUnit, Unit, UnitState


def record(name: str, state: UnitState = UnitState.CREATED) -> RecordedUnit:
    return RecordedUnit(unit=Unit(id=name, type="t", resource=Address("vm", "a"), spec={}), state=state)


@pytest.mark.parametrize(
    ("healths", "expected"),
    [
        ([], (ResourceState.READY, "")),
        ([Health.OK], (ResourceState.RUNNING, "OK0")),
        ([Health.OK, Health.STOPPED], (ResourceState.STOPPED, "STOPPED1")),
        ([Health.UNREACHABLE, Health.STOPPED], (ResourceState.NOT_RESPONDING, "UNREACHABLE0")),
        ([Health.OK, Health.MISSING, Health.UNREACHABLE], (ResourceState.BROKEN, "MISSING1")),
    ],
)
def test_the_worst_unit_decides(healths: list[Health], expected: tuple[ResourceState, str]) -> None:
    seen = {f"u{n}": Observation(health=health, detail=f"{health.name}{n}") for n, health in enumerate(healths)}
    assert resource_state([record(name) for name in seen], seen) == expected


def test_what_is_under_way_goes_before_what_was_seen() -> None:
    seen = {"a": Observation(health=Health.MISSING)}
    assert resource_state([record("a"), record("b", UnitState.CREATING)], seen)[0] is ResourceState.STARTING
    assert resource_state([record("b")], seen)[0] is ResourceState.RUNNING
