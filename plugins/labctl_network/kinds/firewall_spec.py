"""The table of kind `firewall`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from labctl.model.resource import Spec
from labctl_network.firewall.policy import Category, parse_service

ANY = "any"
"""The word for everybody."""


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _service(value: Any) -> Any:
    if isinstance(value, str):
        parse_service(value)
    return value


Words = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]


class FirewallRule(Spec):
    """One of a section's `rules`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60, description="Its number if not said.")
    ] = None
    sources: Annotated[
        Words, Field(alias="from", description="Groups, VMs, nodes, addresses or subnets that send; any if not said.")
    ] = (ANY,)
    destinations: Annotated[
        Words, Field(alias="to", description="Groups, VMs, nodes, addresses or subnets that receive; any if not said.")
    ] = (ANY,)
    services: Annotated[
        tuple[Annotated[str, BeforeValidator(_service)], ...],
        BeforeValidator(_listed),
        Field(description="tcp/443, udp/5000-5010, tcp, icmp; any if not said."),
    ] = ()
    ethertypes: Annotated[
        tuple[Literal["arp", "ipv4", "ipv6"], ...],
        BeforeValidator(_listed),
        Field(description="For the category ethernet: which frames; any if not said."),
    ] = ()
    action: Annotated[
        Literal["allow", "drop", "reject"], Field(description="What becomes of a connection that it decides about.")
    ]
    log: Annotated[bool, Field(description="Whether `labctl firewall log` shows the connections it decided.")] = False


class FirewallSpec(Spec):
    """The table `[firewall.NAME]`."""

    category: Annotated[
        Category,
        Field(
            description="When its rules are looked at: ethernet, emergency, infrastructure, environment, application."
        ),
    ] = Category.APPLICATION
    applied_to: Annotated[
        tuple[str, ...],
        BeforeValidator(_listed),
        Field(description="Groups, VMs and nodes at whose ports its rules hold; everywhere if not said."),
    ] = ()
    rules: Annotated[tuple[FirewallRule, ...], Field(min_length=1, description="The first that matches decides.")]
