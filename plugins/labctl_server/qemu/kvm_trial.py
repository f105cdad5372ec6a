"""The trial that tells whether KVM runs code at the processor's speed. Run as a script of its own, by probe_kvm, which kills it when late.

A KVM on a machine without VT-x or SVM opens, makes VMs, and emulates their instructions one by one: simple trials pass and a kernel takes
minutes. So the trial enters long mode with paging on, counts down from twenty million and halts. Hardware needs some 10 ms.

It imports the standard library only and prints one line of JSON.

Source: Linux Documentation/virt/kvm/api.rst; Intel SDM volume 3, 4.5 (paging) and 10.8.5 (entering long mode).
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import struct
import sys
import time
from typing import NamedTuple

ITERATIONS = 20_000_000

KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_SET_TSS_ADDR = 0xAE47
KVM_RUN = 0xAE80
KVM_GET_REGS = 0x8090AE81
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84
KVM_EXIT_HLT = 5
API_VERSION = 12

_MEMORY = 2 * 2**20
_PML4, _PDPT, _PD, _CODE = 0x1000, 0x2000, 0x3000, 0x4000
_PRESENT_WRITABLE, _LARGE = 0x3, 0x80
_TSS = 0x7FFBD000  # Intel wants three pages that the guest does not use

_REGS = struct.Struct("<18Q")  # rax, rbx, rcx, …, rip, rflags
_RCX, _RIP, _RFLAGS = 2, 16, 17
_SREGS_SIZE = 0x138
_SEGMENT = struct.Struct("<QIH10B")  # base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding
_DATA_SEGMENTS = 5  # after cs: ds, es, fs, gs, ss
_CONTROL = struct.Struct("<6Q")  # cr0, cr2, cr3, cr4, cr8, efer
_CONTROL_AT = 8 * _SEGMENT.size + 2 * 16
_CR0 = 0x80000033  # PG, NE, ET, MP, PE
_CR4_PAE = 0x20
_EFER_LONG_MODE = 0x500  # LME, LMA
_EXIT_REASON_AT = 8


class Outcome(NamedTuple):
    """What the trial saw: how long the loop took (seconds), why the guest left it, and what was left of the count."""

    seconds: float
    exit_reason: int
    left: int


def countdown(iterations: int) -> bytes:
    """Machine code: mov ecx, iterations; again: dec ecx; jnz again; hlt."""
    return b"\xb9" + struct.pack("<I", iterations) + b"\xff\xc9\x75\xfc\xf4"


def run_trial(device: str = "/dev/kvm", iterations: int = ITERATIONS) -> Outcome:
    """Run the loop in a VM of its own.

    Raises:
        OSError: the kernel refuses something.
    """
    kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    if fcntl.ioctl(kvm, KVM_GET_API_VERSION, 0) != API_VERSION:
        raise OSError("another API version")
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    memory = _memory(vm, countdown(iterations))
    vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    state = mmap.mmap(vcpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0))
    _enter_long_mode(vcpu)
    start = time.perf_counter()
    fcntl.ioctl(vcpu, KVM_RUN, 0)
    seconds = time.perf_counter() - start
    registers = bytearray(_REGS.size)
    fcntl.ioctl(vcpu, KVM_GET_REGS, registers)
    (exit_reason,) = struct.unpack_from("<I", state, _EXIT_REASON_AT)
    assert len(memory) == _MEMORY  # it lives as long as the guest
    return Outcome(seconds, exit_reason, _REGS.unpack(registers)[_RCX])


def _memory(vm: int, code: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, _MEMORY)
    memory[_PML4 : _PML4 + 8] = struct.pack("<Q", _PDPT | _PRESENT_WRITABLE)
    memory[_PDPT : _PDPT + 8] = struct.pack("<Q", _PD | _PRESENT_WRITABLE)
    memory[_PD : _PD + 8] = struct.pack("<Q", _PRESENT_WRITABLE | _LARGE)
    memory[_CODE : _CODE + len(code)] = code
    fcntl.ioctl(vm, KVM_SET_TSS_ADDR, _TSS)
    region = struct.pack("<IIQQQ", 0, 0, 0, _MEMORY, _address(memory))
    fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, region)
    return memory


def _address(memory: mmap.mmap) -> int:
    import ctypes  # late: it is the slowest import of this script's, and the refusals above come first

    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _enter_long_mode(vcpu: int) -> None:
    special = bytearray(_SREGS_SIZE)
    fcntl.ioctl(vcpu, KVM_GET_SREGS, special)
    _SEGMENT.pack_into(special, 0, 0, 0xFFFFFFFF, 8, 11, 1, 0, 0, 1, 1, 1, 0, 0, 0)  # 64-bit code
    for number in range(1, 1 + _DATA_SEGMENTS):
        _SEGMENT.pack_into(special, number * _SEGMENT.size, 0, 0xFFFFFFFF, 16, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
    _CONTROL.pack_into(special, _CONTROL_AT, _CR0, 0, _PML4, _CR4_PAE, 0, _EFER_LONG_MODE)
    fcntl.ioctl(vcpu, KVM_SET_SREGS, special)
    registers = [0] * 18
    registers[_RIP], registers[_RFLAGS] = _CODE, 2
    fcntl.ioctl(vcpu, KVM_SET_REGS, _REGS.pack(*registers))


if __name__ == "__main__":
    try:
        answer = dict(run_trial()._asdict())
    except OSError as failure:
        answer = {"refused": failure.strerror or str(failure)}
    sys.stdout.write(json.dumps(answer))
