"""`up` makes the difference between the file and the lab, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs("root"), pytest.mark.xdist_group("lab")]

NETWORKS = """
[network.production]
role = "production"
subnet = "10.10.0.0/24"
"""


def topology(tmp_path: Path, *nodes: str, extra: str = "") -> Path:
    file = tmp_path / "lab.toml"
    file.write_text(NETWORKS + "".join(f'\n[node.{node}]\nnetworks = ["production"]\n' for node in nodes) + extra)
    return file


def namespaces(lab) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in Path("/run/netns").glob(f"{lab.name}-*")}


def test_a_second_up_does_nothing_and_says_so(lab, tmp_path) -> None:
    file = topology(tmp_path, "a", "b")
    lab.up(file)
    before = namespaces(lab)
    second = lab.up(file)
    assert "nothing to do" in second.stdout.lower()
    assert namespaces(lab) == before


def test_adding_a_node_adds_just_that(lab, tmp_path) -> None:
    lab.up(topology(tmp_path, "a", "b"))
    before = namespaces(lab)
    addresses = {name: r["addresses"] for name, r in lab.status().items()}
    lab.up(topology(tmp_path, "a", "c", "b"))
    after = namespaces(lab)
    assert set(after) - set(before) == {f"{lab.name}-c"}
    assert {name: after[name] for name in before} == before
    assert {name: r["addresses"] for name, r in lab.status().items() if name in addresses} == addresses
    target = lab.status()["node.c"]["addresses"]["production"]
    assert lab.exec("a", "ping", "-c1", "-W2", target).returncode == 0


def test_removing_a_node_removes_just_that(lab, tmp_path) -> None:
    lab.up(topology(tmp_path, "a", "b"))
    before = namespaces(lab)
    lab.up(topology(tmp_path, "a"))
    after = namespaces(lab)
    assert set(before) - set(after) == {f"{lab.name}-b"}
    assert all(before[name] == inode for name, inode in after.items())


def test_adding_a_network_adds_just_that(lab, tmp_path) -> None:
    lab.up(topology(tmp_path, "a"))
    before = namespaces(lab)
    lab.up(topology(tmp_path, "a", extra='\n[network.more]\nsubnet = "10.11.0.0/24"\n'))
    assert set(namespaces(lab)) - set(before) == {f"{lab.name}-sw.more"}


def test_plan_shows_the_difference_and_makes_nothing(lab, tmp_path) -> None:
    lab.up(topology(tmp_path, "a"))
    before = namespaces(lab)
    planned = lab.run("plan", str(topology(tmp_path, "a", "b")), "--name", lab.name).stdout
    assert "node.b" in planned
    assert "node.a" not in planned
    assert namespaces(lab) == before


def test_what_was_removed_behind_its_back_is_made_again(lab, tmp_path) -> None:
    file = topology(tmp_path, "a", "b")
    lab.up(file)
    lab.inside("a", "ip", "link", "del", "eth0")
    lab.up(file)
    target = lab.status()["node.b"]["addresses"]["production"]
    assert lab.exec("a", "ping", "-c1", "-W2", target).returncode == 0


def test_two_labs_from_one_file_run_side_by_side_without_touching(lab, tmp_path, lab_home) -> None:
    from .conftest import new_lab

    other = new_lab(lab_home)
    file = topology(tmp_path, "a", "b")
    try:
        lab.up(file)
        other.up(file)
        target = lab.status()["node.b"]["addresses"]["production"]
        lab.inside("b", "ip", "link", "set", "eth0", "down")
        assert lab.exec("a", "ping", "-c1", "-W1", target, check=False).returncode != 0
        assert other.exec("a", "ping", "-c1", "-W2", target).returncode == 0
        other.down()
        assert namespaces(other) == {}
        assert len(namespaces(lab)) == 3
    finally:
        other.run("down", other.name, check=False)


def test_down_leaves_nothing(lab, tmp_path) -> None:
    lab.up(topology(tmp_path, "a", "b"))
    lab.down()
    assert namespaces(lab) == {}
    assert not (lab.home / "labs" / lab.name).exists()
