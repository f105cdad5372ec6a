"""A volume's data goes only when the user let it go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from labctl.agent.client import AgentUnreachableError
from labctl.model.address import Address
from labctl.model.json import Json
from labctl.model.unit import Change, Health, RecordedUnit, Unit, UnitState
from labctl.plugin.api import Removal, UnitErrors
from labctl_storage.handlers.volume import VolumeHandler

SPEC = {
    "array": "san1",
    "datastore": "gold",
    "name": "web1-disk0",
    "size": 1 << 20,
    "lun": 0,
    "source": None,
    "source_version": "",
    "persistent": False,
}


@dataclass
class Array:
    """An array's agent that notes what it is asked."""

    answers: Any = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Any:
        self.calls.append((method, path))
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


class Services:
    def __init__(self, array: Array) -> None:
        self._array = array

    def agent(self, node: str) -> Array:
        assert node == "san1"
        return self._array

    def progress(self, unit_id: str, message: str) -> None:
        pass


def recorded(**spec: Any) -> RecordedUnit:
    unit = Unit(id="volume:gold/web1-disk0", type="volume", resource=Address("vm", "web1"), spec={**SPEC, **spec})
    return RecordedUnit(unit=unit, state=UnitState.CREATED)


@pytest.mark.parametrize(
    ("persistent", "removal", "keep"),
    [
        (False, Removal(), "false"),
        (True, Removal(), "true"),
        (True, Removal(purge=True), "false"),
        (False, Removal(replaced=frozenset(["volume:gold/web1-disk0"])), "true"),
        (False, Removal(replaced=frozenset(["volume:gold/other"])), "false"),
    ],
)
async def test_data_stays_where_it_is_persistent_or_taken_over(persistent: bool, removal: Removal, keep: str) -> None:
    array = Array()
    await VolumeHandler().delete(Services(array), [recorded(persistent=persistent)], removal)
    assert array.calls == [("DELETE", f"/v1/datastores/gold/volumes/web1-disk0?keep={keep}")]


async def test_an_array_that_does_not_answer_keeps_the_volume_recorded() -> None:
    array = Array(AgentUnreachableError("san1 does not answer"))
    with pytest.raises(UnitErrors):
        await VolumeHandler().delete(Services(array), [recorded()], Removal())


async def test_what_the_array_does_not_list_is_missing() -> None:
    found = await VolumeHandler().observe(Services(Array({"gold/other": {}})), [recorded()])
    assert found["volume:gold/web1-disk0"].health is Health.MISSING


async def test_a_silent_array_makes_its_volumes_unreachable_not_missing() -> None:
    found = await VolumeHandler().observe(Services(Array(AgentUnreachableError("silence"))), [recorded()])
    assert found["volume:gold/web1-disk0"].health is Health.UNREACHABLE


def test_growing_and_another_image_never_replace_a_disk() -> None:
    change = VolumeHandler().change
    assert change(SPEC, {**SPEC, "size": 2 << 20, "source": "/new.img", "source_version": "2"}) is Change.IN_PLACE
    assert change(SPEC, {**SPEC, "lun": 3}) is Change.REPLACE
