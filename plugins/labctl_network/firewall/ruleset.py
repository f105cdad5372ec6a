"""A policy as nftables commands, in the JSON of libnftables-json(5), for the ports of one node. Pure.

Everything happens in the bridge family's prerouting hook, that is at a port before its switch sees the frame. The packet's mark is the
profile of the port that it came in by, plus one; 0 is a port without protection (an uplink).

```
prerouting ── mark := profile of iifname ── Ethernet rules ── not IP: accept
           ── of a known flow or ping: accept
           ── TCP, but no first segment: back ── the same policies with source and destination exchanged: allowed? establish
           └─ new ── policy of the mark ── policy of (mark, receiver's MAC) ── establish: note the flow both ways, accept
policy-N   ── one map for each block of rules, in order; a rule's chain counts, notes and allows (return), drops or rejects
```

State is kept in sets with timeouts and not in conntrack, which many kernels do not offer to bridges. TCP's first segment is always put
to the rules, so that a change of rules holds for every new connection, while what is established stays. A later segment of a connection
that this node has not seen begin (its VM came from another host, or the rules are new) passes where the rules let either end begin it.

What is to be rejected is sent up to the bridge itself, where the netdev family answers in the port's stead: kernels seldom have a
`reject` for bridges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from labctl_network.firewall.blocks import Block, Box, Shape, arrange
from labctl_network.firewall.policy import ALL_ADDRESSES, PROTOCOLS, Category, Policy, Rule, Span, Verdict

TABLE = "labctl"

Expression = dict[str, Any]
Command = dict[str, Any]

TCP_IDLE = 7440
"""Seconds that an idle TCP connection is remembered: RFC 5382 REQ-5 asks for two hours and four minutes at least."""

OTHER_IDLE = 120
"""Seconds for UDP and the rest: RFC 4787 REQ-5."""

PING_IDLE = 60
"""Seconds for an ICMP query: RFC 5508 REQ-1."""

MOST_FLOWS = 2**18
"""Entries of the flows' set, two a connection."""

LOG_KEPT = 600
"""Seconds that a noted connection can be read after its last packet."""

MOST_LOGGED = 4096
"""Noted connections of a rule."""

REJECTED = 0x6C616200
"""The mark of a packet that the bridge is to answer with a refusal; no profile has such a number."""

BACK = 0x40000000
"""Set in the mark while the policies are asked about the other direction."""

DENIED = 0x80000000
"""Set in the mark by a rule that then denies it."""

KEPT_SETS = ("flows", "pings")
HITS, LOG, RULE = "hits/", "log/", "rule/"
DEFAULT = "default"
"""Counts what no rule matches."""

_FLOW_TYPE = ["ipv4_addr", "ipv4_addr", "inet_proto", "inet_service", "inet_service"]
_ADDRESS_TYPES = ["ipv4_addr", "ipv4_addr"]


Blocks = Mapping[int, Sequence[Block]]
"""The IP rules of each profile, arranged."""


def digest_of(told: Mapping[str, Any]) -> str:
    """What tells a policy from another: a chain of this name stands in the table for whoever looks whether it is at work.

    Args:
        told: the policy as Policy.to_json tells it, and whatever else.
    """
    text = json.dumps([3, {key: told[key] for key in ("rules", "profiles", "ports")}], sort_keys=True)
    return f"is-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def blocks_of(policy: Policy) -> Blocks:
    """A policy's IP rules, arranged for each profile."""
    return {number: arrange(_ip_rules(policy, number)) for number in range(len(policy.profiles))}


def answering(bridge: str) -> str:
    """The netdev chain that answers for a bridge's ports."""
    return f"reject-{bridge}"


def commands(policy: Policy, bridges: Sequence[str], mac: str, present: Sequence[Mapping[str, Any]]) -> list[Command]:
    """What makes a node's tables those of a policy, as one transaction: no packet meets half of it, and known flows stay.

    Args:
        policy: the rules, and the ports of this node.
        bridges: the node's switches.
        mac: the MAC address that all of them have, and nobody else on their networks.
        present: the objects of our bridge and netdev tables as `nft -j -t list` tells them; [] where there are none.
    """
    made = _Table("bridge", present)
    made.add("table")
    _answers(made, bridges, present)
    _forget(made, present, {rule.id for rule in policy.rules}, {rule.id for rule in policy.rules if rule.log})
    _fill(made, policy, digest_of(policy.to_json()), mac, policy.rules, blocks_of(policy))
    return made.commands


