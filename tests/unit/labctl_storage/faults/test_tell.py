from __future__ import annotations

import pytest

from labctl_storage.faults import tell

RULE = {"action": {"kind": "latency", "average": 0.02}}


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"kind": "latency", "average": 0.02, "p99": 1.5}, "latency 20 ms, p99 1.5 s"),
        ({"kind": "rate", "rate": 10 << 20}, "rate 10 MiB/s"),
        ({"kind": "sense", "code": [3, 0x11, 0]}, "error medium"),
        ({"kind": "sense", "code": [3, 0x5D, 0x10]}, "error 03/5d/10"),
        ({"kind": "status", "code": [8]}, "error busy"),
        ({"kind": "error", "code": [10008]}, "error jukebox"),
        ({"kind": "error", "code": [99]}, "error 99"),
        ({"kind": "refuse", "code": [3, 1]}, "login refused: unavailable"),
        ({"kind": "refuse", "code": [1, 1]}, "login refused: 1/1"),
        ({"kind": "drop", "after": 1 << 20}, "drop after 1 MiB sent"),
        ({"kind": "drop", "after": 1 << 20, "received": True}, "drop after 1 MiB received"),
        ({"kind": "drop"}, "drop the connection"),
        ({"kind": "corrupt", "what": "payload"}, "corrupt payload"),
        ({"kind": "silence"}, "silent"),
        ({"kind": "silence", "reset": True}, "silent, new connections reset"),
        ({"kind": "readonly"}, "read-only"),
        ({"kind": "pause"}, "paused"),
        ({"kind": "reorder"}, "responses reordered"),
    ],
)
def test_every_action_has_its_words(action, said) -> None:
    assert tell.action({"action": action}) == said


def test_a_rule_is_a_sentence() -> None:
    assert tell.sentence(RULE, "san1") == "latency 20 ms on san1"
    selected = {
        **RULE,
        "operations": ["read", "write"],
        "start": 512,
        "end": 1 << 30,
        "probability": 0.1,
        "count": 5,
        "clients": ["iqn.2026-11.lab.demo:esx1", "10.20.0.12"],
    }
    assert tell.sentence(selected, "gold") == (
        "latency 20 ms on gold (read write, bytes 512 to 1 GiB, 0.1 of them, 5 times, from esx1)"
    )
