"""From the words of `labctl link set` to quantities."""

from __future__ import annotations

import re
from typing import Final

from labctl.errors import UsageError
from labctl.model.quantity import parse_seconds

MAX_DELAY: Final = 60.0
"""Seconds. More than the longest path to a satellite and back by far: whoever writes more has mistaken the unit."""

_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(bit|kbit|mbit|gbit|bps|kbps|mbps|gbps)\s*")
_BITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


def parse_quantity(name: str, value: object) -> float | int:
    """A quantity as people write it: `20ms` for delay and jitter, `100mbit` for rate, `1%` for the others. `0` is none.

    Raises:
        UsageError: it is no such quantity.
    """
    text = str(value).strip().lower()
    if name in ("delay", "jitter"):
        return _duration(name, text)
    if name == "rate":
        return parse_rate(text)
    if text in ("0", "0.0"):
        return 0.0
    match = _PERCENT.fullmatch(text)
    if match is None or float(match[1]) > 100:
        raise UsageError(f'{name}: "{value}" is not a share of the frames', hint=f"for example --{name} 1%")
    return float(match[1]) / 100


def parse_rate(text: str) -> int:
    """Bits a second from `100mbit` or `1.5gbit`.

    Raises:
        UsageError: it is none.
    """
    if text in ("0", "0.0"):
        return 0
    match = _RATE.fullmatch(text)
    if match is None or (bits := float(match[1]) * _BITS[match[2].removesuffix("bit").removesuffix("bps")]) < 1:
        raise UsageError(f'rate: "{text}" is not a rate', hint="for example --rate 100mbit, or 1.5gbit")
    return int(bits)


def _duration(name: str, text: str) -> float:
    if text == "0":
        return 0.0
    try:
        micro = text.endswith("us")
        seconds = float(text[:-2]) / 1e6 if micro else parse_seconds(text)
    except ValueError as error:
        raise UsageError(f'{name}: "{text}" is not a duration', hint=f"for example --{name} 20ms") from error
    if not 0 <= seconds <= MAX_DELAY:
        raise UsageError(f"{name}: {text} is more than {MAX_DELAY:g} s", hint=f"for example --{name} 20ms")
    return seconds
