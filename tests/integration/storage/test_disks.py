"""What becomes of a disk's bytes and size when the topology changes, seen by clients on the storage network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("root", "libiscsi", "qemu-img", "qemu-iscsi")

LABCTL = str(Path(sys.executable).parent / "labctl")
PLUGIN = Path(__file__).parent / "plugin"

TOPOLOGY = """
[network.storage]
role = "storage"
subnet = "10.20.0.0/24"
[network.management]
role = "management"
subnet = "10.30.0.0/24"
[array.san1]
addresses = { management = "10.30.0.40" }
[datastore.gold]
array = "san1"
protocol = "iscsi"
size = "1GiB"
[disk.a]
datastore = "gold"
size = "16MiB"
"""


class Storage:
    """A lab with one disk.

    Args:
        name: the lab's.
        file: its topology's.
    """

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.file = file

    def labctl(self, *arguments: str) -> str:
        return self._run(LABCTL, *arguments)

    def up(self, text: str) -> None:
        self.file.write_text(text)
        self.labctl("up", str(self.file), "--name", self.name)

    @property
    def url(self) -> str:
        shown = json.loads(self.labctl("inspect", "--lab", self.name, "datastore.gold", "--json"))
        return f"iscsi://10.20.0.11:3260/{shown['properties']['where']}/0"

    def size(self) -> int:
        """What READ CAPACITY(16) says, in bytes (SBC-4 5.20)."""
        told = self._inside("iscsi-readcapacity16", self.url)
        size = re.search(r"^Total size: *(\d+)", told, re.MULTILINE)
        assert size, told
        return int(size[1])

    def io(self, command: str) -> None:
        """A qemu-io command through QEMU's iSCSI driver; fails where a pattern is not what is read."""
        self._inside("qemu-io", "-f", "raw", "-c", command, self.url)

    def _inside(self, *argv: str) -> str:
        return self._run("nsenter", f"--net=/run/netns/{self.name}-san1", *argv)

    def _run(self, *argv: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(PLUGIN)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def storage(lab_home: Path, unique: str, tmp_path: Path) -> Iterator[Storage]:
    made = Storage(unique, tmp_path / "lab.toml")
    yield made
    made.labctl("down", unique, "--purge")
    assert not list(lab_home.iterdir())


def test_a_disk_keeps_its_bytes_when_its_arrays_management_address_changes(storage: Storage) -> None:
    storage.up(TOPOLOGY)
    storage.io("write -P 0x5a 4096 65536")
    storage.up(TOPOLOGY.replace("10.30.0.40", "10.30.0.41"))
    assert "10.30.0.41" in storage.labctl("status", storage.name)
    storage.io("read -P 0x5a 4096 65536")


def test_a_disk_that_the_topology_makes_larger_is_larger_for_who_looks_and_keeps_its_bytes(storage: Storage) -> None:
    storage.up(TOPOLOGY)
    assert storage.size() == 16 * 2**20
    storage.io("write -P 0x5a 0 65536")
    storage.up(TOPOLOGY.replace("16MiB", "32MiB"))
    assert storage.size() == 32 * 2**20
    storage.io("read -P 0x5a 0 65536")
    storage.io(f"write -P 0x77 {31 * 2**20} 65536")
