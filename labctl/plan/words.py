"""A plan in words: what changed in a spec, and one line for each resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from labctl.model.address import Address
from labctl.model.json import Json, JsonObject
from labctl.model.quantity import MIB, format_bytes
from labctl.model.unit import RecordedUnit, Unit
from labctl.plan.plan import Action, Line, Recorded, Step

MAX_DIFFERENCES = 4
"""More than that do not help on one line."""

_BYTES = ("memory", "size", "bytes", "capacity")


def differences(old: JsonObject, new: JsonObject) -> str:
    """What changed, as `memory 128 MiB → 256 MiB, cpus 1 → 2`."""
    found = list(_walk("", old, new))
    shown = ", ".join(found[:MAX_DIFFERENCES])
    return f"{shown} and {len(found) - MAX_DIFFERENCES} more" if len(found) > MAX_DIFFERENCES else shown


def _walk(path: str, old: Json, new: Json) -> Iterable[str]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from _walk(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
    elif _is_list(old) and _is_list(new) and len(old) == len(new):  # type: ignore[arg-type]
        for number, (before, after) in enumerate(zip(old, new, strict=True)):  # type: ignore[arg-type]
            yield from _walk(f"{path}[{number}]", before, after)
    else:
        yield f"{path} {_value(path, old)} → {_value(path, new)}"


def _is_list(value: Json) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _value(path: str, value: Json) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= MIB and any(path.endswith(word) for word in _BYTES):
        return format_bytes(value)
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{len(value)} of them"
    return str(value)


def lines_of(
    steps: Iterable[Step],
    deferred: Iterable[Step],
    unreachable: Iterable[RecordedUnit],
    desired: Mapping[str, Unit],
    recorded: Recorded,
) -> tuple[Line, ...]:
    """One line for each resource that something happens to, and one for each thing that has to wait."""
    had = {record.unit.resource for record in recorded.values()}
    stays = {unit.resource for unit in desired.values()}
    by_resource: dict[Address, list[Step]] = {}
    for step in steps:
        by_resource.setdefault(step.resource, []).append(step)
    lines = [_line(resource, own, resource in had, resource in stays) for resource, own in by_resource.items()]
    lines += [_deferred(step) for step in deferred]
    silent = dict.fromkeys(record.unit.resource for record in unreachable)
    lines += [Line(resource=resource, action="not responding", text="left as it is") for resource in silent]
    return tuple(dict.fromkeys(lines))


def _line(resource: Address, steps: Sequence[Step], had: bool, stays: bool) -> Line:
    if not stays:
        return Line(resource=resource, action="remove", text="")
    if not had:
        return Line(resource=resource, action="add", text="")
    reasons = list(dict.fromkeys(step.reason for step in steps if step.reason))
    if all(step.action is Action.CREATE and step.recorded is not None for step in steps):
        return Line(resource=resource, action="repair", text="; ".join(reasons))
    if any(step.action is Action.REPLACE for step in steps):
        return Line(resource=resource, action="replace", text="; ".join(reasons))
    cycle = " with a power-cycle" if any(step.power_cycle for step in steps) else ""
    return Line(resource=resource, action=f"change{cycle}", text="; ".join(reasons))


def _deferred(step: Step) -> Line:
    if step.action is Action.DELETE:
        return Line(
            resource=step.resource, action="deferred", text=f"{step.unit.id} is removed when nothing uses it any more"
        )
    return Line(resource=step.resource, action="deferred", text=f"{step.reason} needs a power-cycle (use --restart)")
