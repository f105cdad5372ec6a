"""Real clients against the target: libiscsi's tools and QEMU's driver."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

MIB = 1 << 20


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.needs("libiscsi")
def test_discovery_lists_the_target_and_its_units(target: Any) -> None:
    listed = run("iscsi-ls", "-s", f"iscsi://127.0.0.1:{target.port}/")
    assert "Target:iqn.2026-11.lab:t1 Portal:127.0.0.1:" in listed
    assert listed.count("Type:DIRECT_ACCESS") == 2


@pytest.mark.needs("libiscsi")
def test_inquiry_names_the_unit(target: Any) -> None:
    assert "Vendor:LABCTL" in run("iscsi-inq", target.url())
    assert "iqn.2026-11.lab:t1:0" in run("iscsi-inq", "-e", "1", "-c", "128", target.url())


@pytest.mark.needs("qemu-img", "qemu-iscsi")
def test_qemu_img_converts_to_it_and_finds_the_same(target: Any, tmp_path: Path) -> None:
    image = tmp_path / "source.img"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
        for offset in range(0, 64 * MIB, 5 * MIB):
            file.seek(offset)
            file.write(bytes(range(256)) * 3000)
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), target.url())
    assert "identical" in run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), target.url())
    assert target.disk.stat().st_blocks * 512 < 20 * MIB  # holes stayed holes


@pytest.mark.needs("qemu-img", "qemu-iscsi")
def test_qemu_io_writes_discards_zeroes_and_reads(target: Any) -> None:
    steps = [
        "write -P 0x5a 1M 3M",
        "read -P 0x5a 1M 3M",
        "discard 1M 1M",
        "read -P 0 1M 1M",
        "write -z 2M 1M",
        "read -P 0 2M 1M",
    ]
    steps += ["write -P 7 100k 1k", "read -P 7 100k 1k", "write -f -P 9 0 64k", "flush", "read -P 9 0 64k"]
    output = run("qemu-io", "-f", "raw", *[word for step in steps for word in ("-c", step)], target.url())
    assert "Pattern verification failed" not in output
    assert output.count("ops;") == len(steps) - 1


@pytest.mark.needs("qemu-img", "qemu-iscsi")
def test_what_was_flushed_is_there_after_sigkill(target: Any) -> None:
    run("qemu-io", "-f", "raw", "-c", "write -P 0x77 0 8M", "-c", "flush", target.url())
    target.stop(signal.SIGKILL)
    target.start()
    assert "failed" not in run("qemu-io", "-f", "raw", "-c", "read -P 0x77 0 8M", target.url())


@pytest.mark.needs("qemu-img", "qemu-iscsi")
def test_a_client_carries_on_without_an_error_while_the_target_is_killed_over_and_over(target: Any) -> None:
    commands = []
    for number in range(400):
        offset = number % 64
        commands += [
            "-c",
            f"write -P {number % 250 + 1} {offset}M 1M",
            "-c",
            f"read -P {number % 250 + 1} {offset}M 1M",
        ]
    argv = ["qemu-io", "-f", "raw", *commands, target.url()]
    # What the driver says of lost connections would fall into the middle of the results' lines.
    client = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert client.stdout is not None
    lines: list[str] = []
    kills = 0
    with client:
        watchdog = threading.Timer(100, client.kill)
        watchdog.start()
        for line in client.stdout:  # each line is an operation that ended: kill at points of real progress
            lines.append(line)
            if kills < 5 and len(lines) > 60 * (kills + 1):
                target.stop(signal.SIGKILL)
                target.start()
                kills += 1
        watchdog.cancel()
        code = client.wait()
    output = "".join(lines)
    assert code == 0, output[-2000:]
    assert kills == 5
    assert "failed" not in output
    assert output.count("wrote 1048576/1048576") == 400
    assert output.count("read 1048576/1048576") == 400


def test_sigterm_ends_it_cleanly_and_frees_the_port(target: Any) -> None:
    assert target.stop() == 0
    target.start()


ONE = ("--portal", "127.0.0.1:0", "--target", "iqn.2026-11.lab:t")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--portal", "0.0.0.0:0"], "would serve every network"),
        (["--portal", "[::]:0"], "would serve every network"),
        (["--portal", "127.0.0.1:0", "--target", "No Name"], "is not an iSCSI name"),
        (["--portal", "127.0.0.1:0", "--target", "iqn.2026-11.lab:t", "--lun", "memory://x"], "has no size"),
        (["--portal", "127.0.0.1:0", "--target", "iqn.2026-11.lab:t", "--lun", "/nowhere/disk"], "does not exist"),
        ([*ONE, "--lun", "memory://x?size=1MiB&number=9&block_size=1000"], "1000"),
        ([*ONE, "--lun", "memory://x?size=1MiB", "--lun", "memory://y?size=1MiB&number=0"], "is taken"),
        ([*ONE, "--lun", "lun://iqn.2026-11.lab:none/0"], "no such disk, or its place is taken"),
        ([*ONE, "--group", "two"], "a group is a number, not two"),
        ([*ONE, "--group", "7"], "no portal is in group [7]"),
        ([*ONE, "--allow-network", "10.0.0.0/99"], "10.0.0.0/99"),
        ([*ONE, "--access-state", "1=asleep"], "1=asleep is no TAG=STATE"),
        ([*ONE, "--access-state", "2=standby"], "2=standby is no TAG=STATE"),
        ([*ONE, "--initiator-chap", "iqn.2026-11.lab:me"], "is no IQN=FILE"),
        ([*ONE, "--initiator-chap", "iqn.2026-11.lab:me=/nowhere/secret"], "cannot read credentials from /nowhere/"),
        ([*ONE, "--chap-file", "/dev/null"], "/dev/null holds no credentials"),
        ([*ONE, "--discovery-chap", "/nowhere/secret"], "cannot read credentials from /nowhere/secret"),
        ([*ONE, "--target", "iqn.2026-11.lab:t"], "exists already"),
        (["--portal", "192.0.2.1:0"], "192.0.2.1"),
    ],
)
def test_what_cannot_be_served_says_what_and_what_to_do(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labemu_iscsi", *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--portal", "127.0.0.1:0,0"], "'0' is no portal group tag, which is between 1 and 65535"),
        (["--portal", "127.0.0.1:70000"], "'127.0.0.1:70000' is not ADDRESS:PORT"),
        (["--portal", "127.0.0.1:0", "--lun", "memory://x?size=1MiB"], "--lun before any --target"),
        ([], "the following arguments are required: --portal"),
    ],
)
def test_options_that_do_not_parse_are_explained_with_the_usage(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labemu_iscsi", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "usage:" in done.stderr
