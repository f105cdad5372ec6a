"""Resources: what a topology declares, after ranges and counts are expanded and models validated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from labctl.model.address import Address


class Spec(BaseModel):
    """The base of every kind's model: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True, kw_only=True)
class Resource(Generic[S]):
    """One declared thing.

    Args:
        address: its kind and name.
        spec: its validated table.
        table: the keys of the table in the file (`("host", "esx[1-2]")` for `host.esx1`), for positions.
    """

    address: Address
    spec: S
    table: tuple[str | int, ...]

    @property
    def name(self) -> str:
        """The resource's name without its kind."""
        return self.address.name

    def path(self, *keys: str | int) -> tuple[str | int, ...]:
        """The path in the file of a key of this resource, for a Problem."""
        return (*self.table, *keys)
