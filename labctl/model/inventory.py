"""The one inventory: what every view of a lab is drawn from.

Rules:
- A managed object has an id that never changes (`vm.web1`, `agent:esx1`), a type and properties. Every change raises the inventory's
  revision by one and marks the object, and the properties that changed, with it.
- A view asks "what changed since revision N" and gets the dirty set; nothing rescans, nothing polls what can be told.
- Pure: no clock, no HTTP, no rendering. Whoever wants to wait for changes passes a callback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from labctl.model.json import Json, JsonObject

KEPT_REMOVALS = 1024
"""Removed objects that are remembered; whoever asks from before that gets everything anew."""


@dataclass(frozen=True, kw_only=True)
class ManagedObject:
    """One object at one revision.

    Args:
        id: stable.
        type: `vm`, `host`, `agent`, …
        properties: name → JSON.
        revision: when it last changed.
        changed: property → when that one last changed.
    """

    id: str
    type: str
    properties: JsonObject
    revision: int
    changed: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """As it is sent."""
        return {"id": self.id, "type": self.type, "revision": self.revision, "properties": self.properties}


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What changed since a revision.

    Args:
        revision: the one to ask from next time.
        full: whether these are all objects, since the revision asked for is too old or of another inventory.
        objects: those that are new or changed.
        dirty: for each of them, which properties.
        removed: the ids of those that are gone.
    """

    revision: int
    full: bool
    objects: tuple[ManagedObject, ...]
    dirty: Mapping[str, frozenset[str]]
    removed: tuple[str, ...]

    def to_json(self) -> JsonObject:
        """As it is sent."""
        return {
            "revision": self.revision,
            "full": self.full,
            "objects": [managed.to_json() for managed in self.objects],
            "dirty": {object_id: sorted(names) for object_id, names in self.dirty.items()},
            "removed": self.removed,
        }


class Inventory:
    """All managed objects of a lab."""

    def __init__(self) -> None:
        self._revision = 0
        self._objects: dict[str, ManagedObject] = {}
        self._removed: dict[str, int] = {}
        self._forgotten = 0  # removals up to this revision are no longer known
        self._listeners: list[Callable[[int], None]] = []

    @property
    def revision(self) -> int:
        """The revision of the last change."""
        return self._revision

    def objects(self, of_type: str | None = None) -> tuple[ManagedObject, ...]:
        """All objects, or those of a type."""
        return tuple(found for found in self._objects.values() if of_type in (None, found.type))

    def get(self, object_id: str) -> ManagedObject | None:
        """An object, or None."""
        return self._objects.get(object_id)

    def put(self, object_id: str, of_type: str, properties: JsonObject) -> bool:
        """Set all properties of an object; returns whether anything changed."""
        known = self._objects.get(object_id)
        if known is not None and known.type == of_type and known.properties == properties:
            return False
        self._revision += 1
        before: JsonObject = known.properties if known else {}
        names = {name for name in (*before, *properties) if name not in before or before[name] != properties.get(name)}
        changed = {**(known.changed if known else {}), **dict.fromkeys(names, self._revision)}
        self._removed.pop(object_id, None)
        self._objects[object_id] = ManagedObject(
            id=object_id, type=of_type, properties=dict(properties), revision=self._revision, changed=changed
        )
        self._tell()
        return True

    def set(self, object_id: str, **properties: Json) -> bool:
        """Set some properties of an object that exists; returns whether anything changed.

        Raises:
            KeyError: there is no such object.
        """
        known = self._objects[object_id]
        return self.put(object_id, known.type, {**known.properties, **properties})

    def remove(self, object_id: str) -> None:
        """Remove an object; one that is gone is fine."""
        if self._objects.pop(object_id, None) is None:
            return
        self._revision += 1
        self._removed[object_id] = self._revision
        while len(self._removed) > KEPT_REMOVALS:
            oldest = next(iter(self._removed))
            self._forgotten = self._removed.pop(oldest)
        self._tell()

    def keep_only(self, object_ids: Iterable[str], of_types: Iterable[str]) -> None:
        """Remove the objects of some types that are not listed."""
        keep, types = set(object_ids), set(of_types)
        for managed in self.objects():
            if managed.type in types and managed.id not in keep:
                self.remove(managed.id)

    def changes_since(self, revision: int | None) -> Changes:
        """What changed after a revision; everything where it is None, too old, or from the future."""
        full = revision is None or revision < self._forgotten or revision > self._revision
        since = 0 if full or revision is None else revision
        objects = tuple(managed for managed in self._objects.values() if managed.revision > since)
        dirty = {
            managed.id: frozenset(name for name, at in managed.changed.items() if at > since) for managed in objects
        }
        removed = () if full else tuple(object_id for object_id, at in self._removed.items() if at > since)
        return Changes(revision=self._revision, full=full, objects=objects, dirty=dirty, removed=removed)

    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener` with the new revision at every change; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener(self._revision)
