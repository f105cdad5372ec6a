"""A drawing is the same as SVG and as PNG."""

from __future__ import annotations

import sys
from io import BytesIO
from xml.etree import ElementTree

import pytest
from PIL import Image

from labctl.errors import ExitCode, MissingToolError
from labctl.trace.views.drawing import SCALE, Drawing, Rect, Text

DRAWING = Drawing(
    width=100,
    height=60,
    shapes=[
        Rect(x=10, y=10, width=20, height=20, fill="#ff0000"),
        Rect(x=20, y=10, width=20, height=20, fill="#0000ff", opacity=0.5, title="<two>"),
        Rect(x=60, y=10, width=30, height=30),
        Text(x=50, y=55, text="a < b", anchor="middle", bold=True),
    ],
)


def painted(drawing: Drawing) -> Image.Image:
    return Image.open(BytesIO(drawing.png())).convert("RGB")


def test_a_png_has_the_colours_where_they_belong() -> None:
    image = painted(DRAWING)
    assert image.size == (100 * SCALE, 60 * SCALE)
    at = {
        place: image.getpixel((place[0] * SCALE, place[1] * SCALE)) for place in ((5, 5), (15, 15), (35, 15), (75, 25))
    }
    assert at == {(5, 5): (255, 255, 255), (15, 15): (255, 0, 0), (35, 15): (127, 127, 255), (75, 25): (255, 255, 255)}
    assert image.getpixel((25 * SCALE, 15 * SCALE)) == (127, 0, 128)  # blue, half transparent, on red
    assert image.getpixel((60 * SCALE, 25 * SCALE)) == (170, 170, 170)


def test_a_rectangle_ends_where_its_neighbour_begins() -> None:
    image = painted(Drawing(width=10, height=4, shapes=[Rect(x=2, y=0, width=3, height=2, fill="#000000")]))
    row = [image.getpixel((x, 0)) == (0, 0, 0) for x in range(10 * SCALE)]
    assert row == [2 * SCALE <= x < 5 * SCALE for x in range(10 * SCALE)]
    assert image.getpixel((3 * SCALE, 2 * SCALE)) == (255, 255, 255)


@pytest.mark.parametrize(("anchor", "left", "right"), [("start", 50, 90), ("middle", 30, 70), ("end", 10, 50)])
def test_words_stand_at_their_anchor(anchor: str, left: int, right: int) -> None:
    image = painted(Drawing(width=100, height=30, shapes=[Text(x=50, y=20, text="mmmm", anchor=anchor)]))  # type: ignore[arg-type]
    dark = [x for x in range(image.width) for y in range(image.height) if sum(image.getpixel((x, y))) < 300]  # type: ignore[arg-type]
    assert min(dark) >= left * SCALE - SCALE
    assert max(dark) <= right * SCALE + SCALE
    assert len(dark) > 50


def test_an_svg_is_well_formed() -> None:
    root = ElementTree.fromstring(DRAWING.svg())
    space = "{http://www.w3.org/2000/svg}"
    _, red, blue, outline = root.iter(f"{space}rect")
    assert (red.get("x"), red.get("fill"), red.get("fill-opacity")) == ("10.0", "#ff0000", None)
    assert (blue.get("fill-opacity"), blue.findtext(f"{space}title")) == ("0.50", "<two>")
    assert (outline.get("fill"), outline.get("stroke")) == ("none", "#aaa")
    (text,) = root.iter(f"{space}text")
    assert (text.text, text.get("text-anchor"), text.get("font-weight")) == ("a < b", "middle", "bold")


def test_without_pillow_a_png_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingToolError) as caught:
        DRAWING.png()
    assert caught.value.message == "a PNG needs the Python package Pillow"
    assert caught.value.hint == "pip install pillow, or name it something.svg"
    assert caught.value.exit_code is ExitCode.MISSING_TOOL
