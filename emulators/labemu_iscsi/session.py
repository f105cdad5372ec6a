"""A target and its sessions (RFC 7143 4.2): what a session's connections share — numbering of commands, tasks, negotiated limits.

A target knows its sessions and a session its target, so both live here. Of its connections a session knows only where
they lead, and that they can be ended.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from labemu_iscsi.budget import Budget
from labemu_iscsi.limits import COMMAND_WINDOW, TIME2RETAIN
from labemu_iscsi.pdu import AsyncEvent
from labemu_iscsi.task import OpenR2t, Task
from labemu_scsi.command import Response
from labemu_scsi.device import Device
from labemu_scsi.ports import PortGroup, TargetPort

if TYPE_CHECKING:
    from labemu_iscsi.auth import Credentials
    from labemu_iscsi.negotiation import Negotiator
    from labemu_scsi.nexus import Nexus

MASK = 0xFFFFFFFF


class Connection(Protocol):
    """What a session asks of its connections.

    Args:
        peer: the initiator's address, for messages.
        portal: the address that it came in at.
        cid: its identifier in the session (RFC 7143 11.12.7).
        wake: tells its driver that there is something to do.
    """

    peer: str
    portal: str
    cid: int
    wake: Callable[[], None]

    def abort(self, reason: str) -> None:
        """End it from outside; `reason` is for messages."""

    def take_held(self, pdu: bytes) -> None:
        """A command that came early on this connection has its turn."""

    def respond(self, task: Task, response: Response) -> None:
        """Answer a command."""

    def send_async(
        self, event: int, *, lun: bytes = bytes(8), parameters: Sequence[int] = (), data: bytes = b""
    ) -> None:
        """Send an asynchronous message (RFC 7143 11.9)."""


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(kw_only=True)
class Target:
    """An iSCSI target.

    Args:
        name: its iSCSI name.
        device: the SCSI device behind it.
        tags: the portal groups through which it is reached; each is a target port and a target port group of its own.
        first_port: the relative identifier of the first of these ports, and of its group; the others follow.
        credentials: what an initiator must prove; None lets everybody in.
        credentials_of: what single initiators must prove instead, by name.
        initiators: names that may log in; None is any.
        networks: where they may come from; None is anywhere.
        redirect: an address that logins are sent to instead; empty for none.
        sessions: those that are logged in.
    """

    name: str
    device: Device = field(default_factory=Device)
    tags: Sequence[int] = (1,)
    first_port: int = 1
    credentials: Credentials | None = None
    credentials_of: dict[str, Credentials] = field(default_factory=dict)
    initiators: frozenset[str] | None = None
    networks: tuple[Network, ...] | None = None
    redirect: str = ""
    sessions: set[Session] = field(default_factory=set)
    groups: dict[int, PortGroup] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for number, tag in enumerate(self.tags, self.first_port):
            port = TargetPort(f"{self.name},t,{tag:#06x}", self.name, number)  # its SCSI name, RFC 7143 4.4.2
            self.groups[tag] = self.device.groups[number] = PortGroup(number, [port])

    def admits(self, initiator: str, peer: str) -> bool:
        """Whether the access lists let an initiator in from an address with port."""
        if self.initiators is not None and initiator not in self.initiators:
            return False
        if self.networks is None:
            return True
        try:
            address = ipaddress.ip_address(peer.rpartition(":")[0].strip("[]").partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.networks)

    def credentials_for(self, initiator: str) -> Credentials | None:
        """What an initiator must prove."""
        return self.credentials_of.get(initiator, self.credentials)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What the leading login agreed on."""

    initial_r2t: bool
    immediate_data: bool
    max_burst: int
    first_burst: int
    max_outstanding_r2t: int
    max_connections: int
    recovery_level: int
    pdus_in_order: bool
    sequences_in_order: bool
    time2wait: int
    time2retain: int
    protocol_level: int

    @classmethod
    def of(cls, negotiator: Negotiator) -> Parameters:
        """The outcome of a negotiation; a first burst is never longer than a burst (RFC 7143 13.14)."""
        burst = negotiator.number("MaxBurstLength")
        return cls(
            initial_r2t=negotiator.flag("InitialR2T"),
            immediate_data=negotiator.flag("ImmediateData"),
            max_burst=burst,
            first_burst=min(negotiator.number("FirstBurstLength"), burst),
            max_outstanding_r2t=negotiator.number("MaxOutstandingR2T"),
            max_connections=negotiator.number("MaxConnections"),
            recovery_level=negotiator.number("ErrorRecoveryLevel"),
            pdus_in_order=negotiator.flag("DataPDUInOrder"),
            sequences_in_order=negotiator.flag("DataSequenceInOrder"),
            time2wait=negotiator.number("DefaultTime2Wait"),
            time2retain=min(negotiator.number("DefaultTime2Retain"), TIME2RETAIN),  # also when nobody spoke of it
            protocol_level=negotiator.number("iSCSIProtocolLevel"),
        )


