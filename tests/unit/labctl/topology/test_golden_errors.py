"""The wording of every error that the core finds in a topology.

Each `golden/NAME.toml` has a `golden/NAME.txt` beside it: what a user sees. After a deliberate change of wording, run the tests with
`LABCTL_UPDATE_GOLDEN=1` and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labctl.errors import ExitCode
from labctl.testing.kinds import SMALL_MACHINE, plugins_of
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text

from .sample_kinds import KINDS

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.toml")))
def test_every_error_is_told_at_once_in_the_words_agreed_on(name: str) -> None:
    text = (GOLDEN / f"{name}.toml").read_text()
    with pytest.raises(TopologyError) as caught:
        load_text(text, "topology.toml", plugins_of(*KINDS), machine=SMALL_MACHINE)
    expected = GOLDEN / f"{name}.txt"
    if os.environ.get("LABCTL_UPDATE_GOLDEN"):
        expected.write_text(f"{caught.value}\n")
    assert f"{caught.value}\n" == expected.read_text()
    assert caught.value.exit_code is ExitCode.INVALID_TOPOLOGY
