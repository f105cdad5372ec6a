"""The distributed firewall's price: a change of one rule among many, and throughput through many rules.

    ./bootstrap.sh bench network [--rules 0,100,10000] [--repeat 5] [--seconds 2] [--no-write]

Two namespaces stand for two VMs, each on a port of a host's switch, with the rules at both ports. iperf3 sends one TCP stream from
one to the other; runs with each number of rules are interleaved. While one rule changes, an established TCP connection through the same
ports goes to and fro without a pause, and its longest round trip is what the change held up of the data path.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from report import machine, write_section

from labctl.linux.links import Bridge, End, Veth, ensure_bridges, ensure_veths
from labctl.linux.namespaces import create_many, delete_many
from labctl.linux.sockets import SocketPool
from labctl.model.address import Address
from labctl.model.unit import RecordedUnit, Unit, UnitState
from labctl_network.firewall.policy import Category, Policy, ProtectedPort, Rule, Service, Verdict
from labctl_network.handlers.firewall import FirewallHandler

LONGEST = 50.0  # milliseconds of the data path
LOSS = 10.0  # per cent of the throughput
ADDRESSES = ("10.10.0.1", "10.10.0.2")
PORT = 5201
ECHO = Path(__file__).with_name("network_echo.py")


@dataclass(frozen=True)
class Change:
    """One rule changed.

    Args:
        whole: seconds, from the new rules to their being in force.
        held_up: seconds of the longest round trip meanwhile.
        undisturbed: seconds of the longest round trip in as long a time without a change.
    """

    whole: float
    held_up: float
    undisturbed: float


class Wire:
    """A host's switch with two VMs' ports.

    Args:
        folder: of the namespaces.
        pool: netlink sockets.
    """

    def __init__(self, folder: Path, pool: SocketPool) -> None:
        self.host, *self.ends = (folder / f"bench-{os.getpid()}-{name}" for name in ("host", "a", "b"))
        self._handler = FirewallHandler(pool)
        self._services: Any = SimpleNamespace(lab=SimpleNamespace(name="bench"), namespace=lambda _node: self.host)
        self._unit: Unit | None = None
        self._pool = pool

    def build(self) -> None:
        """Make it."""
        pool = self._pool
        failures = create_many([self.host, *self.ends])
        failures |= ensure_bridges(pool, [Bridge(namespace=self.host, name="br0", mac="02:00:00:00:00:fe")])
        pairs = [
            Veth(
                local=End(namespace=self.host, name=f"p{number}", bridge="br0"),
                peer=End(namespace=end, name="eth0", mac=_mac(number), addresses=(f"{ADDRESSES[number]}/24",)),
            )
            for number, end in enumerate(self.ends)
        ]
        failures |= ensure_veths(pool, pairs)
        if failures:
            raise SystemExit(str(failures))

    def remove(self) -> None:
        """Remove the namespaces."""
        delete_many([self.host, *self.ends])

    def load(self, policy: Policy | None) -> float:
        """Have these rules in force, changing what differs; returns the seconds that it took."""
        old, self._unit = self._unit, None if policy is None else _unit(policy)
        start = time.perf_counter()
        if self._unit is None:
            if old is not None:
                self._handler.unload(self._services, old)
        elif old is None:
            self._handler.load(self._services, self._unit)
        else:
            record = RecordedUnit(unit=old, state=UnitState.CREATED)
            asyncio.run(self._handler.update(self._services, record, self._unit))
        return time.perf_counter() - start

    def inside(self, end: int, *command: str) -> subprocess.Popen[str]:
        """Start a command in an end's namespace."""
        argv = ["nsenter", f"--net={self.ends[end]}", *command]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def throughput(self, seconds: float) -> float:
        """Bytes a second of one TCP stream."""
        server = self.inside(1, "iperf3", "-s", "-1", "-B", ADDRESSES[1], "-p", str(PORT), "--json")
        try:
            for _ in range(100):
                client = self.inside(0, "iperf3", "-c", ADDRESSES[1], "-p", str(PORT), "-t", f"{seconds:g}", "--json")
                told = json.loads(client.communicate(timeout=60)[0])
                if "error" not in told:
                    return float(told["end"]["sum_received"]["bits_per_second"]) / 8
                time.sleep(0.05)  # the server does not listen yet
            raise SystemExit(f"iperf3: {told['error']}")
        finally:
            server.kill()
            server.communicate()

    @contextmanager
    def echo(self) -> Iterator[subprocess.Popen[str]]:
        """A connection that goes to and fro; see network_echo.py."""
        server = self.inside(1, sys.executable, str(ECHO), "serve", ADDRESSES[1])
        assert server.stdout is not None
        server.stdout.readline()
        client = self.inside(0, sys.executable, str(ECHO), "ask", ADDRESSES[1])
        try:
            assert client.stdout is not None
            client.stdout.readline()
            yield client
        finally:
            for process in (client, server):
                process.kill()
                process.communicate()


