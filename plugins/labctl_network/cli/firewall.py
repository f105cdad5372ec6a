"""`labctl firewall`: the distributed firewall's rules, what they decide, and what they decided."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import NotRunningError, UsageError

app = typer.Typer(add_completion=False, no_args_is_help=True)

EXPLAIN_EPILOG = """Examples:

  labctl firewall explain --from web1 --to db1 --tcp 5432

  labctl firewall explain --from 10.10.0.99 --to web1 --icmp
"""


@app.callback()
def firewall() -> None:
    """The distributed firewall: rules at every VM's and node's own port."""


@app.command("list")
def list_rules(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List all rules in the order in which they are looked at: the first that matches decides."""
    rules = _ask(lab_client(lab, home), "rules")
    if json:
        print_json({"rules": rules})
        return
    rows = [(*_rule(each), "yes" if each["log"] else "", str(each["ports"])) for each in rules]
    print_table((*_RULE, "log", "ports"), rows)


@app.command("explain", epilog=EXPLAIN_EPILOG)
def explain(
    source: Annotated[str, typer.Option("--from", help="Who sends: a VM, a node or an address.")],
    destination: Annotated[str, typer.Option("--to", help="Who receives.")],
    tcp: Annotated[int | None, typer.Option(help="A TCP connection to this port.")] = None,
    udp: Annotated[int | None, typer.Option(help="A UDP datagram to this port.")] = None,
    icmp: Annotated[bool, typer.Option("--icmp", help="A ping.")] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Say which rule decides about the first packet of a connection, at each port that it passes."""
    services = [f"tcp/{tcp}"] * (tcp is not None) + [f"udp/{udp}"] * (udp is not None) + ["icmp"] * icmp
    if len(services) != 1:
        raise UsageError("say what is sent", hint="one of --tcp PORT, --udp PORT and --icmp")
    asked = {"from": source, "to": destination, "service": services[0]}
    answer = _ask(lab_client(lab, home), "explain", asked)
    if json:
        print_json({"explanation": answer})
        return
    for each in answer["decisions"]:
        way = "leaving" if each["direction"] == "out" else "reaching"
        by = f"rule {each['rule']} ({each['category']})" if each["rule"] else "no rule matches"
        passed = f", past {each['ethernet']} (ethernet)" if each["ethernet"] not in (None, each["rule"]) else ""
        write(f"{way} {each['at']} ({each['interface']} on {each['node']}): {each['verdict']}, {by}{passed}")
    ends = f"{_end(answer['from'])} to {_end(answer['to'])} {answer['service']}"
    why = f"by {answer['rule']}" if answer["rule"] else "by default" if answer["protected"] else "no protected port"
    write(f"{ends}: {answer['verdict']} ({why})")


@app.command("hits")
def hits(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """Show how many connections each rule decided about, since it is there; a packet to another host is decided at both."""
    rules = _ask(lab_client(lab, home), "hits")
    if json:
        print_json({"rules": rules})
        return
    rows = [(each["rule"] or "(no rule)", each["category"] or "", each["action"], str(each["hits"])) for each in rules]
    print_table(("rule", "category", "action", "hits"), rows)


@app.command("log")
def log(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """Show the connections of the last ten minutes that rules with `log = true` decided about, newest first."""
    entries = _ask(lab_client(lab, home), "log")
    if json:
        print_json({"entries": entries})
        return
    rows = [
        (
            f"{each['age']} s",
            each["from_owner"] or each["from"],
            each["to_owner"] or each["to"],
            each["service"],
            each["action"],
            each["rule"],
            each["node"],
        )
        for each in entries
    ]
    print_table(("ago", "from", "to", "service", "action", "rule", "at"), rows)


_RULE = ("rule", "category", "from", "to", "services", "action")


def _rule(each: dict[str, Any]) -> tuple[str, ...]:
    lists = (", ".join(each[key]) or "any" for key in ("from", "to", "services"))
    return (each["rule"], each["category"], *lists, each["action"])


def _end(end: dict[str, Any]) -> str:
    return f"{end['name']} ({end['address']})" if end["name"] else str(end["address"])


def _ask(client: DaemonClient, action: str, arguments: dict[str, Any] | None = None) -> Any:
    sections = [item["name"] for item in client.get("/v1/status")["resources"] if item["kind"] == "firewall"]
    if not sections:
        raise NotRunningError(f"lab {client.lab} has no firewall rules", hint="add a [firewall.NAME] and `labctl up`")
    return client.action("firewall", sections[0], action, arguments or {})["result"]
