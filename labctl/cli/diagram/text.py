"""A drawing as an indented text, for terminals and for grep."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.cli.diagram.model import Box, Diagram


def render(diagram: Diagram) -> str:
    """The networks first, then each box with its links, and what is inside it."""
    lines = [diagram.title]
    lines += [f"  ═ {bus.title}: {bus.caption}" for bus in diagram.buses]
    for box in diagram.boxes:
        lines += _box(box, "  ")
    return "\n".join(lines) + "\n"


def _box(box: Box, indent: str) -> Iterator[str]:
    caption = f": {box.caption}" if box.caption else ""
    state = f" [{box.state}]" if box.state else ""
    yield f"{indent}□ {box.kind} {box.title}{caption}{state}"
    for link in box.links:
        address = f" {link.address}" if link.address else ""
        yield f"{indent}  ├─ {link.label}{address} ─ {link.bus.partition('.')[2]}"
    for child in box.children:
        yield from _box(child, indent + "  ")
