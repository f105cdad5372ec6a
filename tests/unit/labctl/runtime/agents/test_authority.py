"""The lab's authority keeps what it issued while it suits, and makes it anew when it does not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from labctl.runtime.agents.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "lab1")


def test_keys_are_readable_by_their_owner_only(authority: Authority, tmp_path: Path) -> None:
    identity = authority.issue(tmp_path / "esx1", "esx1", "10.30.0.11", client=True)
    for key in (identity.key, tmp_path / "ca" / "ca.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_same_request_gives_the_same_certificate(authority: Authority, tmp_path: Path) -> None:
    first = authority.issue(tmp_path / "esx1", "esx1", "10.30.0.11", client=True).certificate.read_bytes()
    again = authority.issue(tmp_path / "esx1", "esx1", "10.30.0.11", client=True).certificate.read_bytes()
    assert first == again


@pytest.mark.parametrize(
    ("node", "address", "client"),
    [("esx2", "10.30.0.11", True), ("esx1", "10.30.0.12", True), ("esx1", "10.30.0.11", False)],
)
def test_other_request_gives_another_certificate(
    authority: Authority, tmp_path: Path, node: str, address: str, client: bool
) -> None:
    first = authority.issue(tmp_path / "esx1", "esx1", "10.30.0.11", client=True).certificate.read_bytes()
    other = authority.issue(tmp_path / "esx1", node, address, client=client).certificate.read_bytes()
    assert first != other


def test_torn_files_are_made_anew(authority: Authority, tmp_path: Path) -> None:
    identity = authority.issue(tmp_path / "esx1", "esx1", "10.30.0.11", client=True)
    identity.certificate.write_bytes(b"-----BEGIN CERT")
    again = authority.issue(tmp_path / "esx1", "esx1", "10.30.0.11", client=True)
    assert again.certificate.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")


def test_authority_stays_the_same_when_opened_again(authority: Authority, tmp_path: Path) -> None:
    authority.ensure()
    first = authority.certificate.read_bytes()
    Authority(tmp_path / "ca", "lab1").ensure()
    assert authority.certificate.read_bytes() == first
