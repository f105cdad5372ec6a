"""What can be wrong with a VM beyond its own table: where it runs, whether it fits, its image, its disks, its NICs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labctl.contracts.network import networks_with_role
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import format_bytes
from labctl.model.resource import Resource
from labctl.model.suggest import did_you_mean
from labctl.plugin.api import TopologyView
from labctl_server.kinds import host as hosts
from labctl_server.kinds.images import BUILT_IN, is_disk_file
from labctl_server.kinds.placement import home, host_memory, possible_hosts
from labctl_server.kinds.vm_spec import VmSpec


def check_vm(resource: Resource[VmSpec], view: TopologyView) -> Iterable[Problem]:
    """All of a VM's problems."""
    yield from _check_home(resource, view)
    yield from _check_memory(resource, view)
    yield from _check_image(resource)
    yield from _check_disks(resource, view)
    yield from _check_nics(resource, view)


def uplinked(resource: Resource[VmSpec], view: TopologyView) -> Sequence[str]:
    """The networks that every host on which the VM may run has an uplink to, in the first host's order."""
    possible = [
        list(hosts.vswitches(view.resource(Address("host", host)), view).values())
        for host in possible_hosts(resource, view)
    ]
    return [network for network in possible[0] if all(network in other for other in possible)] if possible else []


def _check_home(resource: Resource[VmSpec], view: TopologyView) -> Iterable[Problem]:
    spec = resource.spec
    if spec.host is not None and spec.cluster is not None:
        yield Problem(
            path=resource.path("host"),
            message="it names both a cluster and a host",
            hint="name the cluster, and labctl picks one of its hosts; or name the host alone",
        )
    elif home(resource, view) is None:
        kind = "cluster" if view.resources("cluster") else "host"
        found = [other.name for other in view.resources(kind)]
        if found:
            message = f"it does not say where it runs, and there are several {kind}s: {', '.join(found)}"
            hint = f'say which: {kind} = "{found[0]}"'
        else:
            message, hint = "there is no host that it could run on", "add one: [host.esx1]"
        yield Problem(path=resource.path(), message=message, hint=hint)


def _check_memory(resource: Resource[VmSpec], view: TopologyView) -> Iterable[Problem]:
    memory = resource.spec.memory
    possible = possible_hosts(resource, view)
    largest = max((host_memory(host, view) for host in possible), default=None)
    if largest is not None and memory > largest:
        where = f"host.{possible[0]}" if len(possible) == 1 else f"the largest of its hosts ({', '.join(possible)})"
        yield Problem(
            path=resource.path("memory"),
            message=f"it needs {format_bytes(memory)} of memory, {where} has {format_bytes(largest)}",
            hint="give the VM less memory, or a host more",
        )
    yield from _check_machine(resource, view)


def _check_machine(resource: Resource[VmSpec], view: TopologyView) -> Iterable[Problem]:
    """All VMs that are on must fit into the machine; reported once, at the first that does not."""
    total = 0
    for vm in view.resources("vm"):
        before = total
        total += vm.spec.memory if vm.spec.power == "on" else 0
        if vm.address == resource.address:
            break
    there = view.machine().memory
    if before <= there < total:
        yield Problem(
            path=resource.path("memory"),
            message=f"with it, the VMs need {format_bytes(total)} of memory, and this machine has {format_bytes(there)}",
            hint='give the VMs less memory, or leave some off: power = "off"',
        )


def _check_image(resource: Resource[VmSpec]) -> Iterable[Problem]:
    image = resource.spec.image
    if is_disk_file(image):
        if not image.startswith("/"):
            yield Problem(
                path=resource.path("image"),
                message=f'the disk file "{image}" is named by a relative path',
                hint="write the whole path, from /",
            )
    elif image not in BUILT_IN:
        yield Problem(
            path=resource.path("image"),
            message=f'no image named "{image}"',
            hint=did_you_mean(image, BUILT_IN)
            or f"the images are {', '.join(BUILT_IN)}, or the path of a raw or qcow2 disk file",
        )


def _check_disks(resource: Resource[VmSpec], view: TopologyView) -> Iterable[Problem]:
    datastores = [datastore.name for datastore in view.resources("datastore")]
    for index, disk in enumerate(resource.spec.disks):
        if disk.datastore is not None or len(datastores) == 1:
            continue
        written = "disks" in resource.spec.model_fields_set
        if datastores:
            message = f"the disk does not say where it lives, and there are several datastores: {', '.join(datastores)}"
            hint = f'say which: {{ datastore = "{datastores[0]}" }}'
        else:
            message = "its disk needs a datastore, and there is none"
            hint = 'add one: [datastore.gold] with array = "san1", protocol = "iscsi" and size = "8GiB"'
        yield Problem(path=resource.path("disks", index) if written else resource.path(), message=message, hint=hint)


def _check_nics(resource: Resource[VmSpec], view: TopologyView) -> Iterable[Problem]:
    within_reach = uplinked(resource, view)
    for index, nic in enumerate(resource.spec.nics or ()):
        role = view.resource(Address("network", nic.network)).spec.role
        if role != "production" and role not in resource.spec.allow_roles:
            yield Problem(
                path=resource.path("nics", index, "network"),
                message=f'network "{nic.network}" carries {role} traffic, and guests are kept off it',
                hint=_production_hint(view) + f', or allow it on purpose: allow_roles = ["{role}"]',
            )
        elif possible_hosts(resource, view) and nic.network not in within_reach:
            yield Problem(
                path=resource.path("nics", index, "network"),
                message=f'not every host that it may run on has an uplink to network "{nic.network}"',
                hint=f'add it there: networks = {{ production = ["{nic.network}", …] }}',
            )
        if nic.portgroup is not None:
            leads_to = view.resource(Address("portgroup", nic.portgroup)).spec.network
            if leads_to != nic.network:
                yield Problem(
                    path=resource.path("nics", index, "portgroup"),
                    message=f'port group "{nic.portgroup}" is one of network "{leads_to}", the NIC is on "{nic.network}"',
                    hint=f'say network = "{leads_to}", or name a port group of "{nic.network}"',
                )


def _production_hint(view: TopologyView) -> str:
    production = networks_with_role(view, "production")
    return f'use "{production[0]}"' if production else "use a production network"
