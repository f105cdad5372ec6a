"""Namespaces and links, as root and rootless: the same scenario."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from labctl.errors import ExitCode
from labctl.linux.configure import Configured, configure
from labctl.linux.links import Bridge, End, Veth, ensure_bridges, ensure_veths, observe
from labctl.linux.namespaces import create_many, delete_many, exists, run_in
from labctl.linux.sockets import SocketPool
from labctl.linux.taps import Tap, ensure_taps
from labctl.testing.users import OrdinaryUser

SCENARIO = Path(__file__).with_name("scenario.py")


def load_scenario():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("linux_scenario", SCENARIO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.needs("root")
def test_a_network_is_built_mended_observed_and_removed_where_ip_netns_sees_it(unique: str) -> None:
    load_scenario().run(Path("/run/netns"), unique)


@pytest.mark.needs("root")
def test_a_network_is_built_in_a_folder_of_the_lab(unique: str, tmp_path: Path) -> None:
    load_scenario().run(tmp_path / "ns", unique)


@pytest.mark.needs("userns")
def test_the_same_network_is_built_by_an_ordinary_user(unique: str, ordinary_user: OrdinaryUser) -> None:
    folder = ordinary_user.home / "ns"
    argv = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, str(SCENARIO), str(folder), unique]
    ordinary_user.run(argv)
    assert list(folder.iterdir()) == []


@pytest.mark.needs("root")
def test_one_failure_does_not_keep_the_others_from_being_done(unique: str) -> None:
    good, missing = Path("/run/netns", f"{unique}-a"), Path("/run/netns", f"{unique}-b")
    bridge = Bridge(namespace=good, name="br0")
    lost = Bridge(namespace=missing, name="br0")
    fine = Veth(local=End(namespace=good, name="x"), peer=End(namespace=good, name="y"))
    nowhere = Veth(local=End(namespace=good, name="z"), peer=End(namespace=missing, name="z"))
    unplugged = Veth(local=End(namespace=good, name="u", bridge="br7"), peer=End(namespace=good, name="v"))
    too_long = Veth(local=End(namespace=good, name="n" * 16), peer=End(namespace=good, name="w"))
    try:
        assert create_many([good]) == {}
        with SocketPool() as pool:
            failures = ensure_bridges(pool, [lost, bridge])
            assert list(failures) == [lost]
            assert str(missing) in failures[lost].message
            failed = ensure_veths(pool, [nowhere, unplugged, too_long, fine])
            assert set(failed) == {nowhere, unplugged, too_long}
            assert "br7" in failed[unplugged].message
            assert "15 characters" in (failed[too_long].hint or "")
            assert set(observe(pool, [good])[good]) == {"lo", "br0", "x", "y"}
    finally:
        delete_many([good])


@pytest.mark.needs("root")
def test_a_link_of_another_kind_is_left_alone_and_named(unique: str) -> None:
    space = Path("/run/netns", f"{unique}-a")
    try:
        assert create_many([space]) == {}
        with SocketPool() as pool:
            assert ensure_bridges(pool, [Bridge(namespace=space, name="br0")]) == {}
            wanted = Configured(namespace=space, name="br0", kind="veth", mtu=1400)
            assert "it is a bridge, not a veth" in configure(pool, [wanted])[wanted].message
    finally:
        delete_many([space])


@pytest.mark.needs("root", "tun")
def test_a_tap_stays_without_a_process_and_is_mended(unique: str) -> None:
    space = Path("/run/netns", f"{unique}-a")
    tap = Tap(namespace=space, name="tap0", mtu=9000, bridge="br0")
    try:
        assert create_many([space]) == {}
        with SocketPool() as pool:
            assert ensure_bridges(pool, [Bridge(namespace=space, name="br0", mtu=9000)]) == {}
            assert ensure_taps(pool, [tap]) == {}
            assert ensure_taps(pool, [tap]) == {}
            links = observe(pool, [space])[space]
            assert (links["tap0"].kind, links["tap0"].mtu, links["tap0"].up) == ("tun", 9000, True)
            assert links["tap0"].master == links["br0"].index
    finally:
        delete_many([space])


@pytest.mark.needs("userns")
def test_without_rights_the_hint_says_what_to_do(ordinary_user: OrdinaryUser) -> None:
    code = (
        "from pathlib import Path; from labctl.linux.namespaces import create_many;"
        "error = create_many([Path('x/ns')])[Path('x/ns')];"
        "print(int(error.exit_code), error.hint)"
    )
    told = ordinary_user.run([sys.executable, "-c", code]).stdout
    assert told.startswith(str(int(ExitCode.MISSING_RIGHT)))
    assert "rootless" in told


@pytest.mark.needs("root")
def test_many_namespaces_are_made_and_sockets_beyond_the_capacity_closed(unique: str) -> None:
    spaces = [Path("/run/netns", f"{unique}-{index}") for index in range(12)]
    hub = spaces[0]
    try:
        assert create_many([*spaces, *spaces]) == {}
        assert all(map(exists, spaces))
        assert len({space.stat().st_ino for space in spaces}) == len(spaces)
        with SocketPool(capacity=3) as pool:
            assert ensure_bridges(pool, [Bridge(namespace=hub, name="br0")]) == {}
            veths = [
                Veth(local=End(namespace=hub, name=f"p{i}", bridge="br0"), peer=End(namespace=space, name="eth0"))
                for i, space in enumerate(spaces[1:])
            ]
            assert ensure_veths(pool, veths) == {}
            assert len(pool) <= 3
            assert len(observe(pool, spaces)) == len(spaces)
    finally:
        assert delete_many(spaces) == {}
        assert delete_many(spaces) == {}


@pytest.mark.needs("root")
def test_what_runs_in_a_namespace_leaves_the_caller_where_it_was(unique: str) -> None:
    space = Path("/run/netns", f"{unique}-a")
    own = Path("/proc/thread-self/ns/net")
    before = own.stat().st_ino
    try:
        assert create_many([space]) == {}
        assert run_in(space, lambda: own.stat().st_ino) == space.stat().st_ino
        with pytest.raises(ZeroDivisionError):
            run_in(space, lambda: 1 // 0)
        assert own.stat().st_ino == before
    finally:
        delete_many([space])
