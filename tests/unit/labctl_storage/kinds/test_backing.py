"""A backing that cannot be used is found in the topology, before anything is started, and no secret ever shows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pytest

import labctl_network.plugin
import labctl_storage.plugin
from labctl.contracts.storage import Datastore
from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.quantity import Bytes
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Kind
from labctl.plugin.loader import Plugins
from labctl.testing.kinds import TestPlugin, lab_info
from labctl.topology.compile import Compiled, compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text

BASE = """
[lab]
name = "demo"
[network.storage]
role = "storage"
subnet = "10.20.0.0/24"
[network.management]
role = "management"
subnet = "10.30.0.0/24"
[array.san1]
"""
GOLD = '[datastore.gold]\narray = "san1"\nprotocol = "iscsi"\nsize = "1GiB"\n'
S3 = 'backing = "s3://bucket/san1"\n'
SECRET = S3 + 'backing_secret = "minio"\n'


class DiskSpec(Spec):
    datastore: Annotated[str, Ref("datastore")]
    size: Bytes


class DiskKind(Kind[DiskSpec]):
    """Asks a datastore for a volume that must be kept."""

    name = "disk"
    summary = "a disk"
    spec = DiskSpec

    def compile(self, resource: Resource[DiskSpec], view: CompileView) -> Iterable[Unit]:
        store = view.provider(Address("datastore", resource.spec.datastore), Datastore)
        return store.volume(resource.name, owner=resource.address, size=resource.spec.size, persistent=True).units


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No credentials anywhere; the folder of secrets."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "labctl" / "secrets"
    folder.mkdir(parents=True)
    return folder


def compiled(text: str) -> Compiled:
    plugins = Plugins.from_modules(
        {"network": labctl_network.plugin, "storage": labctl_storage.plugin, "test": TestPlugin([DiskKind()])}
    )
    topology = load_text(BASE + text, "lab.toml", plugins)
    return compile_topology(topology, lab_info(Path("/home"), "demo"), {}, plugins)


def agent(text: str) -> Any:
    return next(unit for unit in compiled(text).units if unit.id == "agent:san1").spec


def secret(folder: Path, content: str = 'key = "lab"\nsecret = "hidden-word"\n') -> None:
    (folder / "minio.toml").write_text(content)
    (folder / "minio.toml").chmod(0o600)


def test_an_array_elsewhere_reaches_out_of_its_namespace_and_knows_where_changes_wait(nobody: Path) -> None:
    secret(nobody)
    spec = agent(SECRET + 'backing_cache = "1GiB"\nbacking_options = { endpoint_url = "http://127.0.0.1:9" }\n')
    assert spec["outside"] is True
    assert spec["config"] == {
        "protocols": ["iscsi", "nfs"],
        "portals": ["10.20.0.11"],
        "backing": "s3://bucket/san1",
        "folder": "/home/data/demo/san1",
        "cache": 2**30,
        "options": {"endpoint_url": "http://127.0.0.1:9"},
        "secret": str(nobody / "minio.toml"),
    }


def test_a_secret_is_in_nothing_that_is_recorded_or_shown(nobody: Path) -> None:
    secret(nobody)
    made = compiled(SECRET + GOLD)
    told = json.dumps([unit.spec for unit in made.units], default=str) + repr(made.descriptions)
    assert "s3://bucket/san1" in told
    assert "hidden-word" not in told


@pytest.mark.parametrize("url", ["file:///srv/san1", "memory://"])
def test_an_array_of_this_machine_stays_in_its_namespace(url: str) -> None:
    spec = agent(f'backing = "{url}"\n')
    assert "outside" not in spec
    assert spec["config"]["backing"] == url
    assert "folder" not in spec["config"]


def test_credentials_of_the_environment_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "lab")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-word")
    assert agent(S3)["config"]["secret"] is None


def test_a_public_bucket_needs_none() -> None:
    assert agent(S3 + "backing_options = { anon = true }\n")["config"]["options"] == {"anon": True}


WRONG = {
    "no URL": 'backing = "san1"\n',
    "a relative path": 'backing = "file://srv/san1"\n',
    "no bucket": 'backing = "s3:///san1"\n',
    "credentials in the URL": 'backing = "ftp://me:hidden-word@host/san1"\n',
    "options in the URL": 'backing = "s3://bucket/san1?cache=1GiB"\n',
    "a web server": 'backing = "https://host/san1"\n',
    "a chain": 'backing = "simplecache::s3://bucket/san1"\n',
    "a filesystem that there is not": 'backing = "s4://bucket/san1"\n',
    "a missing package": 'backing = "oci://bucket/san1"\n',
    "missing credentials": S3,
    "a missing secret": SECRET,
    "a secret's name that is none": S3 + 'backing_secret = "../minio"\n',
    "a secret in the options": S3 + 'backing_options = { secret = "hidden-word" }\n',
    "options without use": "backing_options = { endpoint_url = 'http://127.0.0.1:9' }\n",
    "a secret without use": 'backing = "memory://"\nbacking_secret = "minio"\n',
    "an export elsewhere": 'backing = "memory://"\n' + GOLD.replace("iscsi", "nfs"),
    "no cache": S3 + "backing_cache = 0\n",
}


def test_every_error_has_the_wording_of_the_golden_file(nobody: Path) -> None:
    told = ""
    for case, text in WRONG.items():
        with pytest.raises(TopologyError) as caught:
            compiled(text)
        told += f"# {case}\n{caught.value.message}\n"
    told = told.replace(str(nobody), "SECRETS")
    assert "hidden-word" not in told.replace('"ftp://me:hidden-word@host/san1"', "")
    assert told == Path(__file__).with_name("backing.golden").read_text()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ('key = "lab"\n', 0o644, 'others may read the secret "minio" (chmod 600'),
        ("key: lab\n", 0o600, 'the secret "minio" is no TOML'),
    ],
)
def test_a_secret_that_is_open_or_unreadable_is_refused(nobody: Path, content: str, mode: int, words: str) -> None:
    secret(nobody, content)
    (nobody / "minio.toml").chmod(mode)
    with pytest.raises(TopologyError) as caught:
        compiled(SECRET)
    assert words in caught.value.message


def test_a_disk_that_must_be_kept_is_refused_where_nothing_is() -> None:
    with pytest.raises(LabError, match="is in its array's memory, which keeps nothing, and disk a is persistent"):
        compiled('backing = "memory://"\n' + GOLD + '[disk.a]\ndatastore = "gold"\nsize = "1MiB"\n')
