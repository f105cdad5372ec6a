"""The server: portals, targets and LUNs, all of which can change while sessions are live.

Everything here runs on one event loop; call it from there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from labemu_io.linger import Linger
from labemu_iscsi.auth import Credentials
from labemu_iscsi.io.connection import SocketConnection
from labemu_iscsi.io.executor import WorkExecutor
from labemu_iscsi.io.faults import IscsiFaults
from labemu_iscsi.io.patrol import Patrol
from labemu_iscsi.limits import MAX_CONNECTIONS, MAX_NAME, PING_AFTER, PING_TIMEOUT
from labemu_iscsi.node import Node
from labemu_iscsi.session import Network, Target
from labemu_iscsi.watch import UnitWatch
from labemu_scsi.persistent_state import StateStore
from labemu_scsi.ports import AccessState, Cause
from labemu_scsi.unit import LogicalUnit
from labemu_stages.feed import Feed
from labemu_store.block import BlockStore

logger = logging.getLogger(__name__)

_BACKLOG: Final = 128
_ACCEPT_BATCH: Final = 16  # connections taken in one turn, so that a flood leaves time for others
_NAME = re.compile(r"(iqn\.\d{4}-\d{2}\.[a-z0-9.\-]+(:[^\s,A-Z]+)?|eui\.[0-9A-Fa-f]{16}|naa\.[0-9A-Fa-f]{16,32})")


class ServerConfigError(ValueError):
    """A server that cannot be set up as asked.

    Args:
        message: what happened.
        hint: what to do.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class SessionInfo:
    """A session, for whoever asks who is there."""

    initiator: str
    isid: str
    tsih: int
    target: str
    address: str
    portal: str
    commands: int


