"""Random policies, enforced by the kernel, decide about real packets as the reference says; and a change keeps what is established."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labctl.errors import LabError
from labctl.linux.links import Bridge, End, Veth, ensure_bridges, ensure_veths
from labctl.linux.namespaces import create_many, delete_many, run_in
from labctl.linux.sockets import SocketPool
from labctl.model.address import Address
from labctl.model.unit import Health, RecordedUnit, Unit, UnitState
from labctl_network.firewall import blocks, nft, ruleset
from labctl_network.firewall.change import Loaded, changes
from labctl_network.firewall.decide import Packet, decide
from labctl_network.firewall.policy import (
    PROTOCOLS,
    Category,
    Policy,
    ProtectedPort,
    Rule,
    Service,
    Verdict,
    merged,
    merged_services,
)
from labctl_network.handlers.firewall import FirewallHandler

pytestmark = [pytest.mark.needs("root"), pytest.mark.xdist_group("firewall")]

HOSTS = 6
PROTECTED = range(1, HOSTS)  # the first is an uplink
BRIDGE_MAC = "02:00:00:00:00:fe"
BASE = int(IPv4Address("10.10.0.0"))
ETHERTYPE_END = 0x88B5  # IEEE 802's local experimental one: it passes every IP rule
ROUNDS = 80
PACKETS = 25


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


class Wire:
    """A switch with ports, and what is behind each port as a raw socket."""

    def __init__(self, namespace: Path) -> None:
        self.namespace = namespace
        self.loaded: Loaded | None = None
        bridge = Bridge(namespace=namespace, name="br0", mac=BRIDGE_MAC)
        pairs = [
            Veth(
                local=End(namespace=namespace, name=f"p{number}", bridge="br0"),
                peer=End(namespace=namespace, name=f"q{number}", mac=mac(number)),
            )
            for number in range(HOSTS)
        ]
        with SocketPool() as pool:
            assert not ensure_bridges(pool, [bridge])
            assert not ensure_veths(pool, pairs)
        self.sockets = run_in(namespace, self._open)
        for number in range(HOSTS):  # the switch learns who is where
            self.send(number, bytes.fromhex("ffffffffffff") + _raw(mac(number)) + struct.pack("!H", ETHERTYPE_END))
        self.flush()

    def _open(self) -> list[socket.socket]:
        sockets = []
        for number in range(HOSTS):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            opened.bind((f"q{number}", 0))
            opened.settimeout(30)
            sockets.append(opened)
        return sockets

    def close(self) -> None:
        for opened in self.sockets:
            opened.close()

    def apply(self, policy: Policy) -> None:
        """By what differs from the last one, if there is one."""
        wanted = Loaded.of(policy.to_json(), ["br0"])
        steps = None if self.loaded is None else changes(self.loaded, wanted, BRIDGE_MAC)
        if steps is None:
            self.load(policy)
        elif steps:
            nft.apply(self.namespace, steps)
        self.loaded = wanted

    def load(self, policy: Policy) -> None:
        """The whole."""
        there = [
            each
            for family in ("bridge", "netdev")
            for each in nft.listing(self.namespace, "table", family, ruleset.TABLE, terse=True)
        ]
        nft.apply(self.namespace, ruleset.commands(policy, ["br0"], BRIDGE_MAC, there))

    def forget(self) -> None:
        """Forget all flows, as a node does that has never seen them."""
        name = {"family": "bridge", "table": ruleset.TABLE, "name": "flows"}
        nft.apply(self.namespace, [{"flush": {"set": name}}])

    def send(self, number: int, frame: bytes) -> None:
        self.sockets[number].send(frame)

    def flush(self) -> list[list[bytes]]:
        """What each has got until now: everybody's end is marked by a broadcast, and the switch keeps frames in order."""
        self.send(0, bytes.fromhex("ffffffffffff") + _raw(mac(0)) + struct.pack("!H", ETHERTYPE_END) + b"end")
        got: list[list[bytes]] = [[] for _ in range(HOSTS)]
        for number in range(1, HOSTS):
            while True:
                data, address = self.sockets[number].recvfrom(2048)
                if address[2] == socket.PACKET_OUTGOING:
                    continue
                if data[12:14] == struct.pack("!H", ETHERTYPE_END):
                    if data[14:17] == b"end":
                        break
                    continue
                got[number].append(data)
        self.send(1, bytes.fromhex("ffffffffffff") + _raw(mac(1)) + struct.pack("!H", ETHERTYPE_END) + b"zero")
        while True:
            data, address = self.sockets[0].recvfrom(2048)
            if address[2] != socket.PACKET_OUTGOING:
                if data[14:18] == b"zero":
                    break
                got[0].append(data)
        for number in range(2, HOSTS):
            while self.sockets[number].recv(2048)[14:18] != b"zero":
                pass
        return got


