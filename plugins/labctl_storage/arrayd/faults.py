"""The array's faults: ordered for a place (the array, a datastore, a volume), remembered until cleared, and told of.

A place becomes selectors of the emulators' rules here: a target and LUN, or a path. A fault of a whole array is set in each emulator
that understands it, under one id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from labctl.agent.application import Publisher
from labctl.errors import ConflictError, LabError, NotRunningError
from labctl.model.json import JsonObject
from labctl.model.suggest import did_you_mean
from labctl_storage import naming
from labctl_storage.arrayd.registry import DatastoreRecord, FaultRecord, Registry, VolumeRecord
from labctl_storage.faults import tell
from labemu_faults.errors import FaultError
from labemu_faults.rule import Armed, Rule
from labemu_faults.table import FaultTable
from labemu_faults.wire import rule_from_json, rule_to_json


class FaultOrder(BaseModel):
    """What is ordered: where (the whole array where neither is named), for how many seconds, and the rule without its place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    datastore: str | None = None
    volume: str | None = None
    seconds: float | None = None
    rule: dict[str, Any]


class Emulator(Protocol):
    """What a server offers: labemu_iscsi's and labemu_nfs's faults."""

    @property
    def table(self) -> FaultTable:
        """Its rules."""

    def add(self, rule: Rule, *, hits: int = 0) -> Armed:
        """Set one. Raises FaultError."""


