"""Recommendations: what they must never do, and what they do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl_server.drs.engine import GAINS, Move, recommend, violations
from labctl_server.drs.load import HostLoad, Load, VmLoad

GIB = 1 << 30
HOSTS = ("esx1", "esx2", "esx3")


def host(name: str, *, cpus: float = 2, memory: int = 4 * GIB, **more: bool) -> HostLoad:
    return HostLoad(name=name, cpus=cpus, memory=memory, **more)


def vm(name: str, where: str, cpu: float = 0.0, **more: Any) -> VmLoad:
    return VmLoad(**{"name": name, "host": where, "cpu": cpu, "memory": GIB, "hosts": HOSTS, **more})


def rule(kind: str, *vms: str, hosts: tuple[str, ...] = (), should: bool = False) -> dict[str, Any]:
    return {"name": kind, "type": kind, "vms": list(vms), "hosts": list(hosts), "should": should}


def cluster(hosts: list[HostLoad], *vms: VmLoad) -> Load:
    return Load(hosts={each.name: each for each in hosts}, vms={each.name: each for each in vms})


def told(moves: Any) -> list[str]:
    return [f"{move.vm}: {move.source} to {move.destination}" for move in moves]


def test_a_score_is_what_a_vm_gets_less_what_is_missing_to_burst() -> None:
    for cpu, score in ((0.0, 100.0), (1.0, 90.0), (2.0, 80.0), (4.0, 30.0)):
        load = cluster([host("esx1")], vm("a", "esx1", cpu))
        assert load.scores() == {"a": pytest.approx(score)}
        assert load.score() == pytest.approx(score)
    assert cluster([host("esx1")], vm("off", "esx1", running=False)).score() == 100.0


def test_busy_vms_are_spread() -> None:
    load = cluster([host("esx1"), host("esx2")], *(vm(name, "esx1", 1.0) for name in "abcd"))
    moves = recommend(load)
    assert told(moves) == ["a: esx1 to esx2", "b: esx1 to esx2"]
    assert moves[0].reason == "VMs use 200% of esx1's processors, and 0% of esx2's"
    assert [move.priority for move in moves] == [2, 2]
    after = load.moved("a", "esx2").moved("b", "esx2")
    assert (load.score(), after.score()) == (pytest.approx(30), pytest.approx(80))


def test_idle_vms_stay() -> None:
    assert not recommend(cluster([host("esx1"), host("esx2")], *(vm(name, "esx1", 0.02) for name in "abcd")), 5)


def test_the_threshold_says_how_much_a_migration_must_gain() -> None:
    load = cluster([host("esx1"), host("esx2")], vm("a", "esx1", 0.7), vm("b", "esx1", 0.7))
    moves = recommend(load, 5)
    assert told(moves) == ["a: esx1 to esx2"]
    assert moves[0].priority == 4
    assert moves[0].gain == pytest.approx(14)
    assert not recommend(load, 3)


def test_a_rule_that_is_broken_comes_first_and_at_every_threshold() -> None:
    apart = rule("separate", "a", "b")
    load = cluster([host("esx1"), host("esx2")], vm("a", "esx1", rules=(apart,)), vm("b", "esx1", rules=(apart,)))
    moves = recommend(load, 1)
    assert told(moves) == ["a: esx1 to esx2"]
    assert moves[0].reason == 'rule "separate" keeps it apart from b, which is on esx1'
    assert moves[0].priority == 1


def test_a_wish_is_followed_unless_it_costs_more_than_it_is_worth() -> None:
    wish = rule("run-on", "a", hosts=("esx2",), should=True)
    idle = cluster([host("esx1"), host("esx2")], vm("a", "esx1", rules=(wish,)))
    assert told(recommend(idle)) == ["a: esx1 to esx2"]
    assert recommend(idle)[0].reason == 'rule "run-on" has it run on esx2 (a wish)'
    busy = vm("b", "esx2", 4.0, hosts=("esx2",))
    assert not recommend(cluster([host("esx1"), host("esx2")], vm("a", "esx1", 1.0, rules=(wish,)), busy))


@pytest.mark.parametrize(
    "other",
    [host("esx2", open=False), host("esx2", memory=GIB // 2)],
    ids=["in maintenance", "without memory"],
)
def test_what_no_host_can_take_stays(other: HostLoad) -> None:
    assert not recommend(cluster([host("esx1"), other], *(vm(name, "esx1", 2.0) for name in "ab")), 5)


def test_what_is_off_or_bound_stays_but_takes_memory() -> None:
    small = host("esx2", memory=2 * GIB)
    load = cluster(
        [host("esx1"), small],
        vm("busy", "esx1", 3.0, hosts=("esx1",)),
        vm("a", "esx1", 1.0),
        vm("off", "esx2", memory=2 * GIB, running=False),
    )
    assert not recommend(load, 5)


rules = st.builds(
    lambda kind, vms, hosts, should: rule(kind, *vms, hosts=tuple(hosts), should=should),
    st.sampled_from(["together", "separate", "run-on", "not-on"]),
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True),
    st.booleans(),
)


@st.composite
def clusters(draw: st.DrawFn) -> Load:
    hosts = [
        host(name, cpus=draw(st.integers(1, 4)), memory=draw(st.integers(3, 8)) * GIB, open=draw(st.booleans()))
        for name in HOSTS
    ]
    about = draw(st.lists(rules, max_size=3))
    vms = [
        vm(
            name,
            draw(st.sampled_from(HOSTS)),
            draw(st.floats(0, 3)),
            running=draw(st.booleans()),
            hosts=tuple(draw(st.lists(st.sampled_from(HOSTS), min_size=1, unique=True))),
            rules=tuple(each for each in about if name in each["vms"]),
        )
        for name in "abcdef"
    ]
    return cluster(hosts, *vms)


def worth(load: Load) -> float:
    wishes = sum(
        len(load.broken(each.name, load.places[each.name], should=True)) for each in load.vms.values() if each.running
    )
    return sum(load.scores().values()) - 25 * wishes


@given(clusters(), st.integers(1, 5))
def test_no_migration_does_harm(load: Load, threshold: int) -> None:
    """Each may be done when its turn comes, ends a violation or gains what its priority says, and breaks no further rule."""
    moves = recommend(load, threshold)
    assert len(moves) < 40
    for move in moves:
        assert load.movable(move.vm)
        assert load.takes(move.vm, move.destination)
        assert load.places[move.vm] == move.source
        assert move.priority <= threshold
        after = load.moved(move.vm, move.destination)
        if move.priority == 1:
            assert sum(map(len, _broken(after))) < sum(map(len, _broken(load)))
        else:
            assert not after.broken(move.vm, move.destination, should=False)
            assert worth(after) - worth(load) == pytest.approx(move.gain)
            assert move.gain >= GAINS[move.priority]
        load = after
    assert not recommend(load, threshold)


def _broken(load: Load) -> list[list[str]]:
    return [load.broken(name, load.places[name], should=False) for name, each in load.vms.items() if each.running]


@given(clusters())
def test_what_is_broken_is_told(load: Load) -> None:
    assert set(violations(load)) == {
        name for name, each in load.vms.items() if each.running and load.broken(name, each.host, should=False)
    }


def test_a_recommendation_as_json() -> None:
    move = Move(vm="a", source="esx1", destination="esx2", priority=2, gain=41.234, reason="why")
    assert move.to_json() == {
        "vm": "a", "source": "esx1", "destination": "esx2", "priority": 2, "gain": 41.2, "reason": "why",
    }  # fmt: skip
