"""Who is on a network, and which way a frame takes between two of them. Pure: it reads what is recorded of links and VMs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
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


@dataclass(frozen=True, kw_only=True)
class RouterLegs:
    """What a router leads to.

    Args:
        name: its name.
        networks: those whose gateway it is.
        uplink: the network that leads out, or "".
        hidden: whether what is behind it cannot be reached from outside (SNAT).
    """

    name: str
    networks: Sequence[str]
    uplink: str = ""
    hidden: bool = False


def path(
    everything: Sequence[Attachment],
    source: str,
    target: str,
    broken: Mapping[str, str],
    routers: Sequence[RouterLegs] = (),
) -> JsonObject:
    """The way from one to another.

    Args:
        everything: all attachments of the lab.
        source: a name or an address.
        target: likewise.
        broken: what links suffer, in words, by link; "down" is a pulled cable.
        routers: the lab's.

    Raises:
        UsageError: one of them is not known, or nothing leads from one to the other.
    """
    starts, ends = _named(everything, source), _named(everything, target)
    ways = [way for start in starts for end in ends if (way := _way(start, end, everything, routers))]
    if not ways:
        word = "no router leads from one to the other" if routers else "nothing routes between networks"
        raise UsageError(
            f"{source} and {target} have no network in common",
            hint=f"{source} is on {_networks(starts)}, {target} on {_networks(ends)}; {word}",
        )
    way = min(ways, key=len)
    hops: list[JsonObject] = [_hop("nic", way[0].owner, way[0].interface, way[0].address)]
    for start, end in pairwise(way):
        if start.owner == end.owner and start.network != end.network:
            hops.append(_hop("router", end.owner, f"{start.interface} → {end.interface}", end.address))
        else:
            hops += _across(start, end, broken)
    hops.append(_hop("nic", way[-1].owner, way[-1].interface, way[-1].address))
    cut = next((str(hop["name"]) for hop in hops if hop["suffers"] == "down"), None)
    return {"network": way[0].network, "hops": [*hops], "cut": cut}


def _way(
    start: Attachment, end: Attachment, everything: Sequence[Attachment], routers: Sequence[RouterLegs]
) -> list[Attachment]:
    """The attachments that are passed, from one to the other; [] where nothing leads there. The fewest routers win."""
    legs = {(each.owner, each.network): each for each in everything if each.kind == "router"}
    ways, seen = deque([[start]]), {start.network}
    while ways:
        way = ways.popleft()
        if way[-1].network == end.network:
            return [*way, end]
        for router, network in _next(way[-1].network, routers):
            enter, leave = legs.get((router, way[-1].network)), legs.get((router, network))
            if network not in seen and enter is not None and leave is not None:
                seen.add(network)
                ways.append([*way, enter, leave])
    return []


def _next(network: str, routers: Sequence[RouterLegs]) -> Iterator[tuple[str, str]]:
    """The networks to which frames of one are passed on, and by which router: its gateway, or one that this knows of."""
    gateways = [router for router in routers if network in router.networks]
    for router in gateways:
        for other in (*router.networks, *([router.uplink] if router.uplink else [])):
            yield router.name, other
    for router in routers if gateways else ():
        if router.uplink == network and not router.hidden:
            for other in router.networks:
                yield router.name, other


def _across(start: Attachment, end: Attachment, broken: Mapping[str, str]) -> list[JsonObject]:
    """Between two on one network."""
    if start.bridge and (start.host, start.bridge) == (end.host, end.bridge):
        return [_hop("vswitch", start.host, start.bridge)]
    if start == end:
        return []
    return [*_up(start, broken), _hop("switch", start.network, "br0"), *reversed(_up(end, broken))]


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
