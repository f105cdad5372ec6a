"""Agents as units: the one long-lived process inside a host or an array that labd talks to.

The runtime handles the type `agent`: it issues the node's certificate, writes the configuration (labctl.agent.config.AgentConfig), starts
`python -m MODULE --config FILE` in the node's namespace and cgroup, waits until it answers over the management network, and
restarts it when it dies. The module calls labctl.agent.server.run_agent.
"""

from __future__ import annotations

from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import Unit

AGENT_PORT = 443
"""On the node's management address, as on an ESXi host."""


def agent_unit(
    node: str,
    *,
    module: str,
    address: str,
    owner: Address,
    config: JsonObject,
    needs: tuple[str, ...] = (),
    calls: bool = False,
    outside: bool = False,
) -> Unit:
    """The unit of a node's agent (type `agent`, id `agent:NODE`).

    Args:
        node: the node it runs in.
        module: what `python -m` starts.
        address: the node's IP address on the management network (no prefix length).
        owner: the resource that it serves.
        config: the module's own configuration; it must be enough to restore everything after a restart, together with what the
            agent keeps in its own folder.
        needs: more units that must exist first (its links), besides the namespace.
        calls: whether it may call other agents of the lab, as hosts do for HA; without it, they refuse its certificate.
        outside: whether it needs the machine's own network too: it is then started there, and the module enters the node's namespace
            (AgentConfig.namespace) with its first thread before anything else, keeping other threads outside.
    """
    return Unit(
        id=f"agent:{node}",
        type="agent",
        resource=owner,
        spec={
            "node": node,
            "module": module,
            "address": address,
            "port": AGENT_PORT,
            "calls": calls,
            "config": config,
            **({"outside": True} if outside else {}),
        },
        needs=(f"netns:{node}", *needs),
    )
