"""Kind `rule`: which VMs are to be together or apart, and on which hosts they may run.

A rule makes nothing; VMs are placed (labctl_server.kinds.placement) and migrated (labctl_server.kinds.migration) by it.
"""

from __future__ import annotations

from collections.abc import Iterable

from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.resource import Resource
from labctl.plugin.api import CompileView, Description, Kind, TopologyView
from labctl_server.kinds.placement import possible_hosts
from labctl_server.kinds.rule_spec import OF_VMS, RuleSpec, members


class RuleKind(Kind[RuleSpec]):
    """An affinity rule."""

    name = "rule"
    summary = "which VMs run together, apart, or on which hosts"
    spec = RuleSpec

    def check(self, resource: Resource[RuleSpec], view: TopologyView) -> Iterable[Problem]:
        """It has the VMs and hosts that it needs, and can be kept, alone and beside the others."""
        spec, vms = resource.spec, members(resource, view)
        needed = 2 if spec.type in OF_VMS else 1
        if len(vms) < needed:
            yield Problem(
                path=resource.path(),
                message=f"{len(vms) or 'no'} VM{'' if len(vms) == 1 else 's'}, and {spec.type} is about {needed} at least",
                hint='name them: vms = ["web1", "web2"], or tag = "web"',
            )
            return
        if spec.type in OF_VMS and spec.hosts:
            yield Problem(
                path=resource.path("hosts"),
                message=f"{spec.type} is between VMs, and has no hosts",
                hint='leave hosts out, or say type = "run-on"',
            )
        elif spec.type not in OF_VMS and not spec.hosts:
            yield Problem(
                path=resource.path(), message=f"{spec.type} without hosts", hint='name them: hosts = ["esx1"]'
            )
        elif not spec.should:
            yield from _check_possible(resource, vms, view)
            yield from _check_contradiction(resource, vms, view)

    def describe(self, resource: Resource[RuleSpec], view: CompileView) -> Description:
        """Its kind and whom it is about."""
        spec, vms = resource.spec, members(resource, view)
        word = "should" if spec.should else "must"
        told = {
            "together": f"{word} be together: {', '.join(vms)}",
            "separate": f"{word} be apart: {', '.join(vms)}",
            "run-on": f"{', '.join(vms)} {word} run on {', '.join(spec.hosts)}",
            "not-on": f"{', '.join(vms)} {word} not run on {', '.join(spec.hosts)}",
        }
        return Description(
            summary=told[spec.type],
            links={Address("vm", vm): "member" for vm in vms},
            drawn="none",
            properties={"type": spec.type, "vms": list(vms), "hosts": list(spec.hosts), "should": spec.should},
        )


def _check_possible(resource: Resource[RuleSpec], vms: Iterable[str], view: TopologyView) -> Iterable[Problem]:
    spec = resource.spec
    possible = {vm: set(possible_hosts(view.resource(Address("vm", vm)), view)) for vm in vms}
    everywhere = set[str]().union(*possible.values())
    if spec.type == "separate" and len(possible) > len(everywhere):
        yield Problem(
            path=resource.path(),
            message=f"{len(possible)} VMs cannot be apart on {len(everywhere)} host{'' if len(everywhere) == 1 else 's'}",
            hint="add a host, or make it a wish: should = true",
        )
    if spec.type == "together" and not set.intersection(*possible.values()):
        yield Problem(
            path=resource.path(),
            message=f"no host may run all of {', '.join(possible)}",
            hint="put them into one cluster, or on one host",
        )
    for vm, hosts in possible.items() if spec.type not in OF_VMS else ():
        left = hosts & set(spec.hosts) if spec.type == "run-on" else hosts - set(spec.hosts)
        if hosts and not left:
            yield Problem(
                path=resource.path("hosts"),
                message=f"it leaves no host to {vm}, which may run on {', '.join(sorted(hosts))}",
                hint="name other hosts, or make it a wish: should = true",
            )


def _check_contradiction(resource: Resource[RuleSpec], vms: Iterable[str], view: TopologyView) -> Iterable[Problem]:
    """Two VMs that another rule, earlier in the file, wants the other way."""
    opposite = {"together": "separate", "separate": "together"}.get(resource.spec.type)
    for other in view.resources("rule"):
        if other.address == resource.address:
            return
        both = [vm for vm in vms if vm in members(other, view)]
        if other.spec.type == opposite and not other.spec.should and len(both) > 1:
            yield Problem(
                path=resource.path("type"),
                message=f"{' and '.join(both[:2])} are to be {other.spec.type} by {other.address}",
                hint="remove one of the two rules, or make one a wish: should = true",
            )
