"""Makes an ext4 image from a folder, without root and the same on every machine.

mke2fs -d copies owners and times from the folder; debugfs then sets each inode's owner to root and its times to the epoch of the build.
Features are stated, so that the machine's /etc/mke2fs.conf has no say.
"""

from __future__ import annotations

from pathlib import Path

from labctl.errors import LabError
from labctl_server.image.tools import run_tool

EPOCH = 1_700_000_000
"""Seconds; the time that every file of an image carries."""

_UUID = "6c616263-746c-4d69-8372-6f726f6f7400"
_HASH_SEED = "6c616263-746c-4d69-8372-6f726f6f7401"
_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum"
)
_BLOCK = 4096
_JOURNAL_MIB = 8
_GROWS_TO = 64 * 2**30  # bytes; room kept for online growth, seven blocks
_TIMES = ("atime", "mtime", "ctime", "crtime")


def make_ext4(source: Path, image: Path, *, size: int, label: str) -> None:
    """Write an ext4 file system with the content of `source`, sparse.

    Args:
        source: a folder; who owns its files and when they were made do not matter.
        image: the file to make.
        size: bytes.
        label: at most 16 characters.

    Raises:
        LabError: a tool failed, or the content does not fit.
    """
    with image.open("xb") as file:
        file.truncate(size)
    extended = (
        f"hash_seed={_HASH_SEED},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,resize={_GROWS_TO // _BLOCK}"
    )
    environment = {"E2FSPROGS_FAKE_TIME": str(EPOCH), "MKE2FS_CONFIG": "/dev/null"}
    argv = [
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        str(_BLOCK),
        "-I",
        "256",
        "-i",
        "16384",
        "-m",
        "0",
        "-e",
        "remount-ro",
    ]
    argv += ["-O", _FEATURES, "-J", f"size={_JOURNAL_MIB}", "-L", label, "-U", _UUID, "-E", extended, "-d", str(source)]
    run_tool([*argv, image], environment=environment)
    script = image.with_suffix(".debugfs")
    script.write_text(_ownership_script(source))
    try:
        said = run_tool(["debugfs", "-w", "-f", script, image], environment=environment, with_errors=True).decode()
    finally:
        script.unlink()
    complaints = [line for line in said.splitlines() if not line.startswith("debugfs")]
    if complaints:
        raise LabError(f"debugfs failed: {complaints[0]}")


def _ownership_script(source: Path) -> str:
    inside = sorted(f"/{path.relative_to(source)}" for path in source.rglob("*"))
    lines = []
    for path in ("/", "/lost+found", *inside):
        lines += [f"sif {path} uid 0", f"sif {path} gid 0"]
        for field in _TIMES:
            lines += [f"sif {path} {field} @{EPOCH}", f"sif {path} {field}_extra 0"]
    return "\n".join(lines) + "\n"