@pytest.fixture
def wire(unique: str) -> Iterator[Wire]:
    namespace = Path("/run/netns", f"{unique}-fw")
    assert create_many([namespace]) == {}
    try:
        built = Wire(namespace)
        yield built
        built.close()
    finally:
        delete_many([namespace])


def _raw(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def frame(packet: Packet, key: int, *, flags: int = 0x02, to: str | None = None) -> bytes:
    """A whole frame; `key` is the source port or the echo's identifier, and the IP identification."""
    number = PROTOCOLS[packet.protocol]
    source, destination = packet.source.to_bytes(4), packet.destination.to_bytes(4)
    if packet.protocol == "tcp":
        body = struct.pack("!HHIIBBHHH", key, packet.port, 1, 0, 0x50, flags, 1024, 0, 0)
    elif packet.protocol == "udp":
        body = struct.pack("!HHHH", key, packet.port, 8, 0)
    else:
        body = struct.pack("!BBHHH", 8 if flags == 0x02 else 0, 0, 0, key, 1)
    if packet.protocol != "udp":
        pseudo = source + destination + struct.pack("!BBH", 0, number, len(body)) if packet.protocol == "tcp" else b""
        place = 16 if packet.protocol == "tcp" else 2
        body = body[:place] + checksum(pseudo + body).to_bytes(2) + body[place + 2 :]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), key, 0, 64, number, 0, source, destination)
    head = head[:10] + checksum(head).to_bytes(2) + head[12:]
    return _raw(to or packet.destination_mac) + _raw(packet.source_mac) + b"\x08\x00" + head + body


def random_rule(choice: random.Random, number: int) -> Rule:
    def spans() -> tuple[tuple[int, int], ...] | None:
        if choice.random() < 0.25:
            return None
        ends = [sorted((BASE + choice.randrange(HOSTS), BASE + choice.randrange(HOSTS))) for _ in range(2)]
        return merged((a, b if choice.random() < 0.4 else a) for a, b in ends)

    def service() -> Service:
        protocol = choice.choice(["tcp", "tcp", "udp", "icmp"])
        if protocol == "icmp" or choice.random() < 0.2:
            return Service(protocol=protocol)
        low = choice.randint(1, 5)
        return Service(protocol=protocol, ports=(low, choice.randint(low, 5)))

    services = None if choice.random() < 0.3 else merged_services(service() for _ in range(choice.randint(1, 3)))
    fields: dict[str, Any] = {"sources": spans(), "destinations": spans(), "services": services}
    verdict = choice.choice(list(Verdict))
    category = Category.APPLICATION
    if number == 0 and choice.random() < 0.3:
        macs = choice.sample([mac(each) for each in range(HOSTS)], 2)
        fields = {choice.choice(["source_macs", "destination_macs"]): tuple(macs), "ethertypes": ("ip",)}
        category, verdict = Category.ETHERNET, choice.choice([Verdict.ALLOW, Verdict.DROP])
    return Rule(id=f"random/{number}", category=category, verdict=verdict, log=choice.random() < 0.2, **fields)


def random_policy(choice: random.Random) -> Policy:
    rules = tuple(random_rule(choice, number) for number in range(choice.randint(1, 12)))
    profiles = (
        tuple(range(len(rules))),
        tuple(number for number in range(len(rules)) if choice.random() < 0.6),
    )
    return Policy(rules=rules, profiles=profiles, ports=tuple(port(each, choice.randrange(2)) for each in PROTECTED))


