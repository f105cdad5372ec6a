"""What can be asked of a running lab's firewall: its rules, who decides about a packet, hits, and noted connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, cast

from labctl.errors import NotRunningError, UsageError
from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.model.suggest import did_you_mean
from labctl.model.unit import RecordedUnit
from labctl.plugin.api import Action, ActionContext
from labctl_network.firewall import nft, ruleset
from labctl_network.firewall.decide import Decision, Packet, decide
from labctl_network.firewall.policy import Policy, ProtectedPort, Rule, Service, Verdict, parse_service


class FirewallActions:
    """`rules`, `explain`, `hits` and `log` of any section: the firewall is one, whichever is asked."""

    def by_name(self) -> Mapping[str, Action]:
        """The actions by name."""
        return {"rules": self.rules, "explain": self.explain, "hits": self.hits, "log": self.log}

    async def rules(self, context: ActionContext, _resource: Resource[Any], _arguments: JsonObject) -> Json:
        """All rules in the order in which they are looked at, with how many ports each holds at. No arguments."""
        policy = whole(context)
        holding = [
            sum(number in policy.profiles[port.profile] for port in policy.ports) for number in range(len(policy.rules))
        ]
        return [{**told(rule), "ports": count} for rule, count in zip(policy.rules, holding, strict=True)]

    async def explain(self, context: ActionContext, _resource: Resource[Any], arguments: JsonObject) -> Json:
        """Which rule decides about the first packet of a connection.

        Args:
            context: the runtime.
            resource: any section.
            arguments: `from` and `to`, each a VM, a node or an address; `service`, as in a rule, with one port.
        """
        policy = whole(context)
        service = _service(arguments.get("service"))
        ends = str(arguments.get("from")), str(arguments.get("to"))
        sender, receiver = _ends(policy, *ends, routed=bool(context.units_of_type("routing")))
        packet = Packet(
            source=int(IPv4Address(sender.address)),
            destination=int(IPv4Address(receiver.address)),
            protocol=service.protocol,
            port=service.ports[0] if service.protocol != "icmp" else 0,
            source_mac=sender.mac,
            destination_mac=receiver.mac,
        )
        decisions = decide(policy, packet, _protected(sender), _protected(receiver))
        last = decisions[-1] if decisions else None
        return {
            "from": _shown(sender),
            "to": _shown(receiver),
            "service": str(service),
            "verdict": str(last.verdict) if last else str(Verdict.ALLOW),
            "rule": last.rule.id if last and last.rule else None,
            "protected": bool(decisions),
            "decisions": [_decision(each) for each in decisions],
        }

    async def hits(self, context: ActionContext, _resource: Resource[Any], _arguments: JsonObject) -> Json:
        """How often each rule decided, in all and by node; last what no rule matched. No arguments."""
        policy = whole(context)
        counted: dict[str, dict[str, dict[str, int]]] = {}
        for record in units(context):
            node = str(record.unit.spec["node"])
            namespace = context.services.namespace(node)
            there = await asyncio.to_thread(nft.listing, namespace, "counters", "table", "bridge", ruleset.TABLE)
            for each in (item["counter"] for item in there if "counter" in item):
                name = str(each["name"]).removeprefix(ruleset.HITS)
                counted.setdefault(name, {})[node] = {"packets": each["packets"], "bytes": each["bytes"]}
        rows = [told(rule) for rule in policy.rules]
        rows.append({"rule": None, "category": None, "action": str(Verdict.ALLOW), "services": [], "log": False})
        return [_with_hits(row, counted.get(str(row["rule"] or ruleset.DEFAULT), {})) for row in rows]

    async def log(self, context: ActionContext, _resource: Resource[Any], _arguments: JsonObject) -> Json:
        """The connections of the last minutes that rules with `log` decided about, newest first. No arguments."""
        policy = whole(context)
        owners = {port.address: port.owner for port in policy.ports}
        rows: list[dict[str, Any]] = []
        for record in units(context):
            node = str(record.unit.spec["node"])
            for rule in (each for each in policy.rules if each.log):
                name = ruleset.LOG + rule.id
                arguments = ("set", "bridge", ruleset.TABLE, name)
                there = await asyncio.to_thread(nft.listing, context.services.namespace(node), *arguments)
                for element in (element for each in there for element in each["set"].get("elem", [])):
                    rows.append(_noted(node, rule, element["elem"], owners))
        return cast("Json", sorted(rows, key=lambda row: (row["age"], row["node"], row["rule"])))


def units(context: ActionContext) -> Sequence[RecordedUnit]:
    """The firewall's units.

    Raises:
        NotRunningError: there is none.
    """
    found = context.units_of_type("firewall")
    if not found:
        raise NotRunningError("the lab has no firewall", hint="no VM or node of it has a port on a production network")
    return found


def whole(context: ActionContext) -> Policy:
    """The policy with the ports of all nodes; a VM's are those of the host that it is on."""
    policies = [Policy.from_json(cast("dict[str, Any]", record.unit.spec)) for record in units(context)]
    host_of = {record.unit.resource.name: record.unit.spec["host"] for record in context.units_of_type("vm")}
    ports = (port for policy in policies for port in policy.ports)
    here = (port for port in ports if port.is_nodes or host_of.get(port.owner, port.node) == port.node)
    return replace(policies[0], ports=tuple(here))


