"""Linux's initiator (open-iscsi) in a guest: it logs in with CHAP and digests, makes ext4, and loses nothing when the target is killed."""

from __future__ import annotations

import threading

import pytest

from labctl.testing.waiting import wait_for

from .conftest import SERVER, ClientGuest, Server, StorageNet

pytestmark = [
    pytest.mark.needs("root", "tun", "qemu", "net", "apt", "e2fsprogs"),
    pytest.mark.slow,
    pytest.mark.xdist_group("clients-iscsi"),
]

TARGET = "iqn.2026-11.lab:t1"
SECRET = "opensesame-123"
SETTINGS = {
    "node.session.auth.authmethod": "CHAP",
    "node.session.auth.username": "alice",
    "node.session.auth.password": SECRET,
    "node.conn[0].iscsi.HeaderDigest": "CRC32C",
    "node.conn[0].iscsi.DataDigest": "CRC32C",
    "node.session.timeo.replacement_timeout": "120",
    "node.conn[0].timeo.noop_out_interval": "2",
    "node.conn[0].timeo.noop_out_timeout": "2",
}
"""The initiator pings often, so that it finds a dead target soon."""


@pytest.fixture(scope="module")
def target(storage_net: StorageNet) -> Server:
    disk = f"file://{storage_net.folder}/disk.img?size=512MiB"
    secrets = storage_net.folder / "chap"
    secrets.write_text(f"alice:{SECRET}\n")
    secrets.chmod(0o600)
    return storage_net.server(
        "labemu_iscsi",
        *("--portal", f"{SERVER}:3260", "--target", TARGET, "--lun", disk, "--chap-file", str(secrets)),
        port=3260,
    )


@pytest.fixture(scope="module")
def guest(storage_net: StorageNet, target: Server) -> ClientGuest:
    (guest,) = storage_net.guests(1)
    guest.run(f"iscsiadm -m discovery -t sendtargets -p {SERVER}")
    for name, value in SETTINGS.items():
        guest.run(f"iscsiadm -m node -T {TARGET} --op update -n '{name}' -v '{value}'")
    guest.run(f"iscsiadm -m node -T {TARGET} --login")
    guest.run("for i in $(seq 100); do [ -b /dev/sda ] && exit 0; usleep 100000; done; dmesg | tail; exit 1")
    return guest


def test_the_session_has_the_digests_that_were_asked_for(guest: ClientGuest) -> None:
    session = guest.said("iscsiadm -m session -P 2")
    assert "HeaderDigest: CRC32C" in session
    assert "DataDigest: CRC32C" in session
    assert "username: alice" in session


def test_a_wrong_secret_is_refused(guest: ClientGuest) -> None:
    done = guest.run(
        "iscsiadm -m iface -I other --op new;"
        f"iscsiadm -m discovery -t sendtargets -p {SERVER} -I other;"
        f"iscsiadm -m node -T {TARGET} -I other --op update -n node.session.auth.authmethod -v CHAP;"
        f"iscsiadm -m node -T {TARGET} -I other --op update -n node.session.auth.username -v alice;"
        f"iscsiadm -m node -T {TARGET} -I other --op update -n node.session.auth.password -v wrong-wrong-1;"
        f"iscsiadm -m node -T {TARGET} -I other --login",
        check=False,
    )
    assert done.exit_code == 24, done  # ISCSI_ERR_LOGIN_AUTH_FAILED, iscsiadm(8)
    guest.run(f"iscsiadm -m node -T {TARGET} -I other --op delete")


def test_a_file_system_survives_the_target_being_killed_under_load(guest: ClientGuest, target: Server) -> None:
    guest.run("mkfs.ext4 -q -F /dev/sda && mkdir -p /mnt/disk && mount /dev/sda /mnt/disk")
    job = (
        "fio --name=v --directory=/mnt/disk --size=10m --bs=4k --rw=randwrite --ioengine=psync --fsync=16 --numjobs=2"
        " --verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting --minimal"
    )
    outcome: list[str] = []
    worker = threading.Thread(target=lambda: outcome.append(guest.run(f"{job} 2>&1", timeout=400).stdout.decode()))
    worker.start()
    try:
        for _ in range(2):
            reached = written(target)
            wait_for(lambda reached=reached: written(target) > reached or not worker.is_alive(), 120)
            target.kill()
            target.start()
    finally:
        worker.join(400)
    assert outcome, "fio did not end well"
    guest.run("umount /mnt/disk && e2fsck -fn /dev/sda && mount /dev/sda /mnt/disk")
    errors = guest.said("dmesg | grep -ciE 'I/O error|EXT4-fs error' || true")
    assert errors == "0", guest.said("dmesg | tail -40")
    guest.run("umount /mnt/disk")


def written(target: Server) -> int:
    """Bytes that the target's process has received or written so far (proc(5): write calls of a file land in wchar)."""
    assert target.process is not None
    with open(f"/proc/{target.process.pid}/io") as io:  # noqa: PTH123
        return next(int(line.split()[1]) for line in io if line.startswith("wchar:"))


def test_unmap_from_the_guest_gives_space_back(guest: ClientGuest, storage_net: StorageNet) -> None:
    disk = storage_net.folder / "disk.img"
    guest.run("dd if=/dev/urandom of=/dev/sda bs=1M count=64 oflag=direct 2>/dev/null")
    full = disk.stat().st_blocks
    guest.run("blkdiscard /dev/sda && sync")
    assert disk.stat().st_blocks < full // 2


def test_logging_out_ends_the_session(guest: ClientGuest) -> None:
    guest.run(f"iscsiadm -m node -T {TARGET} --logout")
    assert guest.run("iscsiadm -m session", check=False).exit_code == 21  # ISCSI_ERR_NO_OBJS_FOUND
    assert guest.said("ls /dev/sda 2>/dev/null || echo gone") == "gone"
