"""Finds the references of a resource by walking its model's types: a `Ref` may stand at any depth, in lists, tables and unions.

Values are taken from the validated model; where validation failed they are taken from the table as written, so that a table with another
fault still has its references checked.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from labctl.model.address import Address
from labctl.model.reference import Ref, Reference
from labctl.model.resource import Resource

Path = tuple[str | int, ...]
_Found = tuple[Path, Ref, str]


def references(resource: Resource[Any]) -> list[Reference]:
    """All references of a resource, in the order of its model's fields."""
    return [
        Reference(source=resource.address, path=path, kinds=ref.kinds, name=name, ordered=ref.ordered)
        for path, ref, name in _in_model(resource.spec, ())
    ]


def references_as_written(address: Address, model: type[BaseModel], raw: Mapping[str, Any]) -> list[Reference]:
    """The references in a table that did not validate, as far as its shape lets them be found."""
    return [
        Reference(source=address, path=path, kinds=ref.kinds, name=name, ordered=ref.ordered)
        for path, ref, name in _in_raw(raw, model, ())
    ]


def _in_raw(raw: Mapping[str, Any], model: type[BaseModel], path: Path) -> Iterator[_Found]:
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key in raw:
            yield from _in_value(raw[key], field.annotation, field.metadata, (*path, key))


def _in_model(model: BaseModel, path: Path) -> Iterator[_Found]:
    for name, field in type(model).model_fields.items():
        key = field.alias or name
        yield from _in_value(getattr(model, name), field.annotation, field.metadata, (*path, key))


def _in_value(value: object, annotation: Any, metadata: list[Any], path: Path) -> Iterator[_Found]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        yield from _in_value(value, inner, [*metadata, *extra], path)
    elif origin in (Union, types.UnionType):
        yield from _in_union(value, get_args(annotation), metadata, path)
    elif isinstance(value, BaseModel):
        yield from _in_model(value, path)
    elif isinstance(value, str):
        yield from ((path, ref, value) for ref in metadata if isinstance(ref, Ref))
    elif isinstance(value, Mapping) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _in_raw(value, annotation, path)
    elif isinstance(value, Mapping):
        yield from _in_mapping(value, get_args(annotation), path)
    elif isinstance(value, list | tuple | set | frozenset):
        item = next((argument for argument in get_args(annotation) if argument is not ...), Any)
        for number, element in enumerate(value):
            yield from _in_value(element, item, metadata, (*path, number))


def _in_union(value: object, members: tuple[Any, ...], metadata: list[Any], path: Path) -> Iterator[_Found]:
    found: dict[tuple[Path, Ref], _Found] = {}
    for member in members:
        for hit in _in_value(value, member, metadata, path):
            found.setdefault((hit[0], hit[1]), hit)
    yield from found.values()


def _in_mapping(value: Mapping[Any, Any], arguments: tuple[Any, ...], path: Path) -> Iterator[_Found]:
    key_type, value_type = arguments if len(arguments) == 2 else (Any, Any)
    for key, element in value.items():
        yield from _in_value(key, key_type, [], (*path, key))
        yield from _in_value(element, value_type, [], (*path, key))
