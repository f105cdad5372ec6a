"""`labctl doctor` tries what the firewall needs of the kernel, and says what is missing."""

from __future__ import annotations

import pytest

from labctl.linux import syscalls
from labctl.linux.namespaces import in_own_thread
from labctl_network import doctor

pytestmark = [pytest.mark.needs("root", "nft"), pytest.mark.xdist_group("firewall")]


def test_this_kernel_enforces_the_rules() -> None:
    found = doctor.firewall()
    assert (found.ok, found.detail) == (True, "the kernel enforces [firewall.*], [portgroup.*] and [router.*]")


def test_a_kernel_that_refuses_is_told_in_its_own_words(monkeypatch) -> None:
    monkeypatch.setattr(doctor.ports, "commands", lambda _rules: [{"add": {"chain": {"family": "bridge"}}}])

    def attempt() -> str:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        return doctor.refusal()

    assert "Error" in in_own_thread(attempt)
    found = doctor.firewall()
    assert not found.ok
    assert found.detail.startswith("[firewall.*], [portgroup.*] and [router.*]: ")
    assert "nftables" in found.mend


def test_a_machine_without_nft_is_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda _name: None)
    found = doctor.firewall()
    assert (found.ok, found.mend, found.required) == (False, "apt-get install nftables", False)