def port(number: int, profile: int = 0) -> ProtectedPort:
    return ProtectedPort(
        owner=f"vm{number}", node="esx1", bridge="br0", interface=f"p{number}", network="production", mac=mac(number),
        address=str(IPv4Address(BASE + number)), profile=profile,
    )  # fmt: skip


def packet(sender: int, receiver: int, protocol: str, number: int = 0) -> Packet:
    return Packet(
        source=BASE + sender, destination=BASE + receiver, protocol=protocol, port=number,
        source_mac=mac(sender), destination_mac=mac(receiver),
    )  # fmt: skip


def random_packet(choice: random.Random) -> tuple[int, int, Packet]:
    sender, receiver = choice.sample(range(HOSTS), 2)
    protocol = choice.choice(["tcp", "tcp", "udp", "icmp"])
    return sender, receiver, packet(sender, receiver, protocol, 0 if protocol == "icmp" else choice.randint(1, 5))


def answered(what: Packet, key: int) -> Packet:
    """The first packet of the connection that a segment would be an answer in."""
    return Packet(
        source=what.destination, destination=what.source, protocol=what.protocol, port=key,
        source_mac=what.destination_mac, destination_mac=what.source_mac,
    )  # fmt: skip


def expected(policy: Policy, sender: int, receiver: int, what: Packet) -> tuple[Verdict, list[str]]:
    """What becomes of it, and the rules that count it."""
    ports = {int(each.interface[1:]): each for each in policy.ports}
    decisions = decide(policy, what, ports.get(sender), ports.get(receiver))
    counted = [each.ethernet.id for each in decisions if each.ethernet]
    counted += [each.rule.id if each.rule else ruleset.DEFAULT for each in decisions]
    return (decisions[-1].verdict if decisions else Verdict.ALLOW), counted


def hits(wire: Wire) -> dict[str, int]:
    told = nft.listing(wire.namespace, "counters", "table", "bridge", ruleset.TABLE)
    counters = [each["counter"] for each in told if "counter" in each]
    return {each["name"].removeprefix(ruleset.HITS): each["packets"] for each in counters}


def answers(frames: list[bytes], key: int) -> list[str]:
    """The refusals among frames that are about a packet: a TCP reset to its port, an ICMP error that quotes it."""
    found = []
    for each in frames:
        if each[23] == 6 and each[36:38] == key.to_bytes(2) and each[47] & 0x04:
            found.append("reset")
        if each[23] == 1 and each[34:36] == b"\x03\x0d" and each[46:48] == key.to_bytes(2):
            found.append("prohibited")
    return found


def test_random_policies_decide_about_real_packets_as_the_reference_says(wire, monkeypatch) -> None:
    choice = random.Random(20261123)
    seen = dict.fromkeys(Verdict, 0)
    for _round in range(ROUNDS):
        policy = random_policy(choice)
        monkeypatch.setattr(
            blocks, "MOST_BOXES", choice.choice([1, 4096])
        )  # 1: rules that stand by themselves, as sets
        wire.apply(policy)
        before = hits(wire)
        sent = [(key, *random_packet(choice)) for key in choice.sample(range(1024, 60000), PACKETS)]
        for key, sender, _receiver, what in sent:
            wire.send(sender, frame(what, key))
        got = wire.flush()
        counted: dict[str, int] = {}
        for key, sender, receiver, what in sent:
            verdict, rules = expected(policy, sender, receiver, what)
            seen[verdict] += 1
            for rule in rules:
                counted[rule] = counted.get(rule, 0) + 1
            arrived = any(
                each[18:20] == key.to_bytes(2) and each[30:34] == what.destination.to_bytes(4) for each in got[receiver]
            )
            assert arrived == (verdict is Verdict.ALLOW), (policy, what, verdict)
            refusal = "reset" if what.protocol == "tcp" else "prohibited"
            assert answers(got[sender], key) == [refusal] * (verdict is Verdict.REJECT), (policy, what, verdict)
        after = hits(wire)
        told = {rule: after[rule] - before.get(rule, 0) for rule in after if after[rule] != before.get(rule, 0)}
        if not any(rule.category is Category.ETHERNET for rule in policy.rules):
            assert told == counted
    assert min(seen.values()) > 100, seen