def outline(
    policy: Policy, digest: str, bridges: Sequence[str], mac: str, rules: Iterable[Rule], blocks: Blocks
) -> list[Command]:
    """What would make the tables of a policy where there are none, but for what rules do, and which packets go to which.

    Args:
        policy: the policy.
        digest: its own, from `digest_of`.
        bridges: the node's switches.
        mac: see `commands`.
        rules: those whose own chains are wanted nevertheless.
        blocks: from `blocks_of`; their maps come empty.
    """
    made = _Table("bridge", [], empty=True)
    made.add("table")
    _answers(made, bridges, [])
    _fill(made, policy, digest, mac, rules, blocks)
    return made.commands


def block_name(number: int, place: int, block: Block) -> str:
    """The name of a block's map; another when its keys are of another make."""
    return f"block-{number}-{place}-{block.shape}{'-spans' if block.has_spans else ''}"


def block_elements(block: Block) -> dict[Box, Rule]:
    """What a block's map says: which rule holds for a box."""
    return {box: rule for rule, boxes in block.rules for box in boxes}


def element(block: Block, box: Box, rule: Rule | None = None) -> Any:
    """An element of a block's map, or its key alone."""
    key = _key(box, _FIELDS[block.shape])
    return key if rule is None else [key, _goto(rule)]


def is_mapped(block: Block) -> bool:
    """Whether a block is a map, and not a rule by itself."""
    return block.shape in _FIELDS


def _fill(made: _Table, policy: Policy, digest: str, mac: str, rules: Iterable[Rule], blocks: Blocks) -> None:
    _state(made)
    made.add("chain", digest)
    made.add("chain", "prerouting", type="filter", hook="prerouting", prio=-200, policy="accept")
    _reject(made, mac)
    made.add("counter", HITS + DEFAULT)
    for rule in rules:
        _rule(made, rule)
    for number, arranged in blocks.items():
        _policy(made, number, arranged, policy)
    _dispatch(made, policy)
    _prerouting(made, policy)


def removal() -> list[Command]:
    """What removes our tables, present or not."""
    return [
        {verb: {"table": {"family": family, "name": TABLE}}}
        for family in ("bridge", "netdev")
        for verb in ("add", "delete")
    ]


class _Table:
    """Collects the commands of one family's table."""

    def __init__(self, family: str, present: Sequence[Mapping[str, Any]], *, empty: bool = False) -> None:
        self.family = family
        self.empty = empty
        self.sets = set(_names(present, "set", family))
        self.commands: list[Command] = []

    def add(self, what: str, name: str | None = None, **fields: Any) -> None:
        place = {"family": self.family, "name": TABLE} if name is None else self._named(name)
        self.commands.append({"add": {what: {**place, **fields}}})

    def add_set(self, name: str, kinds: Sequence[str], *, timeout: int, size: int) -> None:
        """A set that rules fill. One that is there is not declared again: the kernel has meanwhile made it "dynamic", another set."""
        if name not in self.sets:
            self.add("set", name, type=list(kinds), flags=["timeout"], timeout=timeout, size=size)

    def remove(self, what: str, name: str, verb: str = "delete") -> None:
        self.commands.append({verb: {what: self._named(name)}})

    def rule(self, chain: str, *expressions: Expression) -> None:
        place = {"family": self.family, "table": TABLE, "chain": chain}
        self.commands.append({"add": {"rule": {**place, "expr": list(expressions)}}})

    def _named(self, name: str) -> dict[str, Any]:
        return {"family": self.family, "table": TABLE, "name": name}


def _answers(made: _Table, bridges: Sequence[str], present: Sequence[Mapping[str, Any]]) -> None:
    """The answers in a port's stead, at each bridge's own ingress."""
    netdev = _Table("netdev", present)
    netdev.commands = made.commands
    netdev.add("table")
    for name in _names(present, "chain", "netdev"):
        netdev.remove("chain", name, "flush")
        if name not in map(answering, bridges):
            netdev.remove("chain", name)
    for bridge in bridges:
        chain = answering(bridge)
        netdev.add("chain", chain, type="filter", hook="ingress", dev=bridge, prio=0, policy="accept")
        netdev.rule(chain, _match(_meta("mark"), REJECTED, "!="), {"accept": None})
        netdev.rule(chain, _match(_meta("l4proto"), "tcp"), {"reject": {"type": "tcp reset"}})
        netdev.rule(chain, _match(_meta("protocol"), "ip"), {"reject": {"type": "icmp", "expr": "admin-prohibited"}})
        netdev.rule(chain, {"drop": None})


