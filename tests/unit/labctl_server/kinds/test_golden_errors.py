"""The wording of what can be wrong with hosts, clusters and VMs. See LABCTL_UPDATE_GOLDEN in test_compile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labctl.testing.kinds import SMALL_MACHINE, plugins_of
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text

from .neighbours import KINDS

ERRORS = Path(__file__).parent / "errors"


@pytest.mark.parametrize("name", sorted(path.stem for path in ERRORS.glob("*.toml")))
def test_every_error_is_told_in_the_words_agreed_on(name: str) -> None:
    text = (ERRORS / f"{name}.toml").read_text()
    with pytest.raises(TopologyError) as caught:
        load_text(text, "topology.toml", plugins_of(*KINDS), name="test", machine=SMALL_MACHINE)
    expected = ERRORS / f"{name}.txt"
    if os.environ.get("LABCTL_UPDATE_GOLDEN"):
        expected.write_text(f"{caught.value}\n")
    assert f"{caught.value}\n" == expected.read_text()