def longest(client: subprocess.Popen[str]) -> float:
    """Seconds of the longest round trip since it was last asked for."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write("\n")
    client.stdin.flush()
    return float(client.stdout.readline())


def main(arguments: list[str]) -> int:
    """Measure, print the tables, and write them to the reference."""
    parser = argparse.ArgumentParser(prog="bench network", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--rules", default="0,100,10000", help="numbers of rules; the first is what the others are held against"
    )
    parser.add_argument("--repeat", type=int, default=5, help="rounds; default: 5")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a stream; default: 2")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    if lacking := _lacking():
        sys.stderr.write(f"{lacking}\n")
        return 1
    sizes = [int(size) for size in options.rules.split(",")]
    load = os.getloadavg()[0]
    with SocketPool() as pool:
        wire = Wire(Path("/run/netns"), pool)
        try:
            wire.build()
            rates = _throughput(wire, sizes, options.repeat, options.seconds)
            loads, changes = _changes(wire, max(sizes), options.repeat)
        finally:
            wire.remove()
    text = section(rates, max(sizes), loads, changes, load)
    sys.stdout.write(f"{text}\n")
    if not options.no_write:
        write_section("network", text)
    return 0


def _throughput(wire: Wire, sizes: Sequence[int], repeat: int, seconds: float) -> dict[int, list[float]]:
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(repeat):
        for size in sizes:
            sys.stderr.write(f"{size} rules, run {number + 1} of {repeat} …\n")
            wire.load(policy(size) if size else None)
            rates[size].append(wire.throughput(seconds))
    return rates


def _changes(wire: Wire, size: int, repeat: int) -> tuple[list[float], list[Change]]:
    loads, found = [], []
    rules = policy(size)
    for number in range(repeat):
        sys.stderr.write(f"one of {size} rules, run {number + 1} of {repeat} …\n")
        wire.load(None)
        loads.append(wire.load(rules))
        with wire.echo() as client:
            for changed in (
                _with(rules, size // 2, verdict=Verdict.DROP),
                _with(rules, size // 2, sources=((1, 1),)),
                rules,
            ):
                longest(client)
                whole = wire.load(changed)
                held_up = longest(client)
                time.sleep(whole)
                found.append(Change(whole=whole, held_up=held_up, undisturbed=longest(client)))
    return loads, found


def policy(size: int) -> Policy:
    """That many rules about others, and one that lets the two ends speak, all at both ends' ports."""
    others = int(IPv4Address("10.20.0.0"))
    rules = [
        Rule(
            id=f"many/{number}",
            category=Category.APPLICATION,
            verdict=Verdict.ALLOW,
            sources=((others + number,) * 2,),
            destinations=((others - 1 - number % 250,) * 2,),
            services=(Service(protocol="tcp", ports=(1000 + number % 100,) * 2),),
        )
        for number in range(size - 2)
    ]
    first, last = (int(IPv4Address(address)) for address in ADDRESSES)
    rules.append(Rule(id="us/us", category=Category.APPLICATION, verdict=Verdict.ALLOW, sources=((first, last),)))
    rules.append(Rule(id="rest/rest", category=Category.APPLICATION, verdict=Verdict.DROP))
    ports = [
        ProtectedPort(
            owner=f"vm{number}", node="host", bridge="br0", interface=f"p{number}", network="production",
            mac=_mac(number), address=address, profile=0,
        )
        for number, address in enumerate(ADDRESSES)
    ]  # fmt: skip
    return Policy(rules=tuple(rules), profiles=(tuple(range(len(rules))),), ports=tuple(ports))


def _with(whole: Policy, place: int, **fields: Any) -> Policy:
    rules = list(whole.rules)
    rules[place] = replace(rules[place], **fields)
    return replace(whole, rules=tuple(rules))


def _unit(rules: Policy) -> Unit:
    spec = {"node": "host", "bridges": ["br0"], **rules.to_json()}
    return Unit(id="firewall:host", type="firewall", resource=Address("firewall", "bench"), spec=spec, needs=())


def _mac(number: int) -> str:
    return f"02:00:00:00:01:{number:02x}"


def section(
    rates: dict[int, list[float]], size: int, loads: Sequence[float], changes: Sequence[Change], load: float
) -> str:
    """The results as Markdown."""
    base = next(iter(rates))
    lines = [
        "## network: the distributed firewall",
        "",
        f"`./bootstrap.sh bench network` · {machine()} · median of {len(loads)}, load {load:.1f} at the start",
        "",
        "| rules | one TCP stream | loss (target) |",
        "|---:|---:|---:|",
    ]
    for number, found in rates.items():
        ratios = [1 - mine / theirs for mine, theirs in zip(found, rates[base], strict=True)]
        lost = max(0.0, 100 * statistics.median(ratios))
        shown = "" if number == base else f"**{lost:.0f} %** (≤ {LOSS:.0f}){'' if lost <= LOSS else ' ✗'}"
        lines.append(f"| {number:,} | {statistics.median(found) / 1e9:.2f} GB/s | {shown} |")
    held_up = [1000 * change.held_up for change in changes]
    calm = [1000 * change.undisturbed for change in changes]
    worst = statistics.median(held_up)
    lines += [
        "",
        f"| {size:,} rules | |",
        "|---|---:|",
        f"| load them all | {statistics.median(loads):.2f} s |",
        f"| change one of them | {statistics.median(change.whole for change in changes):.2f} s |",
        f"| … longest round trip of an established connection meanwhile (target) | **{worst:.1f} ms** (≤ {LONGEST:.0f})"
        f"{'' if worst <= LONGEST else ' ✗'}; worst of {len(changes)}: {max(held_up):.1f} ms |",
        f"| … in as long a time without a change | {statistics.median(calm):.1f} ms; worst {max(calm):.1f} ms |",
        "",
        "A change is another verdict, other sources, and back; its time is labctl's own, from the new rules to their being in force,",
        "and the old ones hold meanwhile. Two namespaces stand for two VMs on one host's switch; the connection is never dropped,",
        "or the benchmark fails. Loss is against no firewall at all, run by run; one stream is bound by the CPUs that sender,",
        "receiver and the kernel's path share.",
    ]
    return "\n".join(lines)


def _lacking() -> str | None:
    if os.geteuid() != 0:
        return "the benchmark needs root, for its namespaces. Run it with sudo."
    missing = [name for tool, name in {"iperf3": "iperf3", "nft": "nftables"}.items() if shutil.which(tool) is None]
    return f"missing packages: sudo apt install {' '.join(missing)}" if missing else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
