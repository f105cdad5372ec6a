"""A coverage is the set of bytes that was added, whatever the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from labemu_iscsi.coverage import Coverage
from labemu_iscsi.limits import MAX_STRETCHES

PAIRS = st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(PAIRS, max_size=20), PAIRS)
def test_it_is_the_set_of_its_bytes(stretches: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    coverage = Coverage()
    there: set[int] = set()
    for start, end in stretches:
        coverage.add(start, end)
        there.update(range(start, end))
    assert coverage.count == len(there)
    assert coverage.end >= max(there, default=-1) + 1
    missing = sorted(set(range(*asked)) - there)
    gap = coverage.missing(*asked)
    assert gap == ((missing[0], missing[-1] + 1) if missing else None)


def test_too_many_pieces_are_refused() -> None:
    coverage = Coverage()
    answers = [coverage.add(2 * number, 2 * number + 1) for number in range(MAX_STRETCHES + 1)]
    assert answers == [True] * MAX_STRETCHES + [False]
