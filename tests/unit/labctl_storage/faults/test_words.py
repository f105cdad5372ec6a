from __future__ import annotations

import pytest

from labctl.errors import UsageError
from labctl_storage.faults import words
from labemu_faults.wire import rule_from_json

HOSTS = {"esx1": ["10.20.0.12", "10.30.0.12"], "esx2": ["10.20.0.13"]}


@pytest.mark.parametrize(
    ("made", "action"),
    [
        (words.latency("20ms"), {"kind": "latency", "average": 0.02}),
        (words.latency("20ms:p99=1s"), {"kind": "latency", "average": 0.02, "p99": 1.0}),
        (words.error("medium", "iscsi"), {"kind": "sense", "code": [3, 0x11, 0]}),
        (words.error("PDL", None), {"kind": "sense", "code": [5, 0x25, 0]}),
        (words.error("3/5d/10", "iscsi"), {"kind": "sense", "code": [3, 0x5D, 0x10]}),
        (words.error("busy", None), {"kind": "status", "code": [8]}),
        (words.error("task-set-full", "iscsi"), {"kind": "status", "code": [0x28]}),
        (words.error("NFS3ERR_JUKEBOX", "nfs"), {"kind": "error", "code": [10008]}),
        (words.error("delay", "nfs"), {"kind": "error", "code": [10008]}),
        (words.error("not_sync", "nfs"), {"kind": "error", "code": [10002]}),
        (words.error("70", "nfs"), {"kind": "error", "code": [70]}),
        (words.refusal("unavailable"), {"kind": "refuse", "code": [3, 1]}),
        (words.refusal("1/1"), {"kind": "refuse", "code": [1, 1]}),
        (words.corruption("payload"), {"kind": "corrupt", "what": "payload"}),
    ],
)
def test_words_become_actions_that_the_emulators_read(made, action) -> None:
    assert made == action
    rule_from_json({"action": made})


@pytest.mark.parametrize(
    ("made", "bounds"),
    [
        (words.span("0-1GiB"), (0, 1 << 30)),
        (words.span("4KiB-"), (4096, None)),
        (words.blocks("2048"), (2048 * 512, 2049 * 512)),
        (words.blocks("2048-4095"), (2048 * 512, 4096 * 512)),
        (words.blocks("2048-"), (2048 * 512, None)),
    ],
)
def test_ranges_are_bytes_or_blocks(made, bounds) -> None:
    assert (made["start"], made["end"]) == bounds


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        (lambda: words.latency("20"), '--latency: "20" is not a duration (write "500ms", "30s" or "5m")', None),
        (lambda: words.latency("20ms:p90=1s"), '"20ms:p90=1s" is not a latency', "write 20ms, or 20ms:p99=80ms"),
        (lambda: words.latency("20ms:p99=20ms"), "a p99 of 20ms is not above the average of 20ms", "one in a hundred is slower than p99"),
        (lambda: words.error("medum", "iscsi"), 'there is no error "medum" over iSCSI', 'did you mean "medium"?'),
        (lambda: words.error("jukbox", "nfs"), 'there is no error "jukbox" over NFS', 'did you mean "jukebox"?'),
        (lambda: words.error("stlae", None), 'there is no error "stlae"', 'did you mean "stale"?'),
        (lambda: words.refusal("unavailible"), 'there is no login status "unavailible"', 'did you mean "unavailable"?'),
        (lambda: words.corruption("data"), 'there is no "data" to corrupt', "the parts are: data-digest, header-digest, payload"),
        (lambda: words.span("1GiB"), '"1GiB" is not a range', "write 0-1GiB, or 1GiB- up to the end"),
        (lambda: words.span("2-1"), 'the range "2-1" is empty', "its end comes after its start"),
        (lambda: words.span("x-1"), '--range: "x" is not a size (write "512MiB" or "2GiB")', None),
        (lambda: words.blocks("a"), '"a" is not a range of blocks', "write 2048, 2048-4095, or 2048- up to the end"),
        (lambda: words.seconds("0s", "--for"), "--for must be above 0", "write 30s or 5m"),
        (lambda: clients("exs1"), "there is no host exs1", 'did you mean "esx1"?'),
        (lambda: clients("web1"), "web1 is not an initiator", "hosts are: their VMs' disks are reached through them"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(call, message, hint) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert (caught.value.message, caught.value.hint) == (message, hint)


def clients(*wanted: str) -> list[str]:
    return words.clients(wanted, HOSTS, ["web1"], "demo", "iqn.2026-11.lab")


def test_a_host_is_its_initiator_name_and_all_its_addresses() -> None:
    assert clients("esx1") == ["iqn.2026-11.lab.demo:esx1", "10.20.0.12", "10.30.0.12"]


def test_names_addresses_and_globs_of_initiators_are_taken_as_they_are() -> None:
    wanted = ["iqn.1993-08.org.debian:01:x", "10.20.0.9", "10.20.*", "fd00::1"]
    assert clients(*wanted) == wanted
