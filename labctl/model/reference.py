"""References between resources, declared in the types of a kind's model.

`datastore: Annotated[str, Ref("datastore")]` is all that a kind says; the core checks that the name exists (and suggests the nearest
where it does not), orders the work by it and finds cycles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labctl.model.address import Address

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler


@dataclass(frozen=True)
class Ref:
    """Marks a string field as the name of a resource of one of `kinds`.

    Args:
        kinds: the kinds that would do.
        ordered: False where two resources may refer to each other (an affinity rule): then it is no cycle.
    """

    kinds: tuple[str, ...]
    ordered: bool

    def __init__(self, *kinds: str, ordered: bool = True) -> None:
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "ordered", ordered)

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Tell editors what the string names."""
        schema = dict(handler(core_schema))
        schema.setdefault("description", f"the name of a {' or '.join(self.kinds)}")
        schema["x-labctl-ref"] = list(self.kinds)
        return schema


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One reference as found in a resource.

    Args:
        source: the resource that refers.
        path: where in the resource's own table, e.g. `("disks", 0, "datastore")`.
        kinds: the kinds that would do.
        name: the name that was written.
        ordered: whether the source is made after what it refers to.
    """

    source: Address
    path: tuple[str | int, ...]
    kinds: tuple[str, ...]
    name: str
    ordered: bool = True
