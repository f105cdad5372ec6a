"""Tools that fail say so in words."""

from __future__ import annotations

import pytest

from labctl.errors import LabError, MissingToolError
from labctl_server.image.tools import run_tool


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labctl_server.image.tools._SYSTEM_PATH", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError, match="mke2fs is not installed") as caught:
        run_tool(["mke2fs"])
    assert caught.value.hint == "install it: apt-get install e2fsprogs"


@pytest.mark.parametrize("with_errors", [True, False])
def test_a_failing_tools_last_words_are_kept(with_errors: bool) -> None:
    with pytest.raises(LabError, match=r"^sh failed: last$") as caught:
        run_tool(["sh", "-c", "echo first >&2; echo last >&2; exit 3"], hint="h", with_errors=with_errors)
    assert caught.value.hint == "h"


def test_a_tool_gets_its_input_and_environment() -> None:
    assert run_tool(["sh", "-c", 'cat; echo "$X $LC_ALL"'], stdin=b"in ", environment={"X": "y"}) == b"in y C\n"
