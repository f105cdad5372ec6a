from __future__ import annotations

from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl.linux import cgroups
from labctl.linux.cgroups import Hierarchy


def mounted(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").touch()
    return folder


def line(mount: Path, kind: str, options: str) -> str:
    escaped = str(mount).replace(" ", "\\040")
    return f"41 31 0:38 / {escaped} rw,relatime shared:9 - {kind} {kind} rw,{options}\n"


def test_cgroup2_throughout_is_found(tmp_path: Path) -> None:
    root = mounted(tmp_path / "with space")
    assert cgroups.find(mountinfo=line(root, "cgroup2", "nsdelegate"), own="0::/\n") == Hierarchy(unified=root)


def test_cgroup2_beside_v1_is_found_with_the_controllers_of_v1(tmp_path: Path) -> None:
    unified, memory, cpu = (mounted(tmp_path / name) for name in ("unified", "memory", "cpu,cpuacct"))
    info = line(memory, "cgroup", "memory") + line(cpu, "cgroup", "cpu,cpuacct") + line(unified, "cgroup2", "x")
    found = cgroups.find(mountinfo=info, own="5:memory:/\n4:cpu,cpuacct:/\n0::/\n")
    assert found == Hierarchy(unified=unified, controllers={"memory": memory, "cpu": cpu})


def test_a_delegated_group_is_used_where_the_root_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()  # without cgroup.procs that we could write to
    own = mounted(tmp_path / "root/user.slice/app")
    info = line(tmp_path / "root", "cgroup2", "x")
    assert cgroups.find(mountinfo=info, own="0::/user.slice/app\n") == Hierarchy(unified=own)
    assert cgroups.find(mountinfo=info, own="0::/elsewhere\n") is None


def test_without_cgroup2_there_is_none(tmp_path: Path) -> None:
    memory = mounted(tmp_path / "memory")
    assert cgroups.find(mountinfo=line(memory, "cgroup", "memory"), own="5:memory:/\n") is None
    assert cgroups.find(mountinfo="", own="") is None


@pytest.mark.parametrize("name", ["", "a/b", "..", "cgroup.procs", ".hidden"])
def test_a_name_that_would_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LabError, match="control group"):
        cgroups.ensure(Hierarchy(unified=tmp_path), name)
    assert list(tmp_path.iterdir()) == []
