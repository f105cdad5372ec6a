"""Types for the models of kinds: sizes, durations, addresses; each reads what people write and says plainly what is wrong.

`memory: Bytes = 2 * GIB` accepts `"2GiB"`, `"512 MiB"` and whole numbers of bytes.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_BINARY = {"B": 1, "KIB": KIB, "MIB": MIB, "GIB": GIB, "TIB": TIB, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_DECIMAL = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_SECONDS = {"us": 0.000001, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


def parse_bytes(value: Any) -> int:
    """A size in bytes from `"2GiB"`, `"128 MiB"`, `"1.5G"`, `"10MB"` (decimal) or a whole number.

    Raises:
        ValueError: it is none of these, or no whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{_shown(value)} is not a size (write "512MiB" or "2GiB")')
    number, unit = match.groups()
    factor = {**_BINARY, **_DECIMAL, "": 1}.get(unit.upper())
    if factor is None:
        raise ValueError(f'"{value}" has no unit of size that is known (B, KiB, MiB, GiB, TiB)')
    size = float(number) * factor if "." in number else int(number) * factor
    if size != int(size):
        raise ValueError(f'"{value}" is not a whole number of bytes')
    return int(size)


def format_bytes(size: int) -> str:
    """A size for people: `128 MiB`, `1.5 GiB`, `4097 B`."""
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor and size * 2 % factor == 0:
            return f"{size // factor}{'.5' if size % factor else ''} {unit}"
    return f"{size} B"


def parse_seconds(value: Any) -> float:
    """Seconds from `"30s"`, `"500ms"`, `"5m"`, `"1h"` or a number.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f'{_shown(value)} is not a duration (write "500ms", "30s" or "5m")')
    return float(match[1]) * _SECONDS[match[2]]


def parse_subnet(value: Any) -> IPv4Network:
    """An IPv4 subnet from `"10.10.0.0/24"`.

    Raises:
        ValueError: it is none, or has bits set behind its prefix.
    """
    if isinstance(value, IPv4Network):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError(f'{_shown(value)} is not a subnet (write "10.10.0.0/24")')
    try:
        network = IPv4Network(value, strict=False)
    except ValueError:
        raise ValueError(f'"{value}" is not a subnet (write "10.10.0.0/24")') from None
    if str(network) != value:
        raise ValueError(f'"{value}" is an address in a subnet, not the subnet (did you mean "{network}"?)')
    return network


def parse_address(value: Any) -> IPv4Address:
    """An IPv4 address without a prefix length.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        hint = f'"{value.partition("/")[0]}"' if isinstance(value, str) and "/" in value else '"10.10.0.21"'
        raise ValueError(f"{_shown(value)} is not an IPv4 address (write {hint})") from None


def parse_interface(value: Any) -> IPv4Interface:
    """An IPv4 address with its prefix length, `10.10.0.21/24`.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, IPv4Interface):
        return value
    try:
        return IPv4Interface(value if isinstance(value, str) and "/" in value else "")
    except ValueError:
        raise ValueError(f'{_shown(value)} is not an address with a prefix length (write "10.10.0.21/24")') from None


def parse_mac(value: Any) -> str:
    """A unicast MAC address, in lower case with colons.

    Raises:
        ValueError: it is none, or a multicast one.
    """
    text = value.lower().replace("-", ":") if isinstance(value, str) else ""
    if not _MAC.fullmatch(text):
        raise ValueError(f'{_shown(value)} is not a MAC address (write "52:54:00:12:34:56")')
    if int(text[:2], 16) & 1:
        raise ValueError(f'"{value}" is a multicast address; a NIC needs a unicast one (an even first byte)')
    return text


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _text_schema(description: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description, "examples": list(examples)})


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*[A-Za-z]*\s*$"},
                {"type": "integer", "minimum": 0},
            ],
            "description": "a size",
            "examples": ["512MiB", "2GiB"],
        }
    ),
]
"""A size in bytes."""

Seconds = Annotated[
    float,
    BeforeValidator(parse_seconds),
    WithJsonSchema({"type": ["string", "number"], "description": "a duration", "examples": ["500ms", "30s"]}),
]
"""A duration in seconds."""

Subnet = Annotated[IPv4Network, BeforeValidator(parse_subnet), _text_schema("an IPv4 subnet", "10.10.0.0/24")]
"""An IPv4 subnet."""

Ip = Annotated[IPv4Address, BeforeValidator(parse_address), _text_schema("an IPv4 address", "10.10.0.21")]
"""An IPv4 address."""

IpWithPrefix = Annotated[
    IPv4Interface,
    BeforeValidator(parse_interface),
    _text_schema("an IPv4 address with its prefix length", "10.10.0.21/24"),
]
"""An IPv4 address with its prefix length."""

Mac = Annotated[str, BeforeValidator(parse_mac), _text_schema("a MAC address", "52:54:00:12:34:56")]
"""A MAC address."""
