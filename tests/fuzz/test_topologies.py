"""Whatever is done to a topology, the answer is a lab or a list of problems with their places: never a traceback."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import labctl_topologies
from labctl.plugin.loader import load_plugins
from labctl.runtime.paths import LabPaths
from labctl.topology.compile import compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text

PLUGINS = load_plugins()
FOLDER = Path(labctl_topologies.__file__).parent
TEXTS = [file.read_text() for file in sorted(FOLDER.glob("*.toml"))]
LAB = LabPaths(Path("/nonexistent"), "fuzz").info(rootless=False)
PLACED = re.compile(r"^lab\.toml:\d+:\d+: (error|warning): .+")

TOKEN = re.compile(r'"[^"\n]*"|\d+|[A-Za-z][\w-]*|[\[\]{}=.,#]|\n')
VALUES = st.sampled_from(
    [
        *(
            '""',
            '"gold"',
            '"esx9"',
            '"10.10.0.0/8"',
            '"10.10.0.300"',
            '"-1GiB"',
            '"999TiB"',
            '"storage"',
            '"é"',
            '"\\u0000"',
        ),
        *("0", "-1", "1e400", "nan", "true", "2020-01-01", "9223372036854775808", "[]", "{}", "[[]]", "{ a = 1 }"),
        *('"esx[1-"', '"esx[9-1]"', '"esx[1-99999]"'),
    ]
)


def assert_placed(error: TopologyError | None) -> None:
    if error is not None:
        assert error.problems
        assert "this is a bug of" not in error.message  # a kind that fell over
        assert all(PLACED.match(line) for line in error.message.splitlines()), error.message


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A shipped topology with a few of its words replaced, doubled, swapped or dropped."""
    words = re.split(f"({TOKEN.pattern})", draw(st.sampled_from(TEXTS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(words) - 1))
        match draw(st.sampled_from(["drop", "double", "value", "swap"])):
            case "drop":
                words[place] = ""
            case "double":
                words[place] *= 2
            case "value":
                words[place] = draw(VALUES)
            case _:
                other = draw(st.integers(0, len(words) - 1))
                words[place], words[other] = words[other], words[place]
    return "".join(words)


@given(mutated())
@settings(max_examples=300, deadline=None)
def test_a_mutated_topology_is_a_lab_or_problems_with_places(text: str) -> None:
    problems: TopologyError | None = None
    try:
        compile_topology(load_text(text, "lab.toml", PLUGINS), LAB, {}, PLUGINS)
    except TopologyError as error:  # any other error, a LabError without a place included, fails the test
        problems = error
    assert_placed(problems)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_lab_or_problems_with_places(text: str) -> None:
    problems: TopologyError | None = None
    try:
        load_text(text, "lab.toml", PLUGINS)
    except TopologyError as error:
        problems = error
    assert_placed(problems)
