"""Kind `portgroup`: ports of a network that share a VLAN and a security policy.

A unit for each node with ports of such networks, all with the first port group. A port without a group is on VLAN 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from labctl.contracts.network import SwitchPort, SwitchPorts
from labctl.model.address import Address
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Description, Kind
from labctl_network.ports import PORT_OWNERS, Access, PortRules

Answer = Literal["accept", "reject"]


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
        properties = {"network": spec.network, "vlan": spec.vlan, **policy}
        return Description(summary=summary, drawn="none", properties=properties)


def _ports(resource: Resource[Spec], view: CompileView) -> Iterable[SwitchPort]:
    return view.provider(Address(resource.address.kind, resource.name), SwitchPorts).ports
