"""Keeps the inventory up to date from the journal, the descriptions, the observations and what is heard of agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labctl.model.address import Address
from labctl.model.inventory import Inventory
from labctl.model.json import Json, JsonObject
from labctl.model.state import resource_state
from labctl.model.unit import Observation, RecordedUnit
from labctl.plugin.api import Description
from labctl.runtime.journal import Journal

CONNECTED = "Connected"
NOT_RESPONDING = "Not responding"
AGENT_TYPE = "agent"


class LabView:
    """A lab's inventory. Resources are objects with the id `kind.name`, agents with `agent:NODE`.

    Args:
        journal: the lab's journal.
    """

    def __init__(self, journal: Journal) -> None:
        self.inventory = Inventory()
        self._journal = journal
        self._resources: set[str] = set()

    def show_all(self, descriptions: Mapping[Address, Description], seen: Mapping[str, Observation]) -> None:
        """Bring every resource up to date, and drop those that are gone."""
        units: dict[Address, list[RecordedUnit]] = {address: [] for address in descriptions}
        for record in self._journal.units.values():
            units.setdefault(record.unit.resource, []).append(record)
        for address, own in units.items():
            self._put(address, descriptions.get(address), own, seen)
        agents = {
            f"agent:{record.unit.spec['node']}"
            for record in self._journal.units.values()
            if record.unit.type == "agent"
        }
        for object_id in self._resources - {str(address) for address in units}:
            self.inventory.remove(object_id)
        self._resources = {str(address) for address in units}
        self.inventory.keep_only(agents, [AGENT_TYPE])

    def show(self, address: Address, description: Description | None, seen: Mapping[str, Observation]) -> None:
        """Bring one resource up to date."""
        own = self._journal.units_of(address)
        if own or description is not None:
            self._put(address, description, own, seen)
            self._resources.add(str(address))
        else:
            self.inventory.remove(str(address))

    def agent_answers(self, node: str, connected: bool, detail: str) -> bool:
        """Take note of whether an agent answers; returns whether that is news."""
        state = CONNECTED if connected else NOT_RESPONDING
        return self.inventory.put(
            f"agent:{node}", AGENT_TYPE, {"node": node, "connection": state, "detail": "" if connected else detail}
        )

    def _put(
        self,
        address: Address,
        description: Description | None,
        own: Sequence[RecordedUnit],
        seen: Mapping[str, Observation],
    ) -> None:
        state, detail = resource_state(own, seen)
        facts: dict[str, Json] = {}
        for record in own:
            facts |= seen[record.unit.id].properties if record.unit.id in seen else {}
        properties: JsonObject = {
            "name": address.name,
            "state": str(state),
            "detail": detail,
            **describe(description or Description()),
            "runtime": facts,
        }
        self.inventory.put(str(address), address.kind, properties)


def describe(description: Description) -> JsonObject:
    """A description as JSON."""
    return {
        "summary": description.summary,
        "addresses": description.addresses,
        "node": description.node,
        "agent": description.agent,
        "guest": description.guest,
        "links": {str(address): word for address, word in description.links.items()},
        "parent": str(description.parent) if description.parent else None,
        "drawn": description.drawn,
        "colour": description.colour,
        "properties": description.properties,
    }
