"""What a micro guest is told, and what its image needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labctl.errors import LabError
from labctl_server.image.client import CLIENT
from labctl_server.image.guest import GuestNic, guest_arguments
from labctl_server.image.libraries import parse_listing
from labctl_server.image.micro import MICRO


def test_a_guest_is_told_its_name_and_each_nics_settings() -> None:
    nics = [
        GuestNic(mac="52:54:00:AA:00:01", address="10.10.0.21/24", gateway="10.10.0.1", mtu=9000),
        GuestNic(mac="52:54:00:aa:00:02"),
    ]
    assert guest_arguments("web1", nics) == (
        "labctl.hostname=web1 labctl.nic=52:54:00:aa:00:01,10.10.0.21/24,10.10.0.1,9000 labctl.nic=52:54:00:aa:00:02,,,"
    )


@pytest.mark.parametrize("name", ["", "two words", "x=y", "-x", "x" * 64])
def test_a_name_that_would_break_the_command_line_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="host name"):
        guest_arguments(name)


def test_the_fingerprint_is_stable_and_tells_recipes_apart() -> None:
    assert MICRO.fingerprint == MICRO.fingerprint
    assert MICRO.fingerprint != CLIENT.fingerprint
    assert replace(MICRO, arguments="quiet").fingerprint != MICRO.fingerprint


def test_the_linkers_listing_gives_libraries_and_what_is_missing() -> None:
    listing = (
        "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /t/lib/libc.so.6 (0x00007f)\n"
        "\tlibx.so.1 => not found\n\t/lib64/ld-linux-x86-64.so.2 => /t/ld.so (0x00007f)\n"
    )
    assert parse_listing(listing) == {"libc.so.6": "/t/lib/libc.so.6", "libx.so.1": None}
