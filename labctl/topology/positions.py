"""Where each key and value of a TOML document stands.

The standard library's parser gives values without positions, so this scanner walks the same text again and notes only places. It
is given nothing but documents that tomllib has accepted, hence it need not judge: it must merely step over every form that TOML has
(bare, quoted and dotted keys, tables, arrays of tables, arrays over many lines, inline tables, the four kinds of string).
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from labctl.model.problem import Position

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_VOID = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}' r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


class PositionIndex:
    """Looks up the places of keys and values by their path from the top of the document."""

    def __init__(self, text: str, file: str) -> None:
        """Index `text`, a valid TOML document whose lines end in a line feed."""
        self.file = file
        self._starts = [0, *(at + 1 for at, character in enumerate(text) if character == "\n")]
        scanner = _Scanner(text)
        scanner.run()
        self._keys = scanner.keys
        self._values = scanner.values

    def key(self, path: Path) -> Position:
        """Where the key of `path` is written; for what is not written, where the nearest thing around it is."""
        return self._find(path, self._keys, self._values)

    def value(self, path: Path) -> Position:
        """Where the value of `path` is written, or the nearest thing around it."""
        return self._find(path, self._values, self._keys)

    def at(self, offset: int) -> Position:
        """The position of a character."""
        line = bisect_right(self._starts, offset)
        return Position(self.file, line, offset - self._starts[line - 1] + 1)

    def _find(self, path: Path, first: dict[Path, int], second: dict[Path, int]) -> Position:
        for length in range(len(path), 0, -1):
            part = path[:length]
            offset = first.get(part, second.get(part))
            if offset is not None:
                return self.at(offset)
        return self.at(0)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.keys: dict[Path, int] = {}
        self.values: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # arrays of tables: how many elements so far

    def run(self) -> None:
        table: Path = ()
        while self._skip(_VOID) < len(self.text):
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return self.at

    def _header(self) -> Path:
        start = self.at
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        parts = self._key_parts()
        self.at += 2 if array else 1
        path: Path = ()
        for number, (part, offset) in enumerate(parts):
            path = (*path, part)
            last = number == len(parts) - 1
            self.keys.setdefault(path, offset)
            if last and array:
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
            if last:
                self.values.setdefault(path, start)
        return path

    def _pair(self, table: Path) -> None:
        path = table
        for part, offset in self._key_parts():
            path = (*path, part)
            self.keys.setdefault(path, offset)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _key_parts(self) -> list[tuple[str, int]]:
        parts: list[tuple[str, int]] = []
        while True:
            self._skip(_BLANK)
            start = self.at
            if self.text[start] in "\"'":
                self._skip(_STRING)
                parts.append((tomllib.loads(f"k = {self.text[start : self.at]}")["k"], start))
            else:
                self._skip(_BARE_KEY)
                parts.append((self.text[start : self.at], start))
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def _value(self, path: Path) -> None:
        self.values.setdefault(path, self.at)
        match self.text[self.at]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self.at += 1
        number = 0
        while self.text[self._skip(_VOID)] != "]":
            self._value((*path, number))
            number += 1
            if self.text[self._skip(_VOID)] == ",":
                self.at += 1
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self.text[self._skip(_VOID)] != "}":
            self._pair(path)
            if self.text[self._skip(_VOID)] == ",":
                self.at += 1
        self.at += 1