def told(rule: Rule) -> dict[str, Any]:
    """A rule as commands show it."""
    return {
        "rule": rule.id,
        "category": str(rule.category),
        "from": list(rule.source_names),
        "to": list(rule.destination_names),
        "services": [str(each) for each in rule.services or ()] or list(rule.ethertypes or ()),
        "action": str(rule.verdict),
        "log": rule.log,
    }


def _with_hits(row: dict[str, Any], by_node: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    total = {key: sum(each[key] for each in by_node.values()) for key in ("packets", "bytes")}
    return {**row, "hits": total["packets"], "bytes": total["bytes"], "by_node": dict(by_node)}


def _noted(node: str, rule: Rule, element: Mapping[str, Any], owners: Mapping[str, str]) -> dict[str, Any]:
    source, destination, protocol, port = element["val"]["concat"]
    has_port = protocol in ("tcp", "udp")
    return {
        "age": ruleset.LOG_KEPT - int(element.get("expires", ruleset.LOG_KEPT)),
        "node": node,
        "rule": rule.id,
        "action": str(rule.verdict),
        "from": source,
        "to": destination,
        "from_owner": owners.get(source),
        "to_owner": owners.get(destination),
        "service": f"{protocol}/{port}" if has_port else str(protocol),
    }


def _service(text: Json) -> Service:
    try:
        found = parse_service(text if isinstance(text, str) else "")
    except ValueError as error:
        raise UsageError(str(error)) from error
    if found.protocol != "icmp" and found.ports[0] != found.ports[1]:
        raise UsageError(f"{found} is more than one port", hint="explain is about one packet: --tcp 5432")
    return found


def _ends(policy: Policy, sender: str, receiver: str, *, routed: bool) -> tuple[ProtectedPort, ProtectedPort]:
    """The ports that a packet between the two uses: on a network that both are on, else (routed) their first."""
    starts, ends = _candidates(policy, sender), _candidates(policy, receiver)
    for start in starts:
        for end in ends:
            if start.network == end.network or not start.network or not end.network:
                return start, end
    if routed and starts and ends:
        return starts[0], ends[0]
    raise UsageError(f"{sender} and {receiver} have no network in common", hint="nothing routes between networks")


def _candidates(policy: Policy, name: str) -> list[ProtectedPort]:
    found = [port for port in policy.ports if name in (port.owner, port.address)]
    if found:
        return found
    try:
        address = str(IPv4Address(name))
    except ValueError:
        owners = {port.owner for port in policy.ports}
        hint = did_you_mean(name, owners, what="those with protected ports") or "name a VM, a node or an IPv4 address"
        raise UsageError(f"the firewall knows no {name}", hint=hint) from None
    return [ProtectedPort(owner="", node="", bridge="", interface="", network="", mac="", address=address, profile=-1)]


def _protected(port: ProtectedPort) -> ProtectedPort | None:
    return port if port.owner else None


def _shown(port: ProtectedPort) -> JsonObject:
    return {"name": port.owner or None, "address": port.address, "network": port.network or None}


def _decision(each: Decision) -> JsonObject:
    port = each.port
    return {
        "at": port.owner,
        "node": port.node,
        "interface": port.interface,
        "direction": each.direction,
        "verdict": str(each.verdict),
        "rule": each.rule.id if each.rule else None,
        "category": str(each.rule.category) if each.rule else None,
        "ethernet": each.ethernet.id if each.ethernet else None,
    }
