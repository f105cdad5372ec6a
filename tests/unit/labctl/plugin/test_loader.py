"""A plugin that is broken in any way is named, and everything else works."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl.model.resource import Spec
from labctl.plugin.api import CommandGroup, Kind, UnitHandler
from labctl.plugin.hookspecs import hookimpl
from labctl.plugin.loader import Plugins, load_plugins
from labctl.testing.kinds import TestPlugin


class Empty(Spec):
    pass


class Host(Kind[Empty]):
    name = "host"
    summary = "a host"
    spec = Empty


class Agent(UnitHandler):
    type = "agent"


GOOD = """
from labctl.plugin.api import CommandGroup
from labctl.plugin.hookspecs import hookimpl

@hookimpl
def labctl_commands():
    return [CommandGroup(name="good", help="", app="x:y")]
"""

BROKEN = {
    "cannot be imported": ("import no_such_module_at_all", "cannot import broken_plugin: ModuleNotFoundError"),
    "exits": ("raise SystemExit('bye')", "cannot import broken_plugin: SystemExit: bye"),
    "has a syntax error": ("def (", "cannot import broken_plugin: SyntaxError"),
    "takes a wrong argument": (
        "from labctl.plugin.hookspecs import hookimpl\n@hookimpl\ndef labctl_kinds(topology): return []",
        "topology",
    ),
    "has a hook that does not exist": (
        "from labctl.plugin.hookspecs import hookimpl\n@hookimpl\ndef labctl_kind(): return []",
        "there is no hook labctl_kind",
    ),
    "forgot the decorator": ("def labctl_kinds(): return []", "labctl_kinds is not marked with @hookimpl"),
    "raises": (
        "from labctl.plugin.hookspecs import hookimpl\n@hookimpl\ndef labctl_kinds(): raise ValueError('x')",
        "labctl_kinds failed: ValueError: x",
    ),
    "returns nonsense": (
        "from labctl.plugin.hookspecs import hookimpl\n@hookimpl\ndef labctl_unit_handlers(): return [1]",
        "returned something that is no unit type",
    ),
    "returns nothing": (
        "from labctl.plugin.hookspecs import hookimpl\n@hookimpl\ndef labctl_commands(): pass",
        "labctl_commands failed: TypeError",
    ),
    "wants another API": ("LABCTL_API = 99", "version 99 of the plugin API"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_and_the_rest_works(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, message = BROKEN[case]
    (tmp_path / "broken_plugin.py").write_text(source)
    (tmp_path / "good_plugin.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    entries = [EntryPoint("broken", "broken_plugin", "labctl"), EntryPoint("good", "good_plugin", "labctl")]
    try:
        plugins = load_plugins(entries)
        failures = plugins.examine()
    finally:
        for name in ("broken_plugin", "good_plugin"):
            sys.modules.pop(name, None)
    assert [failure.plugin for failure in failures] == ["broken"]
    assert message in failures[0].message
    assert "good" in plugins.commands


def test_a_misspelt_hook_gets_a_suggestion() -> None:
    class Misspelt:
        @hookimpl
        def labctl_kindz(self) -> list[object]:
            return []

    (failure,) = Plugins.from_modules({"mine": Misspelt()}).failures
    assert str(failure) == 'plugin mine: there is no hook labctl_kindz (did you mean "labctl_kinds"?)'


def test_two_plugins_with_one_name_are_both_named_and_the_first_keeps_it() -> None:
    first, second = Host(), Host()
    plugins = Plugins.from_modules({"a": TestPlugin([first], [Agent()]), "b": TestPlugin([second], [Agent()])})
    assert plugins.kinds["host"] is first
    assert [str(failure) for failure in plugins.examine()] == [
        'plugin b: the kind "host" is taken by plugin a (uninstall b or a, or rename one)',
        'plugin b: the unit type "agent" is taken by plugin a (uninstall b or a, or rename one)',
    ]


def test_nobody_takes_a_built_in_name_by_coming_first_in_the_alphabet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_thief.py").write_text(
        "from labctl.plugin.api import CommandGroup\nfrom labctl.plugin.hookspecs import hookimpl\n@hookimpl\n"
        "def labctl_commands(): return [CommandGroup(name='vm', help='', app='x:y')]"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        plugins = load_plugins([EntryPoint("a-thief", "a_thief", "labctl"), *entry_points(group="labctl")])
        assert plugins.commands["vm"].app.startswith("labctl_server.")
    finally:
        sys.modules.pop("a_thief", None)
    assert [str(failure).partition(" (")[0] for failure in plugins.failures] == [
        'plugin a-thief: the command group "vm" is taken by plugin server'
    ]


def test_two_plugins_of_one_entry_points_name_do_not_throw_each_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good_plugin.py").write_text(GOOD)
    (tmp_path / "other_plugin.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        plugins = load_plugins([EntryPoint("one", f"{name}_plugin", "labctl") for name in ("good", "other")])
    finally:
        for name in ("good_plugin", "other_plugin"):
            sys.modules.pop(name, None)
    assert [plugin.module for plugin in plugins.loaded] == ["good_plugin"]
    assert "other_plugin is not loaded" in plugins.failures[0].message
    assert "good" in plugins.commands


def test_a_unit_type_that_nobody_handles_points_to_the_doctor() -> None:
    with pytest.raises(LabError) as caught:
        Plugins().handler("ghost")
    assert "plugin doctor" in str(caught.value.hint)


def test_commands_are_found_without_loading_what_only_labs_need() -> None:
    script = textwrap.dedent("""
        import sys
        from labctl.plugin.loader import load_plugins
        load_plugins().commands
        print(sorted({"pydantic", "pyroute2", "scapy", "asyncio"} & set(sys.modules)))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_built_in_plugins_come_through_the_same_door() -> None:
    plugins = load_plugins()
    assert {"network", "server", "storage", "desktop"} <= {plugin.name for plugin in plugins.loaded}


def test_a_command_group_keeps_its_place_by_name() -> None:
    group = CommandGroup(name="vm", help="VMs", app="x:y")
    assert Plugins.from_modules({"a": TestPlugin(commands=[group])}).commands == {"vm": group}
