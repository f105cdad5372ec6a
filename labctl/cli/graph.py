"""`labctl graph`: a drawing of a running lab, or of a topology that need not run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.diagram import mermaid, svg, text
from labctl.cli.diagram.model import Diagram, Drawn, build
from labctl.cli.output import note, print_json, write
from labctl.cli.target import lab_client

app = typer.Typer(add_completion=False)


class Form(StrEnum):
    """The forms of a drawing."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"


RENDER: dict[Form, Callable[[Diagram], str]] = {
    Form.TEXT: text.render,
    Form.MERMAID: mermaid.render,
    Form.SVG: svg.render,
}


@app.command(
    epilog="Examples: labctl graph | labctl graph quickstart --format svg -o quickstart.svg | labctl graph lab.toml --format mermaid"
)
def graph(
    topology: Annotated[
        str | None, typer.Argument(help="A topology to draw; the running lab where it is left out.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", "-f", help="How to draw it.")] = Form.TEXT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of the terminal.")] = None,
    lab: options.Lab = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Draw a lab as text, Mermaid or SVG."""
    if topology is None:
        status = lab_client(lab, home).get("/v1/status")
        title = str(status["lab"]["name"])
        resources: Sequence[Drawn] = [_from_status(entry) for entry in status["resources"]]
    else:
        title, resources = _from_topology(topology)
    if as_json:
        print_json({"title": title, "resources": [vars(resource) for resource in resources]})
        return
    drawing = RENDER[form](build(title, resources))
    if output is None:
        write(drawing.rstrip("\n"))
        return
    output.write_text(drawing, encoding="utf-8")
    note(f"wrote {output}")


def _from_status(entry: dict[str, Any]) -> Drawn:
    return Drawn(
        id=f"{entry['kind']}.{entry['name']}",
        summary=entry.get("summary", ""),
        state=entry.get("state", ""),
        drawn=entry.get("drawn", "box"),
        colour=entry.get("colour", ""),
        parent=entry.get("parent"),
        links=dict(entry.get("links", {})),
        addresses=dict(entry.get("addresses", {})),
    )


def _from_topology(name: str) -> tuple[str, Sequence[Drawn]]:
    from labctl.cli.dry import compile_source

    lab_name, compiled = compile_source(name)
    drawn = [
        Drawn(
            id=str(address),
            summary=description.summary,
            drawn=description.drawn,
            colour=description.colour,
            parent=None if description.parent is None else str(description.parent),
            links={str(target): label for target, label in description.links.items()},
            addresses=dict(description.addresses),
        )
        for address, description in compiled.descriptions.items()
    ]
    return lab_name, drawn
