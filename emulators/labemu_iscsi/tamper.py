"""Faults of the transport: an engine as its driver sees it, with what goes out delayed, corrupted, reordered or cut off.

A `Tamper` stands in a connection's place of the engine only while rules concern it; it has no socket and no clock of its own. What the
engine gives out are whole PDUs, so they can be told apart again by their lengths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from labemu_faults.action import ActionKind
from labemu_faults.rule import Armed
from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.events import Event
from labemu_iscsi.framing import DIGEST_LENGTH
from labemu_iscsi.limits import BHS_LENGTH
from labemu_iscsi.pdu import LENGTHS, Buffer, Opcode

WORDS: Final = {
    Opcode.NOP_IN: "nop-in",
    Opcode.SCSI_RESPONSE: "response",
    Opcode.TASK_MANAGEMENT_RESPONSE: "task-management-response",
    Opcode.LOGIN_RESPONSE: "login-response",
    Opcode.TEXT_RESPONSE: "text-response",
    Opcode.DATA_IN: "data-in",
    Opcode.LOGOUT_RESPONSE: "logout-response",
    Opcode.R2T: "r2t",
    Opcode.ASYNC_MESSAGE: "async-message",
    Opcode.REJECT: "reject",
}
"""What rules call the PDUs that a target sends."""

ACTIONS: Final = frozenset((ActionKind.LATENCY, ActionKind.DROP, ActionKind.CORRUPT, ActionKind.REORDER))
"""What is done to a connection's bytes."""

REORDER_WAIT: Final = 0.05
"""Seconds that a response waits for another to overtake it; at depth 1 none will."""

MAX_HELD: Final = 64 << 20
"""Bytes of output held back for one connection; beyond, the eldest go out early rather than fill the memory."""

_STATUS: Final = 0x01  # RFC 7143 11.7.3: the S bit of a Data-In


@dataclass(slots=True)
class _Held:
    """A PDU on its way out."""

    due: float
    pdu: bytes
    overtaken: bool = False  # it waits for a later response to pass it


