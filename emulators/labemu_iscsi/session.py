"""A target and its sessions (RFC 7143 4.2): what a session's connections share — numbering of commands, tasks, negotiated limits.

A target knows its sessions and a session its target, so both live here. Of its connections a session knows only where
they lead, and that they can be ended. There is one connection in each for now (MaxConnections=1); nothing here depends on that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from labemu_iscsi.limits import COMMAND_WINDOW
from labemu_iscsi.task import OpenR2t, Task
from labemu_scsi.device import Device

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
    """

    peer: str
    portal: str

    def abort(self, reason: str) -> None:
        """End it from outside; `reason` is for messages."""


@dataclass(kw_only=True)
class Target:
    """An iSCSI target.

    Args:
        name: its iSCSI name.
        device: the SCSI device behind it.
        portal_group: the target portal group tag.
        credentials: what an initiator must prove; None lets everybody in.
        initiators: names that may log in; None is any.
        sessions: those that are logged in.
    """

    name: str
    device: Device = field(default_factory=Device)
    portal_group: int = 1
    credentials: Credentials | None = None
    initiators: frozenset[str] | None = None
    sessions: set[Session] = field(default_factory=set)

    @property
    def port_name(self) -> str:
        """The SCSI name of its port (RFC 7143 4.4.2)."""
        return f"{self.name},t,{self.portal_group:#06x}"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What the leading login agreed on."""

    initial_r2t: bool
    immediate_data: bool
    max_burst: int
    first_burst: int
    max_outstanding_r2t: int

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
    ) -> None:
        self.initiator = initiator
        self.isid = isid
        self.tsih = tsih
        self.target = target
        self.nexus = nexus
        self.parameters = parameters
        self.exp_cmd_sn = exp_cmd_sn
        self.connections: list[Connection] = []
        self.tasks: dict[int, Task] = {}
        self.immediate_tasks = 0
        self.held: dict[int, bytes] = {}
        self.r2ts: dict[int, OpenR2t] = {}
        self.waiting: deque[Task] = deque()  # for their R2T
        self.solicited = 0  # bytes asked for that have not come
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

    def finish(self, task: Task) -> None:
        """A task is over: it frees its place in the window and whatever it waited for."""
        if self.tasks.pop(task.itt, None) is None:
            return
        if task.immediate:
            self.immediate_tasks -= 1
        if task.open_r2ts:
            for ttt in [ttt for ttt, r2t in self.r2ts.items() if r2t.task is task]:
                open_r2t = self.r2ts.pop(ttt)
                self.solicited -= open_r2t.end - open_r2t.offset
            task.open_r2ts = 0

    def abort(self, task: Task) -> None:
        """End a task that will not be answered."""
        task.aborted = True
        self.finish(task)
