"""What `up` and `status` show: what runs, where, how it is, and what to try next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from labctl.cli.output import pairs, print_table, write

SIGNS = {
    "add": "+",
    "remove": "-",
    "change": "~",
    "replace": "±",
    "repair": "+",
    "deferred": "!",
    "not responding": "?",
}
"""What stands in front of each line of a plan."""

SUGGESTIONS = 5
"""How many commands `up` suggests."""


def print_summary(status: dict[str, Any], *, changed: bool) -> None:
    """The table of a lab and the commands worth trying next."""
    name = status["lab"]["name"]
    write(f"lab {name} is up" if changed else f"lab {name} is up; nothing to do")
    print_resources(status)
    suggestions = list(next_commands(status))[:SUGGESTIONS]
    if suggestions:
        write("")
        write("next:")
        width = max(len(command) for command, _ in suggestions)
        for command, meaning in suggestions:
            write(f"  {command.ljust(width)}  {meaning}")


def print_lines(report: dict[str, Any]) -> None:
    """What was done to each resource, or would be; and what waits."""
    for line in report.get("lines", []):
        text = f" ({line['text']})" if line.get("text") else ""
        write(f"{SIGNS.get(line['action'], '*')} {line['resource']}: {line['action']}{text}")
    if report.get("deferred"):
        write("some of it needs a power-cycle: `up --restart` does it")


def print_resources(status: dict[str, Any]) -> None:
    """The table of a lab's resources."""
    rows = [
        (
            item["kind"],
            item["name"],
            _state(item),
            pairs(item.get("addresses") or {}),
            str(item.get("summary") or ""),
        )
        for item in status["resources"]
    ]
    if rows:
        print_table(("kind", "name", "state", "addresses", "what"), rows)


def next_commands(status: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Commands that make sense in this lab, best first, with what each does."""
    resources = status["resources"]
    guests = [item["name"] for item in resources if item.get("guest")]
    # Those with an address; a network's own switch is a node too, but nobody starts there.
    nodes = [item for item in resources if item.get("node") and item.get("addresses") and not item.get("guest")]
    hosts = [item["name"] for item in nodes if item.get("agent") == item["name"]]
    plain = [item["name"] for item in nodes if item["name"] not in hosts]
    address = _first_address(resources, guests)
    if guests and plain and address:
        yield f"labctl exec {plain[0]} -- ping -c 3 {address}", f"reach {guests[0]} over its network"
    if guests:
        yield f"labctl console {guests[0]}", f"the serial console of {guests[0]}; ctrl-] leaves"
        yield f"labctl exec {guests[-1]} -- uname -a", f"run a command inside the guest {guests[-1]}"
    if hosts:
        yield f"labctl shell {hosts[0]}", f"a shell inside {hosts[0]}, with its own network"
        yield f"labctl logs {hosts[-1]} -f", f"what the agent of {hosts[-1]} says"
    elif plain:
        yield f"labctl shell {plain[0]}", f"a shell inside {plain[0]}, with its own network"
    yield "labctl status", "how everything is"
    yield "labctl events -f", "what happens, as it happens"
    yield f"labctl down {status['lab']['name']}", "take it all away"


def _first_address(resources: list[dict[str, Any]], guests: list[str]) -> str | None:
    for item in resources:
        if guests and item["name"] == guests[0]:
            for address in (item.get("addresses") or {}).values():
                return str(address).partition("/")[0]
    return None


def _state(item: dict[str, Any]) -> str:
    detail = item.get("detail")
    return f"{item['state']} ({detail})" if detail else str(item["state"])