def _forget(made: _Table, present: Sequence[Mapping[str, Any]], rules: set[str], logged: set[str]) -> None:
    """Take down what was there, but for flows, and the counts of rules that stay."""
    chains = _names(present, "chain", "bridge")
    for name in chains:
        made.remove("chain", name, "flush")
    for name in _names(present, "map", "bridge"):
        made.remove("map", name)
    for name in chains:
        if name != "prerouting":
            made.remove("chain", name)
    for name in _names(present, "set", "bridge"):
        if name not in KEPT_SETS and name.removeprefix(LOG) not in logged:
            made.remove("set", name)
    for name in _names(present, "counter", "bridge"):
        if name != HITS + DEFAULT and name.removeprefix(HITS) not in rules:
            made.remove("counter", name)


def _names(present: Sequence[Mapping[str, Any]], what: str, family: str) -> list[str]:
    return [each[what]["name"] for each in present if what in each and each[what]["family"] == family]


def _state(made: _Table) -> None:
    made.add_set("flows", _FLOW_TYPE, timeout=OTHER_IDLE, size=MOST_FLOWS)
    made.add_set("pings", _ADDRESS_TYPES, timeout=PING_IDLE, size=MOST_FLOWS)
    made.add("chain", "establish")
    echo = [_payload("ip", "saddr"), _payload("ip", "daddr")]
    made.rule("establish", _is_icmp("echo-request"), _update("pings", echo, PING_IDLE))
    for protocols, idle in (("tcp", TCP_IDLE), ({"set": ["udp", "udplite", "sctp", "dccp"]}, OTHER_IDLE)):
        for key in (_FLOW, _FLOW_BACK):
            made.rule("establish", _match(_meta("l4proto"), protocols), _update("flows", key, idle))
    made.rule("establish", {"accept": None})
    made.add("chain", "established")
    made.rule("established", _match(_meta("l4proto"), "tcp"), _update("flows", _FLOW, TCP_IDLE), {"accept": None})
    made.rule("established", _update("flows", _FLOW, OTHER_IDLE))
    made.rule("established", {"accept": None})


def _reject(made: _Table, mac: str) -> None:
    """Mark the packet and send it up to its bridge."""
    made.add("chain", "reject")
    made.rule("reject", {"mangle": {"key": _meta("mark"), "value": REJECTED}})
    made.rule("reject", {"mangle": {"key": _payload("ether", "daddr"), "value": mac}})
    made.rule("reject", {"accept": None})


def _rule(made: _Table, rule: Rule) -> None:
    """The chain of a rule, that its matches go to: in the end it returns to where its policy was called, or the packet's way ends."""
    chain = RULE + rule.id
    made.add("counter", HITS + rule.id)
    made.add("chain", chain)
    if rule.category is not Category.ETHERNET:
        asked_back = _match({"&": [_meta("mark"), BACK]}, 0, "!=")
        if rule.verdict is not Verdict.ALLOW:
            made.rule(chain, asked_back, _mark("|", DENIED), {"return": None})
        else:
            made.rule(chain, asked_back, {"return": None})
    made.rule(chain, {"counter": HITS + rule.id})
    if rule.log and rule.category is not Category.ETHERNET:
        log = [*_ADDRESS_TYPES, "inet_proto", "inet_service"]
        made.add_set(LOG + rule.id, log, timeout=LOG_KEPT, size=MOST_LOGGED)
        noted = {
            "concat": [_payload("ip", "saddr"), _payload("ip", "daddr"), _meta("l4proto"), _payload("th", "dport")]
        }
        made.rule(chain, {"set": {"op": "update", "elem": noted, "set": f"@{LOG}{rule.id}"}})
    ends: dict[Verdict, Expression] = {
        Verdict.ALLOW: {"return": None},
        Verdict.DROP: {"drop": None},
        Verdict.REJECT: {"goto": {"target": "reject"}},
    }
    made.rule(chain, ends[rule.verdict])


def _ip_rules(policy: Policy, profile: int) -> list[Rule]:
    return [rule for rule in policy.rules_of(profile) if rule.category is not Category.ETHERNET]


def _policy(made: _Table, number: int, blocks: Sequence[Block], policy: Policy) -> None:
    chain = f"policy-{number}"
    made.add("chain", chain)
    made.add("chain", f"back-{number}")
    for place, block in enumerate(blocks):
        _block(made, number, place, block)
    made.rule(chain, {"counter": HITS + DEFAULT})
    made.add("chain", f"inet6-{number}")
    last = next((rule for rule in _ip_rules(policy, number) if rule.is_everything), None)
    if last is not None:  # the lab's networks hand out IPv4 only: of IPv6 nothing but "everything" is known
        made.rule(f"inet6-{number}", _goto(last))
    ethernet = [rule for rule in policy.rules_of(number) if rule.category is Category.ETHERNET]
    made.add("chain", f"ether-{number}")
    for rule in ethernet:
        if () not in (rule.source_macs, rule.destination_macs):
            made.rule(f"ether-{number}", *_frame(rule), _goto(rule))


