"""The table of kind `rule`, and what a rule says of a VM on a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from labctl.model.json import JsonObject
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.plugin.api import TopologyView

RuleType = Literal["together", "separate", "run-on", "not-on"]

OF_VMS: Sequence[RuleType] = ("together", "separate")
"""Those between VMs; the others are between VMs and hosts."""


class RuleSpec(Spec):
    """The table `[rule.NAME]`."""

    type: Annotated[
        RuleType, Field(description="Keep VMs together or separate; have them run on hosts, or not on them.")
    ]
    vms: Annotated[tuple[Annotated[str, Ref("vm")], ...], Field(description="Which VMs.")] = ()
    tag: Annotated[str | None, Field(description="And those with this tag.")] = None
    hosts: Annotated[
        tuple[Annotated[str, Ref("host")], ...], Field(description="Which hosts; for `run-on` and `not-on`.")
    ] = ()
    should: Annotated[bool, Field(description="A wish that gives way; without it, the rule must be kept.")] = False


def members(rule: Resource[RuleSpec], view: TopologyView) -> tuple[str, ...]:
    """The VMs of a rule, by name and by tag, each once."""
    tagged = [vm.name for vm in view.resources("vm") if rule.spec.tag is not None and rule.spec.tag in vm.spec.tags]
    return tuple(dict.fromkeys((*rule.spec.vms, *tagged)))


def rules_of(vm: str, view: TopologyView) -> list[JsonObject]:
    """The rules about a VM, in the file's order, as `broken` takes them."""
    return [
        {
            "name": rule.name,
            "type": rule.spec.type,
            "vms": list(members(rule, view)),
            "hosts": list(rule.spec.hosts),
            "should": rule.spec.should,
        }
        for rule in view.resources("rule")
        if vm in members(rule, view)
    ]


def broken(rule: Mapping[str, Any], vm: str, host: str, places: Mapping[str, str]) -> str | None:
    """Why a VM on a host would break a rule, or None.

    Args:
        rule: from `rules_of`.
        vm: the VM's name.
        host: where it would be.
        places: where other VMs are.
    """
    others = {other: places[other] for other in rule["vms"] if other != vm and other in places}
    name, hosts = f'rule "{rule["name"]}"', ", ".join(rule["hosts"])
    if rule["type"] == "together":
        found = next(((other, there) for other, there in others.items() if there != host), None)
        return f"{name} keeps it with {found[0]}, which is on {found[1]}" if found else None
    if rule["type"] == "separate":
        near = next((other for other, there in others.items() if there == host), None)
        return f"{name} keeps it apart from {near}, which is on {host}" if near else None
    if rule["type"] == "run-on":
        return None if host in rule["hosts"] else f"{name} has it run on {hosts}"
    return f"{name} keeps it off {hosts}" if host in rule["hosts"] else None
