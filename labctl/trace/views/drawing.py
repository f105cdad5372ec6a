"""A drawing of rectangles and words, as SVG or as PNG: what is drawn is decided once, and looks alike in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal

from labctl.errors import MissingToolError

if TYPE_CHECKING:
    from PIL import ImageDraw

FONT_SIZE: Final = 12
"""Pixels."""

SCALE: Final = 2
"""Pixels of a PNG for each of the drawing's, so that it is sharp on today's screens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rect:
    """A rectangle.

    Args:
        x: its left edge, in pixels.
        y: its upper edge.
        width: in pixels.
        height: in pixels.
        fill: its colour as `#rrggbb`, or "" for an outline alone.
        opacity: from 0 to 1.
        title: what SVG shows under the mouse.
    """

    x: float
    y: float
    width: float
    height: float
    fill: str = ""
    opacity: float = 1.0
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A line of words.

    Args:
        x: where it begins, has its middle, or ends: as `anchor` says.
        y: its base line.
        text: the words.
        anchor: what of it is at `x`.
        bold: whether it is.
    """

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Shapes on white, later ones on top.

    Args:
        width: in pixels.
        height: in pixels.
        shapes: what is drawn.
    """

    width: int
    height: int
    shapes: Sequence[Rect | Text]

    def svg(self) -> str:
        """As SVG."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
                f'font-family="sans-serif" font-size="{FONT_SIZE}">',
                f'<rect width="{self.width}" height="{self.height}" fill="white"/>',
                *map(_svg, self.shapes),
                "</svg>",
                "",
            ]
        )

    def png(self) -> bytes:
        """As PNG.

        Raises:
            MissingToolError: there is no Pillow.
        """
        try:
            from PIL import Image, ImageDraw
        except ImportError as error:
            raise MissingToolError(
                "a PNG needs the Python package Pillow", hint="pip install pillow, or name it something.svg"
            ) from error
        image = Image.new("RGB", (self.width * SCALE, self.height * SCALE), "white")
        pen = ImageDraw.Draw(image, "RGBA")  # mixes what is half transparent with what is below
        font = _font()
        for shape in self.shapes:
            if isinstance(shape, Rect):
                _paint(pen, shape)
            else:
                place = shape.x * SCALE, shape.y * SCALE
                anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
                pen.text(place, shape.text, "black", font, anchor=anchor, stroke_width=0.4 if shape.bold else 0)
        packed = BytesIO()
        image.save(packed, "PNG", optimize=True)
        return packed.getvalue()


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(FONT_SIZE * SCALE)


def _paint(pen: ImageDraw.ImageDraw, rect: Rect) -> None:
    left, top = rect.x * SCALE, rect.y * SCALE
    # Pillow's lower right corner belongs to the rectangle.
    box = (left, top, left + max(rect.width * SCALE - 1, 0), top + max(rect.height * SCALE - 1, 0))
    if not rect.fill:
        pen.rectangle(box, outline="#aaaaaa", width=SCALE)
        return
    red, green, blue = bytes.fromhex(rect.fill.removeprefix("#"))
    pen.rectangle(box, fill=(red, green, blue, round(255 * rect.opacity)))


def _svg(shape: Rect | Text) -> str:
    if isinstance(shape, Text):
        weight = ' font-weight="bold"' if shape.bold else ""
        anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
        return f'<text x="{shape.x:.1f}" y="{shape.y:.1f}"{anchor}{weight}>{escape(shape.text)}</text>'
    place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}"'
    if not shape.fill:
        return f'<rect {place} fill="none" stroke="#aaa"/>'
    opacity = "" if shape.opacity == 1 else f' fill-opacity="{shape.opacity:.2f}"'
    title = f"<title>{escape(shape.title)}</title>" if shape.title else ""
    return f'<rect {place} fill="{shape.fill}"{opacity}>{title}</rect>'
