"""The inventory: revisions, dirty sets, removals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.model import inventory as module
from labctl.model.inventory import Inventory
from labctl.model.json import JsonObject


def test_what_did_not_change_is_no_change() -> None:
    inventory = Inventory()
    assert inventory.put("vm.a", "vm", {"state": "running"})
    assert not inventory.put("vm.a", "vm", {"state": "running"})
    assert inventory.revision == 1


def test_changes_name_the_properties_that_changed() -> None:
    inventory = Inventory()
    inventory.put("vm.a", "vm", {"state": "running", "cpus": 1})
    inventory.put("vm.b", "vm", {})
    revision = inventory.revision
    inventory.set("vm.a", state="stopped")
    changes = inventory.changes_since(revision)
    assert [managed.id for managed in changes.objects] == ["vm.a"]
    assert changes.dirty == {"vm.a": frozenset({"state"})}
    assert not changes.full


def test_whoever_asks_from_too_long_ago_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_REMOVALS", 1)
    inventory = Inventory()
    for name in "abc":
        inventory.put(name, "vm", {})
    inventory.remove("a")
    inventory.remove("b")
    assert inventory.changes_since(3).full
    assert inventory.changes_since(4).removed == ("b",)
    assert inventory.changes_since(None).full
    assert inventory.changes_since(99).full


def test_listeners_hear_each_change_until_they_stop() -> None:
    inventory = Inventory()
    heard: list[int] = []
    stop = inventory.listen(heard.append)
    inventory.put("a", "vm", {})
    inventory.remove("a")
    inventory.remove("a")
    stop()
    inventory.put("a", "vm", {})
    assert heard == [1, 2]


def test_a_property_of_what_does_not_exist_cannot_be_set() -> None:
    with pytest.raises(KeyError):
        Inventory().set("vm.a", state="x")


CHANGES = st.lists(
    st.tuples(st.sampled_from("abc"), st.none() | st.dictionaries(st.sampled_from("xy"), st.integers(0, 2))),
    max_size=30,
)


@given(CHANGES, st.integers(0, 30))
def test_a_follower_that_applies_the_changes_sees_what_is_there(
    changes: list[tuple[str, JsonObject | None]], pause: int
) -> None:
    inventory = Inventory()
    seen: dict[str, JsonObject] = {}
    revision: int | None = None

    def follow() -> None:
        nonlocal revision
        news = inventory.changes_since(revision)
        if news.full:
            seen.clear()
        for object_id in news.removed:
            seen.pop(object_id, None)
        for managed in news.objects:
            seen[managed.id] = managed.properties
        revision = news.revision

    for number, (object_id, properties) in enumerate(changes):
        if properties is None:
            inventory.remove(object_id)
        else:
            inventory.put(object_id, "vm", properties)
        if number % (pause + 1) == pause:
            follow()
    follow()
    assert seen == {managed.id: managed.properties for managed in inventory.objects()}
