"""pydantic's findings in plain words.

A finding has a type (`missing`, `int_parsing`, …), a place and the value found. Its place may name members of unions, which no user has
written: those are dropped by walking the written table along it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from labctl.model.problem import Problem
from labctl.model.suggest import did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]

_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "none_required": "nothing",
    "path_type": "a path",
    "url_type": "a URL",
    "url_parsing": "a URL",
}

_LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}


def explain(error: ValidationError, table: Path, raw: object, model: type[BaseModel]) -> list[Problem]:
    """The problems of one table.

    Args:
        error: what pydantic says.
        table: the path of the table in the file.
        raw: the table as written.
        model: what it was validated against.
    """
    by_place: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_place.setdefault(_written_place(detail, raw), []).append(detail)
    problems = []
    for place, details in by_place.items():
        if _shadowed(place, by_place, details):
            continue
        message, hint = _explain_place(place, details, model)
        problems.append(Problem(path=(*table, *place), message=message, hint=hint))
    return problems


def _shadowed(place: Path, all_places: Mapping[Path, object], details: Sequence[ErrorDetails]) -> bool:
    """What is wrong inside a table or list helps; that it is therefore "not a string" (a union) or has too few sound items does not."""
    only_follows = all(detail["type"] in _EXPECTED or detail["type"] == "too_short" for detail in details)
    return only_follows and any(len(other) > len(place) and other[: len(place)] == place for other in all_places)


def _written_place(detail: ErrorDetails, raw: object) -> Path:
    place: list[str | int] = []
    here: Any = raw
    location = detail["loc"]
    for number, key in enumerate(location):
        if _has(here, key):
            here = here[key]
            place.append(key)
        elif number == len(location) - 1 and detail["type"] == "missing":
            place.append(key)
    return tuple(place)


def _has(container: object, key: str | int) -> bool:
    if isinstance(container, Mapping):
        return key in container
    return isinstance(container, list) and isinstance(key, int) and key < len(container)


def _explain_place(place: Path, details: Sequence[ErrorDetails], model: type[BaseModel]) -> tuple[str, str | None]:
    telling = [detail for detail in details if detail["type"] not in _EXPECTED]
    if telling:
        return _explain_one(place, telling[0], model)
    expected = list(dict.fromkeys(_EXPECTED[detail["type"]] for detail in details))
    return f"{_named(place)}must be {' or '.join(expected)}, not {show(details[0]['input'])}", None


def _explain_one(place: Path, detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str | None]:
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "missing":
        return f'"{place[-1]}" is missing', None
    if kind == "extra_forbidden":
        known = known_keys(model, place[:-1])
        return f'unknown key "{place[-1]}"', did_you_mean(str(place[-1]), known, what="the keys")
    if kind in {"literal_error", "enum"}:
        return _explain_choice(place, detail)
    if kind in _LIMITS:
        words, key = _LIMITS[kind]
        return f"{_named(place)}must be {words} {context[key]}, not {show(detail['input'])}", None
    if kind in {"value_error", "assertion_error"}:
        return f"{_named(place)}{context.get('error', detail['msg'])}", None
    return _explain_length(place, detail) or (f"{_named(place)}{_lower(detail['msg'])}", None)


def _explain_length(place: Path, detail: ErrorDetails) -> tuple[str, str | None] | None:
    context: Mapping[str, Any] = detail.get("ctx", {})
    words: Mapping[str, Callable[[], str]] = {
        "too_short": lambda: f"needs at least {context['min_length']} of them",
        "too_long": lambda: f"may have at most {context['max_length']} of them",
        "string_too_short": lambda: f"needs at least {context['min_length']} characters",
        "string_too_long": lambda: f"may have at most {context['max_length']} characters",
        "string_pattern_mismatch": lambda: f"{show(detail['input'])} does not match {context['pattern']}",
    }
    found = words.get(detail["type"])
    return (f"{_named(place)}{found()}", None) if found else None


def _explain_choice(place: Path, detail: ErrorDetails) -> tuple[str, str | None]:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    choices = [choice.strip().strip("'") for choice in expected.replace(" or ", ", ").split(",")]
    hint = did_you_mean(str(detail["input"]), choices)
    listed = ", ".join(f'"{choice}"' for choice in choices)
    found = f'"{detail["input"]}"' if isinstance(detail["input"], str) else show(detail["input"])
    return f"{_named(place)}{found} is not one of {listed}", hint


def known_keys(model: type[BaseModel], place: Path) -> list[str]:
    """The keys that may stand in the table at `place` of a model."""
    models = [model]
    for key in place:
        if isinstance(key, str):
            fields = [found.model_fields[key] for found in models if key in found.model_fields]
            models = [inner for field in fields for inner in _models_in(field.annotation)] or models
    return sorted({field.alias or name for found in models for name, field in found.model_fields.items()})


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]


def show(value: object) -> str:
    """A value as a user would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'the string "{value}"'
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence):
        return "a list"
    return str(value)


def _named(place: Path) -> str:
    keys = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).lstrip(".")
    return f"{keys}: " if keys else ""


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