class Tamper:
    """An engine with faults; whatever it does not change is the engine's.

    Args:
        engine: the engine.
        rules: those whose action is one of ACTIONS, in their order; they are asked for every PDU whether they concern it.
        now: the driver's clock, seconds.
        wake_at: asks the driver to take `data_to_send` again at a time.
    """

    def __init__(
        self,
        engine: TargetConnection,
        rules: Sequence[Armed],
        *,
        now: Callable[[], float],
        wake_at: Callable[[float], None],
    ) -> None:
        self.engine = engine
        self.rules = tuple(rules)
        self._now = now
        self._wake_at = wake_at
        self._queue: deque[_Held] = deque()
        self._held = 0
        self._dropped = False
        self._counted: dict[Armed, int] = {}

    @property
    def peer(self) -> str:
        """The initiator's address."""
        return self.engine.peer

    @property
    def error(self) -> str:
        """Why it ended."""
        return "dropped by an ordered fault" if self._dropped else self.engine.error

    @property
    def pending(self) -> int:
        """Bytes of output that wait in the engine."""
        return self.engine.pending

    @property
    def closed(self) -> bool:
        """Whether it ends once the output is sent."""
        return self._dropped or (self.engine.closed and not self._queue)

    def receive_buffer(self) -> memoryview:
        """As the engine's."""
        return self.engine.receive_buffer()

    def received(self, count: int, now: float) -> list[Event]:
        """As the engine's, unless it is the byte at which the connection is dropped: nothing of this receive is done then."""
        if self._counts(count, incoming=True) is not None:
            self._drop()
            return []
        return self.engine.received(count, now)

    @property
    def more(self) -> bool:
        """As the engine's."""
        return self.engine.more and not self._dropped

    def proceed(self) -> list[Event]:
        """As the engine's."""
        return self.engine.proceed()

    def check_deadline(self, now: float) -> None:
        """As the engine's."""
        self.engine.check_deadline(now)

    def connection_lost(self, reason: str = "connection lost") -> None:
        """As the engine's."""
        self.engine.connection_lost(reason)

    def data_to_send(self) -> list[Buffer]:
        """What is due, as the rules have left it."""
        if self._dropped:
            return []
        now = self._now()
        for pdu in self._pdus(b"".join(self.engine.data_to_send())):
            self._take(pdu, now)
        ready: list[Buffer] = []
        queue = self._queue
        while queue and (queue[0].due <= now or self._held > MAX_HELD):
            held = queue.popleft()
            self._held -= len(held.pdu)
            ready.append(held.pdu)
        if queue:
            self._wake_at(queue[0].due)
        return self._cut(ready)

    def release(self) -> list[Buffer]:
        """All that is held, for a driver that goes back to the engine."""
        held: list[Buffer] = [each.pdu for each in self._queue]
        self._queue.clear()
        self._held = 0
        return held

    def concerns(self, armed: Armed) -> bool:
        """Whether a rule is about this connection, as far as is known of it by now."""
        return concerns(armed, self.engine)

    def _pdus(self, stream: bytes) -> list[bytes]:
        """The PDUs of a stream of whole ones; a Login Response never has digests (RFC 7143 13.1)."""
        found = []
        at = 0
        while at < len(stream):
            (lengths,) = LENGTHS.unpack_from(stream, at + 4)
            size = (lengths & 0xFFFFFF) + 3 & ~3
            end = at + BHS_LENGTH + (lengths >> 24) * 4 + size
            if stream[at] & 0x3F != Opcode.LOGIN_RESPONSE:
                header, data = self.engine.digests
                end += (DIGEST_LENGTH if header else 0) + (DIGEST_LENGTH if data and size else 0)
            found.append(stream[at:end])
            at = end
        return found

    def _take(self, pdu: bytes, now: float) -> None:
        opcode = pdu[0] & 0x3F
        word = WORDS.get(Opcode(opcode), "")
        answers = opcode == Opcode.SCSI_RESPONSE or (opcode == Opcode.DATA_IN and pdu[1] & _STATUS != 0)
        due, overtaken = now, False
        for armed in self.rules:
            kind = armed.rule.action.kind
            if kind is ActionKind.DROP or not armed.concerns((word,)) or not self.concerns(armed):
                continue
            if kind is ActionKind.LATENCY:
                due += armed.delay(0, now) if armed.strike() else 0.0
            elif kind is ActionKind.CORRUPT:
                pdu = self._corrupt(pdu, armed)
            elif answers and not overtaken and armed.strike():
                overtaken = True
        self._put(_Held(due + (REORDER_WAIT if overtaken else 0.0), pdu, overtaken), passes=answers)

    def _put(self, held: _Held, *, passes: bool) -> None:
        """Queue it: behind what is there, or, if it is a response, before the response that waits to be overtaken."""
        queue = self._queue
        self._held += len(held.pdu)
        last = queue[-1] if queue else None
        if passes and last is not None and last.overtaken and not held.overtaken:
            last.overtaken = False
            last.due = held.due = max(held.due, last.due - REORDER_WAIT)
            queue.insert(len(queue) - 1, held)
            return
        if last is not None:
            held.due = max(held.due, last.due)
        queue.append(held)

    def _corrupt(self, pdu: bytes, armed: Armed) -> bytes:
        """The PDU with one bit turned over, where it has what is to be corrupted."""
        (lengths,) = LENGTHS.unpack_from(pdu, 4)
        header, data = self.engine.digests if pdu[0] & 0x3F != Opcode.LOGIN_RESPONSE else (False, False)
        size = lengths & 0xFFFFFF
        digest_at = BHS_LENGTH + (lengths >> 24) * 4
        data_at = digest_at + (DIGEST_LENGTH if header else 0)
        what = armed.rule.action.what
        possible = {"header-digest": header, "data-digest": data and size > 0, "payload": size > 0}[what]
        if not possible or not armed.strike():
            return pdu
        at = {
            "header-digest": digest_at,
            "data-digest": data_at + (size + 3 & ~3),
            "payload": data_at + (armed.random.randrange(size) if size else 0),
        }[what]
        return pdu[:at] + bytes((pdu[at] ^ 0x01,)) + pdu[at + 1 :]

    def _cut(self, ready: list[Buffer]) -> list[Buffer]:
        """Up to the byte at which the connection is dropped."""
        over = self._counts(sum(map(len, ready)), incoming=False)
        if over is None:
            return ready
        stream = b"".join(ready)
        self._drop()
        return [stream[: len(stream) - over]]

    def _counts(self, count: int, *, incoming: bool) -> int | None:
        """Count bytes; how many of them were too many for a rule that drops the connection, or None."""
        for armed in self.rules:
            action = armed.rule.action
            if action.kind is not ActionKind.DROP or action.received is not incoming or not self.concerns(armed):
                continue
            total = self._counted.get(armed, 0) + count
            if count and total >= action.after:
                self._counted[armed] = 0
                if armed.strike():
                    return min(total - action.after, count)
            else:
                self._counted[armed] = total
        return None

    def _drop(self) -> None:
        self._dropped = True
        self._queue.clear()


def concerns(armed: Armed, engine: TargetConnection) -> bool:
    """Whether a rule is about a connection: its initiator, target and portal, as far as they are known before its login."""
    session = engine.session
    name = session.initiator if session is not None else ""
    target = session.target.name if session is not None and session.target is not None else ""
    return selects(armed, name, target, engine.peer, engine.portal)


def selects(armed: Armed, initiator: str, target: str, peer: str, portal: str) -> bool:
    """Whether a rule is about an initiator (name, and address with port) at a target and a portal."""
    return (
        armed.admits(initiator, peer.rpartition(":")[0].strip("[]"))
        and armed.matches(armed.rule.target, target)
        and armed.matches(armed.rule.portal, portal)
    )
