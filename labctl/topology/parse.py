"""TOML text → tables with positions. Only the syntax is judged here."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from labctl.model.problem import Position, Problem
from labctl.topology.errors import TopologyError
from labctl.topology.positions import PositionIndex

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse(text: str, file: str) -> tuple[dict[str, Any], PositionIndex]:
    """Read a document.

    Args:
        text: the document.
        file: what to call it in positions.

    Raises:
        TopologyError: it is no TOML; the one problem has its position.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TopologyError([_syntax_problem(str(error), text, file)]) from None
    except RecursionError:
        problem = Problem(path=(), message="lists or tables are nested too deeply", position=Position(file, 1, 1))
        raise TopologyError([problem]) from None
    return data, PositionIndex(text, file)


def _syntax_problem(said: str, text: str, file: str) -> Problem:
    place = _PLACE.search(said)
    lines = text.split("\n")
    position = Position(file, len(lines), len(lines[-1]) + 1)
    if place is not None and place[1] is not None:
        position = Position(file, int(place[1]), int(place[2]))
    message = _PLACE.sub("", said)
    line = lines[position.line - 1]
    hint = None
    if declared := re.match(r"Cannot declare \((.*?),?\) twice", message):
        keys = re.findall(r"'([^']*)'", declared[1])
        message = f"the table [{'.'.join(keys)}] is declared twice"
        hint = "merge the two"
        position = _header_start(lines, position)
    elif message == "Cannot overwrite a value":
        message = f'"{line.partition("=")[0].strip()}" is set twice in this table'
        position = Position(file, position.line, len(line) - len(line.lstrip()) + 1)
    else:
        message = message[:1].lower() + message[1:]
        if message == "invalid value" or message.startswith("expected newline or end of document after"):
            hint = "text needs quotes, one key stands on each line"
    return Problem(path=(), message=message, hint=hint, position=position)


def _header_start(lines: list[str], position: Position) -> Position:
    """tomllib points behind a header; people look at its start."""
    line = lines[position.line - 1]
    return Position(position.file, position.line, len(line) - len(line.lstrip()) + 1)
