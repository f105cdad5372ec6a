"""Which links a user means."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.cli.trace.links import choose, links_of
from labctl.errors import UsageError


def resource(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, "node": name, "guest": False, "links": {}, "addresses": {}, **fields}


def host(name: str, address: str) -> dict[str, Any]:
    links = {"network.storage": "vmk1", "network.production": "vmnic0"}
    return resource("host", name, links=links, addresses={"storage": address})


NETWORKS = [
    resource("network", "production", properties={"role": "production"}),
    resource("network", "storage", properties={"role": "storage"}),
]
ARRAY = resource("array", "san1", links={"network.storage": "stor0"}, addresses={"storage": "10.0.0.1"})
STORE = resource("datastore", "gold", node=None, properties={"portal": "10.0.0.1:3260", "where": "iqn.x:y"})
LAB = [*NETWORKS, ARRAY, STORE, host("esx1", "10.0.0.2"), host("esx2", "10.0.0.3")]


def names(*, networks: tuple[str, ...] = (), nodes: tuple[str, ...] = ()) -> list[str]:
    return [place.name for place in choose(LAB, networks, nodes)]


def test_without_a_word_it_is_the_storage_traffic_seen_once_at_the_clients() -> None:
    assert names() == ["esx1/vmk1", "esx2/vmk1"]


def test_a_host_a_network_or_an_array_can_be_chosen() -> None:
    assert names(nodes=("esx2",)) == ["esx2/vmk1"]
    assert names(nodes=("san1",)) == ["san1/stor0"]
    assert names(networks=("production",)) == ["esx1/vmnic0", "esx2/vmnic0"]
    assert names(networks=("storage", "production"), nodes=("esx1",)) == ["esx1/vmk1", "esx1/vmnic0"]


def test_links_are_numbered_and_named_as_wireshark_shows_them() -> None:
    links = links_of(choose(LAB, (), ()))
    assert [(link.index, link.name, link.description) for link in links] == [
        (0, "esx1/vmk1", "storage"),
        (1, "esx2/vmk1", "storage"),
    ]


@pytest.mark.parametrize(
    ("networks", "nodes", "message", "hint"),
    [
        (("storag",), (), 'no network "storag" has links to capture', 'did you mean "storage"?'),
        ((), ("esx3",), 'no host, array or node "esx3" has links to capture', 'did you mean "esx2"?'),
        ((), ("x",), 'no host, array or node "x" has links to capture', "there are: esx1, esx2, san1"),
        (
            ("production",),
            ("san1",),
            "nothing to capture: no link fits",
            "name a network with --network: production, storage",
        ),
    ],
)
def test_what_does_not_exist_is_refused(
    networks: tuple[str, ...], nodes: tuple[str, ...], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        choose(LAB, networks, nodes)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_lab_without_networks_has_nothing_to_capture() -> None:
    with pytest.raises(UsageError, match="nothing to capture") as caught:
        choose([], (), ())
    assert caught.value.hint == "the lab has no networks"
