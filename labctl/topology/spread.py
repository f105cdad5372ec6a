"""Ranges in lists of references: `hosts = ["esx[1-8]"]` is written once and means eight names.

Works on the raw table, before validation, and remembers where each element was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from labctl.model.reference import Ref
from labctl.topology.names import expand, is_range

Path = tuple[str | int, ...]


class Spreader:
    """Expands one table; `written` then leads from places in the expanded table back to the written one."""

    def __init__(self) -> None:
        self._moved: dict[Path, Path] = {}

    def table(self, raw: Mapping[str, Any], model: type[BaseModel], path: Path = ()) -> dict[str, Any]:
        """The table with all ranges of references spread out."""
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        return {
            key: self._value(value, fields[key], (*path, key)) if key in fields else value for key, value in raw.items()
        }

    def written(self, path: Path) -> Path:
        """Where the value at `path` of the expanded table was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._moved:
                return (*self._moved[path[:length]], *path[length:])
        return path

    def _value(self, value: Any, annotation: Any, path: Path) -> Any:
        for member in _members(annotation):
            if isinstance(value, Mapping) and isinstance(member, type) and issubclass(member, BaseModel):
                return self.table(value, member, path)
            if isinstance(value, list) and get_origin(member) in (list, tuple, set, frozenset):
                return self._list(value, get_args(member)[0], path)
        return value

    def _list(self, values: list[Any], item: Any, path: Path) -> list[Any]:
        out: list[Any] = []
        for number, value in enumerate(values):
            for one in _names(value) if _refers(item) else [value]:
                if len(out) != number or one is not value:
                    self._moved[*path, len(out)] = (*path, number)
                out.append(self._value(one, item, (*path, number)))
        return out


def _members(annotation: Any) -> list[Any]:
    """The types that an annotation allows: unions opened, Annotated unwrapped."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    arguments = get_args(annotation)
    if arguments and get_origin(annotation) not in (list, tuple, set, frozenset, dict, Mapping):
        return [member for argument in arguments for member in _members(argument)]
    return [annotation]


def _refers(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated and any(isinstance(extra, Ref) for extra in get_args(annotation)[1:])


def _names(value: Any) -> list[Any]:
    if isinstance(value, str) and is_range(value):
        try:
            return list(expand(value))
        except ValueError:
            return [value]  # it is reported as a name that does not exist
    return [value]
