"""Writes cpio archives in the `newc` format, the one that Linux unpacks as its initramfs.

Written here because no tool can put a device node into an archive without root, nor keep the order, owners and times of its members
the same on every machine. Pure: bytes out, no file system.

Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"
_ALIGNMENT = 4
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of the archive, owned by root and as old as the epoch.

    Args:
        mode: type and permissions, as in st_mode.
        data: a file's content or a symbolic link's target.
        device: major and minor number of a device node.
    """

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(data: bytes, *, executable: bool = False) -> Member:
    """A regular file."""
    return Member(mode=stat.S_IFREG | (0o755 if executable else 0o644), data=data)


def folder() -> Member:
    """A folder."""
    return Member(mode=stat.S_IFDIR | 0o755)


def character_device(major: int, minor: int) -> Member:
    """A character device that root alone may use."""
    return Member(mode=stat.S_IFCHR | 0o600, device=(major, minor))


def archive(members: Mapping[str, Member]) -> bytes:
    """The archive of `members` by path, sorted; folders precede what they hold because a prefix sorts first."""
    parts = [_entry(number, path, members[path]) for number, path in enumerate(sorted(members), start=1)]
    parts.append(_entry(0, _TRAILER, Member(mode=0)))
    joined = b"".join(parts)
    return joined + bytes(-len(joined) % _BLOCK)


def _entry(inode: int, path: str, member: Member) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(member.mode) else 1
    fields = (inode, member.mode, 0, 0, links, 0, len(member.data), 0, 0, *member.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _padded(header + name) + _padded(member.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