class ArrayFaults:
    """The faults of one array.

    Args:
        name: the array's.
        registry: where they are remembered.
        emulators: by protocol.
        publish: where it is told of them.
    """

    def __init__(self, name: str, registry: Registry, emulators: Mapping[str, Emulator], publish: Publisher) -> None:
        self._name = name
        self._registry = registry
        self._emulators = emulators
        self._publish = publish
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._told: set[str] = set()
        for emulator in emulators.values():
            emulator.table.first_hit = self._first_hit

    def restore(self) -> None:
        """Set again what was set when the array ended; what ran out meanwhile is forgotten."""
        for record in tuple(self._registry.faults.values()):
            rule = rule_from_json(record.rule)
            if rule.until is not None and rule.until <= time.time():
                self._registry.drop_fault(record.id)
                continue
            if record.hits:
                self._told.add(record.id)
            for protocol in record.protocols:
                if protocol in self._emulators:
                    self._emulators[protocol].add(rule, hits=record.hits)
            self._end_in_time(rule)

    def save(self) -> None:
        """Remember how often each struck."""
        for record in tuple(self._registry.faults.values()):
            self._registry.put_fault(record.model_copy(update={"hits": self._hits(record.id)}))

    def add(self, order: FaultOrder) -> JsonObject:
        """Set a fault; returns it as `listing` shows it.

        Raises:
            LabError: the place is not there, or it cannot have such a fault.
        """
        where, places = self._place(order)
        try:
            bare = rule_from_json(order.rule)
            rule_id = bare.id or self._free_id()
            if rule_id in self._registry.faults:
                raise ConflictError(f"there is a fault {rule_id} already", hint=f"labctl fault clear {rule_id}")
            until = None if order.seconds is None else time.time() + order.seconds
            rules = self._set(order.rule, rule_id, until, places)
        except FaultError as error:
            raise LabError(error.message, hint=error.hint or None) from None
        rule = next(iter(rules.values()))
        record = FaultRecord(
            id=rule_id,
            where=where,
            datastore=order.datastore,
            volume=where.partition("/")[2] or None,  # its name, also where its LUN was given
            protocols=tuple(rules),
            rule=rule_to_json(rule),
        )
        self._registry.put_fault(record)
        self._end_in_time(rule)
        self._publish("fault.set", fault=rule_id, message=tell.sentence(record.rule, where))
        return self._show(record)

    def listing(self) -> list[JsonObject]:
        """All of them, with how often each struck."""
        return [self._show(record) for record in self._registry.faults.values()]

    def clear(self, rule_id: str | None, reason: str = "cleared") -> list[str]:
        """Take one away, or all; returns their ids.

        Raises:
            NotRunningError: there is none of that id.
        """
        known = self._registry.faults
        if rule_id is not None and rule_id not in known:
            raise NotRunningError(
                f"{self._name} has no fault {rule_id}",
                hint=did_you_mean(rule_id, known, what="its faults") or "`labctl fault list` shows what is set",
            )
        cleared = [rule_id] if rule_id is not None else list(known)
        for each in cleared:
            self._clear(known[each], reason)
        return cleared

    def forget(self, datastore: str, volume: str | None = None) -> None:
        """A datastore or a volume went: its faults go with it."""
        for record in tuple(self._registry.faults.values()):
            if record.datastore == datastore and volume in (None, record.volume):
                self._clear(record, "its place is gone")

    def _clear(self, record: FaultRecord, reason: str) -> None:
        hits = self._hits(record.id)
        for protocol in record.protocols:
            table = self._table(protocol, record.id)
            if table is not None:
                table.clear(record.id)
        timer = self._timers.pop(record.id, None)
        if timer is not None:
            timer.cancel()
        self._told.discard(record.id)
        self._registry.drop_fault(record.id)
        message = f"{tell.sentence(record.rule, record.where)}: {reason}, after {hits} hits"
        self._publish("fault.cleared", fault=record.id, message=message, hits=hits)

    def _set(
        self, wanted: Mapping[str, Any], rule_id: str, until: float | None, places: Mapping[str, JsonObject]
    ) -> dict[str, Rule]:
        """The rules by protocol, set where they are understood; a fault that nothing here understands is an error."""
        done: dict[str, Rule] = {}
        problem: FaultError | None = None
        for protocol, place in places.items():
            rule = rule_from_json({**wanted, **place, "id": rule_id, "until": until})
            try:
                self._emulators[protocol].add(rule)
            except FaultError as error:
                problem = problem or error
            else:
                done[protocol] = rule
        if not done:
            raise problem or FaultError("nothing here can have faults")
        return done

    def _place(self, order: FaultOrder) -> tuple[str, dict[str, JsonObject]]:
        """What the place is called, and selectors of it by protocol."""
        if order.datastore is None:
            return self._name, {protocol: {} for protocol in self._emulators}
        datastore = self._registry.datastores.get(order.datastore)
        if datastore is None:
            raise NotRunningError(
                f"{self._name} has no datastore {order.datastore}",
                hint=did_you_mean(order.datastore, self._registry.datastores, what="its datastores"),
            )
        if order.volume is None:
            if datastore.protocol == "nfs":
                if order.rule.get("action", {}).get(
                    "after"
                ):  # bytes are counted for a connection, which datastores share
                    return datastore.name, {"nfs": {}}
                return datastore.name, {"nfs": {"path": order.rule.get("path") or f"{datastore.where}*"}}
            return datastore.name, {"iscsi": {"target": datastore.where}}
        volume = self._volume(datastore, order.volume)
        where = f"{datastore.name}/{volume.name}"
        if datastore.protocol == "nfs":
            return where, {"nfs": {"path": f"{datastore.where}/{naming.volume_file(volume.name, 'nfs')}"}}
        return where, {"iscsi": {"target": datastore.where, "lun": volume.lun}}

    def _volume(self, datastore: DatastoreRecord, name: str) -> VolumeRecord:
        """A volume by its name, or by its LUN."""
        volumes = self._registry.volumes(datastore.name)
        for volume in volumes:
            if name == volume.name or (volume.lun is not None and name == str(volume.lun)):
                return volume
        raise NotRunningError(
            f"{datastore.name} has no volume {name}",
            hint=did_you_mean(name, [each.name for each in volumes], what="its volumes"),
        )

    def _free_id(self) -> str:
        number = 1
        while str(number) in self._registry.faults:
            number += 1
        return str(number)

    def _end_in_time(self, rule: Rule) -> None:
        if rule.until is not None:
            left = max(0.0, rule.until - time.time())
            self._timers[rule.id] = asyncio.get_running_loop().call_later(left, self._over, rule.id)

    def _over(self, rule_id: str) -> None:
        if rule_id in self._registry.faults:
            self.clear(rule_id, "its time is over")

    def _first_hit(self, rule: Rule) -> None:
        if rule.id in self._told:
            return
        self._told.add(rule.id)
        if rule.id in self._registry.faults:
            self._tell_hit(rule.id)
        else:  # it struck while it was set: that is told first
            asyncio.get_running_loop().call_soon(self._tell_hit, rule.id)

    def _tell_hit(self, rule_id: str) -> None:
        record = self._registry.faults.get(rule_id)
        if record is not None:
            message = f"first hit: {tell.sentence(record.rule, record.where)}"
            self._publish("fault.hit", fault=rule_id, message=message)

    def _table(self, protocol: str, rule_id: str) -> FaultTable | None:
        emulator = self._emulators.get(protocol)
        has = emulator is not None and any(armed.rule.id == rule_id for armed in emulator.table)
        return emulator.table if emulator is not None and has else None

    def _armed(self, rule_id: str) -> Sequence[Armed]:
        return [a for emulator in self._emulators.values() for a in emulator.table if a.rule.id == rule_id]

    def _hits(self, rule_id: str) -> int:
        return sum(armed.hits for armed in self._armed(rule_id))

    def _show(self, record: FaultRecord) -> JsonObject:
        armed = self._armed(record.id)
        return {
            "id": record.id,
            "where": record.where,
            "datastore": record.datastore,
            "volume": record.volume,
            "protocols": list(record.protocols),
            "rule": record.rule,
            "action": tell.action(record.rule),
            "selection": tell.selection(record.rule),
            "hits": sum(each.hits for each in armed),
            "spent": bool(armed) and all(each.spent for each in armed),
            "until": record.rule.get("until"),
        }