def tables(wire: Wire) -> list[str]:
    """All that is in the tables, but for numbers that the kernel gives and what packets left."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            gone = {"handle", "packets", "bytes", "flags"}
            return {key: plain(each) for key, each in value.items() if key not in gone}
        return [plain(each) for each in value] if isinstance(value, list) else value

    found = []
    for family in ("bridge", "netdev"):
        for each in nft.listing(wire.namespace, "table", family, ruleset.TABLE):
            ((what, told),) = each.items()
            told = plain(told)
            if what == "set":
                told.pop("elem", None)
            if "elem" in told:
                told["elem"] = sorted(map(json.dumps, told["elem"]))
            place = f"{family} {what} {told.get('chain', '')}"
            found.append(place + json.dumps(told, sort_keys=True))
    rules = [each for each in found if " rule " in each]  # their order matters within a chain
    by_chain = sorted(rules, key=lambda each: each.partition("{")[0])
    return sorted(each for each in found if " rule " not in each) + by_chain


def test_what_changes_lead_to_is_what_loading_the_whole_gives(wire, monkeypatch) -> None:
    choice = random.Random(20261124)
    policy = random_policy(choice)
    for number in range(ROUNDS // 2):
        monkeypatch.setattr(blocks, "MOST_BOXES", choice.choice([1, 4096, 4096]))
        kept = [rule for rule in policy.rules if choice.random() < 0.8]
        come = [replace(random_rule(choice, 1), id=f"random/{number}-{each}") for each in range(choice.randrange(3))]
        rules = tuple(
            replace(rule, verdict=choice.choice([Verdict.ALLOW, Verdict.DROP])) if choice.random() < 0.1 else rule
            for rule in (*kept, *come)
        )
        profiles = (tuple(range(len(rules))), tuple(each for each in range(len(rules)) if choice.random() < 0.6))
        ports = tuple(port(each, choice.randrange(2)) for each in PROTECTED if choice.random() < 0.9)
        policy = Policy(rules=rules, profiles=profiles[: choice.choice([1, 2, 2])], ports=ports)
        if len(policy.profiles) == 1:
            policy = replace(policy, ports=tuple(replace(each, profile=0) for each in ports))
        wire.apply(policy)
        changed = tables(wire)
        wire.load(policy)
        assert changed == tables(wire), policy


def test_a_change_that_the_kernel_cannot_do_changes_nothing(wire) -> None:
    first, second = (random_policy(random.Random(seed)) for seed in (1, 2))
    wire.load(first)
    before = tables(wire)
    steps = changes(Loaded.of(second.to_json(), ["br0"]), Loaded.of(first.to_json(), ["br0"]), BRIDGE_MAC)
    assert steps
    with pytest.raises(LabError, match=r"^nft -j -f - failed: "):
        nft.apply(wire.namespace, steps)
    assert tables(wire) == before


def test_a_node_that_has_not_what_it_should_have_gets_the_whole(wire, caplog) -> None:
    class Services:
        lab = SimpleNamespace(name="blue")

        def namespace(self, node: str) -> Path:
            return wire.namespace

    def unit(policy: Policy) -> Unit:
        spec = {"node": "esx1", "bridges": ["br0"], **policy.to_json()}
        return Unit(id="firewall:esx1", type="firewall", resource=Address("firewall", "a"), spec=spec, needs=())

    units = [unit(random_policy(random.Random(seed))) for seed in (1, 2, 3)]
    services: Any = Services()
    with SocketPool() as pool:
        handler = FirewallHandler(pool)
        handler.load(services, units[0])
        for old, new, said in ((units[0], units[1], False), (units[0], units[2], True), (units[2], units[0], False)):
            caplog.clear()
            asyncio.run(handler.update(services, RecordedUnit(unit=old, state=UnitState.CREATED), new))
            assert handler.look(services, RecordedUnit(unit=new, state=UnitState.CREATED).unit).health is Health.OK
            assert ("esx1 has not the firewall that it should have had" in caplog.text) is said


def test_a_later_segment_of_a_connection_that_began_elsewhere_passes_where_either_end_may_begin_it(
    wire, monkeypatch
) -> None:
    choice = random.Random(7443)
    seen = {True: 0, False: 0}
    for _round in range(ROUNDS // 2):
        policy = random_policy(choice)
        monkeypatch.setattr(
            blocks, "MOST_BOXES", choice.choice([1, 4096])
        )  # 1: rules that stand by themselves, as sets
        policy = replace(policy, rules=tuple(rule for rule in policy.rules if rule.category is not Category.ETHERNET))
        policy = replace(policy, profiles=(tuple(range(len(policy.rules))), tuple(range(0, len(policy.rules), 2))))
        wire.apply(policy)
        wire.forget()
        ports = list(range(1, 6)) + choice.sample(range(1024, 60000), 5)
        sent = [(key, *random_packet(choice)) for key in ports]
        sent = [each for each in sent if each[3].protocol == "tcp"]
        for key, sender, _receiver, what in sent:
            wire.send(sender, frame(what, key, flags=0x10))
        got = wire.flush()
        flows: set[tuple[int, int, int, int]] = set()
        for key, sender, receiver, what in sent:
            forth = expected(policy, sender, receiver, what)[0]
            back = expected(policy, receiver, sender, answered(what, key))[0]
            flow = (what.source, what.destination, key, what.port)
            passes = Verdict.ALLOW in (forth, back) or flow in flows
            if passes:
                flows |= {flow, (what.destination, what.source, what.port, key)}
            arrived = any(
                each[18:20] == key.to_bytes(2) and each[26:34] == what.source.to_bytes(4) + what.destination.to_bytes(4)
                for each in got[receiver]
            )
            assert arrived == passes, (policy, what, key, forth, back)
            seen[passes] += 1
    assert min(seen.values()) > 30, seen


def test_what_is_established_outlives_its_rule_and_nothing_new_does(wire) -> None:
    everybody = Rule(id="a/b", category=Category.APPLICATION, verdict=Verdict.ALLOW)
    nobody = replace(everybody, verdict=Verdict.REJECT)
    syn = packet(1, 2, "tcp", 80)
    reply = Packet(
        source=syn.destination, destination=syn.source, protocol="tcp", port=4000,
        source_mac=syn.destination_mac, destination_mac=syn.source_mac,
    )  # fmt: skip
    for rule, seen_by_two in ((everybody, 1), (nobody, 0)):
        wire.apply(Policy(rules=(rule,), profiles=((0,),), ports=tuple(port(each) for each in PROTECTED)))
        wire.send(1, frame(syn, 4000))
        assert len(wire.flush()[2]) == seen_by_two
        wire.send(2, frame(reply, 80, flags=0x12))
        wire.send(1, frame(syn, 4000, flags=0x10))
        got = wire.flush()
        assert len([each for each in got[1] if each[47] == 0x12]) == 1
        assert len([each for each in got[2] if each[47] == 0x10]) == 1


def test_pings_are_answered_and_answers_that_nobody_asked_for_are_not_let_in(wire) -> None:
    only = ((BASE + 1, BASE + 1),)
    allowed = Rule(id="a/ping", category=Category.APPLICATION, verdict=Verdict.ALLOW, sources=only)
    rest = Rule(id="a/rest", category=Category.APPLICATION, verdict=Verdict.DROP)
    wire.apply(Policy(rules=(allowed, rest), profiles=((0, 1),), ports=tuple(port(each) for each in PROTECTED)))
    answer = packet(2, 1, "icmp")
    wire.send(2, frame(answer, 7, flags=0))
    assert wire.flush()[1] == []
    wire.send(1, frame(packet(1, 2, "icmp"), 7))
    wire.flush()
    wire.send(2, frame(answer, 7, flags=0))
    assert len(wire.flush()[1]) == 1
