"""Drawings show every network, box and link, in each of the three forms."""

from xml.etree import ElementTree

import pytest

from labctl.cli.diagram import mermaid, svg, text
from labctl.cli.diagram.model import Diagram, Drawn, build


@pytest.fixture
def diagram() -> Diagram:
    return build(
        "demo",
        [
            Drawn(id="network.production", summary="production", drawn="bus", colour="#111111"),
            Drawn(id="network.management", summary="management", drawn="bus", colour="#222222"),
            Drawn(id="cluster.compute", drawn="none"),
            Drawn(
                id="host.esx1",
                summary='2 CPUs, "fast"',
                state="connected",
                links={"network.management": "vmk0", "network.production": "vmnic0"},
                addresses={"management": "10.30.0.11"},
            ),
            Drawn(
                id="vm.web1",
                parent="host.esx1",
                links={"network.production": "nic0"},
                addresses={"production": "10.10.0.11"},
            ),
            Drawn(id="vm.lone", parent="cluster.compute"),
        ],
    )


def test_children_are_inside_their_parent_and_orphans_stand_alone(diagram: Diagram) -> None:
    assert [box.id for box in diagram.boxes] == ["host.esx1", "vm.lone"]
    assert [child.id for child in diagram.boxes[0].children] == ["vm.web1"]


def test_text_names_each_link_with_its_address(diagram: Diagram) -> None:
    assert text.render(diagram).splitlines() == [
        "demo",
        "  ═ production: production",
        "  ═ management: management",
        '  □ host esx1: 2 CPUs, "fast" [connected]',
        "    ├─ vmk0 10.30.0.11 ─ management",
        "    ├─ vmnic0 ─ production",
        "    □ vm web1",
        "      ├─ nic0 10.10.0.11 ─ production",
        "  □ vm lone",
    ]


def test_mermaid_escapes_quotes_and_links_children_too(diagram: Diagram) -> None:
    drawn = mermaid.render(diagram)
    assert "#quot;fast#quot;" in drawn
    assert '  vm_web1 ---|"nic0 10.10.0.11"| network_production' in drawn
    assert '  subgraph host_esx1["host esx1<br/>2 CPUs, #quot;fast#quot;"]' in drawn


def test_svg_is_well_formed_and_shows_everything(diagram: Diagram) -> None:
    root = ElementTree.fromstring(svg.render(diagram))
    words = " ".join(root.itertext())
    for word in ("host esx1", "vm web1", "vm lone", "vmk0 10.30.0.11", "production", "management"):
        assert word in words
    strokes = [line.get("stroke") for line in root.iter("{http://www.w3.org/2000/svg}line")]
    assert strokes.count("#111111") == 2  # the bus and the host's uplink
    assert strokes.count("#222222") == 2


def test_svg_of_an_empty_lab_is_well_formed() -> None:
    ElementTree.fromstring(svg.render(build("empty", [])))
