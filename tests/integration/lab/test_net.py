"""`labctl net` of a running lab: who is on which network, and the way that frames really take."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.needs("root", "qemu", "tun"), pytest.mark.xdist_group("lab")]


def test_the_networks_are_listed_with_who_is_on_them(quickstart) -> None:
    rows = {each["network"]: each for each in quickstart.json("net", "list")["networks"]}
    assert list(rows) == ["production", "storage", "management"]
    assert rows["storage"]["mtu"] == 9000
    shown = quickstart.json("net", "show", "production")["attached"]
    assert {each["owner"] for each in shown if each["address"]} == {"web1", "db1", "client"}
    assert rows["production"]["attached"] == 3
    status = quickstart.status()
    for each in shown:
        if each["address"]:
            assert status[f"{each['kind']}.{each['owner']}"]["addresses"]["production"] == each["address"]
    assert "vSwitch0 on esx1" in quickstart.run("net", "show", "production").stdout


def test_frames_take_the_way_that_is_shown_and_stop_where_a_cable_is_pulled(quickstart) -> None:
    way = quickstart.json("net", "path", "--from", "client", "--to", "web1")["path"]
    links = [hop["name"] for hop in way["hops"] if hop["kind"] == "link"]
    assert links == ["client/eth0", "esx1/vmnic0"]
    quickstart.run("link", "set", links[1], "--down")
    try:
        asked = ("net", "path", "--from", "client", "--to", "web1")
        assert quickstart.json(*asked)["path"]["cut"] == links[1]
        assert "nothing gets through: esx1/vmnic0 is down" in quickstart.run(*asked).stdout
        address = quickstart.status()["vm.web1"]["addresses"]["production"]
        assert quickstart.inside("client", "ping", "-c1", "-W1", address, check=False).returncode != 0
    finally:
        quickstart.run("link", "set", links[1], "--clear")
    assert quickstart.inside("client", "ping", "-c1", "-W60", address).returncode == 0


def test_a_network_that_is_not_there_is_told_with_those_that_are(quickstart) -> None:
    done = quickstart.run("net", "show", "prodction", check=False)
    assert done.returncode == 6
    assert 'did you mean "production"?' in done.stderr
