"""What differs between two policies, as commands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labctl_network.firewall.change import Loaded, changes
from labctl_network.firewall.policy import Category, Policy, ProtectedPort, Rule, Service, Verdict

MAC = "02:00:00:00:00:01"


def rule(number: int) -> Rule:
    return Rule(
        id=f"many/{number}",
        category=Category.APPLICATION,
        verdict=Verdict.ALLOW,
        sources=((number, number),),
        destinations=((1 << 24, 1 << 24),),
        services=(Service(protocol="tcp", ports=(80, 80)),),
    )


def policy(rules: list[Rule], ports: int = 1) -> Loaded:
    made = [
        ProtectedPort(
            owner=f"vm{number}", node="esx1", bridge="br0", interface=f"p{number}", network="production",
            mac=f"02:00:00:00:01:{number:02x}", address="10.0.0.1", profile=0,
        )
        for number in range(ports)
    ]  # fmt: skip
    whole = Policy(rules=tuple(rules), profiles=(tuple(range(len(rules))),), ports=tuple(made))
    return Loaded.of(whole.to_json(), ["br0"])


def told(old: Loaded, new: Loaded) -> list[tuple[str, str, Any]]:
    """Verb, what and name of each command, but for the chains that bear the policies' digests."""
    found = []
    for command in changes(old, new, MAC) or []:
        ((verb, rest),) = command.items()
        ((what, place),) = rest.items()
        name = place.get("name") or place["chain"]
        if not name.startswith("is-"):
            found.append((verb, what, name))
    return found


MANY = [rule(number) for number in range(500)]


def test_nothing_is_to_be_done_for_the_same_policy() -> None:
    assert changes(policy(MANY), policy(MANY), MAC) == []


def test_another_verdict_of_one_rule_among_many_is_its_chain_anew() -> None:
    other = [*MANY[:7], replace(MANY[7], verdict=Verdict.DROP), *MANY[8:]]
    commands = told(policy(MANY), policy(other))
    assert {each[1:] for each in commands} == {("chain", "rule/many/7"), ("rule", "rule/many/7")}
    assert commands[0][0] == "flush"


def test_another_source_of_one_rule_among_many_is_one_element_for_another() -> None:
    other = [*MANY[:7], replace(MANY[7], sources=((9999, 9999),)), *MANY[8:]]
    commands = told(policy(MANY), policy(other))
    elements = [each for each in commands if each[1] == "element"]
    assert elements == [("delete", "element", "block-0-0-ports"), ("add", "element", "block-0-0-ports")]
    assert {each[1:] for each in commands if each not in elements} <= {
        ("chain", "rule/many/7"),
        ("rule", "rule/many/7"),
    }


def test_a_rule_that_goes_takes_its_chain_and_its_count_along_once_nothing_leads_there() -> None:
    commands = told(policy(MANY), policy(MANY[1:]))
    assert commands == [
        ("flush", "chain", "rule/many/0"),
        ("delete", "element", "block-0-0-ports"),
        ("delete", "chain", "rule/many/0"),
        ("delete", "counter", "hits/many/0"),
    ]


def test_a_port_that_comes_is_elements_in_the_maps_that_say_which_policy_holds() -> None:
    commands = told(policy(MANY), policy(MANY, ports=2))
    assert {each[:2] for each in commands} == {("add", "element")}
    assert "marks" in {each[2] for each in commands}


def test_a_change_begins_by_taking_the_old_policys_sign_away() -> None:
    old, new = policy(MANY), policy(MANY[1:])
    first, second, *_rest = changes(old, new, MAC) or []
    assert first["delete"]["chain"]["name"] == old.digest
    assert second["add"]["chain"]["name"] == new.digest != old.digest
