"""Records captures of other implementations: tgt and nfs-ganesha, with libiscsi's, libnfs's and QEMU's clients, in namespaces.

    sudo .venv/bin/python tests/captures/record_others.py [NAME …]

No kernel takes part, so nothing but the tools of `bootstrap.sh` is needed. tgt knows no EXTENDED COPY: libiscsi's copies that succeed are
recorded against our target. Disks are small and payloads repeat, so that the packed files are small.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))
import iscsi_sides  # noqa: E402 - the benchmarks' scripts are no package
import nfs_sides  # noqa: E402
from iscsi_sides import OURS, PORTS, SERVER_ADDRESS, TGT, Link  # noqa: E402

DISK = 4 << 20
LARGEST = 200_000
"""Bytes that a packed capture may have."""

SUITES = {
    TGT: (
        "SCSI.PrinReadKeys.Simple", "SCSI.PrinReportCapabilities.Simple", "SCSI.ProutRegister.Simple", "SCSI.ProutReserve.Simple",
        "SCSI.ProutReserve.OwnershipEA", "SCSI.ProutClear.Simple", "SCSI.ProutPreempt.RemoveRegistration", "SCSI.Unmap.ZeroBlocks",
        "SCSI.CompareAndWrite.Miscompare", "SCSI.ExtendedCopy.Simple", "SCSI.GetLBAStatus.BeyondEol", "SCSI.ReportSupportedOpcodes.Simple",
        "SCSI.ModeSense6.AllPages", "iSCSI.iSCSITMF.LUNResetSimpleAsync",
        "iSCSI.iSCSIResiduals.Write10Residuals",
    ),
    OURS: (
        "SCSI.ExtendedCopy.Simple", "SCSI.ExtendedCopy.DescrLimits", "SCSI.ReceiveCopyResults.OpParams",
        "SCSI.ReceiveCopyResults.CopyStatus",
        "SCSI.CompareAndWrite.InvalidDataOutSize", "SCSI.ProutReserve.OwnershipWE",
    ),
}  # fmt: skip
"""Tests of libiscsi's iscsi-test-cu by the side that they run against."""

SCRIPT = ("write -P 0 0 256k", "write -P 0 1M 64k", "read 0 256k", "discard 1M 64k", "flush")
"""What QEMU's client does: its writes are more than the first burst, so that the target asks for the rest (R2T)."""


class Recorder:
    """Records what crosses the client's end of a link.

    Args:
        link: the namespaces.
        folder: for files on the way.
    """

    def __init__(self, link: Link, folder: Path) -> None:
        self.link = link
        self.folder = folder

    @contextmanager
    def into(self, name: str, interface: str = "v0") -> Iterator[None]:
        """Record into NAME.pcapng.zst."""
        path = self.folder / f"{name}.pcapng"
        words = self.link.command(self.link.client, "dumpcap", "-q", "-i", interface, "-w", str(path), "-B", "64")
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
            _wait(path.exists)
            time.sleep(1)  # dumpcap makes its file before it looks at the link
            try:
                yield
                time.sleep(2)  # and writes what it holds once a second
            finally:
                process.send_signal(signal.SIGINT)
        packed = zstandard.ZstdCompressor(level=22).compress(path.read_bytes())
        if len(packed) > LARGEST:
            raise SystemExit(f"{name}: {len(packed):,} bytes are too many")
        (HERE / f"{name}.pcapng.zst").write_bytes(packed)
        sys.stdout.write(f"{name}: {path.stat().st_size:,} bytes, packed {len(packed):,}\n")

    def run(self, *words: str) -> None:
        """Run a client; what it says goes to a log, and what fails is part of what is recorded."""
        with (self.folder / "clients.log").open("ab") as log:
            subprocess.run(
                self.link.command(self.link.client, *words), stdout=log, stderr=log, timeout=120, check=False
            )


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it did not begin")
        time.sleep(0.05)


def iscsi(recorder: Recorder) -> None:
    """libiscsi's tools and tests, and QEMU, against tgt and against ours."""
    disk = recorder.folder / "disk"
    with disk.open("wb") as file:
        file.truncate(DISK)
    with iscsi_sides.serving(recorder.link, disk) as targets:
        admin = ("tgtadm", "-C", str(os.getpid() % 30000), "--lld", "iscsi", "--op", "update", "--mode", "logicalunit")
        subprocess.run(
            [*admin, "--tid", "1", "--lun", "1", "--params", "thin_provisioning=1"], check=True
        )  # else no UNMAP
        for side, name in ((TGT, "tgt-libiscsi"), (OURS, "ours-libiscsi")):
            url = targets.url(side)
            with recorder.into(name):
                recorder.run("iscsi-ls", "-s", f"iscsi://{SERVER_ADDRESS}:{PORTS[side]}")
                recorder.run("iscsi-inq", f"{url}?header_digest=crc32c")
                recorder.run("iscsi-readcapacity16", url)
                for suite in SUITES[side]:
                    recorder.run("iscsi-test-cu", "-d", "-s", "-t", suite, url)
                recorder.run("qemu-io", "-f", "raw", *(word for line in SCRIPT for word in ("-c", line)), url)
                recorder.run("iscsi-ls", f"iscsi://{SERVER_ADDRESS}:{PORTS[side]}")


def nfs(recorder: Recorder) -> None:
    """libnfs's tools, its locks, and QEMU, against nfs-ganesha."""
    folder, scratch = recorder.folder / "export", recorder.folder / "scratch"
    for each in (folder, folder / "many", scratch):
        each.mkdir()
    for number in range(150):
        (folder / "many" / f"entry-{number:03}").touch()
    (folder / "locked").write_bytes(bytes(8192))
    local = recorder.folder / "local"
    local.write_bytes(b"labctl\n" * 10_000)
    with nfs_sides.serving(recorder.link, iscsi_sides.default_control(), folder, scratch) as servers:
        for version in (3, 4):
            name = f"ganesha-libnfs{version}"

            def url(path: str = "", version: int = version) -> str:
                return servers.url(nfs_sides.GANESHA, path, version=version)

            with recorder.into(name, "v1"):
                recorder.run("nfs-ls", url("/many"))
                recorder.run("nfs-cp", str(local), url(f"/copy{version}"))
                recorder.run("nfs-cat", url(f"/copy{version}"))
                recorder.run("nfs-cat", url("/nosuch"))
                recorder.run("nfs-ls", "-R", url())
                if version == 4:
                    _locks(recorder, url())
                else:
                    recorder.run("qemu-img", "create", "-f", "raw", url("/disk"), "1M")
                    recorder.run(
                        "qemu-io",
                        "-f",
                        "raw",
                        "-c",
                        "write -P 0 0 64k",
                        "-c",
                        "flush",
                        "-c",
                        "read 0 64k",
                        url("/disk"),
                    )


def _locks(recorder: Recorder, url: str) -> None:
    words = [sys.executable, str(HERE / "libnfs_locks.py"), url]
    command = recorder.link.command(recorder.link.client, *words, "hold")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "held\n":
            raise SystemExit("the lock was not given")
        subprocess.run(recorder.link.command(recorder.link.client, *words, "try"), timeout=60, check=True)
        holder.communicate()


def main() -> None:
    """Record those that are named, or all."""
    if os.geteuid() != 0:
        sys.exit("namespaces need root: sudo")
    known = {"iscsi": iscsi, "nfs": nfs}
    for name in sys.argv[1:] or known:
        with tempfile.TemporaryDirectory() as folder, iscsi_sides.linked(iscsi_sides.default_control()) as link:
            known[name](Recorder(link, Path(folder)))


if __name__ == "__main__":
    main()