class Session:
    """A session.

    Args:
        initiator: the initiator's name.
        isid: six bytes.
        tsih: our handle.
        target: the target, or None in a discovery session.
        nexus: the I_T nexus, or None in a discovery session.
        parameters: as negotiated.
        exp_cmd_sn: the first command's number.
        budget: the node's room for data-out.
    """

    def __init__(
        self,
        *,
        initiator: str,
        isid: bytes,
        tsih: int,
        target: Target | None,
        nexus: Nexus | None,
        parameters: Parameters,
        exp_cmd_sn: int,
        budget: Budget,
    ) -> None:
        self.initiator = initiator
        self.budget = budget
        self.isid = isid
        self.tsih = tsih
        self.target = target
        self.nexus = nexus
        self.tag = 1  # the portal group that it was opened at
        self.parameters = parameters
        self.exp_cmd_sn = exp_cmd_sn
        self.connections: list[Connection] = []
        self.tasks: dict[int, Task] = {}
        self.immediate_tasks = 0
        self.held: dict[
            int, tuple[Connection | None, bytes]
        ] = {}  # by CmdSN; without a connection: aborted before it came
        self.r2ts: dict[int, OpenR2t] = {}
        self.waiting: deque[Task] = deque()  # for their R2T
        self.solicited = 0  # bytes of data-out that tasks hold
        self.in_order = (  # data-out comes in order, or is an error
            parameters.pdus_in_order and parameters.sequences_in_order and not parameters.recovery_level
        )
        self.plain = parameters.max_connections == 1  # there is no question of which connection a task belongs to
        self.commands = 0
        self.next_ttt = 1

    @property
    def max_cmd_sn(self) -> int:
        """The last number that the initiator may use: it only ever grows (RFC 7143 4.2.2.1)."""
        free = COMMAND_WINDOW - len(self.tasks) + self.immediate_tasks
        return (self.exp_cmd_sn + free - 1) & MASK

    def new_ttt(self) -> int:
        """A target transfer tag; never the reserved one."""
        tag = self.next_ttt
        self.next_ttt = tag % 0xFFFFFFFE + 1
        return tag

    def send_async(
        self, event: int, *, lun: bytes = bytes(8), parameters: Sequence[int] = (), data: bytes = b""
    ) -> None:
        """Send an asynchronous message on the session's oldest connection."""
        if self.connections:
            self.connections[0].send_async(event, lun=lun, parameters=parameters, data=data)

    def report(self, lun: bytes, sense: bytes) -> None:
        """Tell of a SCSI event: sense data that no command asked for (RFC 7143 11.9.1)."""
        self.send_async(AsyncEvent.SCSI, lun=lun, data=len(sense).to_bytes(2, "big") + sense)

    def request_logout(self, seconds: int) -> None:
        """Ask the initiator to log out of every connection within so many seconds."""
        for connection in list(self.connections):
            connection.send_async(AsyncEvent.LOGOUT_REQUEST, parameters=(0, 0, seconds))

    def request_negotiation(self, seconds: int) -> None:
        """Ask the initiator for a text request, to negotiate anew, within so many seconds."""
        self.send_async(AsyncEvent.NEGOTIATION_REQUEST, parameters=(0, 0, seconds))

    def wake(self) -> None:
        """There is something to do for its connections: tasks that waited for room may have it."""
        for connection in list(self.connections):
            connection.wake()

    def announce_end(self) -> None:
        """Tell that all connections are about to be dropped, and when to come back."""
        times = (0, self.parameters.time2wait, self.parameters.time2retain)
        for connection in list(self.connections):
            connection.send_async(AsyncEvent.ALL_CONNECTIONS_DROPPED, parameters=times)

    def finish(self, task: Task) -> None:
        """A task is over: it frees its place in the window and whatever it waited for."""
        if self.tasks.pop(task.itt, None) is None:
            return
        if task.immediate:
            self.immediate_tasks -= 1
        if task.reserved:
            self.solicited -= task.reserved
            self.budget.give_back(task.reserved)
            task.reserved = 0
        if task.open_r2ts:
            for ttt in [ttt for ttt, r2t in self.r2ts.items() if r2t.task is task]:
                del self.r2ts[ttt]
            task.open_r2ts = 0

    def abort(self, task: Task) -> None:
        """End a task that will not be answered."""
        task.aborted = True
        self.finish(task)
