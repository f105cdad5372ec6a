"""The unit type `routing`: what a node does with packets that are not for its own networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import Unit
from labctl_network.routing.nat import Nat

DEFAULT = "default"
"""The route to everywhere else, as ip-route(8) calls it."""


@dataclass(frozen=True, kw_only=True)
class Routing:
    """What a `routing` unit holds.

    Args:
        routes: destination (a subnet, or DEFAULT) → the next hop's address.
        forward: whether the node passes on what is not for itself.
        nat: what it does to addresses.
    """

    routes: Mapping[str, str]
    forward: bool = False
    nat: Nat = field(default_factory=Nat)

    def unit(self, node: str, owner: Address, needs: Iterable[str]) -> Unit:
        """As a unit, which needs the node's links."""
        spec: JsonObject = {
            "node": node,
            "routes": dict(self.routes),
            "forward": self.forward,
            "nat": self.nat.to_json(),
        }
        return Unit(id=f"routing:{node}", type="routing", resource=owner, spec=spec, needs=tuple(needs))

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Routing:
        """From a unit's spec."""
        return cls(routes=dict(spec["routes"]), forward=bool(spec["forward"]), nat=Nat.from_json(spec["nat"]))
