"""Faults of a logical unit: what ordered rules do to its commands.

Theory: a command that passed the usual checks (reservations, a pending unit attention) is shown to the unit's rules in their order.
Delays add up; the first rule that answers in the unit's place decides. A delayed or paused command is done at once and answered
later, so its data need not be kept; a silenced one is not done and never answered, until its initiator aborts it.

A unit without rules has no object of this kind, and its guard flag keeps even that question off the fast path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from labemu_faults.action import ActionKind
from labemu_faults.errors import FaultError, unknown
from labemu_faults.gate import NEVER, Gate
from labemu_faults.rule import Armed, Rule
from labemu_scsi.cdb import RW6, RW10, RW12, RW16
from labemu_scsi.command import Buffer, Command, Deferred, Outcome, Response, Status
from labemu_scsi.sense import CheckCondition, SenseKey, WriteProtected

ACTIONS: Final = frozenset(
    (
        ActionKind.LATENCY,
        ActionKind.RATE,
        ActionKind.SENSE,
        ActionKind.STATUS,
        ActionKind.READONLY,
        ActionKind.SILENCE,
        ActionKind.PAUSE,
    )
)
"""What a unit can do."""

SENSES: Final[dict[str, tuple[int, int, int]]] = {
    "medium": (SenseKey.MEDIUM_ERROR, 0x11, 0x00),  # UNRECOVERED READ ERROR
    "write": (SenseKey.MEDIUM_ERROR, 0x0C, 0x00),  # WRITE ERROR
    "hardware": (SenseKey.HARDWARE_ERROR, 0x44, 0x00),  # INTERNAL TARGET FAILURE
    "pdl": (SenseKey.ILLEGAL_REQUEST, 0x25, 0x00),  # LOGICAL UNIT NOT SUPPORTED: a permanent device loss
    "not-ready": (SenseKey.NOT_READY, 0x04, 0x00),  # LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE
    "aborted": (SenseKey.ABORTED_COMMAND, 0x00, 0x00),
    "out-of-space": (SenseKey.DATA_PROTECT, 0x27, 0x07),  # SPACE ALLOCATION FAILED WRITE PROTECT
    "write-protected": (SenseKey.DATA_PROTECT, 0x27, 0x00),
}
"""Sense data by the word that users order it with: key, ASC, ASCQ (SPC-4 annex D)."""

STATUSES: Final[dict[str, int]] = {
    "busy": Status.BUSY,
    "task-set-full": Status.TASK_SET_FULL,
    "reservation-conflict": Status.RESERVATION_CONFLICT,
}
"""Statuses by their word (SAM-5 table 43)."""

_FAMILIES: Final[dict[int, str]] = {
    **dict.fromkeys((0x08, 0x28, 0xA8, 0x88), "read"),
    **dict.fromkeys((0x0A, 0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E, 0x8B, 0x89, 0x9C), "write"),
    **dict.fromkeys((0x2F, 0xAF, 0x8F), "verify"),
    **dict.fromkeys((0x35, 0x91), "flush"),
    0x42: "unmap",
}
_WRITE_SAME: Final = (0x41, 0x93)
_UNMAP_BIT: Final = 0x08
FAMILIES: Final = ("read", "write", "unmap", "zero", "flush", "verify")
"""The words that stand for several operation codes. A WRITE SAME is `unmap` with its UNMAP bit and `zero` without."""

_CHANGING: Final = frozenset(("write", "unmap", "zero"))
_BY_GROUP: Final = {0: RW6, 1: RW10, 2: RW10, 4: RW16, 5: RW12}  # SPC-4 4.2.5.1: bits 7-5 tell a CDB's length
_COMPARE_AND_WRITE: Final = 0x89
_WRITE_ATOMIC: Final = 0x9C


def words_of(name: str) -> tuple[str, ...]:
    """How users may write an operation's name: READ(10) is `read(10)`, `read10` and `read-10`."""
    word = name.casefold().replace(" ", "-")
    return word, word.replace("(", "").replace(")", ""), word.replace("(", "-").replace(")", "")


def check_rule(rule: Rule, names: Iterable[str]) -> None:
    """Refuse what no unit understands.

    Args:
        rule: what was ordered.
        names: the standard's names of the operations that there are.

    Raises:
        FaultError: an operation or an action that units do not have.
    """
    if rule.action.kind not in ACTIONS:
        raise FaultError(
            f"{rule.action.kind} is nothing that a LUN can do", hint=f"it can: {', '.join(sorted(ACTIONS))}"
        )
    known = [*FAMILIES, *(word for name in names for word in words_of(name))]
    for word in rule.operations:
        if not any(Armed(Rule(id="", action=rule.action, operations=(word,))).concerns((each,)) for each in known):
            raise unknown("operation", word, known)


def family_of(cdb: bytes) -> str:
    """The word that a command's operation code belongs to, or nothing."""
    if cdb[0] in _WRITE_SAME:
        return "unmap" if cdb[1] & _UNMAP_BIT else "zero"
    return _FAMILIES.get(cdb[0], "")


