"""An ordinary user gets the same lab, in a user namespace of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.needs("root", "userns", "qemu", "qemu-iscsi", "qemu-nfs", "tun"),
    pytest.mark.xdist_group("lab"),
    pytest.mark.timeout(600),
]

LABCTL = str(Path(sys.executable).parent / "labctl")
UP_DEADLINE = 300.0


def test_an_ordinary_user_brings_up_the_quickstart_uses_it_and_leaves_nothing(ordinary_user, tun, unique) -> None:
    environment = {"LABCTL_HOME": str(ordinary_user.home / "labs"), "LABCTL_TEST": unique}

    def labctl(*arguments: str, check: bool = True) -> str:
        return ordinary_user.run([LABCTL, *arguments], env=environment, timeout=UP_DEADLINE, check=check).stdout

    def states() -> dict[str, str]:
        listed = json.loads(labctl("status", unique, "--json"))["resources"]
        return {f"{resource['kind']}.{resource['name']}": resource["state"] for resource in listed}

    try:
        labctl("up", "quickstart", "--name", unique)
        assert states()["host.esx1"] == states()["array.san1"] == "Connected"
        for vm in ("web1", "db1"):
            assert labctl("exec", "--lab", unique, vm, "--", "hostname") == f"{vm}\n"
            assert " / ext4 " in labctl("exec", "--lab", unique, vm, "--", "cat", "/proc/mounts")
        target = json.loads(labctl("inspect", "vm.web1", "--lab", unique, "--json"))["addresses"]["production"]
        labctl("exec", "--lab", unique, "client", "--", "ping", "-c1", "-W5", target)
        assert "nothing to do" in labctl("up", "quickstart", "--name", unique)
        assert not [path.name for path in Path("/run/netns").glob(f"{unique}*")]  # they are the user's own
        labctl("down", unique, "--purge")
        assert not list((ordinary_user.home / "labs").rglob("*"))
    finally:
        labctl("down", unique, "--purge", check=False)  # where the test failed before


def test_an_ordinary_users_firewall_refuses_what_its_rules_refuse(ordinary_user, unique) -> None:
    environment = {"LABCTL_HOME": str(ordinary_user.home / "labs"), "LABCTL_TEST": unique}

    def labctl(*arguments: str, check: bool = True) -> str:
        return ordinary_user.run([LABCTL, *arguments], env=environment, timeout=UP_DEADLINE, check=check).stdout

    try:
        labctl("up", "three-tier", "--name", unique)
        labctl("exec", "--lab", unique, "web1", "--", "ping", "-c1", "-W60", "10.10.0.15")
        connect = "import socket, sys; sys.exit(socket.socket().connect_ex(('10.10.0.15', 5432)))"
        labctl("exec", "--lab", unique, "web1", "--", sys.executable, "-c", connect, check=False)
        hits = {each["rule"]: each["hits"] for each in json.loads(labctl("firewall", "hits", "--json"))["rules"]}
        assert (hits["operations/ping"], hits["shop/rest-in"]) == (1, 1)
    finally:
        labctl("down", unique, "--purge", check=False)
