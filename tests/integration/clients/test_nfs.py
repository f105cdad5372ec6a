"""Linux's NFS client in two guests, over every version that we serve: what applications do with files comes out right."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from labctl.testing.waiting import wait_for

from .conftest import SERVER, ClientGuest, Server, StorageNet
from .copier import copier

pytestmark = [
    pytest.mark.needs("root", "tun", "qemu", "net", "apt", "e2fsprogs"),
    pytest.mark.slow,
]

VERSIONS = {"3": "vers=3,proto=tcp", "4.0": "vers=4.0", "4.1": "vers=4.1,nconnect=4", "4.2": "vers=4.2"}
"""Mount options of each version."""

LEASE = "15"
"""Seconds: a client of NFSv4 notices within two thirds of it that the server was restarted."""

MOUNT = "/mnt/nfs"


def over(*versions: str) -> list[Any]:
    """Parameters for these versions, the tests of each in a group of their own: they share two guests."""
    return [pytest.param(each, marks=pytest.mark.xdist_group(f"clients-nfs{each}")) for each in versions]


WITH_STATE = pytest.mark.parametrize("mounted", over("4.0", "4.1", "4.2"), indirect=True, scope="module")
"""For what NFSv3 does not have: opens, delegations, referrals, and all that a client does on one connection."""


@pytest.fixture(scope="module")
def server(storage_net: StorageNet) -> Server:
    export = storage_net.folder / "gold"
    export.mkdir()
    state = storage_net.folder / "nfs-state"
    state.mkdir()
    return storage_net.server(
        *("labemu_nfs", "--listen", SERVER, "--export", f"/gold=file://{export}", "--state-dir", str(state)),
        *("--lease", LEASE, "--grace", LEASE, "--export", f"/away=memory://,refer={SERVER}:/gold"),
        port=2049,
    )


@pytest.fixture(scope="module")
def guests(storage_net: StorageNet, server: Server) -> list[ClientGuest]:
    return storage_net.guests(2)


@pytest.fixture(scope="module", params=over(*VERSIONS))
def mounted(request: pytest.FixtureRequest, guests: list[ClientGuest]) -> Iterator[list[ClientGuest]]:
    """Both guests, with the export mounted, in an empty folder of its own for each version."""
    for guest in guests:
        guest.run(f"mkdir -p {MOUNT} && mount.nfs {SERVER}:/gold {MOUNT} -o {VERSIONS[request.param]}")
    guests[0].run(f"mkdir {MOUNT}/v{request.param}")
    yield guests
    for guest in guests:
        guest.run(f"umount {MOUNT}")


@pytest.fixture
def folder(request: pytest.FixtureRequest, mounted: list[ClientGuest]) -> Iterator[str]:
    """A folder for this test alone."""
    path = f"{MOUNT}/{request.node.name.partition('[')[0]}"
    mounted[0].run(f"mkdir {path}")
    yield path
    mounted[0].run(f"rm -rf {path}")


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    """The version that the test runs over."""
    version: str = request.node.callspec.params["mounted"]  # type: ignore[attr-defined] # of a parametrized test
    return version


def test_files_have_what_was_written_and_their_attributes(mounted: list[ClientGuest], folder: str) -> None:
    first, second = mounted
    first.run(
        f"cd {folder}; echo hello > a; chmod 640 a; chown alice:bob a; ln a hard; ln -s a soft; touch -d @12345 a"
    )
    assert second.said(f"cd {folder}; stat -c '%a %u %g %h %Y' a; readlink soft; cat hard soft") == (
        "640 1000 1001 2 12345\na\nhello\nhello"
    )


def test_a_file_that_was_unlinked_while_open_can_still_be_read(mounted: list[ClientGuest], folder: str) -> None:
    """The client calls it .nfs… meanwhile, and removes that once it is closed: soon, not at once."""
    gone = 'until [ -z "$(ls -A 2>/dev/null)" ]; do usleep 50000; done'
    use = f"echo kept > f; exec 3<f; rm f; ls | wc -l; cat <&3; exec 3<&-; {gone}; ls -A"
    assert mounted[0].said(f"cd {folder}; {use}") == "0\nkept"


@WITH_STATE
def test_a_file_that_another_client_removes_or_replaces_stays_with_whoever_has_it_open(
    mounted: list[ClientGuest], folder: str
) -> None:
    first, second = mounted
    first.run(f"cd {folder}; echo kept > f; echo held > g; touch new")
    use = "cat <&3; echo more >&4; sync; echo 3 > /proc/sys/vm/drop_caches; cat <&5"
    use = f"exec 3<f 4>>g 5<g; touch open; while [ ! -e gone ]; do usleep 50000; ls >/dev/null; done; {use}"
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(first.said(f"cd {folder}; {use}")))
    reader.start()
    second.run(f"cd {folder}; while [ ! -e open ]; do usleep 50000; ls >/dev/null; done; rm f; mv new g; touch gone")
    reader.join(130)
    assert read == ["kept\nheld\nmore"]


@WITH_STATE
def test_what_is_read_again_and_again_is_opened_once_until_somebody_writes(
    mounted: list[ClientGuest], folder: str
) -> None:
    first, second = mounted
    second.run(f"echo old > {folder}/f")
    assert first.said(f"cat {folder}/f") == "old"
    before = operations(first)
    assert first.said(f"for i in 1 2 3 4 5; do cat {folder}/f; done") == "\n".join(["old"] * 5)
    assert opens(operations(first)) == opens(before), "it has no delegation"
    second.run(f"echo new > {folder}/f")
    assert operations(first)["DELEGRETURN"] == before["DELEGRETURN"] + 1
    assert first.said(f"cat {folder}/f") == "new"


@WITH_STATE
def test_a_referral_leads_to_where_it_says(mounted: list[ClientGuest], folder: str, version: str) -> None:
    first, _ = mounted
    first.run(f"echo there > {folder}/f; mkdir -p /mnt/root; mount.nfs {SERVER}:/ /mnt/root -o {VERSIONS[version]}")
    try:
        assert first.said("ls /mnt/root").split() == ["away", "gold"]
        assert first.said(f"cat /mnt/root/away{folder.removeprefix(MOUNT)}/f") == "there"
    finally:
        first.run("umount -l /mnt/root")


@WITH_STATE
def test_there_are_as_many_connections_as_the_mount_asks_for(
    mounted: list[ClientGuest], folder: str, version: str, storage_net: StorageNet
) -> None:
    wanted = 4 if "nconnect=4" in VERSIONS[version] else 1
    for guest in mounted:
        guest.run(f"for i in 1 2 3 4 5 6 7 8; do echo $i > {folder}/{guest.name}$i; sync; done")
        there = storage_net.inside("ss", "-Htn", "state", "established", "sport", "=", ":2049", "dst", guest.address)
        assert len(there.splitlines()) == wanted


def test_permissions_are_the_servers_to_enforce(mounted: list[ClientGuest], folder: str) -> None:
    first, _ = mounted
    first.run(f"cd {folder}; echo secret > f; chmod 600 f; chown alice f; chmod 755 .")
    assert first.said(f"/usr/bin/setpriv --reuid alice --regid alice --clear-groups cat {folder}/f") == "secret"
    refused = first.run(f"/usr/bin/setpriv --reuid bob --regid bob --clear-groups cat {folder}/f", check=False)
    assert refused.exit_code == 1
    assert b"Permission denied" in refused.stderr


def test_storms_of_create_rename_and_unlink_leave_what_they_should(mounted: list[ClientGuest], folder: str) -> None:
    storm = (
        "cd {folder}; i=0; while [ $i -lt 60 ]; do echo $i > {who}.$i; mv {who}.$i {who}-$i.done;"
        " [ $((i % 3)) -eq 0 ] && rm {who}-$i.done; mkdir {who}.d$i; rmdir {who}.d$i; i=$((i+1)); done"
    )
    together(*(lambda guest=guest: guest.run(storm.format(folder=folder, who=guest.name)) for guest in mounted))
    for guest in mounted:
        guest.run("echo 3 > /proc/sys/vm/drop_caches")
        assert guest.said(f"ls {folder} | wc -l") == "80"


def test_a_large_directory_is_listed_whole_while_it_changes(mounted: list[ClientGuest], folder: str) -> None:
    first, second = mounted
    first.run(f"cd {folder}; seq 1000 | sed s/^/stays/ | xargs touch")
    churn = f"cd {folder}; for i in $(seq 100); do touch extra$i; rm extra$i; done"
    listings: list[str] = []
    together(
        lambda: first.run(churn),
        lambda: listings.extend(
            second.said(
                f"for i in 1 2 3; do echo 2 >/proc/sys/vm/drop_caches; find {folder} -name 'stays*' | wc -l; done"
            ).split()
        ),
    )
    assert listings == ["1000"] * 3


def test_mapped_memory_reaches_the_file(mounted: list[ClientGuest], folder: str) -> None:
    first, second = mounted
    first.run(
        f"fio --name=m --filename={folder}/m --size=2m --bs=4k --rw=randwrite --ioengine=mmap --verify=crc32c --do_verify=1 --minimal"
    )
    assert first.said(f"md5sum < {folder}/m") == second.said(f"md5sum < {folder}/m")


def test_sparse_files_stay_sparse(mounted: list[ClientGuest], folder: str, storage_net: StorageNet) -> None:
    mounted[0].run(
        f"truncate -s 1G {folder}/s; echo end | dd of={folder}/s bs=1 seek=500000000 conv=notrunc 2>/dev/null; sync"
    )
    kept = storage_net.folder / "gold" / folder.removeprefix(f"{MOUNT}/") / "s"
    assert kept.stat().st_size == 2**30
    assert kept.stat().st_blocks * 512 < 2**20
    assert mounted[1].said(f"dd if={folder}/s bs=1 skip=500000000 count=4 2>/dev/null") == "end"


@pytest.mark.parametrize("mounted", over("4.2"), indirect=True, scope="module")
def test_a_long_copy_is_one_call_that_the_server_tells_the_end_of(
    mounted: list[ClientGuest], folder: str, storage_net: StorageNet
) -> None:
    first, _ = mounted
    kept = storage_net.folder / "gold" / folder.removeprefix(f"{MOUNT}/")
    block = os.urandom(1 << 20)
    with (kept / "from").open("wb") as file:
        for number in range(80):
            file.write(number.to_bytes(8, "big") + block[8:])
    (kept / "copier").write_bytes(copier())
    (kept / "copier").chmod(0o755)
    before = operations(first).get("COPY", 0)
    first.run(f"cd {folder}; ./copier from to")
    assert operations(first)["COPY"] - before == 1
    assert hashlib.md5((kept / "to").read_bytes()).digest() == hashlib.md5((kept / "from").read_bytes()).digest()


def test_git_works_in_a_clone(mounted: list[ClientGuest], folder: str) -> None:
    first, second = mounted
    first.run(
        f"export HOME=/tmp; git config --global user.email a@b; git config --global user.name a;"
        f" git config --global safe.directory '*'; rm -rf /tmp/origin; git init -q /tmp/origin 2>/dev/null; cd /tmp/origin;"
        f" for i in $(seq 40); do mkdir -p d$i; seq $i 200 > d$i/f; done; git add .; git commit -qm one;"
        f" git clone -q /tmp/origin {folder}/clone; cd {folder}/clone; echo more >> d1/f; git commit -qam two; git fsck --strict",
        timeout=200,
    )
    second.run("git config --system safe.directory '*'")
    assert second.said(f"cd {folder}/clone; git status --porcelain; git log --format=%s") == "two\none"


def test_an_archive_comes_out_as_it_went_in(mounted: list[ClientGuest], folder: str) -> None:
    first, second = mounted
    first.run(
        "tar cf /tmp/etc.tar -C / etc usr/share/perl5 usr/lib/git-core/mergetools 2>/dev/null || tar cf /tmp/etc.tar -C / etc"
    )
    first.run(f"tar xf /tmp/etc.tar -C {folder}", timeout=200)
    sums = f"cd {folder}; find . -type f | sort | xargs md5sum | md5sum"
    assert first.said(sums) == second.said(sums)


def test_verified_io_survives_the_server_being_killed(mounted: list[ClientGuest], folder: str, server: Server) -> None:
    job = (
        f"fio --name=v --directory={folder} --size=6m --bs=16k --rw=randwrite --ioengine=psync --fsync=32 --numjobs=2"
        " --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal"
    )
    ended = threading.Event()
    outcome: list[object] = []

    def work() -> None:
        try:
            outcome.append(mounted[0].run(f"{job} 2>&1", timeout=280))
        finally:
            ended.set()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(2):
            before = received(server)
            wait_for(lambda before=before: ended.is_set() or received(server) > before + 2**18, 120)
            server.kill()
            server.start()
    finally:
        worker.join(300)
    assert outcome, "fio did not end well"


def test_names_of_every_kind_come_back(mounted: list[ClientGuest], folder: str) -> None:
    names = ["plain", "with space", "ünïcode-ß", "-dash", "new\nline", "x" * 255]
    for name in names:
        digest = hashlib.md5(name.encode()).hexdigest()
        quoted = name.replace("'", "'\\''")
        mounted[0].run(f"echo {digest} > '{folder}/{quoted}'")
        assert mounted[1].said(f"cat '{folder}/{quoted}'") == digest
    too_long = mounted[0].run(f"touch {folder}/{'y' * 256}", check=False)
    assert b"File name too long" in too_long.stderr


def test_a_lock_keeps_the_other_guest_out_until_it_is_given_back(mounted: list[ClientGuest], folder: str) -> None:
    first, second = mounted
    first.run(f"touch {folder}/l")
    with held(first, folder):
        assert second.run(f"/usr/bin/flock -n {folder}/l true", check=False).exit_code == 1
        waiting: list[str] = []
        waiter = threading.Thread(
            target=lambda: waiting.append(second.said(f"/usr/bin/flock {folder}/l cat {folder}/l"))
        )
        waiter.start()
        first.run(f"echo written-under-the-lock > {folder}/l")
    waiter.join(100)
    assert waiting == ["written-under-the-lock"]


def test_a_lock_outlives_the_server(mounted: list[ClientGuest], folder: str, server: Server) -> None:
    first, second = mounted
    first.run(f"touch {folder}/l")
    with held(first, folder):
        server.kill()
        server.start()
        second.run(f"/usr/bin/flock {folder}/other true", timeout=200)
        reclaimed = second.run(f"/usr/bin/flock -n {folder}/l true", check=False, timeout=200)
        assert reclaimed.exit_code == 1, "grace is over, and the holder should have reclaimed its lock by then"
    second.run(f"/usr/bin/flock -w 60 {folder}/l true", timeout=200)


def test_two_guests_count_in_one_sqlite_database(mounted: list[ClientGuest], folder: str) -> None:
    first, second = mounted
    first.run(f"sqlite3 {folder}/db 'create table t (n integer); insert into t values (0);'")
    count = f"for i in $(seq 15); do sqlite3 -cmd '.timeout 60000' {folder}/db 'begin immediate; update t set n = n + 1; commit;'; done"
    together(lambda: first.run(count), lambda: second.run(count))
    assert second.said(f"sqlite3 {folder}/db 'select n from t; pragma integrity_check;'") == "30\nok"


@contextmanager
def held(guest: ClientGuest, folder: str) -> Iterator[None]:
    """A guest holds the lock of the file `l` meanwhile."""
    keep = f"touch {folder}/held; while [ ! -e /tmp/release ]; do usleep 50000; done"
    guest.run(f"rm -f /tmp/release; /usr/bin/flock {folder}/l sh -c '{keep}; rm /tmp/release' >/dev/null 2>&1 &")
    guest.run(f"for i in $(seq 300); do [ -e {folder}/held ] && exit 0; usleep 100000; done; exit 1")
    try:
        yield
    finally:
        guest.run(
            "touch /tmp/release; for i in $(seq 300); do [ -e /tmp/release ] || exit 0; usleep 100000; done; exit 1"
        )


def operations(guest: ClientGuest) -> dict[str, int]:
    """How often each operation was sent over the mount so far (proc(5), mountstats)."""
    _, _, ours = guest.said("cat /proc/self/mountstats").partition(f" mounted on {MOUNT} ")
    lines = [line.split() for line in ours.partition("\ndevice ")[0].partition("per-op statistics")[2].splitlines()]
    return {line[0].rstrip(":"): int(line[1]) for line in lines if len(line) > 1}


def opens(sent: dict[str, int]) -> int:
    """The OPENs among them, which Linux counts in two places."""
    return sent["OPEN"] + sent["OPEN_NOATTR"]


def received(server: Server) -> int:
    """Bytes that the server's process has written to files and sockets by write calls so far (proc(5))."""
    assert server.process is not None
    with open(f"/proc/{server.process.pid}/io") as io:  # noqa: PTH123
        return next(int(line.split()[1]) for line in io if line.startswith("wchar:"))


def together(*jobs: Callable[[], object]) -> None:
    """Run jobs at the same time; the first failure is raised."""
    failures: list[BaseException] = []

    def work(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
