"""A plugin that tests of labd put on the path of a real labd: things that are files, some of which take as long as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from labctl.errors import ConflictError
from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Health, Observation, RecordedUnit, Unit
from labctl.plugin.api import (
    Action,
    ActionContext,
    CommandGroup,
    CompileView,
    Description,
    Kind,
    Removal,
    Services,
    UnitHandler,
)
from labctl.plugin.hookspecs import hookimpl


class ThingSpec(Spec):
    """A thing; with `waits`, it is not made before somebody makes a file of that name."""

    text: str = ""
    waits: str | None = None


class Thing(Kind[ThingSpec]):
    name: ClassVar[str] = "thing"
    summary: ClassVar[str] = "A file."
    spec = ThingSpec

    def compile(self, resource: Resource[ThingSpec], view: CompileView) -> Iterable[Unit]:
        spec: JsonObject = {"text": resource.spec.text, "waits": resource.spec.waits}
        return [Unit(id=f"file:{resource.name}", type="file", resource=resource.address, spec=spec)]

    def describe(self, resource: Resource[ThingSpec], view: CompileView) -> Description:
        return Description(summary=f"says {resource.spec.text!r}")

    def actions(self) -> Mapping[str, Action]:
        return {"echo": _echo, "refuse": _refuse}


async def _echo(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    return {"name": resource.name, "arguments": arguments}


async def _refuse(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    raise ConflictError(f"{resource.name} will not", hint="ask nicely")


class FileHandler(UnitHandler):
    type: ClassVar[str] = "file"

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        for unit in units:
            waits = unit.spec["waits"]
            while waits and not (services.lab.directory / str(waits)).exists():
                services.progress(unit.id, "waiting")
                await asyncio.sleep(0.02)
            self._path(services, unit).write_text(str(unit.spec["text"]))
            services.emit("thing.made", resource=unit.resource)
        return {unit.id: {"made": True} for unit in units}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        for record in units:
            self._path(services, record.unit).unlink(missing_ok=True)

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        return {
            record.unit.id: Observation(
                health=Health.OK if self._path(services, record.unit).exists() else Health.MISSING
            )
            for record in units
        }

    def _path(self, services: Services, unit: Unit) -> Any:
        return services.lab.directory / unit.id


@hookimpl
def labctl_kinds() -> Iterable[Kind[Any]]:
    return [Thing()]


@hookimpl
def labctl_unit_handlers() -> Iterable[UnitHandler]:
    return [FileHandler()]


@hookimpl
def labctl_commands() -> Iterable[CommandGroup]:
    return [CommandGroup(name="thing", help="Things.", app="labd_test_plugin_cli:app")]
