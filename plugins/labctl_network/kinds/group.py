"""Kind `group`: VMs, nodes and addresses that firewall rules name together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from labctl.model.problem import Problem
from labctl.model.quantity import Subnet
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.plugin.api import CompileView, Description, Kind, TopologyView

CHOOSING = ("tags", "names", "members", "networks", "cidrs")
"""The keys that choose members; who is chosen by one of them belongs to the group."""


class GroupSpec(Spec):
    """The table `[group.NAME]`."""

    tags: Annotated[tuple[str, ...], Field(description="VMs and nodes that carry one of these tags.")] = ()
    names: Annotated[tuple[str, ...], Field(description='VMs and nodes by name, with * and ?: "web*".')] = ()
    members: Annotated[
        tuple[Annotated[str, Ref("vm", "node")], ...], Field(description="VMs and nodes by their full names.")
    ] = ()
    networks: Annotated[
        tuple[Annotated[str, Ref("network")], ...],
        Field(description="What VMs and nodes have on these networks; their ports elsewhere do not belong."),
    ] = ()
    cidrs: Annotated[tuple[Subnet, ...], Field(description="Addresses, whoever has them: 10.20.0.0/24.")] = ()


class GroupKind(Kind[GroupSpec]):
    """Members by tag, name, network or address."""

    name = "group"
    summary = "VMs, nodes and addresses that firewall rules name together"
    spec = GroupSpec

    def check(self, resource: Resource[GroupSpec], view: TopologyView) -> Iterable[Problem]:
        """It chooses by something. That nothing is chosen today is no fault: members may come."""
        if not any(getattr(resource.spec, key) for key in CHOOSING):
            yield Problem(
                path=resource.table,
                message="it says nothing of who belongs to it",
                hint='for example tags = ["web"], names = ["web*"] or cidrs = ["10.20.0.0/24"]',
            )

    def describe(self, resource: Resource[GroupSpec], view: CompileView) -> Description:
        """How it chooses."""
        spec = resource.spec
        told = {key: [str(value) for value in getattr(spec, key)] for key in CHOOSING if getattr(spec, key)}
        summary = "; ".join(f"{key} {', '.join(values)}" for key, values in told.items())
        return Description(summary=summary, drawn="none", properties={key: [*values] for key, values in told.items()})
