"""What filehandles are called: learnt from lookups, creations, listings and mounts as they pass."""

from __future__ import annotations

from labctl.trace.limits import MAX_HANDLE_BYTES, MAX_PATH_PARTS, MAX_PATHS


class Place:
    """A file or folder: its handle where it is known, and its name below another.

    Args:
        handle: the filehandle, or b"".
        parent: the folder that it was found in, or None.
        name: its name there; of a root, the path that it was mounted by.
    """

    __slots__ = ("handle", "name", "parent")

    def __init__(self, handle: bytes = b"", parent: Place | None = None, name: str | None = None) -> None:
        self.handle = handle
        self.parent = parent
        self.name = name

    def path(self) -> str:
        """Its path from the server's root, or "" where that is not known."""
        names: list[str] = []
        place: Place | None = self
        while place is not None and place.name is not None and len(names) < MAX_PATH_PARTS:
            names.append(place.name.strip("/"))
            if place.parent is None:
                return "/" + "/".join(name for name in reversed(names) if name)
            place = place.parent
        return ""

    def words(self) -> str:
        """Its path, or its handle where that is all that is known."""
        return self.path() or (f"handle {self.handle.hex()[:32]}" if self.handle else "")


class Paths:
    """The places of one server. The longest unused are forgotten."""

    def __init__(self) -> None:
        self._places: dict[bytes, Place] = {}

    def at(self, handle: bytes) -> Place:
        """The place with this handle."""
        place = self._places.pop(handle, None) or Place(handle)
        self._remember(handle, place)
        return place

    def learn(self, handle: bytes, parent: Place | None, name: str) -> Place:
        """A handle turned out to be that of a name in a folder."""
        place = self.at(handle)
        if name not in (".", "..") and parent is not place:
            place.parent, place.name = parent, name
        return place

    def name(self, handle: bytes, place: Place) -> None:
        """A place turned out to have this handle."""
        known = self.at(handle)
        if place.name is not None and known is not place and place.parent is not known:
            known.parent, known.name = place.parent, place.name

    def moved(self, parent: Place, name: str, new_parent: Place, new_name: str) -> None:
        """A file was renamed; its handle goes on."""
        for place in self._places.values():
            if place.parent is parent and place.name == name:
                place.parent, place.name = new_parent, new_name
                return

    def _remember(self, handle: bytes, place: Place) -> None:
        if len(handle) > MAX_HANDLE_BYTES:
            return
        self._places[handle] = place
        if len(self._places) > MAX_PATHS:
            del self._places[next(iter(self._places))]
