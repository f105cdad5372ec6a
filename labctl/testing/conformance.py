"""What every unit handler promises, as a check that a plugin's author runs against the real thing.

async def test_my_handler(tmp_path: Path) -> None:
    with lab_services(tmp_path) as services:
        await check_handler(MyHandler(), services, [unit, another_unit])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from labctl.model.json import Json, JsonObject
from labctl.model.unit import Change, Health, RecordedUnit, Unit, UnitState
from labctl.plugin.api import AgentCalls, Removal, Services, UnitHandler
from labctl.runtime.journal import Journal
from labctl.runtime.paths import LabPaths
from labctl.testing.lab import services_in


@contextmanager
def lab_services(home: Path, *, agents: Mapping[str, AgentCalls] | None = None) -> Iterator[Services]:
    """Services of a lab below `home`, whose folder exists.

    Args:
        home: what LABCTL_HOME is otherwise.
        agents: node → what answers for its agent.
    """
    paths = LabPaths(home, "test")
    paths.directory.mkdir(parents=True, exist_ok=True)
    with Journal(paths.journal) as journal:
        yield services_in(home, journal, agents=agents)


async def check_handler(handler: UnitHandler, services: Services, units: Sequence[Unit]) -> None:
    """Put a handler through everything that the runtime may ask of it. Leaves nothing behind.

    Args:
        handler: the handler.
        services: see lab_services.
        units: some of its units, which must not exist yet; what they need must.

    Raises:
        AssertionError: it breaks a promise; the text says which.
    """
    begun = [RecordedUnit(unit=unit, state=UnitState.CREATING) for unit in units]
    await handler.delete(services, begun, Removal())  # an `up` that died before it made anything
    await _expect(handler, services, begun, Health.MISSING, "before they are made")

    recorded = await _create(handler, services, units)
    await _expect(handler, services, recorded, Health.OK, "after create")
    recorded = await _create(handler, services, units)  # an `up` that died after making them
    await _expect(handler, services, recorded, Health.OK, "after a second create")
    for record in recorded:
        how = handler.change(record.unit.spec, record.unit.spec)
        assert isinstance(how, Change), f"change() returned {how!r}, which is no Change"

    await handler.delete(services, recorded[:1], Removal())
    await _expect(handler, services, recorded[:1], Health.MISSING, "after delete")
    await _expect(handler, services, recorded[1:], Health.OK, "after another one was deleted")
    for _ in range(2):  # the second is the `down` after a `down` that died
        await handler.delete(services, recorded, Removal(purge=True))
        await _expect(handler, services, recorded, Health.MISSING, "after delete")


async def _create(handler: UnitHandler, services: Services, units: Sequence[Unit]) -> list[RecordedUnit]:
    facts: Mapping[str, JsonObject] = await handler.create(services, units)
    known = {unit.id for unit in units}
    strange = set(facts) - known
    assert not strange, f"create() returned facts of units that it was not given: {sorted(strange)}"
    no_facts: Mapping[str, Json] = {}
    return [RecordedUnit(unit=unit, state=UnitState.CREATED, facts=facts.get(unit.id, no_facts)) for unit in units]


async def _expect(
    handler: UnitHandler, services: Services, records: Sequence[RecordedUnit], health: Health, when: str
) -> None:
    seen = await handler.observe(services, records)
    for record in records:
        assert record.unit.id in seen, f"observe() says nothing of {record.unit.id} {when}"
        found = seen[record.unit.id].health
        assert found is health, f"observe() finds {record.unit.id} {found} {when}; it should be {health}"
