"""Arrays whose data is not this machine's files: seen by clients on the storage network, and by whoever looks into the bucket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.testing.objects import S3Server, Wire, s3_environment
from labctl.testing.users import OrdinaryUser
from labctl.testing.waiting import wait_for

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
{backing}
[datastore.gold]
array = "san1"
protocol = "iscsi"
size = "1GiB"
[disk.a]
datastore = "gold"
size = "16MiB"
{disk}
"""


class Lab:
    """A lab with one array, one datastore and one disk."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.file = folder / "lab.toml"

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(PLUGIN)}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=180, check=False)

    def labctl(self, *arguments: str) -> str:
        done = self.run(LABCTL, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self, backing: str, disk: str = "") -> None:
        self.file.write_text(TOPOLOGY.format(backing=backing, disk=disk))
        self.labctl("up", str(self.file), "--name", self.name)

    def io(self, *commands: str) -> subprocess.CompletedProcess[str]:
        """qemu-io commands through QEMU's iSCSI driver; it fails where a pattern is not what is read."""
        url = f"iscsi://10.20.0.11:3260/iqn.2026-11.lab.{self.name}:san1.gold/0"
        words = [word for command in commands for word in ("-c", command)]
        return self.run("nsenter", f"--net=/run/netns/{self.name}-san1", "qemu-io", "-f", "raw", *words, url)

    def nfs(self, *commands: str) -> subprocess.CompletedProcess[str]:
        """As `io`, through QEMU's NFS driver, of the disk on the export `files`."""
        words = [word for command in commands for word in ("-c", command)]
        url = "nfs://10.20.0.11/files/b.qcow2"
        return self.run("nsenter", f"--net=/run/netns/{self.name}-san1", "qemu-io", "-f", "qcow2", *words, url)

    def must_nfs(self, *commands: str) -> None:
        done = self.nfs(*commands)
        assert done.returncode == 0, done.stdout + done.stderr

    def must(self, *commands: str) -> None:
        done = self.io(*commands)
        assert done.returncode == 0, done.stdout + done.stderr

    def used(self) -> int:
        """Bytes that the datastore takes; 0 while its agent does not answer."""
        listed = json.loads(self.labctl("datastore", "list", "--lab", self.name, "--json"))
        return int(listed["datastores"][0]["runtime"].get("used", 0))

    def agent(self) -> int:
        """The process of the array's agent."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"labctl_storage.arrayd" in arguments and f"LABCTL_LAB={self.name}".encode() in environment:
                return int(entry.name)
        return 0

    def kill_agent(self) -> None:
        """kill -9, and wait until another one serves."""
        killed = self.agent()
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: self.agent() not in (0, killed), 60, what="another agent")
        wait_for(lambda: "connected" in self.labctl("status", self.name).lower(), 60)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def wire(s3_server: S3Server) -> Iterator[Wire]:
    with Wire(s3_server.port) as made:
        yield made


@pytest.fixture
def lab(lab_home: Path, unique: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    secrets = tmp_path / "config" / "labctl" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "minio.toml").write_text('key = "lab"\nsecret = "hidden-word"\n')
    (secrets / "minio.toml").chmod(0o600)
    made = Lab(unique, tmp_path)
    yield made
    if list(lab_home.iterdir()):
        made.labctl("down", unique, "--purge")
    assert not list(lab_home.iterdir())


@pytest.fixture
def s3(s3_server: S3Server, wire: Wire, unique: str) -> str:
    """The array's keys in the topology."""
    return (
        f'backing = "s3://{s3_server.bucket}/{unique}"\nbacking_secret = "minio"\n'
        f'backing_options = {{ endpoint_url = "{wire.endpoint}" }}'
    )


