"""What handlers share: doing something for each unit of a batch, at once, without one failure keeping the others from being done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from labctl.model.unit import RecordedUnit, Unit
from labctl.plugin.api import UnitErrors

U = TypeVar("U", Unit, RecordedUnit)


async def for_each(units: Sequence[U], work: Callable[[U], Awaitable[None]]) -> None:
    """Do something for all units of a batch at the same time.

    Args:
        units: desired or recorded units.
        work: what to do for one.

    Raises:
        UnitErrors: for those that failed; all were tried.
    """
    results = await asyncio.gather(*(work(unit) for unit in units), return_exceptions=True)
    errors: dict[str, Exception] = {}
    for unit, result in zip(units, results, strict=True):
        if isinstance(result, Exception):
            errors[unit.unit.id if isinstance(unit, RecordedUnit) else unit.id] = result
        elif isinstance(result, BaseException):
            raise result
    if errors:
        raise UnitErrors(errors)
