"""A drawing as a Mermaid flowchart, for Markdown pages."""

from __future__ import annotations

from collections.abc import Iterator

from labctl.cli.diagram.model import Box, Diagram


def render(diagram: Diagram) -> str:
    """One flowchart: buses are stadiums, boxes with children are subgraphs."""
    lines = ["flowchart TB"]
    lines += [f'  {_id(bus.id)}(["{_text(bus.title)}<br/>{_text(bus.caption)}"])' for bus in diagram.buses]
    for box in diagram.boxes:
        lines += _box(box, "  ")
    for box in diagram.boxes:
        lines += _links(box)
    for bus in diagram.buses:
        lines.append(f"  style {_id(bus.id)} stroke:{bus.colour},stroke-width:3px")
    return "\n".join(lines) + "\n"


def _box(box: Box, indent: str) -> Iterator[str]:
    label = f"{box.kind} {box.title}" + (f"<br/>{_text(box.caption)}" if box.caption else "")
    if not box.children:
        yield f'{indent}{_id(box.id)}["{label}"]'
        return
    yield f'{indent}subgraph {_id(box.id)}["{label}"]'
    for child in box.children:
        yield from _box(child, indent + "  ")
    yield f"{indent}end"


def _links(box: Box) -> Iterator[str]:
    for link in box.links:
        label = f"{link.label} {link.address}".strip()
        yield f'  {_id(box.id)} ---|"{_text(label)}"| {_id(link.bus)}'
    for child in box.children:
        yield from _links(child)


def _id(address: str) -> str:
    return address.replace(".", "_").replace("-", "_")


def _text(text: str) -> str:
    return text.replace('"', "#quot;")
