from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from labemu_nfs.__main__ import main
from labemu_nfs.errors import ConfigurationError
from labemu_nfs.exports import parse_clients
from labemu_nfs.io import NfsServer
from labemu_nfs.io.options import parse_export
from labemu_nfs.io.state import load_secret
from labemu_nfs.rpc.auth import AUTH_SYS, Credential


def test_an_export_is_read_as_written():
    export = parse_export(
        "/gold=memory://,ro,squash=root,anonuid=7,anongid=8,client=10.0.0.0/24,client=10.1.0.1,sec=sys,async"
    )
    assert (export.path, export.read_only, export.squash, export.sync) == ("/gold", True, "root", False)
    assert (export.anonymous_uid, export.anonymous_gid, export.security) == (7, 8, {"sys"})
    assert [export.admits(a) for a in ("10.0.0.9", "10.1.0.1", "10.1.0.2")] == [True, True, False]


def test_a_quota_is_read_as_written():
    space = parse_export("/gold=memory://,quota=10MiB,files=3").store.space()
    assert (space.total, space.files_total) == (10 << 20, 3)


def test_what_an_export_gives_changes_for_the_next_call():
    export = parse_export("/gold=memory://,client=fd00:1::/64,client=10.0.0.1")
    root = Credential(AUTH_SYS, 0, 0, frozenset())
    addresses = ("fd00:1::7", "fd00:2::7", "10.0.0.1")
    assert [export.admits(address) for address in addresses] == [True, False, True]
    assert export.identity(root).uid == 0
    export.change(squash="root", clients=parse_clients("fd00:2::/64"))
    assert [export.admits(address) for address in addresses] == [False, True, False]
    assert export.identity(root).uid == export.anonymous_uid
    assert not export.read_only
    export.change(read_only=True)
    assert export.read_only
    assert export.squash == "root"


@pytest.mark.parametrize(
    "text",
    ["/gold", "gold=memory://", "/gold=", "/g=memory://,fast", "/g=memory://,squash=some", "/g=memory://,anonuid=x",
     "/g=memory://,client=here", "/g=memory://,sec=krb5", "/g=nosuch://x", "/g=memory://,quota=much", "/g=memory://,files=-1"],
)  # fmt: skip
def test_a_wrong_export_is_explained(text):
    with pytest.raises(ConfigurationError) as caught:
        parse_export(text)
    assert caught.value.hint


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "everywhere"])
def test_no_address_is_listened_at_that_was_not_named(address):
    with pytest.raises(ConfigurationError):
        NfsServer(address)


def test_the_secret_is_kept_and_private(tmp_path):
    secret = load_secret(tmp_path / "state")
    assert load_secret(tmp_path / "state") == secret
    assert stat.S_IMODE((tmp_path / "state" / "handle.key").stat().st_mode) == 0o600
    assert load_secret(None) != load_secret(None)


def test_a_mistake_on_the_command_line_ends_with_a_hint(caplog):
    assert main(["--listen", "127.0.0.1", "--export", "nonsense"]) == 2
    assert "hint" in caplog.text


async def test_a_server_inside_a_program_serves_adds_removes_and_frees_its_ports(tmp_path: Path):
    server = NfsServer("127.0.0.1", [parse_export("/a=memory://")], tmp_path, nfs_port=0, portmap_port=0)
    await server.start()
    try:
        server.add_export(parse_export("/b=memory://"))
        with pytest.raises(ConfigurationError):
            server.add_export(parse_export("/b=memory://,fsid=5"))
        server.remove_export("/a")
        assert [export.path for export in server.exports] == ["/b"]
        assert server.nfs_port
        assert server.stats().connections == 0
    finally:
        await server.close()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", server.nfs_port))


@pytest.mark.parametrize(("name", "seconds"), [("lease", 0), ("lease", 3601), ("grace", -1)])
def test_a_lease_or_grace_that_makes_no_sense_is_refused(name, seconds):
    with pytest.raises(ConfigurationError, match=rf"^{name} {seconds}: not from 1 to 3600 seconds"):
        NfsServer("127.0.0.1", **{name: seconds})


def test_the_command_line_refuses_a_lease_that_makes_no_sense(caplog):
    assert main(["--listen", "127.0.0.1", "--export", "/a=memory://", "--lease", "0"]) == 2
    assert "lease 0: not from 1 to 3600 seconds\nhint: 90 is usual" in caplog.text


def test_a_referral_names_hosts_and_paths():
    export = parse_export("/away=memory://,refer=10.0.0.2:/gold,refer=fd00::2:/tank/gold")
    assert export.refer == (("10.0.0.2", "/gold"), ("fd00::2", "/tank/gold"))


@pytest.mark.parametrize("text", ["10.0.0.2", "/gold", ":/gold", ""])
def test_a_referral_to_no_place_is_refused(text):
    with pytest.raises(ConfigurationError, match=rf"^refer={text}: not a place") as caught:
        parse_export(f"/away=memory://,refer={text}")
    assert caught.value.hint == "Write refer=10.0.0.2:/gold."
