"""A drawing as SVG: boxes in a row, networks as coloured buses above (management) and below.

The layout is a table: each box is a column, each bus a row; a link is a straight line down (or up) from its own place on the box's
edge to the bus, so lines never cross a box.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from labctl.cli.diagram.model import Box, Bus, Diagram

PADDING = 24
BOX_WIDTH = 230
BOX_GAP = 28
LINE = 18
BUS_GAP = 46
CHILD_INSET = 10
FONT = "ui-sans-serif, system-ui, sans-serif"


@dataclass(frozen=True)
class _Column:
    box: Box
    x: int
    height: int


def render(diagram: Diagram) -> str:
    """The drawing as one self-contained SVG document."""
    above = diagram.buses[-1:] if len(diagram.buses) > 1 else []
    below = diagram.buses[: len(diagram.buses) - len(above)]
    columns = [
        _Column(box, PADDING + index * (BOX_WIDTH + BOX_GAP), _height(box)) for index, box in enumerate(diagram.boxes)
    ]
    width = max(2 * PADDING + len(columns) * (BOX_WIDTH + BOX_GAP) - BOX_GAP, 420)
    top = 2 * PADDING + 2 * LINE + len(above) * BUS_GAP
    tallest = max((column.height for column in columns), default=0)
    bottom = top + tallest
    rows = {bus.id: (bus, top - BUS_GAP * (len(above) - i)) for i, bus in enumerate(above)}
    rows |= {bus.id: (bus, bottom + BUS_GAP * (i + 1)) for i, bus in enumerate(below)}
    height = bottom + BUS_GAP * len(below) + PADDING + LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="{FONT}" font-size="13" role="img" aria-label="{escape(diagram.title)}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(PADDING, PADDING + 4, diagram.title, weight="bold", size=16),
    ]
    parts += [_bus(bus, y, width) for bus, y in rows.values()]
    for column in columns:
        parts += _links(column, top, rows)
        parts += _box(column.box, column.x, top, BOX_WIDTH)
    parts += [_caption(bus, y - LINE // 2 if y < top else y + LINE) for bus, y in rows.values()]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _height(box: Box) -> int:
    own = 2 * LINE + 8
    return own + sum(_height(child) + 8 for child in box.children) + (4 if box.children else 0)


def _bus(bus: Bus, y: int, width: int) -> str:
    return (
        f'<line x1="{PADDING}" y1="{y}" x2="{width - PADDING}" y2="{y}" stroke="{bus.colour}" stroke-width="6" '
        f'stroke-linecap="round"><title>{escape(bus.id)}</title></line>'
    )


def _caption(bus: Bus, y: int) -> str:
    text = _text(PADDING, y, f"{bus.title}: {bus.caption}", colour=bus.colour)
    return text.replace(
        "<text ", '<text paint-order="stroke" stroke="#ffffff" stroke-width="4" '
    )  # over the links' lines


def _links(column: _Column, top: int, rows: dict[str, tuple[Bus, int]]) -> list[str]:
    parts = []
    links = [link for link in column.box.links if link.bus in rows]
    for index, link in enumerate(links):
        bus, y = rows[link.bus]
        x = column.x + (index + 1) * BOX_WIDTH // (len(links) + 1)
        edge = top if y < top else top + column.height
        parts.append(f'<line x1="{x}" y1="{edge}" x2="{x}" y2="{y}" stroke="{bus.colour}" stroke-width="2.5"/>')
        middle = edge - 8 if y < top else edge + 16
        parts.append(_text(x + 5, middle, f"{link.label} {link.address}".strip(), colour=bus.colour, size=11))
    return parts


def _box(box: Box, x: int, y: int, width: int) -> list[str]:
    height = _height(box)
    title = f"{box.kind} {box.title}"
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="#f6f8fa" stroke="#57606a">'
        f"<title>{escape(f'{box.id} {box.state}'.strip())}</title></rect>",
        _text(x + CHILD_INSET, y + LINE, title, weight="bold"),
        _text(x + CHILD_INSET, y + 2 * LINE, _fit(box.caption, width), colour="#57606a", size=11),
    ]
    if box.state:
        parts.append(f'<circle cx="{x + width - 14}" cy="{y + 13}" r="5" fill="{_light(box.state)}"/>')
    inner = y + 2 * LINE + 8
    for child in box.children:
        parts += _box(child, x + CHILD_INSET, inner, width - 2 * CHILD_INSET)
        inner += _height(child) + 8
    return parts


def _fit(text: str, width: int) -> str:
    room = (width - 2 * CHILD_INSET) // 6
    return text if len(text) <= room else text[: room - 1] + "…"


def _light(state: str) -> str:
    return {"running": "#1a7f37", "connected": "#1a7f37", "ok": "#1a7f37"}.get(state.lower(), "#bf8700")


def _text(x: int, y: int, text: str, *, colour: str = "#1f2328", weight: str = "normal", size: int = 13) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" font-weight="{weight}" font-size="{size}">{escape(text)}</text>'
