"""Decides between KVM and TCG.

A /dev/kvm that opens proves nothing: see kvm_trial. The trial runs in a process of its own that is killed at a deadline, so the answer
always comes in under a second; whatever is not plain proof of speed is a "no", because TCG works everywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from labctl_server.qemu import kvm_trial

DEADLINE = 0.8
"""Seconds for the whole trial, Python's start included."""

HARDWARE_SECONDS = 0.3
"""Seconds: hardware needs 0.01 for the loop, an emulating kernel over 5."""

_REAP = 0.1  # seconds to wait for a killed trial; one that is stuck in the kernel is left to init
_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class KvmVerdict:
    """Whether guests may use KVM.

    Args:
        usable: True only where it ran code at the hardware's speed.
        reason: a sentence for the user.
    """

    usable: bool
    reason: str


def probe_kvm(cache: Path | None = None, *, device: Path = _DEVICE) -> KvmVerdict:
    """Whether KVM works on this machine, in under a second.

    Args:
        cache: a folder that keeps a trial's verdict until the machine boots again, or None.
        device: KVM's device.
    """
    if not device.exists():
        return KvmVerdict(usable=False, reason=f"there is no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return KvmVerdict(usable=False, reason=f"you may not use {device} (join the group kvm)")
    boot = _BOOT_ID.read_text().strip()
    remembered = _recall(cache, boot)
    if remembered is None:
        remembered = _try([sys.executable, "-IS", kvm_trial.__file__])
        _remember(cache, boot, remembered)
    return remembered


def _try(argv: list[str]) -> KvmVerdict:
    trial = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        said, _ = trial.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        trial.kill()
        with suppress(subprocess.TimeoutExpired):
            trial.wait(timeout=_REAP)
        return KvmVerdict(
            usable=False, reason=f"it opens, but did not run a short loop within {DEADLINE:g} s: no hardware behind it"
        )
    finally:
        if trial.stdout is not None:
            trial.stdout.close()
    return judge(said)


def judge(said: bytes) -> KvmVerdict:
    """The verdict on what a trial printed."""
    try:
        answer = json.loads(said)
        if "refused" in answer:
            return KvmVerdict(usable=False, reason=f"the kernel refused it: {answer['refused']}")
        outcome = kvm_trial.Outcome(**answer)
    except (ValueError, TypeError):
        return KvmVerdict(usable=False, reason="the trial crashed")
    if outcome.exit_reason != kvm_trial.KVM_EXIT_HLT or outcome.left != 0:
        return KvmVerdict(usable=False, reason=f"it ran the trial wrongly (exit reason {outcome.exit_reason})")
    if outcome.seconds > HARDWARE_SECONDS:
        return KvmVerdict(usable=False, reason=f"it took {outcome.seconds:.2f} s over a loop of 0.01 s: it emulates")
    return KvmVerdict(usable=True, reason=f"it ran the trial at hardware speed ({outcome.seconds * 1000:.0f} ms)")


def _recall(cache: Path | None, boot: str) -> KvmVerdict | None:
    if cache is None:
        return None
    try:
        known = json.loads((cache / "kvm.json").read_text())
        return KvmVerdict(usable=known["usable"], reason=known["reason"]) if known["boot"] == boot else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(cache: Path | None, boot: str, verdict: KvmVerdict) -> None:
    if cache is None:
        return
    with suppress(OSError):  # a cache that cannot be written costs the next caller a second
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cache / f".kvm-{os.getpid()}.json"
        fresh.write_text(json.dumps({"boot": boot, **asdict(verdict)}))
        fresh.replace(cache / "kvm.json")
