"""Rules in placement."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.topology.errors import TopologyError
from labctl_server.kinds.rule_spec import broken

from .test_compile import NETWORKS, compiled, host_of

HOSTS = '[host."esx[1-3]"]\n[cluster.compute]\nhosts = ["esx[1-3]"]\n'


def vms(*names: str) -> str:
    return "".join(f'[vm.{name}]\ndisks = [{{ datastore = "gold" }}]\n' for name in names)


def places(text: str, *names: str) -> tuple[str, ...]:
    result = compiled(NETWORKS + HOSTS + text)
    return tuple(host_of(result, name) for name in names)


def test_vms_that_are_to_be_together_are_and_those_that_are_to_be_apart_too() -> None:
    text = vms("a", "b", "c", "d")
    assert places(text, "a", "b", "c", "d") == ("esx1", "esx2", "esx3", "esx1")
    together = text + '[rule.pair]\ntype = "together"\nvms = ["a", "c"]\n'
    assert places(together, "a", "b", "c", "d") == ("esx1", "esx2", "esx1", "esx3")
    apart = text + '[rule.pair]\ntype = "separate"\nvms = ["a", "d"]\n'
    assert places(apart, "a", "d") == ("esx1", "esx2")


def test_vms_run_on_the_hosts_that_a_rule_names_and_on_no_other() -> None:
    text = vms("a", "b")
    assert places(text + '[rule.r]\ntype = "run-on"\nvms = ["a", "b"]\nhosts = ["esx3"]\n', "a", "b") == (
        "esx3",
        "esx3",
    )
    assert places(text + '[rule.r]\ntype = "not-on"\nvms = ["a", "b"]\nhosts = ["esx1"]\n', "a", "b") == (
        "esx2",
        "esx3",
    )


def test_a_wish_gives_way_where_it_cannot_be_kept() -> None:
    text = vms("a", "b", "c", "d") + '[rule.r]\nshould = true\ntype = "separate"\nvms = ["a", "b", "c", "d"]\n'
    assert set(places(text, "a", "b", "c", "d")) == {"esx1", "esx2", "esx3"}


def test_a_place_that_a_new_rule_forbids_is_given_up() -> None:
    text = NETWORKS + HOSTS + vms("a", "b")
    before = compiled(text)
    after = compiled(text + '[rule.r]\ntype = "not-on"\nvms = ["a"]\nhosts = ["esx1"]\n', before.choices)
    assert (host_of(before, "a"), host_of(after, "a"), host_of(after, "b")) == ("esx1", "esx2", "esx2")


def test_a_vm_that_rules_leave_no_place_is_told_which() -> None:
    rules = (
        '[rule.one]\ntype = "together"\nvms = ["a", "b"]\n[rule.two]\ntype = "not-on"\nvms = ["b"]\nhosts = ["esx1"]\n'
    )
    said = (
        r'vm\.b has no place in cluster\.compute: rule "one" keeps it with a, which is on esx1; '
        r'rule "two" keeps it off esx1 \(bind a VM to a host, make a rule a wish \(should = true\), or add a host\)'
    )
    with pytest.raises(TopologyError, match=said):
        compiled(NETWORKS + HOSTS + vms("a", "b") + rules)


NAMES = ("a", "b", "c", "d")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["together", "separate", "run-on", "not-on"]),
            st.lists(st.sampled_from(NAMES), min_size=2, max_size=3, unique=True),
            st.lists(st.sampled_from(["esx1", "esx2", "esx3"]), min_size=1, max_size=2, unique=True),
        ),
        max_size=3,
    )
)
def test_no_placement_breaks_a_rule(rules: list[tuple[str, list[str], list[str]]]) -> None:
    text = ""
    for number, (kind, members, hosts) in enumerate(rules):
        text += f'[rule.r{number}]\ntype = "{kind}"\nvms = {members!r}\n'
        text += f"hosts = {hosts!r}\n" if kind in ("run-on", "not-on") else ""
    try:
        found = dict(zip(NAMES, places(vms(*NAMES) + text, *NAMES), strict=True))
    except TopologyError:
        return  # some cannot be kept together
    for kind, members, hosts in rules:
        rule = {"name": "r", "type": kind, "vms": members, "hosts": hosts}
        for name in members:
            assert broken(rule, name, found[name], found) is None
