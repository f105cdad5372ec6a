"""A check's table: what it may ask, in which words it is refused, and how it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest

import labctl_check.plugin
from labctl.model.address import Address
from labctl.model.reference import Ref
from labctl.model.resource import Spec
from labctl.plugin.api import Description, Kind
from labctl.plugin.loader import Plugins
from labctl.testing.kinds import TestPlugin, lab_info
from labctl.topology.compile import Compiled, compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text
from labctl_check.words import asked


class VmSpec(Spec):
    on: Annotated[str | None, Ref("vm")] = None


class VmKind(Kind[VmSpec]):
    name = "vm"
    summary = "a machine"
    spec = VmSpec


PLUGINS = Plugins.from_modules({"check": labctl_check.plugin, "vm": TestPlugin(kinds=[VmKind()])})
BASE = '[lab]\nname = "demo"\n[vm.web1]\n[check.it]\n'


def compiled(table: str) -> Compiled:
    return compile_topology(load_text(BASE + table, "lab.toml", PLUGINS), lab_info(Path("/d")), {}, PLUGINS)


def shown(table: str) -> Description:
    return compiled(table).descriptions[Address("check", "it")]


def test_a_check_makes_nothing_and_shows_its_words_and_its_table() -> None:
    table = 'op = "COMPARE AND WRITE"\nvm = "web1"\nwithin = "1s"'
    assert not compiled(table).units
    found = shown(table)
    assert found.summary == "COMPARE AND WRITE of web1 within 1 s"
    assert found.drawn == "none"
    assert found.properties == {
        "op": "COMPARE AND WRITE", "vm": "web1", "host": None, "datastore": None, "slower": None, "failed": False, "count": 1,
        "within": 1.0, "never": False, "on": None, "run": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("failed = true\nnever = true", "never a command that failed within 10 s"),
        ('op = "WRITE"\ncount = 3', "3 x WRITE within 10 s"),
        ('slower = "20ms"\nvm = "web1"\ncount = 2', "2 x any command of web1 slower than 20 ms within 10 s"),
        ('slower = "250us"', "a command slower than 250 us within 10 s"),
        ('op = "lock*"', "lock* within 10 s"),
    ],
)
def test_a_check_in_words(table: str, words: str) -> None:
    assert shown(table).summary == words


def test_all_words_of_a_check_at_once() -> None:
    table = dict(shown('op = "OPEN"').properties) | {"vm": "web1", "host": "esx1", "datastore": "gold", "failed": True}
    assert asked(table) == "OPEN of web1 and esx1 on gold that failed within 10 s"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "lab.toml:4:1: error: check.it: says nothing of the commands it means "
             "(give it op, vm, host, datastore, slower or failed)"),
        ('op = "COMPARE AND WRIT"', 'lab.toml:5:6: error: check.it: no operation is called "COMPARE AND WRIT" '
                                    '(did you mean "COMPARE AND WRITE"?)'),
        ('op = "x"', 'lab.toml:5:6: error: check.it: no operation is called "x" '
                     "(`labctl trace list FILE` shows operations by name)"),
        ('op = "READ"\nnever = true\ncount = 2', "lab.toml:7:9: error: check.it: never and count exclude each other "
                                                "(never fails at the first command; leave count out)"),
        ('op = "READ"\nrun = ["sync"]', 'lab.toml:6:7: error: check.it: run needs a place (add on = "web1")'),
        ('op = "READ"\non = "web1"', 'lab.toml:6:6: error: check.it: on means nothing without run (add run = ["sync"])'),
        ('vm = "web2"', 'lab.toml:5:6: error: check.it: no vm named "web2" (did you mean "web1"?)'),
        ('op = "READ"\nslower = "soon"', 'lab.toml:6:10: error: check.it: slower: "soon" is not a duration '
                                         '(write "500ms", "30s" or "5m")'),
        ('op = "READ"\nwithin = "0s"', "lab.toml:6:10: error: check.it: within: must be more than 0, not the string \"0s\""),
    ],
)  # fmt: skip
def test_what_a_check_cannot_be_is_said_at_its_place(table: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        compiled(table)
    assert str(caught.value.message) == said


@pytest.mark.parametrize(
    "op", ["WRITE", "write", "READ(16)", "LOCK*", "EXCHANGE_ID", "LOGICAL UNIT RESET", "GETPORT", "UNMAP"]
)
def test_operations_are_known_as_traces_name_them(op: str) -> None:
    assert shown(f'op = "{op}"').properties["op"] == op
