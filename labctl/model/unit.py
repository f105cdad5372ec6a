"""Units: the smallest things that are made and removed, each journaled by itself.

A kind compiles a resource into units (a namespace, a link, a process, a LUN, a VM). Units carry JSON only, so that the journal can
hold them and a plan is the comparison of two sets of them. A unit's handler makes and removes it; both must be idempotent, because
after a crash the journal knows only that it was *meant* to happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from labctl.model.address import Address
from labctl.model.json import Json, JsonObject


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One desired primitive.

    Args:
        id: unique in the lab, `type:what`, e.g. `link:esx1/vmk0`; stable over time.
        type: the handler's name.
        resource: the resource that it belongs to; its state shows there.
        spec: what it should be. A change here is what a plan shows.
        needs: the ids of units that must exist before it is made and are removed after it.
    """

    id: str
    type: str
    resource: Address
    spec: JsonObject
    needs: tuple[str, ...] = ()


class UnitState(StrEnum):
    """What the journal knows of a unit."""

    CREATING = "creating"
    CREATED = "created"
    UPDATING = "updating"
    DELETING = "deleting"


@dataclass(frozen=True, kw_only=True)
class RecordedUnit:
    """A unit as the journal holds it.

    Args:
        unit: as last asked for. In state UPDATING it is the new one.
        state: how far that got.
        facts: what its handler learnt in making it (a pid, a start time).
        previous: in state UPDATING, the unit as it was before; else None.
    """

    unit: Unit
    state: UnitState
    facts: Mapping[str, Json] = field(default_factory=dict)
    previous: Unit | None = None


class Change(StrEnum):
    """How a unit gets from one spec to another; its handler decides."""

    IN_PLACE = "in-place"
    POWER_CYCLE = "power-cycle"  # done only when the user asked for it with --restart
    REPLACE = "replace"


class Hold(StrEnum):
    """How far the units that need a unit hang on it; the type's handler says so.

    A unit that is merely found missing or stopped is made again by `create`; one that is replaced is deleted first.
    """

    NEVER = "never"  # they carry on while it is replaced (a link under a running process)
    REPLACED = (
        "replaced"  # they are replaced with it, but carry on when it is found missing and made again (an agent's LUNs)
    )
    MISSING = "missing"  # they live inside it: they are made again with it in either case (a namespace's processes)


class Health(StrEnum):
    """What is found when a unit is looked at."""

    OK = "ok"
    MISSING = "missing"  # an `up` makes it again
    STOPPED = "stopped"  # there, but off; an `up` makes it again
    UNREACHABLE = "not responding"  # cannot be told; an `up` leaves it alone and says so


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A unit as it was found.

    Args:
        health: see Health.
        detail: a few words for people, or "".
        properties: typed facts for the inventory (e.g. `{"address": "10.10.0.11", "tools": "running"}`).
        became: the unit's spec as its agents have changed it of their own accord (a VM that moved to another host), or None. The
            runtime records it, so that an `up` takes it as given.
        chosen: the choices, by pool and key, that go with `became`.
    """

    health: Health
    detail: str = ""
    properties: Mapping[str, Json] = field(default_factory=dict)
    became: JsonObject | None = None
    chosen: Mapping[tuple[str, str], str] = field(default_factory=dict)
