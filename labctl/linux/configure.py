"""The second step for links that exist: master, MTU, MAC, up, addresses; batched by namespace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from labctl.errors import LabError
from labctl.linux import rtnetlink
from labctl.linux.errors import KernelError, explain
from labctl.linux.netlink import NetlinkSocket, Request
from labctl.linux.rtnetlink import LinkState
from labctl.linux.sockets import SocketPool

CHUNK = 64
"""Namespaces whose sockets are opened together."""


@dataclass(frozen=True, kw_only=True)
class Configured:
    """How an existing link shall be.

    Args:
        namespace: where it is.
        name: its name.
        kind: veth, bridge, tun: another kind under that name is an error.
        mac: or None to leave it.
        mtu: or None to leave it.
        bridge: a bridge's name, "" for none, or None to leave it.
        addresses: to have.
        prune: whether to remove other addresses (link-local ones stay).
    """

    namespace: Path
    name: str
    kind: str
    mac: str | None = None
    mtu: int | None = None
    bridge: str | None = None
    addresses: tuple[str, ...] = ()
    prune: bool = False


def configure(pool: SocketPool, links: Sequence[Configured]) -> dict[Configured, LabError]:
    """Bring links up and make them as wanted.

    Returns:
        The failures, by link.
    """
    failures: dict[Configured, LabError] = {}
    groups: dict[Path, list[Configured]] = defaultdict(list)
    for link in links:
        groups[link.namespace].append(link)
    namespaces = list(groups)
    for start in range(0, len(namespaces), CHUNK):
        chunk = namespaces[start : start + CHUNK]
        try:
            pool.warm(chunk)
        except LabError as error:
            failures.update({link: error for namespace in chunk for link in groups[namespace]})
            continue
        for namespace in chunk:
            try:
                with pool.use(namespace) as handle:
                    _configure_in(handle, groups[namespace], failures)
            except LabError as error:
                failures.update(dict.fromkeys(groups[namespace], error))
            except OSError as error:
                failures.update(dict.fromkeys(groups[namespace], explain(f"set up links in {namespace}", error)))
    return failures


def port_indexes(handle: NetlinkSocket, names: Iterable[str]) -> dict[str, int | LabError]:
    """The indexes of bridges by name, or why one cannot be used."""
    wanted = list(names)
    found: dict[str, int | LabError] = {}
    try:
        answers = handle.request([rtnetlink.get_link(name) for name in wanted])
    except OSError as error:
        raise explain("look for bridges", error) from error
    for name, answer in zip(wanted, answers, strict=True):
        if answer.errno:
            found[name] = KernelError(f"find bridge {name}", answer.errno, answer.detail)
        else:
            found[name] = rtnetlink.link_index(answer.body)
    return found


def _configure_in(handle: NetlinkSocket, links: Sequence[Configured], failures: dict[Configured, LabError]) -> None:
    bridges = port_indexes(handle, {link.bridge for link in links if link.bridge})
    present = _present(handle) if any(link.prune for link in links) else {}
    owners: list[Configured] = []
    requests: list[Request] = []
    answers = handle.request([rtnetlink.get_link(link.name) for link in links])
    for link, answer in zip(links, answers, strict=True):
        master = bridges[link.bridge] if link.bridge else 0
        state = None if answer.errno else rtnetlink.read_link(answer.body)
        if state is None:
            failures[link] = KernelError(_what(link), answer.errno, answer.detail)
        elif state.kind != link.kind:
            failures[link] = LabError(
                f"cannot {_what(link)}: it is a {state.kind or 'device'}, not a {link.kind}",
                hint=f"remove it with `ip -n {link.namespace.name} link del {link.name}`",
            )
        elif isinstance(master, LabError):
            failures[link] = master
        else:
            steps = _steps(link, state, master, present.get(state.index, ()))
            owners += [link] * len(steps)
            requests += steps
    for link, answer in zip(owners, handle.request(requests), strict=True):
        if answer.errno:
            failures.setdefault(link, KernelError(_what(link), answer.errno, answer.detail))


def _steps(link: Configured, state: LinkState, master: int, present: Sequence[str]) -> list[Request]:
    """The requests that lead from a link's state to what is wanted; few or none where it is so already."""
    changed = rtnetlink.common(
        mac=link.mac if link.mac is not None and link.mac.lower() != state.mac else None,
        # A bridge's MTU is set even if equal: only what was set by hand stays when ports come and go.
        mtu=link.mtu if link.kind == "bridge" or link.mtu != state.mtu else None,
        master=master if link.bridge is not None and master != state.master else None,
    )
    steps: list[Request] = []
    if changed or not state.up:
        steps.append(rtnetlink.set_link(state.index, changed, up=True))
    if link.prune:
        steps += [rtnetlink.delete_address(state.index, address) for address in present if _is_surplus(address, link)]
    steps += [rtnetlink.new_address(state.index, address) for address in link.addresses]
    return steps


def _present(handle: NetlinkSocket) -> dict[int, list[str]]:
    """The addresses of a namespace, by link."""
    found: dict[int, list[str]] = defaultdict(list)
    for body in handle.dump(rtnetlink.RTM_GETADDR, rtnetlink.addresses_dump()):
        index, address = rtnetlink.read_address(body)
        found[index].append(address)
    return found


def _is_surplus(address: str, link: Configured) -> bool:
    parsed = ip_interface(address)
    return not parsed.is_link_local and parsed not in {ip_interface(wanted) for wanted in link.addresses}


def _what(link: Configured) -> str:
    return f"set up link {link.name} in {link.namespace}"
