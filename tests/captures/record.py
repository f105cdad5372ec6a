"""Records the captures that the trace is tested on: Linux's own clients in a guest, against our servers.

    sudo .venv/bin/python -m tests.captures.record [NAME …]

Needs what tests/integration/clients and the benchmarks need. Payloads are zeros or small, so that the packed files are.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from labctl.plugin.places import image_cache
from labctl.testing.devices import lent_tun
from labctl.testing.plugin import new_token, short_folder, watched
from labctl.testing.waiting import wait_for
from labctl_server.image.store import ImageStore
from tests.integration.clients.conftest import SERVER, ClientGuest, StorageNet

HERE = Path(__file__).parent
TARGET = "iqn.2026-11.lab:t1"
FILES = """
set -e; cd /mnt/nfs; mkdir dir; echo hello >dir/small; dd if=/dev/zero of=dir/large bs=64k count=6 conv=fsync 2>/dev/null
ln -s small dir/link; readlink dir/link; mv dir/small dir/renamed; ln dir/renamed dir/hard || true; chmod 600 dir/renamed; ls -la dir
echo 3 >/proc/sys/vm/drop_caches; md5sum dir/large; cat dir/renamed; ls nosuch || true; flock dir/renamed true; df . >/dev/null
fallocate -p -o 65536 -l 65536 dir/large || true; cp --reflink=auto dir/large dir/copy; setfattr -n user.a -v b dir/copy || true
getfattr -d dir/copy || true; rm -r dir
"""


@contextmanager
def capture(net: StorageNet, name: str, interface: str = "lan") -> Iterator[None]:
    """What passes on an interface of the net's namespace, into NAME.pcapng.zst."""
    path = net.folder / f"{name}.pcapng"
    words = ["nsenter", f"--net={net.namespace}", "dumpcap", "-q", "-i", interface, "-w", str(path), "-B", "64"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        wait_for(path.exists, 20, what="dumpcap to begin")
        try:
            yield
            wait_for(_Still(path), 30, what="the last packets to be written")
        finally:
            process.send_signal(signal.SIGINT)
    packed = zstandard.ZstdCompressor(level=19).compress(path.read_bytes())
    (HERE / f"{name}.pcapng.zst").write_bytes(packed)
    sys.stdout.write(f"{name}: {path.stat().st_size:,} bytes, packed {len(packed):,}\n")


class _Still:
    """Whether a file has stopped growing: the same size at looks that are a second apart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size, self._since = -1, 0.0

    def __call__(self) -> bool:
        size = self._path.stat().st_size
        if size != self._size:
            self._size, self._since = size, time.monotonic()
        return time.monotonic() - self._since > 1.5


def linux_nfs(net: StorageNet) -> None:
    """Linux's client, NFSv3 to 4.2, against our server."""
    (net.folder / "nfs").mkdir()
    export = f"/gold=file://{net.folder}/nfs"
    net.server("labemu_nfs", "--listen", SERVER, "--export", export, port=2049)
    (guest,) = net.guests(1)
    guest.run("mkdir -p /mnt/nfs")
    for version in ("3", "4.0", "4.1", "4.2"):
        with capture(net, f"linux-nfs{version}"):
            guest.run(f"mount -t nfs -o vers={version},rsize=32768,wsize=32768 {SERVER}:/gold /mnt/nfs")
            guest.run(FILES)
            guest.run("umount /mnt/nfs")


def linux_iscsi(net: StorageNet) -> None:
    """open-iscsi with CHAP and digests, against our target."""
    secrets = net.folder / "chap"
    secrets.write_text("alice:opensesame-123\n")
    disk = f"file://{net.folder}/disk.img?size=64MiB"
    argv = ("--portal", f"{SERVER}:3260", "--target", TARGET, "--lun", disk, "--chap-file", str(secrets))
    net.server("labemu_iscsi", *argv, port=3260)
    (guest,) = net.guests(1)
    settings = {
        "node.session.auth.authmethod": "CHAP",
        "node.session.auth.username": "alice",
        "node.session.auth.password": "opensesame-123",
        "node.conn[0].iscsi.HeaderDigest": "CRC32C",
        "node.conn[0].iscsi.DataDigest": "CRC32C",
        "node.session.iscsi.ImmediateData": "No",
    }
    with capture(net, "linux-iscsi-digests"):
        guest.run(f"iscsiadm -m discovery -t sendtargets -p {SERVER}")
        for key, value in settings.items():
            guest.run(f"iscsiadm -m node -T {TARGET} --op update -n '{key}' -v '{value}'")
        guest.run(f"iscsiadm -m node -T {TARGET} --login; sleep 1")
        use_disk(guest)
        guest.run(f"iscsiadm -m node -T {TARGET} --logout")


def use_disk(guest: ClientGuest) -> None:
    guest.run(
        "dd if=/dev/zero of=/dev/sda bs=512k count=2 oflag=direct; dd if=/dev/sda of=/dev/null bs=256k count=4 iflag=direct"
    )
    guest.run("dd if=/dev/zero of=/dev/sda bs=4k count=20 conv=fsync; blkdiscard -o 1048576 -l 1048576 /dev/sda")


CAPTURES: dict[str, Callable[[StorageNet], None]] = {
    "linux-nfs": linux_nfs,
    "linux-iscsi": linux_iscsi,
}


def main() -> None:
    """Record those that are named, or all."""
    if shutil.which("dumpcap") is None:
        sys.exit("dumpcap is needed: apt install wireshark-common")
    image = ImageStore(image_cache()).ensure("client")
    for name in sys.argv[1:] or CAPTURES:
        token = new_token()
        with lent_tun(), short_folder(token) as folder, watched(token):
            net = StorageNet(token, folder, image)
            net.build()
            try:
                CAPTURES[name](net)
            finally:
                net.close()


if __name__ == "__main__":
    main()
