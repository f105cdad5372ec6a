"""The table of the core's commands. A plugin's come from its labctl_commands hook.

Pattern: one module a command group, with an `app`; each command parses its arguments, calls labd (or the core) and renders.
"""

from __future__ import annotations

from labctl.cli.lazy import Entry

CORE: dict[str, Entry] = {
    "up": Entry(help="Bring a lab up, or bring a running one to what its topology says now.", app="labctl.cli.up:app"),
    "down": Entry(help="Take a lab down and leave nothing behind.", app="labctl.cli.down:app"),
    "plan": Entry(help="Show what `up` would do.", app="labctl.cli.plan:app"),
    "validate": Entry(help="Check a topology without touching anything.", app="labctl.cli.validate:app"),
    "status": Entry(help="Show what runs, and how it is.", app="labctl.cli.status:app"),
    "inspect": Entry(help="Show everything known of a resource.", app="labctl.cli.inspect:app"),
    "events": Entry(help="Show what happened; -f follows.", app="labctl.cli.events:app"),
    "exec": Entry(help="Run a command inside a node or a guest.", app="labctl.cli.execute:exec_app"),
    "shell": Entry(help="Open a shell inside a node or a guest.", app="labctl.cli.execute:shell_app"),
    "console": Entry(help="Attach to a VM's serial console.", app="labctl.cli.console:app"),
    "metrics": Entry(help="What hosts, VMs, disks and links have used, for Prometheus.", app="labctl.cli.metrics:app"),
    "logs": Entry(help="Show a node's log; -f follows.", app="labctl.cli.logs:app"),
    "graph": Entry(help="Draw a lab as text, Mermaid or SVG.", app="labctl.cli.graph:app"),
    "schema": Entry(help="Print the JSON Schema of topologies, for editors.", app="labctl.cli.schema:app"),
    "init": Entry(help="Write a topology to begin with.", app="labctl.cli.init:app"),
    "plugin": Entry(help="List plugins, check them, make a new one.", app="labctl.cli.plugin:app", group=True),
    "trace": Entry(
        help="See every storage command on the wire, and whose it is.", app="labctl.cli.trace.main:app", group=True
    ),
    "doctor": Entry(help="Look at what this machine has and lacks for labs.", app="labctl.cli.doctor:app"),
}
