from __future__ import annotations

import pytest

from labemu_faults.action import Action, ActionKind
from labemu_faults.errors import FaultError
from labemu_faults.rule import Rule
from labemu_faults.table import FaultTable


def rule(name: str = "", **options: object) -> Rule:
    return Rule(id=name, action=Action(kind=ActionKind.PAUSE), **options)  # type: ignore[arg-type]


def test_rules_are_numbered_and_a_number_that_is_taken_is_passed_over() -> None:
    table = FaultTable()
    table.add(rule("1"))
    assert [table.add(rule()).rule.id for _ in range(2)] == ["2", "3"]


def test_an_id_is_taken_once() -> None:
    table = FaultTable()
    table.add(rule("slow"))
    with pytest.raises(FaultError, match="there is a fault slow already"):
        table.add(rule("slow"))


def test_clearing_opens_the_gate_of_what_is_held_in_order() -> None:
    table = FaultTable()
    held = table.add(rule())
    went: list[int] = []
    for number in range(3):
        held.gate.wait(lambda number=number: went.append(number))
    assert went == []
    table.clear("1")
    assert went == [0, 1, 2]
    assert not len(table)


@pytest.mark.parametrize(("present", "hint"), [(["slow"], 'did you mean "slow"?'), ([], "no fault is set")])
def test_clearing_what_is_not_there_says_what_is(present, hint) -> None:
    table = FaultTable()
    for name in present:
        table.add(rule(name))
    with pytest.raises(FaultError) as caught:
        table.clear("slwo")
    assert caught.value.hint == hint


def test_the_first_hit_is_told_once_and_a_spent_rule_is_no_longer_active() -> None:
    told: list[str] = []
    changes: list[int] = []
    table = FaultTable(lambda: changes.append(1), lambda hit: told.append(hit.id))
    armed = table.add(rule(count=2))
    assert armed.strike()
    assert table.active == (armed,)
    assert armed.strike()
    assert (told, table.active, len(changes)) == (["1"], (), 2)