def _block(made: _Table, number: int, place: int, block: Block) -> None:
    """One step of a policy, and of the same policy asked about the other direction."""
    chains = ((f"policy-{number}", _FORTH), (f"back-{number}", _BACK))
    if block.shape in (Shape.EVERYTHING, Shape.SETS):
        ((rule, _boxes),) = block.rules
        for chain, ways in chains:
            made.rule(chain, *(_sets(rule, ways) if block.shape is Shape.SETS else ()), _goto(rule))
        return
    fields = _FIELDS[block.shape]
    types = [*_ADDRESS_TYPES, *({"protocol": "inet_proto", "ports": "inet_service"}[each] for each in fields)]
    filled = [] if made.empty else [element(block, box, rule) for rule, boxes in block.rules for box in boxes]
    flags: dict[str, Any] = {"flags": ["interval"]} if block.has_spans else {}
    name = block_name(number, place, block)
    made.add("map", name, type=types, map="verdict", **flags, **({"elem": filled} if filled else {}))
    for chain, (source, destination, port) in chains:
        asked = {"protocol": _meta("l4proto"), "ports": _payload("th", port)}
        key = [_payload("ip", source), _payload("ip", destination), *(asked[each] for each in fields)]
        made.rule(chain, {"vmap": {"key": {"concat": key}, "data": f"@{name}"}})


def _key(box: Box, fields: Iterable[str]) -> Expression:
    parts = [_addresses(box.source), _addresses(box.destination)]
    return {"concat": [*parts, *(_numbers(getattr(box, each)) for each in fields)]}


def _sets(rule: Rule, ways: tuple[str, str, str]) -> list[Expression]:
    """A rule by itself, one set for each field."""
    found: list[Expression] = []
    source, destination, port = ways
    for field, spans in ((source, rule.sources), (destination, rule.destinations)):
        if spans is not None and spans != (ALL_ADDRESSES,):
            found.append(_match(_payload("ip", field), {"set": [_addresses(span) for span in spans]}))
    if rule.services is not None:
        left = {"concat": [_meta("l4proto"), _payload("th", port)]}
        pairs = [{"concat": [PROTOCOLS[each.protocol], _numbers(each.ports)]} for each in rule.services]
        found.append(_match(left, {"set": pairs}))
    return found


def _frame(rule: Rule) -> list[Expression]:
    found: list[Expression] = []
    for field, macs in (("saddr", rule.source_macs), ("daddr", rule.destination_macs)):
        if macs is not None:
            found.append(_match(_payload("ether", field), {"set": list(macs)}))
    if rule.ethertypes is not None:
        found.append(_match(_payload("ether", "type"), {"set": list(rule.ethertypes)}))
    return found


def _dispatch(made: _Table, policy: Policy) -> None:
    """Which policy holds: by the mark, for the sender's port; by mark and MAC, for the receiver's where it is another."""
    profiles = range(len(policy.profiles))
    marks = [[port.interface, port.profile + 1] for port in policy.ports]
    made.add("map", "marks", type="ifname", map="mark", elem=marks)
    for kind, flag in (("policy", 0), ("inet6", 0), ("ether", 0), ("back", BACK)):
        senders = [[flag | (number + 1), _jump(f"{kind}-{number}")] for number in profiles]
        receivers = [
            [{"concat": [flag | mark, port.mac]}, _jump(f"{kind}-{port.profile}")]
            for port in policy.ports
            for mark in (0, *(number + 1 for number in profiles))
            if mark != port.profile + 1
        ]
        made.add("map", f"{kind}-out", type="mark", map="verdict", elem=senders)
        made.add("map", f"{kind}-in", type=["mark", "ether_addr"], map="verdict", elem=receivers)
    made.add("chain", "new")
    _ask(made, "new", "policy")
    made.rule("new", {"goto": {"target": "establish"}})
    made.add("chain", "forth")
    made.rule("forth", _mark("&", BACK - 1))
    made.rule("forth", {"goto": {"target": "new"}})
    made.add("chain", "back")
    made.rule("back", _mark("|", BACK))
    denied = _match({"&": [_meta("mark"), DENIED]}, 0, "!=")
    for asked in _asked("back"):
        made.rule("back", asked)
        made.rule("back", denied, {"goto": {"target": "forth"}})
    made.rule("back", {"goto": {"target": "establish"}})
    made.add("chain", "inet6")
    _ask(made, "inet6", "inet6")
    made.rule("inet6", {"accept": None})


