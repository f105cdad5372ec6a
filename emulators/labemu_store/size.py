"""Sizes as users write them: `64MiB`, `1GiB`, `512`, `10GB`."""

from __future__ import annotations

import re

from labemu_store.errors import StoreConfigError

_SIZE = re.compile(r"(?P<number>\d+)\s*(?P<unit>[KMGTP]i?B?|B)?", re.IGNORECASE)
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_size(text: str) -> int:
    """Bytes of a size such as `64MiB` (binary), `64M` (binary, as qemu-img reads it) or `64MB` (decimal).

    Raises:
        StoreConfigError: when it is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise StoreConfigError(f"{text!r} is not a size", hint="write a number and a unit, such as 64MiB or 1GiB")
    unit = (match["unit"] or "").upper()
    power = _POWER[unit.removesuffix("IB").removesuffix("B")]
    decimal = unit.endswith("B") and not unit.endswith("IB")
    return int(int(match["number"]) * (1000 if decimal else 1024) ** power)
