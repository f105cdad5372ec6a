"""When an alarm is raised and cleared, and what its table may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import labctl_check.plugin
from labctl.plugin.loader import Plugins
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text
from labctl_check.alarm.watch import Change, Threshold, Watch


def threshold(**changes: Any) -> Threshold:
    return Threshold(**{"metric": "m", "labels": {}, "above": 10.0, "below": None, "lasting": 0.0, **changes})


def told(kind: str = "gauge", **values: float) -> list[dict[str, Any]]:
    samples = [{"labels": {"vm": vm}, "value": value} for vm, value in values.items()]
    return [{"name": "other", "type": kind, "samples": samples}, {"name": "m", "type": kind, "samples": samples}]


def change(vm: str, raised: bool, value: float | None) -> Change:
    return Change(labels=(("vm", vm),), raised=raised, value=value)


def test_each_series_is_raised_and_cleared_by_itself() -> None:
    watch = Watch(threshold())
    assert watch.look(0, told(a=5, b=11)) == [change("b", True, 11)]
    assert watch.look(1, told(a=12, b=11)) == [change("a", True, 12)]
    assert watch.look(2, told(a=10, b=11)) == [change("a", False, 10)]
    assert watch.look(3, told(a=1)) == [change("b", False, None)]
    assert not watch.raised


def test_it_must_have_been_so_for_a_while() -> None:
    watch = Watch(threshold(above=None, below=1.0, lasting=5.0))
    assert not watch.look(0, told(a=0))
    assert not watch.look(3, told(a=2))
    assert not watch.look(4, told(a=0))
    assert not watch.look(8.9, told(a=0))
    assert watch.look(9, told(a=0)) == [change("a", True, 0)]
    assert watch.raised[("vm", "a"),].since == 4


def test_a_counter_is_judged_by_its_rate_and_one_that_began_anew_is_not() -> None:
    watch = Watch(threshold())
    assert not watch.look(0, told("counter", a=1000))
    assert watch.look(2, told("counter", a=1030)) == [change("a", True, 15)]
    assert watch.look(3, told("counter", a=2)) == [change("a", False, None)]
    assert watch.look(4, told("counter", a=22)) == [change("a", True, 20)]


def test_labels_choose_the_series_and_a_metric_that_nobody_tells_is_unknown() -> None:
    watch = Watch(threshold(labels={"vm": "web*"}))
    assert watch.look(0, told(web1=11, db1=11)) == [change("web1", True, 11)]
    assert watch.known
    assert watch.look(1, []) == [change("web1", False, None)]
    assert not watch.known


def test_a_threshold_in_words() -> None:
    assert [str(threshold()), str(threshold(above=None, below=0.5))] == ["above 10", "below 0.5"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("above = 1\nbelow = 0", "an alarm is about one threshold, above or below (write one of them: above = 0.9)"),
        ("", "an alarm is about one threshold, above or below (write one of them: above = 0.9)"),
        ('above = 1\nevery = "100ms"', "every"),
    ],
)
def test_a_table_that_makes_no_sense_is_told(text: str, said: str) -> None:
    plugins = Plugins.from_modules({"check": labctl_check.plugin})
    with pytest.raises(TopologyError) as caught:
        load_text(f'[lab]\nname = "demo"\n[alarm.a]\nmetric = "m"\n{text}\n', str(Path("lab.toml")), plugins)
    assert said in str(caught.value.message)
