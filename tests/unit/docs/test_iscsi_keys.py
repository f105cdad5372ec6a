"""The page on the target lists every key of RFC 7143 with what the target says to it, as the engine's table has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labemu_iscsi.keys import BY_NAME, Key, Rule

PAGE = Path(__file__).parents[3] / "docs/reference/iscsi-target.md"


def row(key: Key) -> str:
    """The beginning of its row: name, rule, default, what we offer; the clause and the remark behind it are prose."""
    sent = "once a session" if key.leading_only else "at any time" if key.full_feature else "once a connection"
    if key.rule is Rule.REFUSED:
        sent = "-"
    ours = ", ".join(key.ours) or "-"
    return f"| {key.name} | {key.rule.value} | {key.default or '-'} | {ours} | {sent} |"


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_key_stands_in_the_table(name: str) -> None:
    assert row(BY_NAME[name]) in PAGE.read_text("utf-8")
