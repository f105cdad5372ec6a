"""What resources tell about the traffic that they cause: where it can be seen, and whose it is.

It is read from what every plugin tells of its resources (`status`), by these rules, so a third party's kinds take part:

- `links` has `network.NAME` → the interface of the resource's node on that network; `addresses` its IP address there.
- a network's `properties.role` is production, storage or management.
- `properties.disks` lists what a machine has, each with `name` and a `source`: `{protocol = "iscsi", portal, target, lun}` or
  `{protocol = "nfs", server, path}`.
- a machine's `properties.host` is the host that it runs on.
- a datastore's `properties` are `array`, `portal` and `where`: the target's name, or the export's path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labctl.trace.naming import Names, Volume

_NETWORK = "network."


@dataclass(frozen=True, kw_only=True)
class Place:
    """An interface at which traffic can be seen.

    Args:
        node: the node that it is in.
        interface: its name there.
        network: the network that it leads to.
        role: that network's role.
        address: the node's IP address on it, or "" for an uplink.
        serves: whether storage is served there: its traffic is seen at the clients' interfaces, too.
    """

    node: str
    interface: str
    network: str
    role: str
    address: str
    serves: bool

    @property
    def name(self) -> str:
        """`esx1/vmk1`: what captures call it."""
        return f"{self.node}/{self.interface}"


def places_of(resources: Iterable[Mapping[str, Any]]) -> list[Place]:
    """Every interface of a lab's nodes, in the order of the resources.

    Args:
        resources: as labd's status tells them.
    """
    known = list(resources)
    roles = {each["name"]: str(_properties(each).get("role", "")) for each in known if each.get("kind") == "network"}
    portals = {_host_of(str(_properties(each).get("portal", ""))) for each in known if "portal" in _properties(each)}
    return [
        Place(
            node=str(each["node"]),
            interface=interface,
            network=network,
            role=roles.get(network, ""),
            address=(address := str((each.get("addresses") or {}).get(network, ""))),
            serves=address in portals,
        )
        for each in known
        if each.get("node") and not each.get("guest")
        for network, interface in _links(each)
    ]


def names_of(resources: Iterable[Mapping[str, Any]]) -> Names:
    """Who has which address, LUN and file.

    Args:
        resources: as labd's status tells them.
    """
    known = list(resources)
    hosts, networks = {}, {}
    for each in known:
        for network, address in (each.get("addresses") or {}).items():
            hosts[str(address)] = str(each["name"])
            networks[str(address)] = str(network)
    luns: dict[tuple[str, int], Volume] = {}
    exports: dict[tuple[str, str], Volume] = {}
    stores = [each for each in known if "where" in _properties(each)]
    for each in stores:
        properties = _properties(each)
        if str(properties["where"]).startswith("/"):
            volume = Volume(array=str(properties.get("array", "")), datastore=str(each["name"]))
            exports[_host_of(str(properties.get("portal", ""))), str(properties["where"])] = volume
    for machine, disk, source in _disks(known):
        if source.get("protocol") == "iscsi":
            store = next((each for each in stores if _properties(each)["where"] == source.get("target")), {})
            luns[str(source.get("target")), int(source.get("lun", 0))] = _volume(store, machine, disk)
        elif source.get("protocol") == "nfs":
            server, path = str(source.get("server")), str(source.get("path"))
            store = next((each for each in stores if _holds(each, server, path)), {})
            exports[server, path] = _volume(store, machine, disk)
    homes = {str(each["name"]): str(_properties(each)["host"]) for each in known if "host" in _properties(each)}
    return Names(hosts=hosts, networks=networks, luns=luns, exports=exports, homes=homes)


def _volume(store: Mapping[str, Any], machine: str, disk: str) -> Volume:
    array = str(_properties(store).get("array", ""))
    return Volume(array=array, datastore=str(store.get("name", "")), vm=machine, disk=disk)


def _holds(store: Mapping[str, Any], server: str, path: str) -> bool:
    properties = _properties(store)
    return _host_of(str(properties.get("portal", ""))) == server and path.startswith(f"{properties['where']}/")


def _disks(resources: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for each in resources:
        for disk in _properties(each).get("disks") or ():
            if isinstance(disk, Mapping) and isinstance(disk.get("source"), Mapping):
                yield str(each["name"]), str(disk.get("name", "")), disk["source"]


def _links(resource: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, interface in (resource.get("links") or {}).items():
        if name.startswith(_NETWORK):
            yield name.removeprefix(_NETWORK), str(interface)


def _properties(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    return resource.get("properties") or {}


def _host_of(portal: str) -> str:
    """`10.20.0.11` of `10.20.0.11:3260`, `fd00::1` of `[fd00::1]:3260`."""
    if portal.startswith("["):
        return portal[1:].partition("]")[0]
    return portal.partition(":")[0] if portal.count(":") == 1 else portal
