"""What a link shall suffer, as data: told to netem, told to people. Pure, and light: the relay imports it.

The quantities are netem's (tc-netem(8)), so that both ways of doing it, the kernel's and the relay's, mean the same. A link has two
directions, named as its node sees them: `to` the node and `from` it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from labctl.errors import UsageError
from labctl.model.json import JsonObject

DIRECTIONS: Final = ("to", "from")
"""Towards the link's node, and away from it."""

QUEUE: Final = 1000
"""Frames that may wait in one direction; netem's own default. More are lost, as at a switch's port."""


@dataclass(frozen=True, kw_only=True)
class Impairment:
    """One direction of a link.

    Args:
        delay: seconds that each frame is held.
        jitter: seconds by which that varies either way, evenly; frames may overtake each other, as with netem.
        loss: the share of frames that vanish, 0 to 1.
        duplicate: the share that arrive twice.
        corrupt: the share with one bit turned over.
        reorder: the share that are not held by the delay, and so overtake the others.
        rate: bits a second, or 0 for as fast as it goes.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    rate: int = 0

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """As to_json wrote it."""
        return cls(**data)

    def to_json(self) -> JsonObject:
        """What is not at its default."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name))}

    def netem(self) -> list[str]:
        """The arguments of `tc qdisc … netem` that do the same."""
        words = ["limit", str(QUEUE)]
        if self.delay or self.jitter:
            words += ["delay", f"{self.delay * 1e6:.0f}us"]
            words += [f"{self.jitter * 1e6:.0f}us"] if self.jitter else []
        for name in ("loss", "duplicate", "corrupt", "reorder"):
            share = getattr(self, name)
            words += [name, f"{share * 100:g}%"] if share else []
        return words + (["rate", f"{self.rate}bit"] if self.rate else [])

    def __str__(self) -> str:
        words = [f"delay {_milliseconds(self.delay)}"] if self.delay else []
        words += [f"jitter {_milliseconds(self.jitter)}"] if self.jitter else []
        for name in ("loss", "duplicate", "corrupt", "reorder"):
            share = getattr(self, name)
            words += [f"{name} {share * 100:g} %"] if share else []
        return ", ".join(words + ([f"rate {format_rate(self.rate)}"] if self.rate else []))


@dataclass(frozen=True, kw_only=True)
class LinkImpairment:
    """A link's whole state of repair.

    Args:
        to: towards its node.
        back: from its node.
        down: whether the cable is pulled: neither direction carries anything, and the node sees no carrier.
    """

    to: Impairment = field(default_factory=Impairment)
    back: Impairment = field(default_factory=Impairment)
    down: bool = False

    def __bool__(self) -> bool:
        return bool(self.to or self.back or self.down)

    @property
    def directions(self) -> Mapping[str, Impairment]:
        """Both directions by name."""
        return {"to": self.to, "from": self.back}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """As to_json wrote it; what is None or {} is a sound link."""
        known = data or {}
        return cls(
            to=Impairment.from_json(known.get("to") or {}),
            back=Impairment.from_json(known.get("from") or {}),
            down=bool(known.get("down")),
        )

    def to_json(self) -> JsonObject:
        """What is not as with a sound link."""
        told: dict[str, Any] = {name: each.to_json() for name, each in self.directions.items() if each}
        return told | ({"down": True} if self.down else {})

    def changed(self, wanted: Mapping[str, Any], directions: tuple[str, ...], *, down: bool | None) -> LinkImpairment:
        """With some quantities of some directions changed; the rest stays.

        Raises:
            UsageError: what comes out makes no sense.
        """
        made = replace(
            self,
            to=replace(self.to, **wanted) if "to" in directions else self.to,
            back=replace(self.back, **wanted) if "from" in directions else self.back,
            down=self.down if down is None else down,
        )
        for each in made.directions.values():
            _check(each)
        return made

    def __str__(self) -> str:
        if self.down:
            return "down"
        if self.to == self.back:
            return str(self.to)
        return "; ".join(f"{name} the node: {each}" for name, each in self.directions.items() if each)


def format_rate(bits: int) -> str:
    """A rate for people: `100 Mbit/s`."""
    for unit, factor in (("Gbit/s", 10**9), ("Mbit/s", 10**6), ("kbit/s", 10**3)):
        if bits >= factor:
            return f"{bits / factor:g} {unit}"
    return f"{bits} bit/s"


def _check(each: Impairment) -> None:
    if each.reorder and not each.delay:
        raise UsageError(
            "reordering needs a delay: frames overtake those that are held",
            hint="for example --reorder 5% --delay 10ms",
        )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"
