"""Links between namespaces: bridges, veth pairs, their addresses; made, mended, removed and looked at, many in one go.

Rules: `ensure_*` makes what is missing, mends what differs and leaves alone what is as wanted, so it may follow a call that was killed
half way. What stands in the way under a wanted name is replaced: the namespaces are the lab's own. One object's failure never
keeps the others from being done; failures come back by object.

A veth pair takes one message, with its names, MACs, MTUs and bridge, and the other end straight in its own namespace; addresses, the
other end's bridge and its being up need a second step, once the kernel has numbered the link.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labctl.errors import LabError
from labctl.linux import rtnetlink
from labctl.linux.configure import Configured, configure, port_indexes
from labctl.linux.errors import KernelError, explain
from labctl.linux.namespaces import run_in, write_sysctls
from labctl.linux.netlink import Answer, NetlinkSocket, Request
from labctl.linux.rtnetlink import LinkState as LinkState
from labctl.linux.sockets import SocketPool

CHUNK = 100
"""Namespaces whose files are open at a time while veth pairs are made between them."""

_BRIDGE_SYSCTLS = {f"net/bridge/bridge-nf-call-{table}": "0" for table in ("iptables", "ip6tables", "arptables")}


@dataclass(frozen=True, kw_only=True)
class End:
    """One end of a veth pair.

    Args:
        namespace: the file of its network namespace.
        name: at most 15 characters.
        mac: `02:…`, or None for the kernel's choice.
        mtu: bytes.
        bridge: the bridge in that namespace that it is a port of, or None.
        addresses: `10.0.0.1/24`; others are removed.
    """

    namespace: Path
    name: str
    mac: str | None = None
    mtu: int = 1500
    bridge: str | None = None
    addresses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} in {self.namespace}"


@dataclass(frozen=True, kw_only=True)
class Veth:
    """A veth pair: a cable between two namespaces.

    Args:
        local: the end whose namespace has most of the pairs (the switch): pairs are made in batches from there.
        peer: the other end.
    """

    local: End
    peer: End


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """A switch inside a namespace.

    Args:
        namespace: the file of its network namespace.
        name: at most 15 characters.
        mtu: bytes.
        mac: `02:…`, or None for the kernel's choice.
        addresses: of the namespace itself on that bridge.
    """

    namespace: Path
    name: str
    mtu: int = 1500
    mac: str | None = None
    addresses: tuple[str, ...] = ()


def ensure_bridges(pool: SocketPool, bridges: Sequence[Bridge]) -> dict[Bridge, LabError]:
    """Make bridges that forward at once and that the machine's firewall settings do not reach into.

    Returns:
        The failures, by bridge.
    """
    failures: dict[Bridge, LabError] = {}
    made: list[tuple[Bridge, Configured]] = []
    for namespace, group in _by_namespace(bridges).items():
        try:
            run_in(namespace, lambda: write_sysctls(_BRIDGE_SYSCTLS))
            with pool.use(namespace) as handle:
                answers = _request(handle, [_bridge_request(bridge) for bridge in group])
        except LabError as error:
            failures.update(dict.fromkeys(group, error))
            continue
        for bridge, answer in zip(group, answers, strict=True):
            if answer.errno in (0, errno.EEXIST):
                # The MTU is set again once it exists: only then does the bridge keep it whatever its ports have.
                wanted = Configured(
                    namespace=namespace, name=bridge.name, kind="bridge", mac=bridge.mac, mtu=bridge.mtu,
                    addresses=bridge.addresses, prune=answer.errno != 0,
                )  # fmt: skip
                made.append((bridge, wanted))
            else:
                failures[bridge] = KernelError(
                    f"create bridge {bridge.name} in {namespace}", answer.errno, answer.detail
                )
    failed = configure(pool, [wanted for _bridge, wanted in made])
    failures.update({bridge: failed[wanted] for bridge, wanted in made if wanted in failed})
    return failures


def ensure_veths(pool: SocketPool, veths: Sequence[Veth]) -> dict[Veth, LabError]:
    """Make veth pairs, plug their ends into bridges, address them and bring them up.

    Returns:
        The failures, by pair.
    """
    failures: dict[Veth, LabError] = {}
    taken = _create(pool, veths, failures)
    wrong = [veth for veth in taken if not _is_pair(pool, veth)]
    for veth in wrong:
        ends = [(end.namespace, end.name) for end in (veth.local, veth.peer)]
        if failed := delete_links(pool, ends):
            failures[veth] = next(iter(failed.values()))
    again = [veth for veth in wrong if veth not in failures]
    for veth in _create(pool, again, failures):
        failures[veth] = KernelError(f"create link {veth.local} to {veth.peer}", errno.EEXIST)

    adopted = set(taken) - set(wrong)
    work: dict[Configured, Veth] = {}
    for veth in veths:
        if veth not in failures:
            for end in (veth.local, veth.peer):
                if (wanted := _rest(end, is_local=end is veth.local, adopted=veth in adopted)) is not None:
                    work[wanted] = veth
    for wanted, error in configure(pool, list(work)).items():
        failures.setdefault(work[wanted], error)
    return failures


def delete_links(pool: SocketPool, links: Iterable[tuple[Path, str]]) -> dict[tuple[Path, str], LabError]:
    """Delete links by (namespace, name); those that are gone, or whose namespace is, are fine. A veth takes its other end along.

    Returns:
        The failures.
    """
    groups: dict[Path, list[str]] = defaultdict(list)
    for namespace, name in links:
        groups[namespace].append(name)
    failures: dict[tuple[Path, str], LabError] = {}
    for namespace, names in groups.items():
        try:
            with pool.use(namespace) as handle:
                answers = _request(handle, [rtnetlink.delete_link(name=name) for name in names])
        except LabError as error:
            if not (isinstance(error, KernelError) and error.errno in (errno.ENOENT, errno.EINVAL)):
                failures.update({(namespace, name): error for name in names})
            continue
        for name, answer in zip(names, answers, strict=True):
            if answer.errno not in (0, errno.ENODEV):
                failures[namespace, name] = KernelError(
                    f"delete link {name} in {namespace}", answer.errno, answer.detail
                )
    return failures


def observe(pool: SocketPool, namespaces: Iterable[Path]) -> Mapping[Path, Mapping[str, LinkState]]:
    """The links of namespaces with their addresses, by name. A namespace that is gone is not in the answer.

    Raises:
        KernelError: a namespace is there but cannot be looked into.
    """
    found: dict[Path, Mapping[str, LinkState]] = {}
    wanted = list(dict.fromkeys(namespaces))
    for start in range(0, len(wanted), CHUNK):
        chunk = [namespace for namespace in wanted[start : start + CHUNK] if namespace.exists()]
        pool.warm(chunk)
        for namespace in chunk:
            with contextlib.suppress(FileNotFoundError), pool.use(namespace) as handle:
                found[namespace] = _look(handle, namespace)
    return found


def set_up(pool: SocketPool, namespace: Path, name: str, *, up: bool) -> None:
    """Bring a link up, or take it down (pull its cable).

    Raises:
        KernelError: there is no such link.
    """
    what = f"bring link {name} in {namespace} {'up' if up else 'down'}"
    with pool.use(namespace) as handle:
        (found,) = _request(handle, [rtnetlink.get_link(name)])
        _raise(what, found)
        (answer,) = _request(handle, [rtnetlink.set_link(rtnetlink.link_index(found.body), b"", up=up)])
        _raise(what, answer)


def ensure_route(pool: SocketPool, namespace: Path, destination: str, *, gateway: str) -> None:
    """Add or replace a route.

    Args:
        pool: the sockets.
        namespace: where.
        destination: `10.0.0.0/8`, or `default`.
        gateway: the next hop's address.

    Raises:
        KernelError: the gateway is on no link, for one.
    """
    with pool.use(namespace) as handle:
        (answer,) = _request(handle, [rtnetlink.new_route(destination, gateway=gateway)])
    _raise(f"route {destination} through {gateway} in {namespace}", answer)


def _create(pool: SocketPool, veths: Sequence[Veth], failures: dict[Veth, LabError]) -> list[Veth]:
    """Make pairs; returns those of which a name is taken."""
    taken: list[Veth] = []
    groups: dict[Path, list[Veth]] = defaultdict(list)
    for veth in veths:
        groups[veth.local.namespace].append(veth)
    for namespace, group in groups.items():
        for start in range(0, len(group), CHUNK):
            chunk = group[start : start + CHUNK]
            try:
                with pool.use(namespace) as handle:
                    taken += _create_chunk(handle, chunk, failures)
            except LabError as error:
                failures.update(dict.fromkeys(chunk, error))
    return taken


def _create_chunk(handle: NetlinkSocket, veths: Sequence[Veth], failures: dict[Veth, LabError]) -> list[Veth]:
    bridges = port_indexes(handle, {veth.local.bridge for veth in veths if veth.local.bridge is not None})
    with _opened({veth.peer.namespace for veth in veths}) as files:
        asked: list[Veth] = []
        requests: list[Request] = []
        for veth in veths:
            master = None if veth.local.bridge is None else bridges[veth.local.bridge]
            target = files[veth.peer.namespace]
            if isinstance(master, LabError):
                failures[veth] = master
            elif isinstance(target, LabError):
                failures[veth] = target
            else:
                asked.append(veth)
                requests.append(_veth_request(veth, master, target))
        answers = _request(handle, requests)
    taken: list[Veth] = []
    for veth, answer in zip(asked, answers, strict=True):
        if answer.errno == errno.EEXIST:
            taken.append(veth)
        elif answer.errno:
            failures[veth] = KernelError(f"create link {veth.local} to {veth.peer}", answer.errno, answer.detail)
    return taken


def _veth_request(veth: Veth, master: int | None, peer_namespace: int) -> Request:
    local, peer = veth.local, veth.peer
    return rtnetlink.new_veth(
        rtnetlink.common(name=local.name, mac=local.mac, mtu=local.mtu, master=master),
        rtnetlink.common(name=peer.name, mac=peer.mac, mtu=peer.mtu),
        peer_namespace=peer_namespace,
    )


def _bridge_request(bridge: Bridge) -> Request:
    return rtnetlink.new_bridge(rtnetlink.common(name=bridge.name, mac=bridge.mac, mtu=bridge.mtu))


def _rest(end: End, *, is_local: bool, adopted: bool) -> Configured | None:
    """What is left to do for an end after its creation, or None."""
    if adopted:
        return Configured(
            namespace=end.namespace, name=end.name, kind="veth", mac=end.mac, mtu=end.mtu, bridge=end.bridge or "",
            addresses=end.addresses, prune=True,
        )  # fmt: skip
    if is_local and not end.addresses:
        return None
    bridge = None if is_local else end.bridge
    return Configured(namespace=end.namespace, name=end.name, kind="veth", bridge=bridge, addresses=end.addresses)


def _is_pair(pool: SocketPool, veth: Veth) -> bool:
    """Whether the two ends exist and are each other's."""
    states: list[LinkState] = []
    for end in (veth.local, veth.peer):
        with pool.use(end.namespace) as handle:
            (found,) = _request(handle, [rtnetlink.get_link(end.name)])
        if found.errno:
            return False
        states.append(rtnetlink.read_link(found.body))
    local, peer = states
    return local.kind == peer.kind == "veth" and (local.peer, peer.peer) == (peer.index, local.index)


