"""A connection's state, which the rare requests share with the hot path of `connection.TargetConnection`.

What is done on them lives in modules of their own, as functions that take a `Link`: the receive path stays short, and none of
them needs to know it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from labemu_iscsi import multiple
from labemu_iscsi.errors import LocalError
from labemu_iscsi.events import Event
from labemu_iscsi.framing import Framer
from labemu_iscsi.login import Login
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import NO_LUN, NO_TAG, AsyncMessage
from labemu_iscsi.recovery import Recovery
from labemu_iscsi.sender import Sender
from labemu_iscsi.session import Session
from labemu_iscsi.task import Task
from labemu_iscsi.text import TextExchange
from labemu_scsi.command import Response


class Phase(Enum):
    """RFC 7143 8.1, as far as a target's engine sees it."""

    LOGIN = "login"
    FULL_FEATURE = "full feature"
    CLOSED = "closed"


class Link:
    """What one connection is made of.

    Args:
        node: the node that it belongs to.
        peer: the initiator's address, for messages.
        portal: the address that it came in at.
        wake: called when there is output, or an end, that did not come of a call to this connection.
    """

    def __init__(self, node: Node, *, peer: str, portal: str, wake: Callable[[], None]) -> None:
        self.node = node
        self.peer = peer
        self.portal = portal
        self.wake = wake
        self.phase = Phase.LOGIN
        self.error: str = ""
        self.session: Session | None = None
        self.cid = 0
        self.framer = Framer()
        self.sender = Sender()
        self.login: Login | None = Login(node, peer=peer, portal=portal)
        self.text = TextExchange(node)
        self.events: list[Event] = []
        self.recovery: Recovery | None = None  # from error recovery level 1 on
        self.heard = 0.0  # when anything came
        self.ping_tag = NO_TAG  # of a ping that was not answered
        self.ping_deadline = 0.0

    @property
    def closed(self) -> bool:
        """Whether it ends once the output is sent."""
        return self.phase is Phase.CLOSED

    @property
    def full(self) -> Session:
        """The session.

        Raises:
            LocalError: the login is not through.
        """
        if self.session is None:
            raise LocalError("there is no session")
        return self.session

    def close(self, reason: str, *, failed: bool = True) -> None:
        """End it; what waits to be sent still goes out.

        Args:
            reason: for messages.
            failed: it was not logged out; at error recovery level 0 that ends its whole session (RFC 7143 7.1.4.1).
        """
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.CLOSED
        self.error = reason
        session = self.session
        if session is not None:
            if not multiple.leave(session, self):
                self.node.close_session(session)
            elif failed and not session.parameters.recovery_level:
                self.node.drop(session, "another connection of the session failed")

    def abort(self, reason: str) -> None:
        """End it from outside."""
        self.close(reason, failed=False)
        self.wake()

    def take_held(self, pdu: bytes) -> None:
        """A command that came early on this connection has its turn."""
        raise NotImplementedError

    def respond(self, task: Task, response: Response) -> None:
        """Answer a command."""
        raise NotImplementedError

    def send_async(self, event: int, *, lun: bytes = NO_LUN, parameters: Sequence[int] = (), data: bytes = b"") -> None:
        """Send an asynchronous message (RFC 7143 11.9).

        Args:
            event: an AsyncEvent.
            lun: of a SCSI event.
            parameters: up to three, as the event has them.
            data: sense data behind its length, with a SCSI event.
        """
        session = self.full
        if self.phase is Phase.CLOSED:
            return
        first, second, third = (*parameters, 0, 0, 0)[:3]
        message = AsyncMessage(
            lun=lun,
            stat_sn=self.sender.next_stat_sn(),
            exp_cmd_sn=session.exp_cmd_sn,
            max_cmd_sn=session.max_cmd_sn,
            event=event,
            parameter1=first,
            parameter2=second,
            parameter3=third,
        )
        self.sender.put(message.pack(len(data)), data)
        self.wake()