def blocks_of(cdb: bytes, data: Buffer) -> list[tuple[int, int]]:
    """The (LBA, number of blocks) ranges that a command is about; none for those that are about the whole unit.

    Never raises: a CDB that says nonsense was refused before, or is by its handler.
    """
    opcode = cdb[0]
    if opcode == 0x42:
        return [
            (int.from_bytes(data[at : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big"))
            for at in range(8, len(data) - 15, 16)
        ]
    if not family_of(cdb) or opcode >> 5 not in _BY_GROUP:
        return []
    fields = _BY_GROUP[opcode >> 5].unpack_from(cdb)
    if opcode >> 5 == 0:
        return [((fields[0] & 0x1F) << 16 | fields[1], fields[2] or 256)]
    if opcode == _COMPARE_AND_WRITE:
        return [(fields[1], cdb[13])]
    if family_of(cdb) == "flush" and not fields[2]:  # SBC-3 5.22: zero blocks is up to the end
        return [(fields[1], 1 << 64)]
    if opcode == _WRITE_ATOMIC:  # SBC-4 5.48: the boundary stands before the length
        return [(fields[1], fields[2] & 0xFFFF)]
    return [(fields[1], fields[2])]


class OrderedCondition(CheckCondition):
    """CHECK CONDITION with the sense that a rule orders.

    Args:
        code: key, ASC, ASCQ.
        information: the LBA where it struck, for those that have one.
    """

    def __init__(self, code: Sequence[int], information: int | None) -> None:
        super().__init__(information=information)
        self.key = code[0]  # type: ignore[misc, assignment]  # any can be ordered, also one that is no SenseKey
        self.code = (code[1], code[2])


class UnitFaults:
    """The rules that concern one unit.

    Args:
        rules: in their order.
        shift: log2 of the unit's block size.
        now: the driver's clock, in seconds; RATE paces by it.
    """

    def __init__(self, rules: Sequence[Armed], *, shift: int, now: Callable[[], float]) -> None:
        self._rules = tuple(rules)
        self._shift = shift
        self._now = now
        self._words: dict[tuple[str, str], frozenset[str]] = {}

    def execute(self, name: str, command: Command, run: Callable[[], Outcome]) -> Outcome:
        """Do a command as the rules say.

        Args:
            name: of its operation, as the standard has it.
            command: it.
            run: does it as if there were no rules.

        Raises:
            CheckCondition: what a rule orders, or the command's own.
        """
        cdb = command.cdb
        family = family_of(cdb)
        words = self._words.get((name, family))
        if words is None:
            words = self._words[name, family] = frozenset((family, *words_of(name))) - {""}
        blocks = blocks_of(cdb, command.data)
        ranges = [(lba << self._shift, count << self._shift) for lba, count in blocks]
        client = (command.nexus.initiator_port.partition(",")[0], command.nexus.address)
        delay, gate = 0.0, None
        for armed in self._rules:
            first = self._struck(armed, words, client, ranges)
            if first is None:
                continue
            answer = self._answer(armed, family, first if ranges else None)
            if answer is not None:
                return Deferred(answer, delay, blocking=False) if delay else answer()
            kind = armed.rule.action.kind
            if kind is ActionKind.SILENCE:
                return Deferred(_unanswered, 0.0, blocking=False, gate=NEVER)
            if kind is ActionKind.PAUSE:
                gate = armed.gate
                break
            delay += armed.delay(sum(length for _, length in ranges), self._now())
        return _later(run(), delay, gate) if delay or gate else run()

    @staticmethod
    def _struck(
        armed: Armed, words: frozenset[str], client: tuple[str, str], ranges: Sequence[tuple[int, int]]
    ) -> int | None:
        """The byte at which a rule strikes the command, or None."""
        if not armed.concerns(words) or not armed.admits(*client):
            return None
        first: int | None = 0
        if armed.rule.action.kind is ActionKind.READONLY and not words & _CHANGING:
            return None
        if ranges:
            first = armed.overlaps(ranges)
        elif armed.rule.ranged:
            return None
        return first if first is not None and armed.strike() else None

    def _answer(self, armed: Armed, family: str, first: int | None) -> Callable[[], Response] | None:
        """What answers in the unit's place, for actions that do."""
        action = armed.rule.action
        if action.kind is ActionKind.STATUS:
            return lambda: Response(action.code[0])
        error: CheckCondition
        if action.kind is ActionKind.SENSE:
            error = OrderedCondition(action.code, None if first is None else first >> self._shift)
        elif action.kind is ActionKind.READONLY:
            error = WriteProtected()
        else:
            return None

        def fail() -> Response:
            raise error

        return fail


def _unanswered() -> Response:
    return Response(Status.TASK_ABORTED)


def _later(outcome: Outcome, delay: float, gate: Gate | None) -> Deferred:
    """The same outcome, told later."""
    if isinstance(outcome, Deferred):
        return outcome._replace(delay=outcome.delay + delay, gate=gate or outcome.gate)
    kept = outcome._replace(data=bytes(outcome.data))  # what it shows may change meanwhile
    return Deferred(lambda: kept, delay if math.isfinite(delay) else 0.0, blocking=False, gate=gate)