def test_a_disk_in_a_bucket_keeps_its_bytes_through_kill_down_and_up(
    lab: Lab, s3: str, s3_server: S3Server, lab_home: Path
) -> None:
    persistent = "persistent = true"
    lab.up(s3, persistent)
    lab.must("write -P 0x5a 0 3M", "flush")
    assert len([key for key in s3_server.keys(lab.name) if "/gold/a/chunks/" in key]) == 3
    lab.must("write -P 0x77 8M 64k")  # qemu-io flushes at its end
    lab.kill_agent()
    lab.must("read -P 0x5a 0 3M", "read -P 0x77 8M 64k", "read -P 0 4M 1M", "write -P 0x33 1M 1M")
    assert 3 << 20 < wait_for(lab.used, 60, what="the agent's answer") < 8 << 20
    told = lab.labctl("inspect", "--lab", lab.name, "array.san1", "--json") + lab.labctl("status", lab.name)
    assert f"s3://{s3_server.bucket}/{lab.name}" in told
    lab.labctl("down", lab.name)
    assert [key for key in s3_server.keys(lab.name) if "/chunks/" in key]
    lab.file.write_text(lab.file.read_text().replace("16MiB", "32MiB"))
    lab.labctl("up", str(lab.file), "--name", lab.name)
    lab.must("read -P 0x5a 0 1M", "read -P 0x33 1M 1M", "read -P 0x77 8M 64k", "write -P 0x66 31M 1M")
    assert "32 MiB" in lab.labctl("datastore", "list", "--lab", lab.name)  # provisioned
    for file in lab_home.rglob("*"):
        assert not file.is_file() or b"hidden-word" not in file.read_bytes(), file
    lab.labctl("down", lab.name, "--purge")
    assert not s3_server.keys(lab.name)


EXPORT = """
[datastore.files]
array = "san1"
protocol = "nfs"
size = "64MiB"
{export}
[disk.b]
datastore = "files"
size = "48MiB"
persistent = true
"""


@pytest.mark.needs("qemu-nfs")
def test_an_export_in_a_bucket_keeps_its_files_through_kill_down_and_up(lab: Lab, s3: str, s3_server: S3Server) -> None:
    lab.up(s3, EXPORT.format(export=""))
    lab.must_nfs("write -P 0x5a 0 3M", "flush")
    wait_for(lambda: f"{lab.name}/files/b.qcow2" in s3_server.keys(lab.name), 60, what="the file in the bucket")
    lab.must_nfs("write -P 0x77 8M 64k")
    lab.kill_agent()
    lab.must_nfs("read -P 0x5a 0 3M", "read -P 0x77 8M 64k", "read -P 0 4M 1M")
    lab.labctl("down", lab.name)
    assert f"{lab.name}/files/b.qcow2" in s3_server.keys(lab.name)
    lab.labctl("up", str(lab.file), "--name", lab.name)
    lab.must_nfs("read -P 0x5a 0 3M", "read -P 0x77 8M 64k")
    lab.labctl("down", lab.name, "--purge")
    assert not s3_server.keys(lab.name)


@pytest.mark.needs("qemu-nfs")
def test_what_an_export_gives_changes_while_it_is_used_and_its_size_is_its_limit(lab: Lab) -> None:
    lab.up("", EXPORT.format(export=""))
    lab.must_nfs("write -P 0x5a 0 1M")
    listed = lab.run("nsenter", f"--net=/run/netns/{lab.name}-san1", "nfs-ls", "nfs://10.20.0.11/files")
    assert "b.qcow2" in listed.stdout, listed.stderr
    lab.up("", EXPORT.format(export="export = { read_only = true }"))
    assert lab.nfs("write 0 1M").returncode != 0
    lab.up("", EXPORT.format(export='export = { clients = ["10.20.0.200"] }'))
    assert lab.nfs("read 0 1M").returncode != 0
    lab.up("", EXPORT.format(export='export = { clients = ["10.20.0.0/24"] }'))
    lab.must_nfs("read -P 0x5a 0 1M", "write -P 0x66 1M 40M")
    inside = ("nsenter", f"--net=/run/netns/{lab.name}-san1")
    spare = "nfs://10.20.0.11/files/spare"
    made = lab.run(*inside, "qemu-img", "create", "-q", "-f", "raw", spare, "64M")
    assert made.returncode == 0, made.stderr
    full = lab.run(*inside, "qemu-io", "-f", "raw", "-c", "write -P 1 0 48M", spare)
    assert full.returncode != 0, "64 MiB are 64 MiB"


