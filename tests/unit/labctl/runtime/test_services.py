"""Places, names and services."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.plugin.places import image_cache
from labctl.runtime.events import LabEvents
from labctl.runtime.journal import Journal
from labctl.runtime.paths import MAX_SOCKET_PATH, LabPaths, default_home, short_name
from labctl.runtime.services import LabServices
from labctl.testing.lab import NoAgent


def test_the_environment_decides_where_labs_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LABCTL_CACHE", str(tmp_path / "cache"))
    assert (default_home(), image_cache()) == (tmp_path / "home", tmp_path / "cache")


@pytest.mark.parametrize(
    ("user", "home", "cache"),
    [
        (0, "/var/lib/labctl", "/var/cache/labctl/images"),
        (1000, "/home/ann/.local/state/labctl", "/home/ann/.cache/labctl/images"),
    ],
)
def test_root_and_everybody_else_have_their_own_places(
    user: int, home: str, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABCTL_HOME", raising=False)
    monkeypatch.delenv("LABCTL_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert (str(default_home()), str(image_cache())) == (home, cache)


def test_a_home_too_long_for_sockets_is_refused_with_a_way_out() -> None:
    LabPaths(Path("/var/lib/labctl"), "twenty-characters-ab").check()
    with pytest.raises(LabError, match="too long a path") as caught:
        LabPaths(Path("/" + "x" * MAX_SOCKET_PATH), "lab").check()
    assert "LABCTL_HOME" in str(caught.value.hint)


@given(st.text("ab", max_size=80), st.text("ab", max_size=80))
def test_short_names_fit_stay_and_differ(one: str, other: str) -> None:
    assert len(short_name(one, 15)) <= 15
    assert short_name(one, 80) == one
    assert (short_name(one, 15) == short_name(other, 15)) == (one == other)


def test_a_nodes_namespace_is_a_named_one_for_root_and_the_labs_own_for_others() -> None:
    paths = LabPaths(Path("/h"), "lab")
    assert paths.namespace("esx1", rootless=False) == Path("/run/netns/lab-esx1")
    assert paths.namespace("esx1", rootless=True) == Path("/h/labs/lab/netns/esx1")


LABS = st.from_regex(r"[ab][ab-]{0,4}", fullmatch=True)
NODES = st.from_regex(r"(sw\.)?[ab][ab-]{0,4}", fullmatch=True)


@settings(max_examples=500)
@given(LABS, NODES, LABS, NODES)
def test_namespaces_of_different_nodes_never_meet(lab: str, node: str, other_lab: str, other_node: str) -> None:
    mine = LabPaths(Path("/h"), lab).namespace(node, rootless=False)
    other = LabPaths(Path("/h"), other_lab).namespace(other_node, rootless=False)
    assert (mine == other) == ((lab, node) == (other_lab, other_node))


async def test_handlers_get_places_agents_facts_and_may_tell_events(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    events = LabEvents("demo")
    agent = NoAgent()
    paths = LabPaths(tmp_path, "demo")
    services = LabServices(
        paths=paths,
        lab=paths.info(rootless=True),
        journal=journal,
        events=events,
        agents=lambda node: agent,
        cgroups=lambda node: tmp_path / node,
    )
    follower = events.follow()
    await anext(follower)
    services.emit("vm.started", resource=Address("vm", "web1"), message="it runs", pid=7)
    told = await anext(follower)
    assert isinstance(told, dict)
    assert told["event"] == "vm.started"
    assert told["properties"] == {"pid": 7, "resource": "vm.web1", "message": "it runs"}
    assert services.namespace("esx1") == tmp_path / "labs/demo/netns/esx1"
    assert services.cgroup("esx1") == tmp_path / "esx1"
    assert services.agent("esx1") is agent
    assert services.facts("nothing") == {}
    services.progress("nothing", "goes nowhere while no change is under way")
    await follower.aclose()
    events.close()
    journal.close()
