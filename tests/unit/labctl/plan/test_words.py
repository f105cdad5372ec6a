"""A change in words."""

from __future__ import annotations

import pytest

from labctl.model.json import JsonObject
from labctl.plan.words import differences


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ({"memory": 2**27}, {"memory": 2**28}, "memory 128 MiB → 256 MiB"),
        ({"mtu": 1500}, {"mtu": 9000}, "mtu 1500 → 9000"),
        ({"ha": True}, {"ha": False}, "ha true → false"),
        ({}, {"iso": "x"}, "iso nothing → x"),
        ({"disks": [{"size": 2**30}]}, {"disks": [{"size": 2**31}]}, "disks[0].size 1 GiB → 2 GiB"),
        ({"disks": []}, {"disks": [{}]}, "disks 0 of them → 1 of them"),
        ({"boot": {}}, {"boot": None}, "boot a table → nothing"),
        (dict.fromkeys("abcdef", 1), dict.fromkeys("abcdef", 2), "a 1 → 2, b 1 → 2, c 1 → 2, d 1 → 2 and 2 more"),
    ],
)
def test_a_change_is_said_in_few_words(old: JsonObject, new: JsonObject, words: str) -> None:
    assert differences(old, new) == words
