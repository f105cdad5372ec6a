"""Directed graphs over hashable nodes: order and cycles. Deterministic: ties keep the order that was given."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

N = TypeVar("N", bound=Hashable)


def ordered(edges: Mapping[N, Iterable[N]]) -> list[N]:
    """The nodes of `edges`, each after the nodes that it maps to (targets that are no keys are left out).

    Raises:
        ValueError: there is a cycle.
    """
    try:
        order = TopologicalSorter({node: list(targets) for node, targets in edges.items()}).static_order()
        return [node for node in order if node in edges]
    except CycleError as error:
        raise ValueError(f"cycle: {error.args[1]}") from error


def cycles(edges: Mapping[N, Iterable[N]]) -> list[list[N]]:
    """One cycle for each knot in the graph, as `[a, b, a]`: a leads to b, b to a; each starts with its earliest node."""
    remaining = {node: [target for target in targets if target in edges] for node, targets in edges.items()}
    rank = {node: number for number, node in enumerate(edges)}
    found: list[list[N]] = []
    while (cycle := _one_cycle(remaining)) is not None:
        start = min(range(len(cycle)), key=lambda at: rank[cycle[at]])
        turned = cycle[start:] + cycle[:start]
        found.append([*turned, turned[0]])
        for node in cycle:  # cutting the whole knot: its other cycles would tell the user nothing new
            remaining[node] = []
    return found


def _one_cycle(edges: Mapping[N, list[N]]) -> list[N] | None:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        # graphlib lists it against the direction of `edges`, with the first node repeated at the end.
        return list(reversed(error.args[1][1:]))
    return None


def closure(start: Iterable[N], edges: Mapping[N, Iterable[N]]) -> set[N]:
    """Every node that can be reached from `start`, `start` included."""
    seen: set[N] = set()
    todo = list(start)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(edges.get(node, ()))
    return seen


def reverse(edges: Mapping[N, Iterable[N]]) -> dict[N, list[N]]:
    """The same graph with its arrows turned round."""
    turned: dict[N, list[N]] = {node: [] for node in edges}
    for node, targets in edges.items():
        for target in targets:
            turned.setdefault(target, []).append(node)
    return turned
