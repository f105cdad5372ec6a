"""Quantities as people write them."""

from __future__ import annotations

import pytest

from labctl.errors import UsageError
from labctl_network.impair.words import parse_quantity, parse_rate


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("delay", "20ms", 0.02),
        ("delay", "250us", 0.00025),
        ("jitter", "1s", 1.0),
        ("delay", "0", 0.0),
        ("loss", "0.5%", 0.005),
        ("corrupt", "100 %", 1.0),
        ("loss", "0", 0.0),
        ("rate", "1.5gbit", 1_500_000_000),
        ("rate", "100Mbps", 100_000_000),
        ("rate", "0", 0),
    ],
)
def test_it_is_read(name, text, value) -> None:
    assert parse_quantity(name, text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("loss", "0.01", 'loss: "0.01" is not a share of the frames'),
        ("loss", "101%", "not a share"),
        ("delay", "20", 'delay: "20" is not a duration'),
        ("delay", "-1ms", "not a duration"),
        ("delay", "xus", "not a duration"),
        ("delay", "2m", "delay: 2m is more than 60 s"),
        ("rate", "10MiB", 'rate: "10mib" is not a rate'),
        ("rate", "0.1bit", "not a rate"),
    ],
)
def test_what_is_none_is_refused_with_an_example(name, text, said) -> None:
    with pytest.raises(UsageError) as refused:
        parse_quantity(name, text)
    assert said in refused.value.message
    assert refused.value.hint.startswith(f"for example --{name}")


def test_a_rate_is_bits_a_second() -> None:
    assert parse_rate("64kbit") == 64_000
