"""Impairments: from JSON and back, to netem, to words; changed piece by piece."""

from __future__ import annotations

import subprocess

import pytest

from labctl.errors import UsageError
from labctl.testing.needs import in_private_network
from labctl_network.impair.impairment import Impairment, LinkImpairment, format_rate

ALL = Impairment(delay=0.02, jitter=0.005, loss=0.01, duplicate=0.02, corrupt=0.001, reorder=0.05, rate=100_000_000)


def test_a_sound_link_is_false_empty_and_says_nothing() -> None:
    assert not LinkImpairment()
    assert LinkImpairment().to_json() == {}
    assert str(LinkImpairment()) == ""
    assert LinkImpairment.from_json(None) == LinkImpairment()


@pytest.mark.parametrize(
    "wanted",
    [LinkImpairment(to=ALL), LinkImpairment(back=ALL, down=True), LinkImpairment(to=ALL, back=Impairment(loss=1.0))],
    ids=["to", "from-and-down", "both"],
)
def test_it_comes_back_from_json_as_it_was(wanted) -> None:
    assert LinkImpairment.from_json(wanted.to_json()) == wanted
    assert wanted


def test_it_says_what_it_is() -> None:
    assert str(LinkImpairment(to=ALL, back=ALL)) == (
        "delay 20 ms, jitter 5 ms, loss 1 %, duplicate 2 %, corrupt 0.1 %, reorder 5 %, rate 100 Mbit/s"
    )
    assert str(LinkImpairment(to=Impairment(loss=0.5))) == "to the node: loss 50 %"
    assert str(LinkImpairment(to=ALL, down=True)) == "down"


@pytest.mark.parametrize(
    ("bits", "text"), [(1_500_000_000, "1.5 Gbit/s"), (64_000, "64 kbit/s"), (10, "10 bit/s")], ids=["g", "k", "b"]
)
def test_rates_read_well(bits, text) -> None:
    assert format_rate(bits) == text


def test_a_change_touches_what_it_names_and_nothing_else() -> None:
    first = LinkImpairment().changed({"delay": 0.01}, ("to", "from"), down=None)
    second = first.changed({"loss": 0.5}, ("from",), down=True)
    assert second == LinkImpairment(to=Impairment(delay=0.01), back=Impairment(delay=0.01, loss=0.5), down=True)
    assert second.changed({"delay": 0.0, "loss": 0.0}, ("to", "from"), down=False) == LinkImpairment()


def test_reordering_without_delay_is_refused() -> None:
    with pytest.raises(UsageError, match="reordering needs a delay"):
        LinkImpairment().changed({"reorder": 0.1}, ("to",), down=None)


def test_netem_gets_the_same_quantities() -> None:
    assert " ".join(ALL.netem()) == (
        "limit 1000 delay 20000us 5000us loss 1% duplicate 2% corrupt 0.1% reorder 5% rate 100000000bit"
    )


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    "wanted",
    [ALL, Impairment(loss=0.333), Impairment(rate=1), Impairment(jitter=0.01)],
    ids=["all", "loss", "rate", "jitter"],
)
def test_tc_itself_understands_what_netem_is_told(wanted) -> None:
    words = " ".join(["tc qdisc add dev lo root netem", *wanted.netem()])
    done = subprocess.run(in_private_network(words), capture_output=True, text=True, timeout=60, check=False)
    # A kernel without netem refuses the kind, after tc has read every word; a word that tc does not know is said otherwise.
    assert done.returncode == 0 or "Specified qdisc kind is unknown" in done.stderr, done.stderr
