"""The JSON Schema of topologies, made from the kinds that are installed, for editors that complete and check TOML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from labctl.topology.load import LabTable
from labctl.topology.names import MAX_LAB_NAME, MAX_RANGE, NAME

if TYPE_CHECKING:
    from labctl.plugin.api import Kind

DIALECT = "http://json-schema.org/draft-07/schema#"
"""What the TOML language servers understand."""

NAME_OR_RANGE = r"^[a-z][a-z0-9-]*(\[[0-9, -]+\][a-z0-9-]*)*$"


def json_schema(kinds: Mapping[str, Kind[Any]]) -> dict[str, Any]:
    """The schema of a topology file."""
    models: dict[str, type[BaseModel]] = {"lab": LabTable, **{name: kind.spec for name, kind in kinds.items()}}
    keys, definitions = models_json_schema(
        [(model, "validation") for model in models.values()], ref_template="#/$defs/{model}"
    )
    places = {name: keys[model, "validation"] for name, model in models.items()}
    defs = dict(definitions.get("$defs", {}))
    lab = _opened(places.pop("lab"), defs)
    lab["properties"]["name"] |= {"pattern": f"^{NAME.pattern}$", "maxLength": MAX_LAB_NAME}
    properties: dict[str, Any] = {"lab": {**lab, "description": "the lab itself"}}
    for name, kind in kinds.items():
        properties[name] = {
            "type": "object",
            "description": kind.summary,
            "patternProperties": {NAME_OR_RANGE: _with_count(_opened(places[name], defs))},
            "additionalProperties": False,
        }
    return {
        "$schema": DIALECT,
        "title": "labctl topology",
        "type": "object",
        "required": ["lab"],
        "properties": properties,
        "additionalProperties": False,
        "$defs": defs,
    }


def _opened(place: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """The schema itself in place of the reference to it, so that keys can be added."""
    name = str(place.get("$ref", "")).rpartition("/")[2]
    return {**defs[name]} if name else {**place}


def _with_count(table: dict[str, Any]) -> dict[str, Any]:
    count = {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_RANGE,
        "description": "make so many of them: NAME1, NAME2, …",
    }
    return {**table, "properties": {"count": count, **table.get("properties", {})}}
