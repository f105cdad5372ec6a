"""libnfs as an NFSv4.0 client against the real server. Its version 4.0.0 cannot write more than some 3 KB at once (its own buffer)."""

from __future__ import annotations

import random

import pytest

MIB = 1 << 20


def url(path: str) -> str:
    return f"nfs://127.0.0.1/{path}?version=4"


@pytest.mark.needs("root", "net", "libnfs")
def test_libnfs_finds_every_export_below_the_root(served):
    lines = served.run("nfs-ls", url("")).splitlines()
    assert {line.split()[-1] for line in lines} == {"gold", "memory"}


@pytest.mark.needs("root", "net", "libnfs")
def test_libnfs_lists_a_large_directory_completely(served):
    names = {f"{'n' * 40}{number}" for number in range(2000)}
    for name in names:
        (served.folder / name).touch()
    assert {line.split(maxsplit=5)[-1] for line in served.run("nfs-ls", url("gold")).splitlines()} == names


@pytest.mark.needs("root", "net", "libnfs")
@pytest.mark.parametrize("export", ["gold", "memory"])
def test_libnfs_opens_writes_reads_and_closes(served, tmp_path, export):
    source = tmp_path / "source"
    source.write_bytes(random.Random(4).randbytes(3000))
    served.run("nfs-cp", str(source), url(f"{export}/copy"))
    served.run("nfs-cp", url(f"{export}/copy"), str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


@pytest.mark.needs("root", "net", "libnfs")
def test_libnfs_reads_a_large_file(served, tmp_path):
    data = random.Random(5).randbytes(9 * MIB + 3)
    (served.folder / "large").write_bytes(data)
    served.run("nfs-cp", url("gold/large"), str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data
