"""`labctl alarm`: what is raised."""

from __future__ import annotations

import time

import typer

from labctl.cli import options
from labctl.cli.output import pairs, print_json, print_table, write
from labctl.cli.target import lab_client

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def alarm() -> None:
    """Alarms: thresholds that a running lab's metrics crossed."""


@app.command("list", epilog="Example: labctl alarm list")
def list_alarms(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the alarms with what raised them, and since when. `labctl events -f` tells as it happens."""
    client = lab_client(lab, home)
    resources = client.get("/v1/status")["resources"]
    about = {each["name"]: each["summary"] for each in resources if each["kind"] == "alarm"}
    found = [client.action("alarm", name, "alarm")["result"] for name in about]
    if json:
        print_json({"alarms": found})
        return
    if not found:
        write("the lab has no alarms: add [alarm.NAME] tables")
        return
    rows = []
    for each in found:
        for series in each["raised"] or [None]:
            cells = ("", "", "")
            if series is not None:
                since = time.strftime("%H:%M:%S", time.localtime(series["since"]))
                cells = (pairs(series["labels"]), f"{series['value']:g}", since)
            rows.append((each["alarm"], each["state"], *cells, about[each["alarm"]]))
    print_table(("alarm", "state", "by", "value", "since", "what"), rows)
