"""Who is on a network, and which way a frame takes between two of them. Pure: it reads what is recorded of links and VMs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labctl.errors import UsageError
from labctl.model.json import JsonObject
from labctl.model.suggest import did_you_mean

SWITCH_PREFIX = "sw."


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """Something with an address on a network.

    Args:
        owner: the resource's name.
        kind: its kind.
        network: the network.
        interface: eth0, vmk1; a VM's nic0.
        address: without prefix length, or "".
        mac: or "".
        link: the cable that it hangs on: its own, or its host's uplink.
        host: for a VM: where it runs.
        bridge: for a VM: its vSwitch there.
    """

    owner: str
    kind: str
    network: str
    interface: str
    address: str
    mac: str
    link: str
    host: str = ""
    bridge: str = ""

    def to_json(self) -> JsonObject:
        """As `labctl net show` tells it."""
        place = {"host": self.host or None, "vswitch": self.bridge or None}
        words = {key: getattr(self, key) for key in ("owner", "kind", "network", "interface", "mac", "link")}
        return {**words, "address": self.address or None, **place}


def of_link(resource_kind: str, resource: str, spec: Mapping[str, Any]) -> Attachment:
    """What hangs on a link by itself: a node, a host's VMkernel port, an array, labd; or a vSwitch, without address."""
    node, interface = str(spec["node"]), str(spec["interface"])
    return Attachment(
        owner=node if resource_kind == "network" else resource,
        kind=resource_kind,
        network=str(spec["switch"]).removeprefix(SWITCH_PREFIX),
        interface=interface,
        address=str(spec["address"] or "").partition("/")[0],
        mac=str(spec["mac"]),
        link=f"{node}/{interface}",
        bridge=str(spec["bridge"] or ""),
        host=node if spec["bridge"] else "",
    )


def of_vm(vm: str, properties: Mapping[str, Any], uplinks: Iterable[Attachment]) -> list[Attachment]:
    """A VM's NICs.

    Args:
        vm: its name.
        properties: of its description: `host` and `nics`.
        uplinks: attachments of vSwitches.
    """
    by_place = {(uplink.host, uplink.bridge): uplink for uplink in uplinks}
    found = []
    for number, nic in enumerate(properties["nics"]):
        uplink = by_place.get((properties["host"], nic["vswitch"]))
        found.append(
            Attachment(
                owner=vm,
                kind="vm",
                network=nic["network"],
                interface=f"nic{number}",
                address=str(nic["address"] or "").partition("/")[0],
                mac=nic["mac"],
                link=uplink.link if uplink else "",
                host=properties["host"],
                bridge=nic["vswitch"],
            )
        )
    return found


def path(everything: Sequence[Attachment], source: str, target: str, broken: Mapping[str, str]) -> JsonObject:
    """The way from one to another.

    Args:
        everything: all attachments of the lab.
        source: a name or an address.
        target: likewise.
        broken: what links suffer, in words, by link; "down" is a pulled cable.

    Raises:
        UsageError: one of them is not known, or they have no network in common.
    """
    starts, ends = _named(everything, source), _named(everything, target)
    pairs = [(a, b) for a in starts for b in ends if a.network == b.network]
    if not pairs:
        raise UsageError(
            f"{source} and {target} have no network in common",
            hint=f"{source} is on {_networks(starts)}, {target} on {_networks(ends)}; nothing routes between networks",
        )
    start, end = pairs[0]
    hops = [_hop("nic", start.owner, start.interface, start.address)]
    if start.bridge and (start.host, start.bridge) == (end.host, end.bridge):
        hops.append(_hop("vswitch", start.host, start.bridge))
    elif start != end:
        hops += [*_up(start, broken), _hop("switch", start.network, "br0"), *reversed(_up(end, broken))]
    hops.append(_hop("nic", end.owner, end.interface, end.address))
    cut = next((str(hop["name"]) for hop in hops if hop["suffers"] == "down"), None)
    return {"network": start.network, "hops": [*hops], "cut": cut}


def _up(attached: Attachment, broken: Mapping[str, str]) -> list[JsonObject]:
    """From something to its network's switch."""
    hops = [_hop("vswitch", attached.host, attached.bridge)] if attached.bridge else []
    return [*hops, _hop("link", attached.host or attached.owner, attached.link, suffers=broken.get(attached.link, ""))]


def _hop(kind: str, where: str, name: str, address: str = "", suffers: str = "") -> JsonObject:
    return {"kind": kind, "where": where, "name": name, "address": address or None, "suffers": suffers or None}


def _named(everything: Sequence[Attachment], name: str) -> list[Attachment]:
    found = [each for each in everything if name in (each.owner, each.address) and each.address]
    if not found:
        hint = did_you_mean(name, {each.owner for each in everything if each.address})
        raise UsageError(f"nobody in the lab is called {name}", hint=hint or "`labctl net show NETWORK` names them")
    return found


def _networks(attachments: Iterable[Attachment]) -> str:
    return ", ".join(sorted({each.network for each in attachments}))
