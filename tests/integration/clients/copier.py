"""A program for guests that copies one file to another with copy_file_range(2), which neither busybox's cp nor any other tool there uses.

It is made here, since a test must not want a compiler: an ELF file of one segment, with these instructions, and its exit status is errno.
"""

from __future__ import annotations

from struct import pack

_INSTRUCTIONS = (
    ("488b7c2410", "mov 0x10(%rsp),%rdi"),
    ("31f6", "xor %esi,%esi"),
    ("b802000000", "mov $0x2,%eax"),
    ("0f05", "syscall"),
    ("4889c3", "mov %rax,%rbx"),
    ("488b7c2418", "mov 0x18(%rsp),%rdi"),
    ("be42020000", "mov $0x242,%esi"),
    ("baa4010000", "mov $0x1a4,%edx"),
    ("b802000000", "mov $0x2,%eax"),
    ("0f05", "syscall"),
    ("4889c5", "mov %rax,%rbp"),
    ("4889df", "mov %rbx,%rdi"),
    ("31f6", "xor %esi,%esi"),
    ("4889ea", "mov %rbp,%rdx"),
    ("4531d2", "xor %r10d,%r10d"),
    ("41b800000040", "mov $0x40000000,%r8d"),
    ("4531c9", "xor %r9d,%r9d"),
    ("b846010000", "mov $0x146,%eax"),
    ("0f05", "syscall"),
    ("4885c0", "test %rax,%rax"),
    ("7fe0", "jg back to mov %rbx,%rdi"),
    ("48f7d8", "neg %rax"),
    ("4889c7", "mov %rax,%rdi"),
    ("b83c000000", "mov $0x3c,%eax"),
    ("0f05", "syscall"),
)
"""Bytes, and what they mean: open(2) both, call copy_file_range(2) (326) for 1 GiB until there is nothing more, and exit."""

_BASE = 0x400000
_HEAD = 64 + 56


def copier() -> bytes:
    """The file's bytes (elf(5)), for x86-64."""
    code = bytes.fromhex("".join(row[0] for row in _INSTRUCTIONS))
    size = _HEAD + len(code)
    ident = b"\x7fELF\2\1\1" + bytes(9)
    head = ident + pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + _HEAD, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000) + code
