"""The table of kind `vm`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from labctl.model.quantity import GIB, MIB, Bytes, Ip
from labctl.model.reference import Ref
from labctl.model.resource import Spec
from labctl_server.machine import Power

MAX_DISKS = 16
"""A PCI slot each (labctl_server.qemu.spec)."""

MAX_NICS = 8
"""So many PCI slots are kept for them (labctl_server.qemu.spec)."""


class DiskSpec(Spec):
    """One of a VM's `disks`."""

    datastore: (
        Annotated[str, Ref("datastore"), Field(description="Where it lives; the only datastore if not said.")] | None
    ) = None
    size: Annotated[Bytes, Field(ge=MIB, description="As the guest sees it.")] = GIB
    persistent: Annotated[bool | None, Field(description="Whether it survives `down`; as the VM says if not said.")] = (
        None
    )


class NicSpec(Spec):
    """One of a VM's `nics`."""

    network: Annotated[str, Ref("network"), Field(description="The network that it is on.")]
    address: Annotated[Ip | None, Field(description="A fixed address; derived if not said.")] = None
    portgroup: Annotated[
        str | None, Ref("portgroup"), Field(description="The port group on that network; none if not said.")
    ] = None


class VmSpec(Spec):
    """The table `[vm.NAME]`."""

    cluster: Annotated[str, Ref("cluster"), Field(description="Where it runs: a cluster picks the host.")] | None = None
    host: Annotated[str, Ref("host"), Field(description="Where it runs: this host and no other.")] | None = None
    image: Annotated[str, Field(description="What its first disk starts as.")] = "micro"
    memory: Annotated[Bytes, Field(ge=16 * MIB, description="What the guest has.")] = 128 * MIB
    cpus: Annotated[int, Field(ge=1, le=64, description="Virtual processors.")] = 1
    disks: Annotated[
        tuple[DiskSpec, ...],
        Field(min_length=1, max_length=MAX_DISKS, description="Its disks; it boots from the first."),
    ] = (DiskSpec(),)
    nics: Annotated[
        tuple[NicSpec, ...] | None,
        Field(
            max_length=MAX_NICS, description="Its NICs; one on the first production network of its host if not said."
        ),
    ] = None
    tags: Annotated[tuple[str, ...], Field(description="Words that firewall groups can choose it by.")] = ()
    allow_roles: Annotated[
        tuple[str, ...],
        Field(
            description="Roles besides production on whose networks its NICs may be; guests are kept off them otherwise."
        ),
    ] = ()
    persistent: Annotated[bool, Field(description="Whether its disks survive `down`.")] = False
    power: Annotated[Power, Field(description="Whether `up` turns it on.")] = "on"