class IscsiServer:
    """An iSCSI target server.

    Args:
        portals: addresses (numeric) and ports to listen at; port 0 takes a free one.
        allow_wildcard: permit 0.0.0.0 and ::, which would serve every network of the machine.
        tags: the portal group tag of each portal, 1 to 65535; None puts all into group 1.
        ping_after: seconds that an initiator may be silent until it is asked whether it is there; 0 never asks.
        ping_timeout: seconds that it then has to answer; a dead one's sessions and reservations are let go.
    """

    def __init__(
        self,
        portals: Sequence[tuple[str, int]],
        *,
        allow_wildcard: bool = False,
        tags: Sequence[int] | None = None,
        ping_after: float = PING_AFTER,
        ping_timeout: float = PING_TIMEOUT,
    ) -> None:
        for host, _ in portals:
            _check_portal(host, allow_wildcard=allow_wildcard)
        self._requested = list(portals)
        self._tags = [1] * len(portals) if tags is None else list(tags)
        if len(self._tags) != len(portals) or not all(1 <= tag <= 0xFFFF for tag in self._tags):
            raise ServerConfigError("a portal group tag is between 1 and 65535", hint="give each portal one")
        self._listeners: list[socket.socket] = []
        self._connections: set[SocketConnection] = set()
        self._node = Node(entropy=secrets.token_bytes)
        self._node.ping_after = ping_after
        self._node.ping_timeout = ping_timeout
        self._patrol: Patrol | None = None
        self._executor: WorkExecutor | None = None
        self._linger = Linger()
        self.faults = IscsiFaults(self._node, lambda: self._connections)
        self._feed: Feed | None = None
        self._watch: UnitWatch | None = None

    @property
    def portals(self) -> list[tuple[str, int]]:
        """Where it listens, with the ports that port 0 became."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    @property
    def targets(self) -> Mapping[str, Target]:
        """The targets by name."""
        return self._node.targets

    async def start(self) -> None:
        """Listen at every portal, or at none.

        Raises:
            ServerConfigError: an address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._executor = WorkExecutor(loop)
        self.faults.now = loop.time
        try:
            for host, port in self._requested:
                self._listeners.append(_listen(host, port))
        except ServerConfigError:
            await self.close()
            raise
        self._node.portals = [_format(host, port) for host, port in self.portals]
        self._node.tags = dict(zip(self._node.portals, self._tags, strict=True))
        for listener in self._listeners:
            loop.add_reader(listener, self._accept, listener)
        if self._node.ping_after:
            interval = min(self._node.ping_after, self._node.ping_timeout) / 4
            self._patrol = Patrol(loop, self._connections, interval)

    async def close(self) -> None:
        """Stop listening, end the connections, finish what is under way, and close every unit's store."""
        loop = asyncio.get_running_loop()
        if self._patrol is not None:
            self._patrol.stop()
            self._patrol = None
        for listener in self._listeners:
            loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections):
            connection.close()
        if self._executor is not None:
            await self._executor.close()
            self._executor = None
        units = {unit for target in self._node.targets.values() for unit in target.device.units.values()}
        self._node.targets.clear()
        closed = await asyncio.gather(*(asyncio.to_thread(unit.store.close) for unit in units), return_exceptions=True)
        for unit, failure in zip(units, closed, strict=True):
            if isinstance(failure, OSError):
                logger.error("LUN with serial %s could not be flushed: %s", unit.serial, failure.strerror)
            elif failure is not None:
                raise failure

    def add_target(
        self,
        name: str,
        *,
        credentials: Credentials | None = None,
        initiators: Sequence[str] | None = None,
        networks: Sequence[str] | None = None,
        groups: Sequence[int] | None = None,
    ) -> Target:
        """A new target.

        Args:
            name: `iqn.2026-11.lab:t1`, or an eui. or naa. name.
            credentials: CHAP; None lets everybody in.
            initiators: names that may log in; None is any.
            networks: where they may come from, such as 10.0.0.0/24; None is anywhere.
            groups: tags of the portal groups that it is reached through; None is all of the server.

        Raises:
            ServerConfigError: no iSCSI name, or it exists; no network; no such portal group.
        """
        if not _NAME.fullmatch(name) or len(name.encode()) > MAX_NAME:
            raise ServerConfigError(
                f"{name!r} is not an iSCSI name", hint="write it like iqn.2026-11.lab:disks, in lower case"
            )
        if name in self._node.targets:
            raise ServerConfigError(f"the target {name} exists already", hint="give each target a name of its own")
        tags = sorted(set(self._tags) if groups is None else set(groups))
        if not tags or not set(tags) <= set(self._tags):
            raise ServerConfigError(f"{name}: no portal is in group {groups}", hint="give a portal that tag")
        target = Target(
            name=name,
            credentials=credentials,
            initiators=None if initiators is None else frozenset(initiators),
            networks=parse_networks(networks),
            tags=tags,
            first_port=self._node.free_ports(len(tags)),
        )
        self._node.targets[name] = target
        return target

    async def remove_target(self, name: str) -> None:
        """End its sessions, and close its units' stores.

        Raises:
            KeyError: there is none.
        """
        target = self._node.targets.pop(name)
        for session in list(target.sessions):
            session.announce_end()
            self._node.drop(session, "the target was removed")
        units = {target.device.remove_unit(number) for number in list(target.device.units)}
        await self._drain()
        for unit in units:
            if not unit.attentions.homes:
                unit.store.close()

    def set_access(
        self, name: str, *, initiators: Sequence[str] | None = None, networks: Sequence[str] | None = None
    ) -> None:
        """Set a target's access lists anew, None for anybody; sessions that they no longer let in end.

        Raises:
            KeyError: no such target.
            ServerConfigError: no network.
        """
        target = self._node.targets[name]
        target.networks = parse_networks(networks)
        target.initiators = None if initiators is None else frozenset(initiators)
        for session in list(target.sessions):
            if not all(target.admits(session.initiator, connection.peer) for connection in session.connections):
                self._node.drop(session, "access was withdrawn")

    def set_credentials(self, name: str, credentials: Credentials | None, *, initiator: str = "") -> None:
        """What must be proven from the next login on, by one initiator or by all that have none of their own.

        Raises:
            KeyError: no such target.
        """
        target = self._node.targets[name]
        if not initiator:
            target.credentials = credentials
        elif credentials is None:
            target.credentials_of.pop(initiator, None)
        else:
            target.credentials_of[initiator] = credentials

    def set_discovery_credentials(self, credentials: Credentials | None) -> None:
        """What must be proven in discovery from the next login on; None shows the targets to everybody who is let in."""
        self._node.discovery_credentials = credentials

    def set_access_state(self, name: str, tag: int, state: AccessState, *, preferred: bool | None = None) -> None:
        """Bring a target's portal group into an asymmetric access state; its initiators are told (SPC-4 5.15).

        Raises:
            KeyError: no such target, or it has no such group.
        """
        target = self._node.targets[name]
        group = target.groups[tag]
        if preferred is not None:
            group.preferred = preferred
        target.device.change_access(group, state, Cause.IMPLICIT, None)

    def request_logout(self, name: str, seconds: int) -> None:
        """Ask a target's initiators to log out (RFC 7143 11.9.1); sessions that are still there after so long are ended.

        Raises:
            KeyError: no such target.
        """
        for session in list(self._node.targets[name].sessions):
            session.request_logout(seconds)
            asyncio.get_running_loop().call_later(seconds, self._node.drop, session, "it did not log out when asked")

    def redirect(self, name: str, address: str) -> None:
        """Send logins at a target to another address, such as 10.0.0.2:3260; an empty one takes them again.

        Raises:
            KeyError: no such target.
        """
        self._node.targets[name].redirect = address

    def share_lun(self, source: str, number: int, target: str, at: int) -> None:
        """Put a target's disk into another target as well: one unit, with one state, reached by more ways.

        Raises:
            KeyError: no such target or LUN.
            ValueError: the LUN is taken or out of range.
        """
        unit = self._node.targets[source].device.units[number]
        self._node.targets[target].device.add_unit(at, unit)
        self.faults.apply()

    def add_lun(
        self,
        target: str,
        number: int,
        store: BlockStore,
        *,
        serial: str | None = None,
        naa: bytes | None = None,
        block_size: int = 512,
        physical_block_size: int = 4096,
        thin: bool = True,
        removable: bool = False,
        read_only: bool = False,
        product: str = "VIRTUAL-DISK",
        state: StateStore | None = None,
    ) -> LogicalUnit:
        """Put a disk at a LUN; live sessions are told. The server closes the store when the LUN is removed.

        Args:
            target: its name.
            number: the LUN, 0 to 16383.
            store: where the blocks are kept.
            serial: the unit serial number; stable across restarts: by default derived from target and LUN.
            naa: 8 or 16 bytes of worldwide identifier; by default derived from the serial.
            block_size: 512 or 4096.
            physical_block_size: bytes that the medium would write at a time, a power of two from `block_size` on.
            thin: claim thin provisioning.
            removable: the medium can be ejected.
            read_only: write-protected.
            product: up to 16 characters for INQUIRY.
            state: keeps persistent reservations over restarts (`labemu_iscsi.io.state.FileStateStore`); None refuses APTPL.

        Raises:
            KeyError: no such target.
            ValueError: the LUN is taken or out of range; what `state` kept is damaged.
        """
        device = self._node.targets[target].device
        unit = LogicalUnit(
            store,
            serial=serial if serial is not None else f"{target}:{number}",
            naa=naa,
            block_size=block_size,
            physical_block_size=physical_block_size,
            thin=thin,
            removable=removable,
            read_only=read_only,
            product=product,
            state=state,
        )
        device.add_unit(number, unit)
        self.faults.apply()
        unit.set_watch(self._watch)
        return unit

    async def remove_lun(self, target: str, number: int) -> None:
        """Take a disk away, finish what is under way, and close its store.

        Raises:
            KeyError: no such target or LUN.
            OSError: the store could not be flushed; it is closed.
        """
        unit = self._node.targets[target].device.remove_unit(number)
        await self._drain()
        if not unit.attentions.homes:
            await asyncio.to_thread(unit.store.close)

    def resize_lun(self, target: str, number: int, size: int) -> None:
        """Grow or shrink a disk to `size` bytes; live sessions are told.

        Raises:
            KeyError: no such target or LUN.
        """
        self._node.targets[target].device.units[number].resize(size)

    async def exchange_store(self, target: str, number: int, exchange: Callable[[BlockStore], BlockStore]) -> None:
        """Put another store under a disk that initiators use, between two commands. It holds the same blocks: nobody is told.

        Args:
            target: the target's name.
            number: the LUN.
            exchange: gets the store and returns the one that takes its place; must not block.

        Raises:
            KeyError: no such target or LUN.
        """
        unit = self._node.targets[target].device.units[number]
        async with AsyncExitStack() as stack:
            if self._executor is not None:
                await stack.enter_async_context(self._executor.idle())
            unit.store = exchange(unit.store)
            unit.refresh()

    def watch(self, feed: Feed | None) -> None:
        """Note the stages of commands there, or (None) no more; it costs the fast lane while it lasts."""
        self._feed = feed
        self._watch = None if feed is None else UnitWatch(feed.time)
        for target in self._node.targets.values():
            for unit in target.device.units.values():
                unit.set_watch(self._watch)
        for connection in tuple(self._connections):
            connection.watch(feed)

    def sessions(self) -> list[SessionInfo]:
        """Who is logged in."""
        return [
            SessionInfo(
                initiator=session.initiator,
                isid=session.isid.hex(),
                tsih=session.tsih,
                target="" if session.target is None else session.target.name,
                address=connection.peer,
                portal=connection.portal,
                commands=session.commands,
            )
            for session in self._node.sessions.values()
            for connection in session.connections
        ]

    async def _drain(self) -> None:
        if self._executor is not None:
            await self._executor.drain()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the peer is gone already, or descriptors are short
                logger.warning("cannot accept a connection: %s", error.strerror)
                return
            if len(self._connections) >= MAX_CONNECTIONS or self._executor is None:
                sock.close()
                continue
            peer, portal = _format(*address[:2]), _format(*sock.getsockname()[:2])
            if self.faults.resets(peer, portal):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close then resets
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection = SocketConnection(
                asyncio.get_running_loop(),
                sock,
                node=self._node,
                executor=self._executor,
                linger=self._linger,
                peer=peer,
                portal=portal,
                closed=self._connections.discard,
                logged_in=self.faults.accepted,
            )
            self._connections.add(connection)
            self.faults.accepted(connection)
            if self._feed is not None:
                connection.watch(self._feed)


def _format(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_networks(networks: Sequence[str] | None) -> tuple[Network, ...] | None:
    """Networks, or single addresses, from their texts.

    Raises:
        ServerConfigError: one is none.
    """
    if networks is None:
        return None
    try:
        return tuple(map(ipaddress.ip_network, networks))
    except ValueError as error:
        raise ServerConfigError(str(error), hint="write networks like 10.0.0.0/24") from error


def _check_portal(host: str, *, allow_wildcard: bool) -> None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError as error:
        raise ServerConfigError(f"{host!r} is not an address", hint="give a numeric one, such as 10.0.0.1") from error
    if address.is_unspecified and not allow_wildcard:
        raise ServerConfigError(
            f"{host} would serve every network of this machine",
            hint="give one address, or permit it with --allow-wildcard",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a killed target comes back on the same port at once
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ServerConfigError(
            f"cannot listen at {_format(host, port)}: {error.strerror}", hint="is another target running there?"
        ) from error
    sock.setblocking(False)
    return sock
