from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labemu_faults.action import Action, ActionKind
from labemu_faults.errors import FaultError
from labemu_faults.rule import Rule
from labemu_faults.wire import rule_from_json, rule_to_json

LATENCY = {"kind": "latency", "average": 0.02}


def test_a_rule_goes_to_json_and_back() -> None:
    rule = Rule(
        id="a",
        action=Action(kind=ActionKind.SENSE, code=(3, 0x11, 0)),
        operations=("read",),
        start=512,
        end=1024,
        clients=("iqn.*",),
        target="t*",
        lun=0,
        probability=0.5,
        count=3,
        seed=7,
        until=1.5,
    )
    assert rule_from_json(rule_to_json(rule)) == rule


def test_defaults_are_left_out() -> None:
    assert rule_to_json(rule_from_json({"action": LATENCY})) == {"id": "", "action": LATENCY}


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        ([], "the fault is not an object", 'write {"action": {"kind": "latency", "average": 0.02}}'),
        ({}, "the action is not an object", 'write {"action": {"kind": "latency", "average": 0.02}}'),
        ({"action": {"kind": "latencey"}}, 'there is no action "latencey"', 'did you mean "latency"?'),
        ({"action": {"kind": "latency"}}, "the action latency needs average", "docs/reference/faults.md shows each action"),
        ({"action": LATENCY, "probabilty": 1}, 'there is no word of the fault "probabilty"', 'did you mean "probability"?'),
        ({"action": LATENCY, "probability": 2}, "probability is above 0 and at most 1", "0.1 strikes one in ten"),
        ({"action": LATENCY, "count": 0}, "count 0 would never strike", "leave it out to strike always"),
        ({"action": LATENCY, "count": True}, "the fault: count is True", "it is a whole number, 0 or more"),
        ({"action": LATENCY, "start": 5, "end": 5}, "the range is empty", "its end comes after its start"),
        ({"action": {"kind": "sense", "code": [3]}}, "the code of sense has 3 numbers", "docs/reference/faults.md shows each action"),
        ({"action": {"kind": "sense", "code": [99, 1, 1]}}, "a sense key is 0 to 15", "write 3 for MEDIUM ERROR"),
        ({"action": {"kind": "refuse", "code": [0, 0]}}, "login status class 0 is success", "classes 1 to 3 refuse (RFC 7143 11.13.5)"),
        ({"action": {"kind": "corrupt", "what": "paylod"}}, 'there is no part to corrupt "paylod"', 'did you mean "payload"?'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(fault, message, hint) -> None:
    with pytest.raises(FaultError) as caught:
        rule_from_json(fault)
    assert (caught.value.message, caught.value.hint) == (message, hint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["action", "kind", "average", "code", "count", "clients", "start", "end", "probability", "what", "x"]
    ), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from([*ActionKind, "x"]))
def test_no_json_raises_anything_but_a_fault_error(value, kind) -> None:
    if isinstance(value, dict) and isinstance(value.get("action"), dict):
        value["action"]["kind"] = str(kind)
    try:
        rule = rule_from_json(value)
    except FaultError:
        return
    assert rule_from_json(rule_to_json(rule)) == rule
