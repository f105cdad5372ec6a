"""`labctl trace` on the traffic of a running lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from labctl.testing.waiting import wait_for

pytestmark = [
    pytest.mark.needs("root", "qemu", "qemu-iscsi", "qemu-nfs", "tun", "tshark"),
    pytest.mark.xdist_group("lab"),
    pytest.mark.timeout(600),
]

DEADLINE = 60.0
READ = ("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda of=/dev/null bs=64k count=64")
WRITE = ("sh", "-c", "dd if=/dev/zero of=/root/traced bs=64k count=16; sync; rm /root/traced")


class Recording:
    """`labctl trace record` in the background, until it is told to stop as by ctrl-c."""

    def __init__(self, lab, path: Path, *options: str) -> None:  # type: ignore[no-untyped-def]
        self.path = path
        words = [*lab.command, "trace", "record", "--lab", lab.name, "-o", str(path), *options]
        self.process = subprocess.Popen(words, env=lab.environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.began = self.process.stderr.readline()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.stderr is not None
        _, self.said = self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0, self.said

    def shows(self, text: bytes) -> None:
        wait_for(lambda: text in self.path.read_bytes(), timeout=DEADLINE)


def tshark(path: Path, *options: str) -> list[str]:
    """A line for each frame that fits, as Wireshark's own decoder sees it; it must find no fault with the file."""
    done = subprocess.run(["tshark", "-r", str(path), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def annotations(path: Path, kind: str) -> list[dict[str, object]]:
    data, found, at = path.read_bytes(), [], 0
    while (at := data.find(b'{"labctl":1,', at)) >= 0:
        entry, _ = json.JSONDecoder().raw_decode(data[at : at + 65536].decode(errors="replace"))
        if entry["kind"] == kind:
            found.append(entry["data"])
        at += 1
    return found


def test_a_recording_has_both_hosts_links_the_names_and_the_faults(quickstart, tmp_path: Path) -> None:
    path = tmp_path / "lab.pcapng"
    lab = ("--lab", quickstart.name)
    with Recording(quickstart, path) as recording:
        assert recording.began == "recording esx1/vmk1, esx2/vmk1; ctrl-c stops\n"
        quickstart.run("exec", *lab, "web1", "--", *READ)
        quickstart.run("fault", "add", "shared", *lab, "--latency", "1ms")
        quickstart.run("exec", *lab, "db1", "--", *WRITE)
        quickstart.run("fault", "clear", "--all", *lab)
        recording.shows(b"fault.cleared")
        quickstart.run("exec", *lab, "web1", "--", *READ)
    assert " packets, " in recording.said
    assert "warning" not in recording.said
    reads = tshark(
        path,
        "-Y",
        "scsi_sbc.opcode == 0x28 && tcp.dstport == 3260",
        "-T",
        "fields",
        "-e",
        "frame.interface_name",
        "-e",
        "ip.src",
    )
    esx1 = quickstart.status()["host.esx1"]["addresses"]["storage"]
    assert set(reads) == {f"esx1/vmk1\t{esx1}"}
    writes = tshark(
        path, "-Y", "nfs.procedure_v3 == 7 && rpc.msgtyp == 0", "-T", "fields", "-e", "frame.interface_name"
    )
    assert set(writes) == {"esx2/vmk1"}
    comments = tshark(path, "-Y", 'frame.comment contains "fault:"', "-T", "fields", "-e", "frame.comment")
    assert "latency 1 ms on shared" in "\n".join(comments)
    names = annotations(path, "names")[0]
    assert [volume["vm"] for _, _, volume in names["luns"]] == ["web1"]  # type: ignore[attr-defined,index]
    assert names["hosts"][esx1] == "esx1"  # type: ignore[index]


def test_the_arrays_own_times_stand_beside_the_packets(quickstart, tmp_path: Path) -> None:
    path, lab = tmp_path / "stages.pcapng", ("--lab", quickstart.name)
    quickstart.run("fault", "add", "gold", *lab, "--latency", "20ms", "--op", "read")
    with Recording(quickstart, path, "--stages") as recording:
        quickstart.run("exec", *lab, "web1", "--", *READ)
    quickstart.run("fault", "clear", "--all", *lab)
    assert "warning" not in recording.said
    noted = [each for each in annotations(path, "stages") if each["protocol"] == "iscsi"]
    columns = ("frame.time_epoch", "ip.src", "tcp.srcport", "iscsi.initiatortasktag", "iscsi.opcode")
    fields = [word for column in columns for word in ("-e", column)]
    frames = tshark(path, "-Y", "iscsi.opcode == 0x01 || iscsi.opcode == 0x25", "-T", "fields", *fields)
    seen: dict[tuple[str, int], int] = {}
    for line in frames:
        at, address, port, tags, _ = line.split("\t")
        for tag in tags.split(","):
            seen[f"{address}:{port}", int(tag, 16)] = int(at.replace(".", ""))
    reads = [each for each in noted if "store-end" in each and each["responded"] - each["queued"] >= 20_000_000]  # type: ignore[operator]
    assert len(reads) >= 4  # 4 MiB in commands of at most 1 MiB
    for each in reads:
        sent = seen[each["client"], each["tag"]]  # type: ignore[index]
        answered = seen[each["server"], each["tag"]]  # type: ignore[index]
        times = [each[stage] for stage in ("queued", "started", "store-begin", "store-end", "responded")]
        assert [sent, *times, answered] == sorted([sent, *times, answered])
    listed = quickstart.run("trace", "list", str(path), "--op", "READ", "--slower", "20ms", "--json").stdout
    tags = {
        each["tag"] for each in reads
    }  # others may have been slow before the array was asked, or for want of a processor
    (slow, *_) = [command for command in map(json.loads, listed.splitlines()) if command["tag"] in tags]
    told = quickstart.json("trace", "waterfall", str(path), "--id", str(slow["id"]))
    parts = {part["name"]: part["end"] - part["begin"] for part in told["parts"]}
    assert sum(parts.values()) == told["latency"]
    assert parts["in the server, done but not answered"] >= 19_000_000
    assert parts["the backing store"] < 19_000_000


def test_an_arrays_times_over_nfs_say_how_long_a_call_was_held(quickstart, tmp_path: Path) -> None:
    path, lab = tmp_path / "stages.pcapng", ("--lab", quickstart.name)
    quickstart.run("fault", "add", "shared", *lab, "--latency", "20ms", "--op", "write")
    with Recording(quickstart, path, "--stages") as recording:
        quickstart.run("exec", *lab, "db1", "--", *WRITE)
    quickstart.run("fault", "clear", "--all", *lab)
    assert "warning" not in recording.said
    noted = [each for each in annotations(path, "stages") if each["protocol"] == "nfs"]
    held = {each["tag"] for each in noted if each["store-begin"] - each["started"] >= 19_000_000}  # type: ignore[operator]
    listed = quickstart.run("trace", "list", str(path), "--op", "WRITE", "--slower", "20ms", "--json").stdout
    (slow, *_) = [command for command in map(json.loads, listed.splitlines()) if command["tag"] in held]
    assert (slow["vm"], slow["datastore"]) == ("db1", "shared")
    told = quickstart.json("trace", "waterfall", str(path), "--id", str(slow["id"]))
    parts = {part["name"]: part["end"] - part["begin"] for part in told["parts"]}
    assert sum(parts.values()) == told["latency"]
    assert parts["before the store"] >= 19_000_000
    assert parts["the backing store"] < 19_000_000


def test_a_recording_is_listed_and_added_up_by_vm(quickstart, tmp_path: Path) -> None:
    path, lab = str(tmp_path / "day.pcapng"), ("--lab", quickstart.name)
    with Recording(quickstart, Path(path)):
        quickstart.run("exec", *lab, "web1", "--", *WRITE)
        quickstart.run("exec", *lab, "db1", "--", *WRITE)
    listed = quickstart.run("trace", "list", path, "--vm", "web1", "--op", "WRITE").stdout.splitlines()
    assert len(listed) > 2
    assert all("gold/web1-disk0 (LUN 0)" in line and line.endswith("GOOD") for line in listed[1:])
    told = quickstart.json("trace", "summary", path)
    rows = {(row["vm"], row["operation"]): row for row in told["operations"]}
    for vm, operation, datastore in (("web1", "WRITE(10)", "gold"), ("db1", "WRITE", "shared")):
        row = rows[vm, operation]
        assert row["datastore"] == datastore
        assert row["sent"] >= 4096  # zeros go as WRITE SAME
        assert 0 < row["p50"] <= row["p99"] <= row["max"]


def test_live_shows_what_a_vm_does_as_it_does_it(quickstart) -> None:
    lab = ("--lab", quickstart.name)
    words = [*quickstart.command, "trace", "live", *lab, "--vm", "web1", "--op", "READ", "--slower", "15ms", "--json"]
    quickstart.run("fault", "add", "gold", *lab, "--latency", "20ms", "--op", "read")
    with subprocess.Popen(words, env=quickstart.environment, stdout=subprocess.PIPE, text=True) as shown:
        try:
            assert shown.stdout is not None
            lines: list[str] = []
            reader = threading.Thread(target=lambda: lines.extend(shown.stdout or ()))
            reader.start()

            def seen() -> bool:
                quickstart.run("exec", *lab, "web1", "--", *READ)
                return len(lines) >= 3

            wait_for(seen, DEADLINE, what="slow reads to be shown")
        finally:
            shown.send_signal(signal.SIGINT)
            assert shown.wait(DEADLINE) == 0
            reader.join(DEADLINE)
            quickstart.run("fault", "clear", "--all", *lab)
    for line in lines:
        row = json.loads(line)
        assert (row["vm"], row["host"], row["datastore"], row["operation"]) == ("web1", "esx1", "gold", "READ(10)")
        assert row["latency"] >= 15_000_000
        assert row["status"] == "GOOD"


def test_a_test_of_a_lab_says_what_traffic_it_expects(quickstart, traffic) -> None:
    seen = traffic(quickstart.name, quickstart.home)
    quickstart.run("exec", "--lab", quickstart.name, "web1", "--", *READ)
    (read, *_) = seen.expect(op="READ", vm="web1", datastore="gold").within("60s")
    assert read.status == "GOOD"
    seen.expect(op="READ", vm="db1", failed=True).never()
    with pytest.raises(
        AssertionError, match=r"0 of 1 commands with op=UNMAP, vm=db1 within 100ms; seen: .*web1 READ\(10\)"
    ):
        seen.expect(op="UNMAP", vm="db1").within("100ms")


def test_a_ring_of_files_keeps_the_last(quickstart, tmp_path: Path) -> None:
    first = tmp_path / "ring-00001.pcapng"
    with Recording(quickstart, tmp_path / "ring.pcapng", "--size", "128KiB", "--files", "2") as recording:
        wait_for(first.exists, timeout=DEADLINE)
        quickstart.run("exec", "--lab", quickstart.name, "web1", "--", *READ)
        wait_for(lambda: not first.exists(), timeout=DEADLINE)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    for path in files:
        assert annotations(path, "names")
        tshark(path)
    assert str(files[0]) in recording.said


def test_an_array_can_be_looked_at_and_a_recording_can_be_piped(quickstart) -> None:
    words = [*quickstart.command, "trace", "record", "--lab", quickstart.name, "--host", "san1", "-o", "-"]
    environment = quickstart.environment
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as piped:
        assert piped.stderr is not None
        assert piped.stderr.readline() == b"recording san1/stor0; ctrl-c stops\n"
        with subprocess.Popen(["tshark", "-r", "-"], stdin=piped.stdout, stdout=subprocess.PIPE, text=True) as shown:
            quickstart.run("exec", "--lab", quickstart.name, "web1", "--", *READ)
            piped.send_signal(signal.SIGINT)
            output, _ = shown.communicate(timeout=DEADLINE)
        assert piped.wait(DEADLINE) == 0
    assert "SCSI" in output


def test_wireshark_gets_the_live_packets_and_its_end_ends_the_capture(quickstart, tmp_path: Path) -> None:
    """Wireshark itself needs a screen; what stands in for it is tshark, which takes the same words but -k."""
    seen = tmp_path / "seen"
    program = tmp_path / "wireshark"
    program.write_text(f"#!/bin/sh\necho $@ > {seen}.words\nexec tshark -i - -c 20 -w {seen}.pcapng\n")
    program.chmod(0o755)
    environment = {**quickstart.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = [*quickstart.command, "trace", "wireshark", "--lab", quickstart.name]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE) as shown:
        deadline = time.monotonic() + DEADLINE
        while shown.poll() is None and time.monotonic() < deadline:
            quickstart.run("exec", "--lab", quickstart.name, "web1", "--", *READ)
        assert shown.stderr is not None
        assert shown.wait(1) == 0, shown.stderr.read()
    assert Path(f"{seen}.words").read_text() == "-k -i -\n"
    assert len(tshark(Path(f"{seen}.pcapng"), "-Y", "ip")) == 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--network", "storag", "-o", "x"), 'error: no network "storag" has links to capture\nhint: did you mean "storage"?\n'),
        (("--size", "?", "-o", "x"), 'error: --size: "?" is not a size (write "512MiB" or "2GiB")\nhint: for example --size 100MiB\n'),
        (("-o", "-", "--json"), "error: --json and -o - both want standard output\nhint: write to a file with -o FILE\n"),
        (("-o", "-", "--size", "1MiB"), "error: standard output is one file\nhint: leave --size out, or write to a file with -o FILE\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_recorded_is_refused(quickstart, options: tuple[str, ...], said: str) -> None:
    done = quickstart.run("trace", "record", "--lab", quickstart.name, *options, check=False)
    assert (done.returncode, done.stderr) == (2, said)


def test_a_program_that_is_not_there_is_named(quickstart) -> None:
    done = quickstart.run("trace", "wireshark", "--lab", quickstart.name, "--program", "wireshard", check=False)
    assert (done.returncode, done.stderr) == (
        4,
        'error: no program "wireshard" on PATH\nhint: install it (`sudo apt install wireshard`), or record a file: '
        "`labctl trace record -o FILE.pcapng`\n",
    )
