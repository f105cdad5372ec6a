"""The position index agrees with the standard library's parser on every document."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.model.problem import Position
from labctl.topology.errors import TopologyError
from labctl.topology.parse import parse
from labctl.topology.positions import Path as Keys
from labctl.topology.positions import PositionIndex

DOCUMENT = (Path(__file__).parent / "every-form.toml").read_text()


def line_and_column(position: Position) -> tuple[int, int]:
    return position.line, position.column


def found_at(text: str, position: Position) -> str:
    return text.split("\n")[position.line - 1][position.column - 1 :]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("top",), "top = 1", "1 # behind"),
        (("quoted key",), '"quoted key"', "'literal'"),
        (("dotted", "inner", "with.dot"), '"with.dot" = true', "true"),
        (("dotted", "inner"), 'inner."with.dot"', "true"),
        (("host", "esx[1-3]"), '"esx[1-3]"]', '[host."esx[1-3]"]'),
        (("host", "esx[1-3]", "memory"), "memory", '"2GiB"'),
        (("host", "esx[1-3]", "raw"), "raw", "'''"),
        (("host", "esx[1-3]", "numbers", 1, 1), "3]", "3]"),
        (("host", "esx[1-3]", "numbers", 2, "a"), "a = ", '"}"'),
        (("host", "esx[1-3]", "inline", "nested", "deep"), "deep", '"]"'),
        (("host", "esx[1-3]", "date"), "date", "1979-05-27 07:32:00"),
        (("pool", 0, "sub", "k"), "k = 1", "1"),
        (("pool", 1, "name"), 'name = "b"', '"b"'),
        (("pool", 1, "item", 1, "v"), "v = 2", "2"),
        (("pool", 1), "[[pool]]", "[[pool]]"),
    ],
)
def test_keys_and_values_are_found_where_they_are_written(path: Keys, key: str, value: str) -> None:
    index = PositionIndex(DOCUMENT, "t.toml")
    assert found_at(DOCUMENT, index.key(path)).startswith(key)
    if path != ("dotted", "inner"):
        assert found_at(DOCUMENT, index.value(path)).startswith(value)


def test_what_is_not_written_is_found_at_the_nearest_thing_around_it() -> None:
    index = PositionIndex("[vm.web1]\nmemory = 1\n", "t.toml")
    assert line_and_column(index.value(("vm", "web1", "disks", 0, "size"))) == (1, 1)
    assert line_and_column(index.value(("nothing",))) == (1, 1)


KEYS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text("ab\"'.\\ =#[]{}\u00e9", min_size=1, max_size=5)
)
SCALARS = st.one_of(st.integers(-9, 99), st.booleans(), st.text("ab\"'\\#=[]{},\n\u00e9", max_size=8), st.floats(-1, 1))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


class Writer:
    """Writes a value as TOML in one of the many ways, and notes where it puts each part."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.values: dict[Keys, int] = {}
        self.keys: dict[Keys, int] = {}

    def table(self, data: dict[str, Any], path: Keys) -> None:
        later = []
        for key, value in data.items():
            if isinstance(value, dict) and self.draw(st.booleans()):
                later.append((key, value))
            else:
                self.text += self.draw(st.sampled_from(["", "  ", "# note = [\n", "\n"]))
                self.pair(key, value, path)
                self.text += self.draw(st.sampled_from(["\n", " # behind ]\n"]))
        for key, value in later:
            start = len(self.text)
            self.text += "[" + "".join(f"{self.quoted(str(part))}." for part in path)
            self.keys[*path, key] = len(self.text)
            self.text += self.quoted(key) + "]\n"
            self.values[*path, key] = start
            self.table(value, (*path, key))

    def pair(self, key: str, value: object, path: Keys) -> None:
        self.keys[*path, key] = len(self.text)
        self.text += self.quoted(key) + self.draw(st.sampled_from([" = ", "=", " =\t"]))
        self.value(value, (*path, key))

    def value(self, value: object, path: Keys) -> None:
        self.values[path] = len(self.text)
        match value:
            case bool():
                self.text += str(value).lower()
            case str():
                self.text += self.string(value)
            case list():
                space = self.draw(st.sampled_from(["", " ", "\n", " # x, ]\n "]))
                self.text += "[" + space
                for number, item in enumerate(value):
                    self.value(item, (*path, number))
                    last = number == len(value) - 1
                    self.text += "" if last and self.draw(st.booleans()) else "," + space
                self.text += space + "]"
            case dict():
                self.text += "{ "
                for number, (key, item) in enumerate(value.items()):
                    self.text += ", " if number else ""
                    self.pair(key, item, path)
                self.text += " }"
            case _:
                self.text += repr(value)

    def quoted(self, key: str) -> str:
        if key.isascii() and key.replace("-", "").replace("_", "").isalnum() and self.draw(st.booleans()):
            return key
        return self.basic(key)

    def string(self, text: str) -> str:
        ways = [self.basic(text), '"""\n' + self.basic(text)[1:-1].replace("\\n", "\n") + '"""']
        if "'" not in text and "\n" not in text:
            ways.append(f"'{text}'")
        if "'''" not in text and not text.endswith("'"):
            ways.append(f"'''\n{text}'''")
        return self.draw(st.sampled_from(ways))

    def basic(self, text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'


def paths_of(data: object, path: Keys = ()) -> Iterator[Keys]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from paths_of(value, (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_document_is_indexed_as_it_was_written(data: st.DataObject) -> None:
    wanted = data.draw(st.dictionaries(KEYS, VALUES, max_size=4))
    writer = Writer(data.draw)
    writer.table(wanted, ())
    assert tomllib.loads(writer.text) == wanted, "the test's own writer is wrong"
    index = PositionIndex(writer.text, "t.toml")
    for path in paths_of(wanted):
        assert index.value(path) == index.at(writer.values[path]), (path, writer.text)
        if path in writer.keys:
            assert index.key(path) == index.at(writer.keys[path]), (path, writer.text)


@given(st.text("[]{}\"'=.,# \nab1\\", max_size=40))
def test_any_text_is_read_or_refused_with_a_position(text: str) -> None:
    try:
        data, index = parse(text, "t.toml")
    except TopologyError as error:
        problems = error.problems
    else:
        problems = ()
        for path in paths_of(data):
            assert index.value(path).line <= text.count("\n") + 1
    assert all(problem.position is not None for problem in problems)


def test_windows_line_ends_and_a_byte_order_mark_do_not_shift_anything() -> None:
    data, index = parse("\ufeff[lab]\r\nname = 'x'\r\nnext = 1\r\n", "t.toml")
    assert data == {"lab": {"name": "x", "next": 1}}
    assert line_and_column(index.value(("lab", "next"))) == (3, 8)