def _ask(made: _Table, chain: str, kind: str) -> None:
    for asked in _asked(kind):
        made.rule(chain, asked)


def _asked(kind: str) -> tuple[Expression, Expression]:
    """The policy of the sender's port, then that of the receiver's."""
    both = {"concat": [_meta("mark"), _payload("ether", "daddr")]}
    return (
        {"vmap": {"key": _meta("mark"), "data": f"@{kind}-out"}},
        {"vmap": {"key": both, "data": f"@{kind}-in"}},
    )


def _mark(operation: str, bits: int) -> Expression:
    return {"mangle": {"key": _meta("mark"), "value": {operation: [_meta("mark"), bits]}}}


def _prerouting(made: _Table, policy: Policy) -> None:
    chain = "prerouting"
    new: Expression = {"goto": {"target": "new"}}
    made.rule(chain, {"mangle": {"key": _meta("mark"), "value": 0}})
    known = {"map": {"key": _meta("iifname"), "data": "@marks"}}
    made.rule(chain, {"mangle": {"key": _meta("mark"), "value": known}})
    if any(rule.category is Category.ETHERNET for rule in policy.rules):
        _ask(made, chain, "ether")
    made.rule(chain, _match(_payload("ether", "type"), "ip6"), {"goto": {"target": "inet6"}})
    made.rule(chain, _match(_payload("ether", "type"), "ip", "!="), {"accept": None})
    later_fragment = {"&": [_payload("ip", "frag-off"), 0x1FFF]}  # RFC 791 3.1: it has no ports; its first is judged
    made.rule(chain, _match(later_fragment, 0, "!="), {"accept": None})
    flags = {"&": [_payload("tcp", "flags"), ["syn", "ack"]]}
    made.rule(chain, _match(flags, "syn"), new)
    made.rule(chain, _is_icmp("echo-request"), new)
    errors = ["destination-unreachable", "time-exceeded", "parameter-problem"]  # RFC 1122 3.2.2: they report on others
    made.rule(chain, _is_icmp({"set": errors}), {"accept": None})
    reply = {"concat": [_payload("ip", "daddr"), _payload("ip", "saddr")]}
    made.rule(chain, _is_icmp("echo-reply"), _match(reply, "@pings"), {"accept": None})
    made.rule(chain, _match({"concat": _FLOW}, "@flows"), {"goto": {"target": "established"}})
    made.rule(chain, _match(_meta("l4proto"), "tcp"), {"goto": {"target": "back"}})
    made.rule(chain, new)


def _payload(protocol: str, field: str) -> Expression:
    return {"payload": {"protocol": protocol, "field": field}}


def _meta(key: str) -> Expression:
    return {"meta": {"key": key}}


def _match(left: Expression, right: Any, op: str = "==") -> Expression:
    return {"match": {"op": op, "left": left, "right": right}}


def _is_icmp(kind: Any) -> Expression:
    return _match(_payload("icmp", "type"), kind)


def _update(name: str, key: Sequence[Expression], timeout: int) -> Expression:
    elem = {"elem": {"val": {"concat": list(key)}, "timeout": timeout}}
    return {"set": {"op": "update", "elem": elem, "set": f"@{name}"}}


def _goto(rule: Rule) -> Expression:
    return {"goto": {"target": RULE + rule.id}}


def _jump(chain: str) -> Expression:
    return {"jump": {"target": chain}}


def _addresses(span: Span) -> Any:
    first, last = (str(IPv4Address(number)) for number in span)
    return first if first == last else {"range": [first, last]}


def _numbers(span: Span) -> Any:
    return span[0] if span[0] == span[1] else {"range": list(span)}


_FIELDS = {Shape.PORTS: ("protocol", "ports"), Shape.PROTOCOLS: ("protocol",), Shape.HOSTS: ()}
"""What the maps of a shape look at, beside the addresses."""

_FORTH, _BACK = ("saddr", "daddr", "dport"), ("daddr", "saddr", "sport")
"""The fields that a rule's sources, destinations and services are held against, and those when the other direction is asked about."""

_FLOW = [
    _payload("ip", "saddr"), _payload("ip", "daddr"), _meta("l4proto"), _payload("th", "sport"), _payload("th", "dport"),
]  # fmt: skip
_FLOW_BACK = [
    _payload("ip", "daddr"), _payload("ip", "saddr"), _meta("l4proto"), _payload("th", "dport"), _payload("th", "sport"),
]  # fmt: skip
