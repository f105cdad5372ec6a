"""Order and cycles of graphs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.model.graph import closure, cycles, ordered, reverse

GRAPHS = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3))


@given(GRAPHS)
def test_a_graph_has_an_order_or_a_cycle_and_never_both(edges: dict[str, list[str]]) -> None:
    found = cycles(edges)
    if found:
        with pytest.raises(ValueError, match="cycle"):
            ordered(edges)
        for cycle in found:
            assert cycle[0] == cycle[-1]
            assert all(after in edges[before] for before, after in pairwise(cycle))
    else:
        order = ordered(edges)
        assert sorted(order) == sorted(edges)
        assert all(
            order.index(target) < order.index(node) for node in edges for target in edges[node] if target in edges
        )


def test_a_cycle_begins_with_its_earliest_node() -> None:
    assert cycles({"c": ["a"], "a": ["b"], "b": ["c"]}) == [["c", "a", "b", "c"]]


def test_closure_and_reverse() -> None:
    edges = {"a": ["b"], "b": ["c"], "c": []}
    assert closure(["b"], edges) == {"b", "c"}
    assert reverse(edges) == {"a": [], "b": ["a"], "c": ["b"]}
