"""Sizes, durations and addresses as people write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labctl.model import quantity as q


@pytest.mark.parametrize(
    ("written", "size"),
    [("128MiB", 128 * q.MIB), ("1.5 GiB", 3 * q.GIB // 2), ("10MB", 10**7), ("512", 512), (0, 0), (" 2g ", 2 * q.GIB)],
)
def test_sizes_are_read(written: object, size: int) -> None:
    assert q.parse_bytes(written) == size


@pytest.mark.parametrize("written", ["", "GiB", "-1GiB", "1 parsec", "0.3B", True, None, -1, [1], "1e3"])
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"size|whole number"):
        q.parse_bytes(written)


@given(st.integers(0, 2**50))
@example(1_858_961_408)
def test_a_size_that_is_shown_is_read_back_as_it_was(size: int) -> None:
    assert q.parse_bytes(q.format_bytes(size)) == size


@pytest.mark.parametrize(
    ("written", "seconds"), [("250us", 0.00025), ("500ms", 0.5), ("30s", 30), ("5m", 300), ("1.5h", 5400), (7, 7)]
)
def test_durations_are_read(written: object, seconds: float) -> None:
    assert q.parse_seconds(written) == seconds


@pytest.mark.parametrize(
    ("parse", "written", "message"),
    [
        (q.parse_seconds, "soon", "not a duration"),
        (q.parse_subnet, "10.0.0.1", "not a subnet"),
        (q.parse_subnet, "10.0.0.1/24", r'did you mean "10.0.0.0/24"'),
        (q.parse_subnet, "10.0.0.0/33", "not a subnet"),
        (q.parse_address, "10.0.0.1/24", r'write "10.0.0.1"'),
        (q.parse_address, 7, "not an IPv4 address"),
        (q.parse_interface, "10.0.0.1", "with a prefix length"),
        (q.parse_mac, "52:54:00", "not a MAC address"),
        (q.parse_mac, "53:54:00:00:00:01", "multicast"),
    ],
)
def test_what_is_wrong_is_said_with_how_to_write_it(
    parse: Callable[[object], object], written: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parse(written)


def test_addresses_are_read() -> None:
    assert str(q.parse_subnet("10.0.0.0/24")) == "10.0.0.0/24"
    assert str(q.parse_address("10.0.0.1")) == "10.0.0.1"
    assert str(q.parse_interface("10.0.0.1/24")) == "10.0.0.1/24"
    assert q.parse_mac("52-54-00-AB-CD-EF") == "52:54:00:ab:cd:ef"
