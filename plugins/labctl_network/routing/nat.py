"""Network address translation of a router, as nftables commands (libnftables-json(5)) for its node. Pure.

```
prerouting  ── to the router's own address: each port that is forwarded goes to one of its servers, in turn
postrouting ── out of the uplink, from the networks behind: from the router's own address
            ── what was forwarded from inside to inside: likewise, or the answer would not come back through here
```

A connection that began keeps its addresses, whatever becomes of the rules: the kernel tracks it (conntrack).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from typing import Any

from labctl.model.json import JsonObject

TABLE = "labctl-router"
FAMILY = "ip"

_SRCNAT, _DSTNAT = 100, -100
"""Priorities, as nft(8) calls them."""


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    """A port that is forwarded (DNAT).

    Args:
        protocol: tcp or udp.
        first, last: the router's ports.
        servers: address and port of each; port 0: the one that was asked for.
    """

    protocol: str
    first: int
    last: int
    servers: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Nat:
    """What a router does to addresses.

    Args:
        uplink: its interface that leads out, or "".
        address: its own address there, or "".
        sources: the networks whose packets leave by it with its own address (SNAT).
        forwarded: the ports that are forwarded.
        inside: what is behind it.
    """

    uplink: str = ""
    address: str = ""
    sources: tuple[str, ...] = ()
    forwarded: tuple[Forwarded, ...] = ()
    inside: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sources or self.forwarded)

    def to_json(self) -> JsonObject:
        """As a unit's spec holds it."""
        told: JsonObject = json.loads(json.dumps(asdict(self)))
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Nat:
        """The reverse of to_json."""
        forwarded = tuple(
            Forwarded(**{**each, "servers": tuple((address, port) for address, port in each["servers"])})
            for each in told["forwarded"]
        )
        return cls(
            uplink=told["uplink"],
            address=told["address"],
            sources=tuple(told["sources"]),
            forwarded=forwarded,
            inside=tuple(told["inside"]),
        )


def digest(nat: Nat) -> str:
    """The name of a chain that tells these rules from others."""
    told = json.dumps([1, nat.to_json()], sort_keys=True)
    return f"is-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def commands(nat: Nat) -> list[dict[str, Any]]:
    """What makes a node's table that of the rules, in one transaction; whatever was there goes."""
    made = removal()
    if not nat:
        return made
    made += [
        {"add": {"table": {"family": FAMILY, "name": TABLE}}},
        _chain(digest(nat)),
        _chain("prerouting", type="nat", hook="prerouting", prio=_DSTNAT, policy="accept"),
        _chain("postrouting", type="nat", hook="postrouting", prio=_SRCNAT, policy="accept"),
    ]
    made += [_rule("prerouting", *_asked_for(nat.address, each), _to(each)) for each in nat.forwarded]
    for subnet in nat.sources:
        made.append(
            _rule(
                "postrouting",
                _match(_meta("oifname"), nat.uplink),
                _is("saddr", subnet),
                {"snat": {"addr": nat.address}},
            )
        )
    if nat.forwarded:
        forwarded = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}
        within = [_is("saddr", *nat.inside), _is("daddr", *nat.inside)]
        made.append(_rule("postrouting", forwarded, *within, {"masquerade": None}))
    return made


def removal() -> list[dict[str, Any]]:
    """What removes the table, present or not."""
    table = {"family": FAMILY, "name": TABLE}
    return [{"add": {"table": table}}, {"delete": {"table": table}}]


def _asked_for(address: str, forwarded: Forwarded) -> list[dict[str, Any]]:
    port: Any = forwarded.first
    if forwarded.last != forwarded.first:
        port = {"range": [forwarded.first, forwarded.last]}
    ask = {"payload": {"protocol": forwarded.protocol, "field": "dport"}}
    return [_match({"payload": {"protocol": "ip", "field": "daddr"}}, address), _match(ask, port)]


def _to(forwarded: Forwarded) -> dict[str, Any]:
    """To the only server, or to each in turn."""
    servers: Sequence[tuple[str, int]] = forwarded.servers
    if len(servers) == 1:
        ((address, port),) = servers
        return {"dnat": {"addr": address, **({"port": port} if port else {})}}
    turn = {"numgen": {"mode": "inc", "mod": len(servers), "offset": 0}}
    if servers[0][1]:
        data = [[number, {"concat": [address, port]}] for number, (address, port) in enumerate(servers)]
    else:
        data = [[number, address] for number, (address, _) in enumerate(servers)]
    return {"dnat": {"family": FAMILY, "addr": {"map": {"key": turn, "data": {"set": data}}}}}


def _named(name: str) -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE, "name": name}


def _chain(name: str, **fields: Any) -> dict[str, Any]:
    return {"add": {"chain": {**_named(name), **fields}}}


def _rule(chain: str, *expressions: dict[str, Any]) -> dict[str, Any]:
    return {"add": {"rule": {"family": FAMILY, "table": TABLE, "chain": chain, "expr": list(expressions)}}}


def _is(field: str, *subnets: str) -> dict[str, Any]:
    networks = map(IPv4Network, subnets)
    prefixes = [{"prefix": {"addr": str(each.network_address), "len": each.prefixlen}} for each in networks]
    within = prefixes[0] if len(prefixes) == 1 else {"set": prefixes}
    return _match({"payload": {"protocol": "ip", "field": field}}, within)


def _match(left: Any, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": left, "right": right}}


def _meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}
