"""KVM is used only where it was seen to work, and asking never takes long."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from labctl_server.qemu import kvm
from labctl_server.qemu.kvm import KvmVerdict, judge, probe_kvm

PROMPT = 2.0  # seconds; the promise is one, and machines are busy


def said(**outcome: float) -> bytes:
    return json.dumps({"seconds": 0.012, "exit_reason": 5, "left": 0, **outcome}).encode()


def test_the_probe_answers_promptly_whatever_this_machine_is(tmp_path: Path) -> None:
    start = time.monotonic()
    verdict = probe_kvm()
    assert time.monotonic() - start < PROMPT
    assert verdict.reason
    assert verdict.reason != "the trial crashed"


def test_a_trial_that_hangs_is_killed_and_means_no() -> None:
    start = time.monotonic()
    verdict = kvm._try([sys.executable, "-c", "import time; time.sleep(60)"])
    assert time.monotonic() - start < PROMPT
    assert not verdict.usable
    assert "did not run a short loop" in verdict.reason


def test_speed_with_the_right_end_means_yes() -> None:
    assert judge(said()) == KvmVerdict(usable=True, reason="it ran the trial at hardware speed (12 ms)")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said(seconds=0.5), "emulates"),
        (said(exit_reason=17), "exit reason 17"),
        (said(left=4), "wrongly"),
        (b'{"refused": "Device or resource busy"}', "refused it: Device or resource busy"),
        (b"", "crashed"),
        (b"[]", "crashed"),
    ],
)
def test_anything_else_means_no(answer: bytes, reason: str) -> None:
    verdict = judge(answer)
    assert not verdict.usable
    assert reason in verdict.reason


def test_no_device_means_no(tmp_path: Path) -> None:
    assert probe_kvm(device=tmp_path / "kvm") == KvmVerdict(usable=False, reason=f"there is no {tmp_path / 'kvm'}")


def test_the_verdict_is_kept_until_the_next_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, trials = tmp_path / "kvm", []
    device.touch()
    monkeypatch.setattr(kvm, "_try", lambda argv: trials.append(argv) or judge(said()))
    first, second = probe_kvm(tmp_path / "c", device=device), probe_kvm(tmp_path / "c", device=device)
    assert first == second
    assert len(trials) == 1
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    monkeypatch.setattr(kvm, "_BOOT_ID", boot)
    probe_kvm(tmp_path / "c", device=device)
    assert len(trials) == 2
