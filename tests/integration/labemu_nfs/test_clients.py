"""Real clients against the real server: libnfs's utilities and QEMU's nfs:// driver."""

from __future__ import annotations

import os
import random
import signal
import subprocess

import pytest

from labctl.testing.waiting import wait_for

MIB = 1 << 20


@pytest.mark.needs("root", "net", "libnfs")
def test_libnfs_lists_names_kinds_and_sizes(served):
    (served.folder / "a file").write_bytes(b"12345")
    (served.folder / "folder").mkdir()
    (served.folder / "link").symlink_to("a file")
    lines = {line.split(maxsplit=5)[-1]: line for line in served.run("nfs-ls", served.url()).splitlines()}
    assert set(lines) == {"a file", "folder", "link"}
    assert lines["folder"].startswith("drwxr-xr-x")
    assert lines["link"].startswith("lrwxrwxrwx")
    assert lines["a file"].split()[4] == "5"


@pytest.mark.needs("root", "net", "libnfs")
def test_libnfs_lists_a_large_directory_completely(served):
    names = {f"{'n' * 40}{number}" for number in range(3000)}
    for name in names:
        (served.folder / name).touch()
    assert {line.split(maxsplit=5)[-1] for line in served.run("nfs-ls", served.url()).splitlines()} == names


@pytest.mark.needs("root", "net", "libnfs")
@pytest.mark.parametrize("export", ["gold", "memory"])
@pytest.mark.parametrize("size", [0, 1, 4095, 5 * MIB + 3])
def test_libnfs_copies_a_file_there_and_back(served, tmp_path, export, size):
    source = tmp_path / "source"
    source.write_bytes(random.Random(size).randbytes(size))
    url = f"nfs://127.0.0.1/{export}/copy"
    served.run("nfs-cp", str(source), url)
    served.run("nfs-cp", url, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


@pytest.mark.needs("root", "net", "qemu-img", "qemu-nfs")
def test_qemu_creates_converts_and_compares_images(served, tmp_path):
    source = tmp_path / "source.raw"
    source.write_bytes(random.Random(1).randbytes(8 * MIB + 512))
    for form in ("qcow2", "raw"):
        served.run("qemu-img", "convert", "-f", "raw", "-O", form, str(source), served.url(f"disk.{form}"))
        served.run("qemu-img", "compare", "-f", "raw", "-F", form, str(source), served.url(f"disk.{form}"))


@pytest.mark.needs("root", "net", "qemu-img", "qemu-nfs")
def test_an_image_keeps_its_holes(served):
    served.run("qemu-img", "create", "-f", "raw", served.url("disk.raw"), "64M")
    served.run("qemu-io", "-f", "raw", "-c", "write -P 7 32M 64k", served.url("disk.raw"))
    result = (served.folder / "disk.raw").stat()
    assert result.st_size == 64 * MIB
    assert result.st_blocks * 512 < MIB


@pytest.mark.needs("root", "net", "qemu-img", "qemu-nfs")
def test_what_qemu_wrote_is_there_when_the_server_was_killed_and_started_again(served):
    served.run("qemu-img", "create", "-f", "qcow2", served.url("disk.qcow2"), "64M")
    served.run("qemu-io", "-c", "write -P 0x5a 1M 4M", "-c", "flush", served.url("disk.qcow2"))
    served.stop(signal.SIGKILL)
    served.start()
    served.run("qemu-io", "-c", "read -P 0x5a 1M 4M", "-c", "read -P 0 5M 1M", served.url("disk.qcow2"))


@pytest.mark.needs("root", "net", "qemu-img", "qemu-nfs")
@pytest.mark.timeout(120)
def test_a_client_does_not_notice_that_the_server_is_killed_and_started_under_load(served):
    """Each pass writes a pattern over the whole disk and verifies it; the server is killed several times meanwhile."""
    size = 16 * MIB
    served.run("qemu-img", "create", "-f", "raw", served.url("disk.raw"), str(size))
    client = subprocess.Popen(
        served.inside("qemu-io", "-f", "raw", served.url("disk.raw")),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for number in range(1, 5):
            commands = [f"write -P {number} {at} 256k" for at in range(0, size, MIB // 4)]
            commands += ["flush", *(f"read -P {number} {at} 256k" for at in range(0, size, MIB // 4))]
            client.stdin.write("\n".join([*commands, ""]).encode())
            client.stdin.flush()
            wait_for(
                lambda n=number: (served.folder / "disk.raw").read_bytes()[:1] == bytes((n,)), what="the pass to begin"
            )
            served.stop(signal.SIGKILL)
            served.start()
        output, _ = client.communicate(b"quit\n", timeout=90)
    finally:
        if client.poll() is None:
            client.kill()
            client.communicate()
    text = output.decode()
    assert client.returncode == 0, text[-2000:]
    assert "failed" not in text, text[-2000:]
    assert "error" not in text.lower(), text[-2000:]
    assert text.count("wrote 262144/262144") == text.count("read 262144/262144") == 4 * size // (MIB // 4)
    assert (served.folder / "disk.raw").read_bytes() == b"\4" * size


@pytest.mark.needs("root", "net", "libnfs")
def test_sigterm_ends_the_server_cleanly(served):
    served.run("nfs-ls", served.url())
    assert served.stop() == 0


@pytest.mark.needs("root", "net", "libnfs")
def test_a_read_only_export_refuses_a_copy(served, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    served.stop()
    served.start("--export", f"/fixed=file://{served.folder},ro")
    argv = served.inside("nfs-cp", str(source), "nfs://127.0.0.1/fixed/copy")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0 or "ROFS" in done.stderr + done.stdout
    assert not (served.folder / "copy").exists()


@pytest.mark.needs("root", "net", "libnfs", "tshark", "tcpdump")
@pytest.mark.timeout(60)
def test_wireshark_finds_nothing_malformed_and_agrees_on_the_procedures(served, tmp_path):
    capture = tmp_path / "capture.pcap"
    watcher = subprocess.Popen(
        served.inside("tcpdump", "-i", "lo", "-U", "--immediate-mode", "-B", "32768", "-w", str(capture), "tcp port 2049"),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert watcher.stderr is not None
        assert b"listening" in watcher.stderr.readline()
        source = tmp_path / "source"
        source.write_bytes(os.urandom(10_000))
        served.run("nfs-cp", str(source), served.url("copy"))
        served.run("nfs-ls", served.url())
        # The name is in CREATE, LOOKUP and the reply of READDIRPLUS, which comes last.
        wait_for(lambda: capture.read_bytes().count(b"copy") >= 3, what="all to be captured")
    finally:
        watcher.terminate()
        _, told = watcher.communicate()
    assert b"\n0 packets dropped by kernel" in told, told
    fields = ["-T", "fields", "-e", "rpc.replystat", "-e", "nfs.procedure_v3", "-e", "_ws.malformed"]
    rows = subprocess.run(
        ["tshark", "-r", str(capture), "-Y", "rpc", *fields], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    assert rows
    assert not [row for row in rows if row.split("\t")[2]]
    procedures = {number for row in rows for number in row.split("\t")[1].split(",") if number}
    assert {"3", "7", "8", "17", "19"} <= procedures  # LOOKUP, WRITE, CREATE, READDIRPLUS, FSINFO
