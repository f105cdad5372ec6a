"""Rules as JSON, as the control interfaces carry and files keep them: docs/reference/faults.md.

Everything that can be wrong with a rule by itself is found here, in words for its author; what depends on the emulator (does it
have such an operation, such an action?) is checked there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from labemu_faults.action import Action, ActionKind
from labemu_faults.errors import FaultError, unknown
from labemu_faults.rule import Armed, Rule

CORRUPTIBLE: Final = ("header-digest", "data-digest", "payload")

_NEEDS: Final[Mapping[ActionKind, tuple[str, ...]]] = {
    ActionKind.LATENCY: ("average",),
    ActionKind.RATE: ("rate",),
    ActionKind.SENSE: ("code",),
    ActionKind.STATUS: ("code",),
    ActionKind.ERROR: ("code",),
    ActionKind.REFUSE: ("code",),
    ActionKind.CORRUPT: ("what",),
}
_CODE_LENGTH: Final = {ActionKind.SENSE: 3, ActionKind.STATUS: 1, ActionKind.ERROR: 1, ActionKind.REFUSE: 2}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) and each for each in value)


def _is_codes(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_is_whole(each) for each in value)


_CHECKS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "str": (lambda value: isinstance(value, str), "a text"),
    "float": (_is_number, "a number, 0 or more"),
    "float | None": (_is_number, "a number, 0 or more"),
    "int": (_is_whole, "a whole number, 0 or more"),
    "int | None": (_is_whole, "a whole number, 0 or more"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "tuple[str, ...]": (_is_texts, "a list of words"),
    "tuple[int, ...]": (_is_codes, "a list of numbers"),
}


def _read(kind: type[Any], value: object, what: str, *, skip: str) -> dict[str, Any]:
    """The fields of a dataclass that stand in an object, each of the right type."""
    if not isinstance(value, Mapping):
        raise FaultError(f"{what} is not an object", hint='write {"action": {"kind": "latency", "average": 0.02}}')
    types = {field.name: str(field.type) for field in fields(kind)}
    found: dict[str, Any] = {}
    for name, entry in value.items():
        if name not in types:
            raise unknown(f"word of {what}", str(name), types)
        if name == skip or (entry is None and types[name].endswith("None")):
            continue
        check, said = _CHECKS[types[name]]
        if not check(entry):
            raise FaultError(f"{what}: {name} is {entry!r}", hint=f"it is {said}")
        found[name] = tuple(entry) if isinstance(entry, list | tuple) else entry
    return found


def action_from_json(value: object) -> Action:
    """An action. Raises FaultError."""
    found = _read(Action, value, "the action", skip="kind")
    word = str(value.get("kind", "")) if isinstance(value, Mapping) else ""
    try:
        kind = ActionKind(word)
    except ValueError:
        raise unknown("action", word, list(ActionKind)) from None
    for name in _NEEDS.get(kind, ()):
        if not found.get(name):
            raise FaultError(f"the action {kind} needs {name}", hint="docs/reference/faults.md shows each action")
    length = _CODE_LENGTH.get(kind)
    if length is not None and len(found["code"]) != length:
        raise FaultError(f"the code of {kind} has {length} numbers", hint="docs/reference/faults.md shows each action")
    if kind in (ActionKind.SENSE, ActionKind.REFUSE, ActionKind.STATUS) and max(found["code"]) > 0xFF:
        raise FaultError(f"the code of {kind} is of bytes", hint="each number is 0 to 255")
    if kind is ActionKind.SENSE and found["code"][0] > 0xF:
        raise FaultError("a sense key is 0 to 15", hint="write 3 for MEDIUM ERROR")
    if kind is ActionKind.REFUSE and not found["code"][0]:
        raise FaultError("login status class 0 is success", hint="classes 1 to 3 refuse (RFC 7143 11.13.5)")
    if kind is ActionKind.CORRUPT and found["what"] not in CORRUPTIBLE:
        raise unknown("part to corrupt", found["what"], CORRUPTIBLE)
    return Action(kind=kind, **found)


def rule_from_json(value: object) -> Rule:
    """A rule; without an id where the table is to number it. Raises FaultError."""
    found = _read(Rule, value, "the fault", skip="action")
    action = action_from_json(value.get("action")) if isinstance(value, Mapping) else None
    assert action is not None
    if not 0.0 < found.get("probability", 1.0) <= 1.0:
        raise FaultError("probability is above 0 and at most 1", hint="0.1 strikes one in ten")
    if found.get("count") == 0:
        raise FaultError("count 0 would never strike", hint="leave it out to strike always")
    if found.get("end") is not None and found["end"] <= found.get("start", 0):
        raise FaultError("the range is empty", hint="its end comes after its start")
    found["operations"] = tuple(word.casefold().replace(" ", "-") for word in found.get("operations", ()))
    return Rule(**{"id": "", **found}, action=action)


def _plain(value: Any, kind: type[Any], *, always: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for field in fields(kind):
        entry = getattr(value, field.name)
        if field.name == always or entry != field.default:
            shown[field.name] = list(entry) if isinstance(entry, tuple) else entry
    return shown


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """A rule as rule_from_json reads it; what has its default is left out."""
    return {
        **_plain(rule, Rule, always="id"),
        "action": {**_plain(rule.action, Action, always="kind"), "kind": str(rule.action.kind)},
    }


def armed_to_json(armed: Armed) -> dict[str, Any]:
    """A rule with what it did so far."""
    return {**rule_to_json(armed.rule), "hits": armed.hits, "spent": armed.spent}
