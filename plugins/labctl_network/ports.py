"""What port groups let through a switch's ports, as nftables commands (libnftables-json(5)) for one node. Pure.

Frames carry no tag: which VLAN one belongs to is told by its sender's MAC address, known to every node of the lab, so that it holds behind
an uplink too. A port with a VLAN whose owner could send from others' addresses would undo that: forged transmits are its own to forbid.

```
prerouting ── a port that must not forge: only its own MAC ── a shaped port: while its bucket lasts
forward    ── to an access port: of the same VLAN, and for its own MAC or a group's, unless it may change its MAC or is promiscuous
           ── to a shaped port: while its bucket lasts (labctl_network.shaping)
```

A bridge keeps a frame from all ports but one. With a promiscuous port it forgets at once who is where and so sends each frame to all;
the rules above keep it from whom it is not for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labctl.model.json import JsonObject
from labctl_network.shaping import INWARD, MAPS, OUTWARD, Shaping, limits

TABLE = "labctl-ports"

PORT_OWNERS = ("vm", "node")
"""The kinds whose ports can be in a port group."""

_FAMILY = "bridge"


@dataclass(frozen=True, kw_only=True)
class Access:
    """A port that somebody is behind.

    Args:
        interface: its name; it need not exist yet.
        bridge: its switch.
        mac: of whoever is behind it.
        vlan: 0 for none.
        promiscuous: whether it gets every frame of its VLAN.
        mac_changes: whether it gets what is meant for other MAC addresses, where the switch learnt them there.
        forged_transmits: whether it may send from other MAC addresses.
        shaping: how much it may carry, or None.
    """

    interface: str
    bridge: str
    mac: str
    vlan: int
    promiscuous: bool
    mac_changes: bool
    forged_transmits: bool
    shaping: Shaping | None = None


@dataclass(frozen=True, kw_only=True)
class PortRules:
    """What holds at a node's ports.

    Args:
        ports: the node's.
        vlans: the VLAN of each MAC address of the lab that has one.
    """

    ports: tuple[Access, ...]
    vlans: Mapping[str, int]

    @property
    def bridges(self) -> Mapping[str, bool]:
        """The node's switches, and whether each has a promiscuous port."""
        found: dict[str, bool] = {}
        for port in self.ports:
            found[port.bridge] = found.get(port.bridge, False) or port.promiscuous
        return found

    def to_json(self) -> JsonObject:
        """As a unit's spec holds it."""
        return {"ports": [_told(port) for port in self.ports], "vlans": dict(self.vlans)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> PortRules:
        """The reverse of to_json."""
        ports = (
            Access(**{**each, "shaping": Shaping(**each["shaping"]) if each["shaping"] else None})
            for each in told["ports"]
        )
        return cls(ports=tuple(ports), vlans=dict(told["vlans"]))


def _told(port: Access) -> JsonObject:
    told: dict[str, Any] = dict(vars(port))
    return {**told, "shaping": None if port.shaping is None else dict(vars(port.shaping))}


def digest(rules: PortRules) -> str:
    """The name of a chain that tells these rules from others."""
    told = json.dumps([2, rules.to_json()], sort_keys=True)
    return f"is-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def commands(rules: PortRules) -> list[dict[str, Any]]:
    """What makes a node's table that of the rules, in one transaction; whatever was there goes."""
    table = {"family": _FAMILY, "name": TABLE}
    made: list[dict[str, Any]] = [{"add": {"table": table}}, {"delete": {"table": table}}, {"add": {"table": table}}]
    ports = rules.ports
    made.append(_chain(digest(rules)))
    made.append(_set("honest", "ifname", [port.interface for port in ports if not port.forged_transmits]))
    made.append(_set("senders", _PAIR, [_pair(port.interface, port.mac) for port in ports]))
    made.append(_set("access", "ifname", [port.interface for port in ports]))
    made.append(_set("strict", "ifname", [p.interface for p in ports if not (p.mac_changes or p.promiscuous)]))
    made.append(_set("vlans", ["ifname", "mark"], [_pair(port.interface, port.vlan) for port in ports]))
    known: list[Any] = [[mac, vlan] for mac, vlan in rules.vlans.items()]
    made.append({"add": {"map": {**_named("vlan-of"), "type": "ether_addr", "map": "mark", **_elements(known)}}})
    made += _buckets(ports)
    made += _prerouting()
    made += _forward()
    return made


def removal() -> list[dict[str, Any]]:
    """What removes the table, present or not."""
    table = {"family": _FAMILY, "name": TABLE}
    return [{"add": {"table": table}}, {"delete": {"table": table}}]


_PAIR = ["ifname", "ether_addr"]


def _prerouting() -> list[dict[str, Any]]:
    sender = {"concat": [_meta("iifname"), _ether("saddr")]}
    return [
        _chain("prerouting", type="filter", hook="prerouting", prio=-250, policy="accept"),
        _rule("prerouting", _match(_meta("iifname"), "@honest"), _match(sender, "@senders", "!="), {"drop": None}),
        _rule("prerouting", _bucket("iifname", INWARD), {"drop": None}),
    ]


def _forward() -> list[dict[str, Any]]:
    receiver = {"concat": [_meta("oifname"), _ether("daddr")]}
    vlan = {"concat": [_meta("oifname"), _meta("mark")]}
    group = {"&": [_ether("daddr"), "01:00:00:00:00:00"]}  # IEEE 802 3.1: the first bit on the wire
    strict = (_match(_meta("oifname"), "@strict"), _match(group, "00:00:00:00:00:00"))
    of_sender = {"map": {"key": _ether("saddr"), "data": "@vlan-of"}}
    return [
        _chain("forward", type="filter", hook="forward", prio=-200, policy="accept"),
        _rule("forward", {"mangle": {"key": _meta("mark"), "value": 0}}),
        _rule("forward", {"mangle": {"key": _meta("mark"), "value": of_sender}}),
        _rule("forward", _match(_meta("oifname"), "@access"), _match(vlan, "@vlans", "!="), {"drop": None}),
        _rule("forward", *strict, _match(receiver, "@senders", "!="), {"drop": None}),
        _rule("forward", _bucket("oifname", OUTWARD), {"drop": None}),
    ]


def _buckets(ports: Sequence[Access]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    elements: dict[str, list[Any]] = {name: [] for name in MAPS}
    for port in ports:
        for name, bucket, rate, size in limits(port.interface, port.shaping) if port.shaping else ():
            filled = {"rate": rate, "per": "second", "rate_unit": "bytes", "burst": size, "burst_unit": "bytes"}
            made.append({"add": {"limit": {**_named(bucket), **filled, "inv": True}}})
            elements[name].append([port.interface, bucket])
    for name, found in elements.items():
        made.append({"add": {"map": {**_named(name), "type": "ifname", "map": "limit", **_elements(found)}}})
    return made


def _bucket(way: str, name: str) -> dict[str, Any]:
    """Whether the bucket of the port is empty."""
    return {"limit": {"map": {"key": _meta(way), "data": f"@{name}"}}}


def _named(name: str) -> dict[str, Any]:
    return {"family": _FAMILY, "table": TABLE, "name": name}


def _chain(name: str, **fields: Any) -> dict[str, Any]:
    return {"add": {"chain": {**_named(name), **fields}}}


def _set(name: str, kind: str | list[str], elements: Sequence[Any]) -> dict[str, Any]:
    return {"add": {"set": {**_named(name), "type": kind, **_elements(elements)}}}


def _elements(elements: Sequence[Any]) -> dict[str, Any]:
    return {"elem": list(elements)} if elements else {}


def _rule(chain: str, *expressions: dict[str, Any]) -> dict[str, Any]:
    return {"add": {"rule": {"family": _FAMILY, "table": TABLE, "chain": chain, "expr": list(expressions)}}}


def _match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def _meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def _ether(field: str) -> dict[str, Any]:
    return {"payload": {"protocol": "ether", "field": field}}


def _pair(first: str, second: Any) -> dict[str, Any]:
    return {"concat": [first, second]}