def _look(handle: NetlinkSocket, namespace: Path) -> dict[str, LinkState]:
    addresses: dict[int, list[str]] = defaultdict(list)
    try:
        links = [rtnetlink.read_link(body) for body in handle.dump(rtnetlink.RTM_GETLINK, rtnetlink.links_dump())]
        for body in handle.dump(rtnetlink.RTM_GETADDR, rtnetlink.addresses_dump()):
            index, address = rtnetlink.read_address(body)
            addresses[index].append(address)
    except OSError as error:
        raise explain(f"list the links of {namespace}", error) from error
    return {link.name: replace(link, addresses=tuple(addresses[link.index])) for link in links}


def _by_namespace(bridges: Iterable[Bridge]) -> dict[Path, list[Bridge]]:
    groups: dict[Path, list[Bridge]] = defaultdict(list)
    for bridge in bridges:
        groups[bridge.namespace].append(bridge)
    return groups


@contextlib.contextmanager
def _opened(paths: Iterable[Path]) -> Iterator[dict[Path, int | LabError]]:
    """Descriptors of namespaces, or why one cannot be had."""
    files: dict[Path, int | LabError] = {}
    try:
        for path in paths:
            try:
                files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                files[path] = explain(f"open network namespace {path}", error)
        yield files
    finally:
        for opened in files.values():
            if isinstance(opened, int):
                os.close(opened)


def _request(handle: NetlinkSocket, requests: Sequence[Request]) -> list[Answer]:
    try:
        return handle.request(requests)
    except OSError as error:
        raise explain("talk to the kernel over netlink", error) from error


def _raise(what: str, answer: Answer) -> None:
    if answer.errno:
        raise KernelError(what, answer.errno, answer.detail)
