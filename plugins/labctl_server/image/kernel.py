"""Takes a distribution's kernel package apart: the bare kernel, and the modules that a guest needs in the order to load them.

A bzImage decompresses itself inside the guest, which costs an emulated processor up to six seconds. The ELF image within is taken out here
once; QEMU starts it directly through its PVH entry.

Sources: Linux Documentation/arch/x86/boot.rst (setup_sects, payload_offset, payload_length); the `depends` tag of .modinfo.
"""

from __future__ import annotations

import lzma
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from labctl.errors import LabError
from labctl_server.image.elf import compact
from labctl_server.image.tools import run_tool

_SECTOR = 512
_SETUP_SECTORS_AT = 0x1F1
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_PAYLOAD_AT = 0x248
_LENGTH_FOOTER = 4  # the payload ends with its unpacked length

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def unpack_kernel(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage, made compact.

    Raises:
        LabError: it is none, or is packed in a way that is not known here.
    """
    if image[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise LabError("the kernel package holds no x86 bzImage")
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    start = (image[_SETUP_SECTORS_AT] + 1) * _SECTOR + offset
    kernel = _decompress(image[start : start + length - _LENGTH_FOOTER])
    try:
        return compact(kernel)
    except ValueError as error:
        raise LabError(f"the kernel's payload is {error}") from error


def _decompress(data: bytes) -> bytes:
    if data.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(data)
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return run_tool(["zstd", "-dc"], stdin=data)
    if data.startswith(b"\x02\x21\x4c\x18"):
        return run_tool(["lz4", "-dc"], stdin=data)
    raise LabError(f"the kernel is packed in an unknown way (it starts with {data[:4].hex()})")


class Modules:
    """The modules of one kernel.

    Args:
        folder: lib/modules/VERSION of the unpacked package.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = {module_name(path): path for path in folder.rglob("*.ko*")}
        built_in = folder / "modules.builtin"
        self._built_in = (
            {module_name(Path(line)) for line in built_in.read_text().splitlines()} if built_in.exists() else set()
        )
        self._content: dict[str, bytes] = {}

    def content(self, name: str) -> bytes:
        """A module's ELF object, unpacked.

        Raises:
            LabError: the kernel has no such module.
        """
        if name not in self._content:
            path = self._paths.get(name)
            if path is None:
                raise LabError(f"the kernel package has no module {name}", hint="report it, with the package's version")
            data = path.read_bytes()
            self._content[name] = data if path.suffix == ".ko" else _decompress(data)
        return self._content[name]

    def load_order(self, wanted: Iterable[str]) -> list[str]:
        """The wanted modules and what they need, each after what it needs; without what the kernel has built in."""
        order: dict[str, None] = {}
        for name in wanted:
            self._add(name, order)
        return list(order)

    def _add(self, name: str, order: dict[str, None]) -> None:
        if name in order or name in self._built_in:
            return
        for needed in depends_of(self.content(name)):
            self._add(needed, order)
        order[name] = None


def module_name(path: Path) -> str:
    """A module's own name: `virtio-rng.ko` is `virtio_rng`."""
    return path.name.partition(".ko")[0].replace("-", "_")


def depends_of(module: bytes) -> list[str]:
    """The modules that a module needs, from its .modinfo section."""
    match = _DEPENDS.search(module)
    names = match[1].decode() if match else ""
    return [name.replace("-", "_") for name in names.split(",") if name]


def module_members(modules: Modules, sets: Mapping[str, Iterable[str]]) -> dict[str, bytes]:
    """Files for an initramfs: `NAME.ko` for each module, and `SET.order` that lists a set's modules in order.

    A set lists all that it needs, since none is sure to be loaded before it.
    """
    files: dict[str, bytes] = {}
    for set_name, wanted in sets.items():
        order = modules.load_order(wanted)
        files |= {f"{name}.ko": modules.content(name) for name in order}
        files[f"{set_name}.order"] = "".join(f"{name}\n" for name in order).encode()
    return files
