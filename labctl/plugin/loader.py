"""Plugins: found by their entry points, each loaded and asked in a `try` of its own.

Rules:
- A plugin that cannot be imported, that claims a hook that does not exist, or whose hook raises is a failure *of that plugin*: it is
  recorded with a hint, shown by `labctl plugin doctor`, and everything else works on.
- What only some commands need (kinds, handlers) is asked for only when it is first used, because the kinds bring pydantic and the
  handlers bring netlink, and `labctl --help` needs neither.
- Two plugins that claim the same name: the first one keeps it, both are named in the failure. First come the plugins that labctl
  itself brings, then the others by the name of their entry points: nobody takes `host` away by being called `a`.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from labctl.errors import LabError
from labctl.model.suggest import did_you_mean
from labctl.plugin import hookspecs
from labctl.plugin.api import API_VERSION, CommandGroup, DoctorFinding, UnitHandler

if TYPE_CHECKING:
    from labctl.plugin.api import Kind

GROUP = "labctl"
"""The entry points' group."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LoadedPlugin:
    """A plugin that could be imported.

    Args:
        name: its entry point's name.
        module: the module's name.
        distribution: the package that brought it, or "".
        version: that package's version, or "".
    """

    name: str
    module: str
    distribution: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class PluginFailure:
    """What is wrong with a plugin.

    Args:
        plugin: its entry point's name.
        message: what happened.
        hint: what its author, or the user, can do.
    """

    plugin: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"plugin {self.plugin}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class Plugins:
    """Everything that the plugins bring. Make one with load_plugins, or with from_modules in tests."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._loaded: list[LoadedPlugin] = []
        self._failures: list[PluginFailure] = []

    @classmethod
    def from_modules(cls, modules: Mapping[str, object]) -> Plugins:
        """Plugins from modules (or any objects with hook methods) that are imported already."""
        plugins = cls()
        for name, module in modules.items():
            plugins._register(LoadedPlugin(name=name, module=getattr(module, "__name__", name)), module)
        return plugins

    @property
    def loaded(self) -> tuple[LoadedPlugin, ...]:
        """The plugins that were imported and registered."""
        return tuple(self._loaded)

    @property
    def failures(self) -> tuple[PluginFailure, ...]:
        """What went wrong so far; complete after `examine`."""
        return tuple(self._failures)

    @cached_property
    def kinds(self) -> Mapping[str, Kind[Any]]:
        """The kinds of resource, by name, sorted."""
        return self._named("labctl_kinds", "kind", lambda kind: str(kind.name))

    @cached_property
    def handlers(self) -> Mapping[str, UnitHandler]:
        """The handlers, by unit type."""
        return self._named("labctl_unit_handlers", "unit type", lambda handler: str(handler.type))

    @cached_property
    def commands(self) -> Mapping[str, CommandGroup]:
        """The command groups, by name."""
        return self._named("labctl_commands", "command group", lambda group: str(group.name))

    @cached_property
    def topologies(self) -> tuple[Path, ...]:
        """The folders of example topologies."""
        return tuple(Path(folder) for _, folder in self._ask("labctl_topologies"))

    def doctor_findings(self) -> tuple[DoctorFinding, ...]:
        """What the plugins say of the machine."""
        return tuple(finding for _, finding in self._ask("labctl_doctor"))

    def examine(self) -> tuple[PluginFailure, ...]:
        """Ask every hook but the doctor's, and return all failures (`labctl plugin doctor`)."""
        _ = self.kinds, self.handlers, self.commands, self.topologies
        return self.failures

    def handler(self, unit_type: str) -> UnitHandler:
        """The handler of a unit type.

        Raises:
            LabError: no plugin handles it.
        """
        try:
            return self.handlers[unit_type]
        except KeyError:
            raise LabError(
                f'no plugin handles units of type "{unit_type}"',
                hint="a plugin that this lab was made with is missing: see `labctl plugin doctor`",
            ) from None

    def add(self, entry: importlib.metadata.EntryPoint) -> None:
        """Import an entry point's module and register it, or record why that failed."""
        distribution = entry.dist
        try:
            module = entry.load()
        except (Exception, SystemExit) as error:
            self._fail(entry.name, f"cannot import {entry.value}: {_said(error)}", "mend or uninstall it")
            return
        self._register(
            LoadedPlugin(
                name=entry.name,
                module=entry.value,
                distribution=distribution.name if distribution else "",
                version=distribution.version if distribution else "",
            ),
            module,
        )

    def _register(self, plugin: LoadedPlugin, module: object) -> None:
        wanted = getattr(module, "LABCTL_API", API_VERSION)
        if wanted != API_VERSION:
            self._fail(
                plugin.name, f"is made for version {wanted} of the plugin API, this is {API_VERSION}", "update it"
            )
            return
        if self._manager.has_plugin(plugin.name):
            self._fail(
                plugin.name, f"another plugin has that name, so {plugin.module} is not loaded", "rename its entry point"
            )
            return
        try:
            self._manager.register(module, plugin.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            self._fail(plugin.name, _first_line(error), "hooks and their arguments are in the plugin reference")
            return
        self._check_hooks(plugin.name, module)
        self._loaded.append(plugin)

    def _check_hooks(self, name: str, module: object) -> None:
        """Names that no hook has, and functions that look like hooks but are not marked."""
        known = [hook for hook in vars(hookspecs) if hook.startswith("labctl_")]
        for caller in self._manager.get_hookcallers(module) or ():
            if not caller.has_spec():
                self._fail(name, f"there is no hook {caller.name}", did_you_mean(caller.name, known, what="the hooks"))
        if isinstance(module, ModuleType):
            for attribute, value in vars(module).items():
                if attribute in known and inspect.isfunction(value) and not hasattr(value, "labctl_impl"):
                    self._fail(name, f"{attribute} is not marked with @hookimpl, so it is never called", None)

    def _ask(self, hook: str) -> list[tuple[str, Any]]:
        """What every plugin answers to a hook, as (plugin, item), plugins in the order in which they were loaded."""
        answers: list[tuple[str, Any]] = []
        order = [plugin.name for plugin in self._loaded]
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for implementation in sorted(implementations, key=lambda found: order.index(found.plugin_name)):
            name = implementation.plugin_name
            try:
                # Called one by one, not through pluggy: one plugin's exception must not silence the others.
                answers += [(name, item) for item in implementation.function()]
            except Exception as error:
                self._fail(name, f"{hook} failed: {_said(error)}", "mend or uninstall it")
        return answers

    def _named(self, hook: str, what: str, name_of: Callable[[Any], str]) -> dict[str, Any]:
        found: dict[str, tuple[str, Any]] = {}
        for plugin, item in self._ask(hook):
            try:
                name = name_of(item)
            except AttributeError as error:
                self._fail(plugin, f"{hook} returned something that is no {what}: {_said(error)}", None)
                continue
            if name in found:
                first = found[name][0]
                self._fail(
                    plugin,
                    f'the {what} "{name}" is taken by plugin {first}',
                    f"uninstall {plugin} or {first}, or rename one",
                )
                continue
            found[name] = (plugin, item)
        return {name: found[name][1] for name in sorted(found)}

    def _fail(self, plugin: str, message: str, hint: str | None) -> None:
        self._failures.append(PluginFailure(plugin=plugin, message=message, hint=hint))


def load_plugins(entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> Plugins:
    """Load the plugins that are installed.

    Args:
        entry_points: in place of the installed ones, for tests.
    """
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=GROUP)
    plugins = Plugins()
    for entry in sorted(entry_points, key=lambda found: (not _is_our_own(found), found.name)):
        plugins.add(entry)
    return plugins


def _is_our_own(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == "labctl"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:3]) or type(error).__name__
