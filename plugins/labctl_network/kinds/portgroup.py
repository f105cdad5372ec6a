"""Kind `portgroup`: ports of a network that share a VLAN and a security policy.

A unit for each node with ports of such networks, all with the first port group. A port without a group is on VLAN 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from labctl.contracts.network import SwitchPort, SwitchPorts
from labctl.errors import UsageError
from labctl.model.address import Address
from labctl.model.json import Json, JsonObject
from labctl.model.quantity import Bytes, format_bytes
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Description, Kind
from labctl_network.impair.words import parse_rate
from labctl_network.ports import PORT_OWNERS, Access, PortRules
from labctl_network.shaping import LEAST_AVERAGE, Shaping

Answer = Literal["accept", "reject"]


def _rate(value: Any) -> Any:
    """Bits a second from `10mbit`."""
    try:
        found = parse_rate(value.strip().lower()) if isinstance(value, str) else 0
    except UsageError:
        found = 0
    if not found:
        raise ValueError(f'"{value}" is not a rate (write "10mbit", "1.5gbit")')
    return found


Rate = Annotated[
    int,
    BeforeValidator(_rate),
    WithJsonSchema({"type": "string", "description": "bits a second", "examples": ["10mbit", "1.5gbit"]}),
]


class ShapingSpec(Spec):
    """A port group's `shaping`."""

    average: Annotated[Rate, Field(description="What a port may carry in the long run.")]
    burst: Annotated[
        Bytes | None, Field(description="How much may go at once; what the average brings in a second if not said.")
    ] = None
    direction: Annotated[
        Literal["both", "from", "to"], Field(description="Whether it is about what ports send, receive, or both.")
    ] = "both"

    @model_validator(mode="after")
    def _can_be_kept(self) -> ShapingSpec:
        second = self.average // 8
        if second < LEAST_AVERAGE:
            raise ValueError('average: less than the kernel can hold to (write "1.1mbit" or more)')
        if self.burst is not None and self.burst < second:
            raise ValueError(
                f"burst: {format_bytes(self.burst)} is less than the average brings in a second "
                f"(write {format_bytes(second)} or more, or leave it out)"
            )
        return self

    def shaping(self) -> Shaping:
        """As the ports have it, in bytes."""
        second = self.average // 8
        return Shaping(
            average=second,
            burst=second if self.burst is None else self.burst,
            inward=self.direction != "to",
            outward=self.direction != "from",
        )


class PortGroupSpec(Spec):
    """The table `[portgroup.NAME]`."""

    network: Annotated[str, Ref("network"), Field(description="The network that its ports are on.")]
    vlan: Annotated[int, Field(ge=0, le=4094, description="Ports of other VLANs are out of reach; 0 is without.")] = 0
    promiscuous: Annotated[
        Answer, Field(description="Whether its ports get every frame of their VLAN, or only those meant for them.")
    ] = "reject"
    mac_changes: Annotated[
        Answer, Field(description="Whether a port gets what is meant for a MAC address that its owner gave himself.")
    ] = "reject"
    forged_transmits: Annotated[
        Answer, Field(description="Whether a port may send from a MAC address that is not its own.")
    ] = "reject"
    shaping: Annotated[ShapingSpec | None, Field(description="How much each of its ports may carry.")] = None


class PortGroupKind(Kind[PortGroupSpec]):
    """A VLAN and what its ports may do."""

    name = "portgroup"
    summary = "ports of a network with a VLAN and a security policy"
    spec = PortGroupSpec

    def compile(self, resource: Resource[PortGroupSpec], view: CompileView) -> Iterable[Unit]:
        """The rules of every node with ports of a network that has port groups."""
        groups = {each.name: each.spec for each in view.resources("portgroup")}
        if next(iter(groups)) != resource.name:
            return
        nodes: dict[str, list[Access]] = {}
        bridges: dict[str, set[str]] = {}
        for port in (port for kind in PORT_OWNERS for each in view.resources(kind) for port in _ports(each, view)):
            if port.network not in {group.network for group in groups.values()}:
                continue
            group = groups.get(port.portgroup)
            access = Access(
                interface=port.interface,
                bridge=port.bridge,
                mac=port.mac,
                vlan=group.vlan if group else 0,
                promiscuous=group is not None and group.promiscuous == "accept",
                mac_changes=group is None or group.mac_changes == "accept",
                forged_transmits=group is None or group.forged_transmits == "accept",
                shaping=group.shaping.shaping() if group and group.shaping else None,
            )
            nodes.setdefault(port.node, []).append(access)
            bridges.setdefault(port.node, set()).add(port.bridge)
        vlans = {access.mac: access.vlan for there in nodes.values() for access in there if access.vlan}
        for node, there in nodes.items():
            rules = PortRules(ports=tuple(there), vlans=vlans)
            yield Unit(
                id=f"ports:{node}",
                type="ports",
                resource=resource.address,
                spec={"node": node, **rules.to_json()},
                needs=(f"netns:{node}", *(f"bridge:{node}/{bridge}" for bridge in sorted(bridges[node]))),
            )

    def describe(self, resource: Resource[PortGroupSpec], view: CompileView) -> Description:
        """Its VLAN, and what it accepts."""
        spec = resource.spec
        policy = {key: getattr(spec, key) for key in ("promiscuous", "mac_changes", "forged_transmits")}
        accepted = [key.replace("_", " ") for key, answer in policy.items() if answer == "accept"]
        summary = f"{spec.network}, VLAN {spec.vlan}" if spec.vlan else f"{spec.network}, no VLAN"
        if accepted:
            summary += f"; accepts {', '.join(accepted)}"
        shaping: JsonObject | None = None
        if spec.shaping is not None:
            shaping = spec.shaping.model_dump(mode="json")
            summary += f"; shaped to {spec.shaping.average / 1e6:g} Mbit/s"
        properties: dict[str, Json] = {"network": spec.network, "vlan": spec.vlan, **policy, "shaping": shaping}
        return Description(summary=summary, drawn="none", properties=properties)


def _ports(resource: Resource[Spec], view: CompileView) -> Iterable[SwitchPort]:
    return view.provider(Address(resource.address.kind, resource.name), SwitchPorts).ports
