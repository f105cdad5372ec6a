"""The name of one thing in a topology: its kind and its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Address:
    """The identity of a resource, written `kind.name` (for example `vm.web1`)."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `kind.name`.

        Raises:
            ValueError: there is no dot, or nothing on one of its sides.
        """
        kind, dot, name = text.partition(".")
        if not (kind and dot and name):
            raise ValueError(f"{text!r} is not of the form kind.name")
        return cls(kind, name)
