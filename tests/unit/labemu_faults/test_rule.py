from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labemu_faults.action import Action, ActionKind
from labemu_faults.rule import Armed, Rule


def armed(**options: object) -> Armed:
    options.setdefault("action", Action(kind=ActionKind.PAUSE))
    return Armed(Rule(**{"id": "1", **options}))  # type: ignore[arg-type]


def test_a_count_strikes_so_often_and_never_again() -> None:
    rule = armed(count=2)
    assert [rule.strike() for _ in range(4)] == [True, True, False, False]
    assert (rule.hits, rule.spent) == (2, True)


def test_chance_is_the_same_again_with_the_same_seed() -> None:
    first, second = armed(probability=0.3, seed=7), armed(probability=0.3, seed=7)
    struck = [first.strike() for _ in range(1000)]
    assert struck == [second.strike() for _ in range(1000)]
    assert 250 < sum(struck) < 350


@pytest.mark.parametrize(
    ("pattern", "names", "admitted"),
    [
        ((), ("iqn.a", "10.0.0.1"), True),
        (("iqn.a",), ("iqn.a", "10.0.0.1"), True),
        (("iqn.*",), ("iqn.b", "10.0.0.1"), True),
        (("10.0.0.1",), ("iqn.b", "10.0.0.1"), True),
        (("10.0.0.2", "iqn.c"), ("iqn.b", "10.0.0.1"), False),
        (("*",), ("", ""), False),
    ],
)
def test_a_client_is_admitted_by_its_name_or_its_address(pattern, names, admitted) -> None:
    assert armed(clients=pattern).admits(*names) is admitted


def test_operations_are_words_or_globs() -> None:
    assert armed().concerns(("inquiry",))
    assert armed(operations=("write*",)).concerns(("read", "write(16)"))
    assert not armed(operations=("write*",)).concerns(("read",))


@given(start=st.integers(0, 100), length=st.integers(1, 50), low=st.integers(0, 100), size=st.integers(1, 50))
def test_the_first_byte_of_an_overlap_is_found_exactly(start, length, low, size) -> None:
    both = set(range(start, start + length)) & set(range(low, low + size))
    found = armed(start=low, end=low + size).overlaps([(start, length)])
    assert found == (min(both) if both else None)


def test_a_rate_lets_so_many_bytes_through_each_second() -> None:
    rule = armed(action=Action(kind=ActionKind.RATE, rate=1000))
    assert [rule.delay(500, now) for now in (10.0, 10.0, 10.5, 20.0)] == [0.5, 1.0, 1.0, 0.5]
    assert rule.delay(0, 20.0) == 0.0


def test_latency_is_fixed_or_has_the_average_and_the_tail_that_were_ordered() -> None:
    assert armed(action=Action(kind=ActionKind.LATENCY, average=0.02)).delay(0, 0.0) == 0.02
    tailed = armed(action=Action(kind=ActionKind.LATENCY, average=0.02, p99=0.08), seed=1)
    drawn = sorted(tailed.delay(0, 0.0) for _ in range(20_000))
    assert sum(drawn) / len(drawn) == pytest.approx(0.02, rel=0.05)
    assert drawn[int(len(drawn) * 0.99)] == pytest.approx(0.08, rel=0.1)
