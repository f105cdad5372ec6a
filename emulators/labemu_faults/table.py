"""The rules of one emulator, in the order in which they were set; the first to strike decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from labemu_faults.errors import FaultError, unknown
from labemu_faults.rule import Armed, Rule


class FaultTable:
    """Rules by id.

    Args:
        changed: called after rules came, went or were spent; emulators install or remove their layer then.
        first_hit: called with a rule when it strikes for the first time.
    """

    def __init__(
        self, changed: Callable[[], None] = lambda: None, first_hit: Callable[[Rule], None] = lambda _: None
    ) -> None:
        self._changed = changed
        self.first_hit = first_hit
        self._armed: dict[str, Armed] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._armed)

    def __iter__(self) -> Iterator[Armed]:
        return iter(tuple(self._armed.values()))

    @property
    def active(self) -> tuple[Armed, ...]:
        """Those that may strike."""
        return tuple(armed for armed in self._armed.values() if not armed.spent)

    def add(self, rule: Rule, *, hits: int = 0) -> Armed:
        """Arm a rule; one without an id gets the next free number.

        Args:
            rule: it.
            hits: of an earlier life.

        Raises:
            FaultError: the id is taken.
        """
        while not rule.id:
            self._number += 1
            if str(self._number) not in self._armed:
                rule = replace(rule, id=str(self._number))
        if rule.id in self._armed:
            raise FaultError(f"there is a fault {rule.id} already", hint="clear it first, or give another id")
        armed = self._armed[rule.id] = Armed(rule, self._struck, hits=hits)
        self._changed()
        return armed

    def _struck(self, armed: Armed) -> None:
        if armed.hits == 1:
            self.first_hit(armed.rule)
        if armed.spent:
            self._changed()

    def clear(self, rule_id: str) -> Rule:
        """Take a rule away, and let go what it holds.

        Raises:
            FaultError: there is none.
        """
        armed = self._armed.pop(rule_id, None)
        if armed is None:
            if not self._armed:
                raise FaultError(f"there is no fault {rule_id}", hint="no fault is set")
            raise unknown("fault", rule_id, self._armed)
        self._changed()
        armed.gate.open()
        return armed.rule

    def clear_all(self) -> list[Rule]:
        """Take all away."""
        return [self.clear(rule_id) for rule_id in tuple(self._armed)]
