"""The faults of a running target: rules go to the units, to the connections or to the logins that they are about.

Nothing of this is on the path of a command while no rule is set: units have no interceptor, connections talk to their own engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from labemu_faults.action import ActionKind
from labemu_faults.errors import FaultError, unknown
from labemu_faults.rule import Armed, Rule
from labemu_faults.table import FaultTable
from labemu_iscsi import tamper
from labemu_iscsi.io.connection import SocketConnection
from labemu_iscsi.node import Node
from labemu_iscsi.session import Target
from labemu_scsi import faults as unit_faults
from labemu_scsi.report import REPORT_LUNS
from labemu_scsi.table import UNIT_COMMANDS
from labemu_scsi.unit import LogicalUnit

OPERATION_NAMES: Final = (*(row.name for row in UNIT_COMMANDS), REPORT_LUNS.name)
_PDU_WORDS: Final = frozenset(tamper.WORDS.values())
_ACTIONS: Final = unit_faults.ACTIONS | tamper.ACTIONS | {ActionKind.REFUSE}


def is_silence(rule: Rule) -> bool:
    """Whether it makes whole connections go silent, as a cut cable does, rather than single commands."""
    return rule.action.kind is ActionKind.SILENCE and rule.lun is None and not rule.operations and not rule.ranged


def is_transport(rule: Rule) -> bool:
    """Whether it is about a connection's bytes."""
    if rule.action.kind is ActionKind.LATENCY:
        return bool(rule.operations) and all(word in _PDU_WORDS for word in rule.operations)
    return rule.action.kind in tamper.ACTIONS


def check(rule: Rule) -> None:
    """Refuse what a target cannot do.

    Raises:
        FaultError: with a hint.
    """
    kind = rule.action.kind
    if kind not in _ACTIONS:
        raise FaultError(
            f"{kind} is nothing that an iSCSI target can do", hint=f"it can: {', '.join(sorted(_ACTIONS))}"
        )
    if rule.path:
        raise FaultError("an iSCSI target has no paths", hint="select by target and LUN")
    if is_silence(rule) or kind is ActionKind.REFUSE:
        return
    if not is_transport(rule):
        unit_faults.check_rule(rule, OPERATION_NAMES)
        return
    if rule.lun is not None or rule.ranged:
        raise FaultError(
            f"{kind} is about connections, which all LUNs share", hint="select by target, initiator and portal"
        )
    for word in rule.operations:
        if word not in _PDU_WORDS:
            raise unknown("PDU", word, _PDU_WORDS)


class IscsiFaults:
    """A server's rules.

    Args:
        node: its targets, and the logins.
        connections: those that are open now.
    """

    def __init__(self, node: Node, connections: Callable[[], Iterable[SocketConnection]]) -> None:
        self._node = node
        self._connections = connections
        self.table = FaultTable(self.apply)
        self.now: Callable[[], float] = lambda: 0.0
        self._tampered = False

    def add(self, rule: Rule, *, hits: int = 0) -> Armed:
        """Set a rule; it is at work at once, also for sessions that live.

        Raises:
            FaultError: what the target cannot do, or its id is taken.
        """
        check(rule)
        return self.table.add(rule, hits=hits)

    def apply(self) -> None:
        """Bring units, connections and logins in line with the rules; called after rules, targets or units changed."""
        active = self.table.active
        commands = [a for a in active if a.rule.action.kind in unit_faults.ACTIONS]
        commands = [a for a in commands if not is_silence(a.rule) and not is_transport(a.rule)]
        _apply_to_units(self._node.targets, commands, self.now)
        refusing = [armed for armed in active if armed.rule.action.kind is ActionKind.REFUSE]
        self._node.refusal = _refusal(refusing) if refusing else None
        self._tampered = any(is_transport(a.rule) or is_silence(a.rule) for a in self.table)
        for connection in tuple(self._connections()):
            self._apply_to(connection)

    def accepted(self, connection: SocketConnection) -> None:
        """A connection came in, or logged in."""
        if self._tampered:
            self._apply_to(connection)

    def resets(self, peer: str, portal: str) -> bool:
        """Whether a new connection is to be reset."""
        return any(
            armed.rule.action.reset and is_silence(armed.rule) and tamper.selects(armed, "", "", peer, portal)
            for armed in self.table
        )

    def _apply_to(self, connection: SocketConnection) -> None:
        # Spent rules too: what they silenced stays silent until they are cleared, and nothing changes under a Tamper at work.
        connection.tamper([armed for armed in self.table if is_transport(armed.rule)])
        silent = [armed for armed in self.table if is_silence(armed.rule) and tamper.concerns(armed, connection.target)]
        if connection.frozen:
            if not silent:
                connection.thaw()
        elif any(armed.strike() for armed in silent):
            connection.freeze()


def _apply_to_units(targets: Mapping[str, Target], rules: list[Armed], now: Callable[[], float]) -> None:
    for name, target in targets.items():
        for number, unit in target.device.units.items():
            _apply_to_unit(unit, [armed for armed in rules if _is_about(armed, name, number)], now)


def _is_about(armed: Armed, target: str, number: int) -> bool:
    return armed.matches(armed.rule.target, target) and armed.rule.lun in (None, number)


def _apply_to_unit(unit: LogicalUnit, rules: list[Armed], now: Callable[[], float]) -> None:
    if rules:
        unit.set_faults(unit_faults.UnitFaults(rules, shift=unit.shift, now=now))
    elif unit.faults is not None:
        unit.set_faults(None)


def _refusal(rules: list[Armed]) -> Callable[[str, str, str, str], tuple[int, int] | None]:
    def refusal(initiator: str, target: str, peer: str, portal: str) -> tuple[int, int] | None:
        for armed in rules:
            if tamper.selects(armed, initiator, target, peer, portal) and armed.strike():
                first, second = armed.rule.action.code
                return first, second
        return None

    return refusal
