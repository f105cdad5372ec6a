"""References between resources, declared in the types of a kind's model.

`datastore: Annotated[str, Ref("datastore")]` is all that a kind says; the core checks that the name exists (and suggests the nearest
where it does not), orders the work by it and finds cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

from labctl.model.address import Address


@dataclass(frozen=True)
class Ref:
    """Marks a string field as the name of a resource of one of `kinds`."""

    kinds: tuple[str, ...]

    def __init__(self, *kinds: str) -> None:
        object.__setattr__(self, "kinds", kinds)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One reference as found in a resource.

    Args:
        source: the resource that refers.
        path: where in the resource's own table, e.g. `("disks", 0, "datastore")`.
        kinds: the kinds that would do.
        name: the name that was written.
    """

    source: Address
    path: tuple[str | int, ...]
    kinds: tuple[str, ...]
    name: str