def test_an_array_starts_while_its_storage_is_away_and_serves_when_it_is_back(lab: Lab, s3: str, wire: Wire) -> None:
    lab.up(s3)
    lab.must("write -P 0x5a 0 1M")
    wire.refuse()
    lab.kill_agent()
    assert lab.io("read -P 0x5a 0 1M").returncode != 0
    wait_for(lambda: "Connection refused" in lab.labctl("status", lab.name), 60, what="the status to say why")
    wire.accept()
    wait_for(lambda: lab.io("read -P 0x5a 0 1M").returncode == 0, 60)


def test_changes_that_cannot_be_uploaded_at_down_wait_for_the_next_up(lab: Lab, s3: str, wire: Wire) -> None:
    lab.up(s3, "persistent = true")
    lab.must("write -P 0x5a 0 1M")
    wire.refuse()
    assert "SYNCHRONIZE" in lab.io("write -P 0x77 512k 1M").stderr  # written, and not flushed
    done = lab.run(LABCTL, "down", lab.name)
    assert done.returncode == 0
    assert "its last changes could not be brought to its storage (Connection refused)" in done.stderr
    wire.accept()
    lab.labctl("up", str(lab.file), "--name", lab.name)
    lab.must("read -P 0x5a 0 512k", "read -P 0x77 512k 1M")


def test_what_cannot_be_reached_is_told_by_up_with_its_reason(
    lab: Lab, s3: str, wire: Wire, s3_server: S3Server
) -> None:
    wire.answer = (403, "AccessDenied")
    lab.file.write_text(TOPOLOGY.format(backing=s3, disk=""))
    done = lab.run(LABCTL, "up", str(lab.file), "--name", lab.name)
    assert done.returncode != 0
    assert "cannot keep datastore gold" in done.stdout + done.stderr
    assert "the credentials are missing or not accepted" in done.stdout + done.stderr
    wire.answer = None
    lab.labctl("up", str(lab.file), "--name", lab.name)
    lab.must("read -P 0 0 1M", "write -P 0x11 0 1M")
    lab.labctl("down", lab.name)
    assert not s3_server.keys(lab.name)


def test_a_disk_in_memory_is_gone_with_its_agent_and_is_made_anew(lab: Lab) -> None:
    lab.up('backing = "memory://"')
    lab.must("write -P 0x5a 0 1M", "read -P 0x5a 0 1M")
    assert "nothing to do" in lab.labctl("up", str(lab.file), "--name", lab.name)
    lab.kill_agent()
    assert lab.io("read 0 1M").returncode != 0
    assert "volume.lost" in lab.labctl("events", "--lab", lab.name)
    lab.labctl("up", str(lab.file), "--name", lab.name)
    lab.must("read -P 0 0 1M")


@pytest.mark.needs("userns")
def test_an_ordinary_user_reaches_a_bucket_with_the_environment_s_credentials(
    ordinary_user: OrdinaryUser, unique: str, s3_server: S3Server, wire: Wire
) -> None:
    file = ordinary_user.home / "lab.toml"
    file.write_text(TOPOLOGY.format(backing=f'backing = "s3://{s3_server.bucket}/{unique}"', disk=""))
    environment = {
        **s3_environment(wire.endpoint),
        "LABCTL_HOME": str(ordinary_user.home / "labs"),
        "LABCTL_TEST": unique,
        "PYTHONPATH": str(PLUGIN),
    }

    def labctl(*arguments: str, check: bool = True) -> None:
        ordinary_user.run([LABCTL, *arguments], env=environment, timeout=180, check=check)

    try:
        labctl("up", str(file), "--name", unique)
        assert s3_server.keys(unique) == [f"{unique}/gold/a/holder", f"{unique}/gold/a/manifest.json"]
        labctl("down", unique)
        assert not s3_server.keys(unique)
    finally:
        labctl("down", unique, "--purge", check=False)  # where the test failed before
