"""CREATE (RFC 7530 16.4, RFC 8881 18.4): everything but regular files, which OPEN makes."""

from __future__ import annotations

from struct import Struct

from labemu_nfs.limits import MAX_PATH
from labemu_nfs.nfs4.compound import Compound, Op, Wait
from labemu_nfs.nfs4.constants import FileType, Number
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.ops.names import named, require_change
from labemu_nfs.nfs4.settings import Settings, decode_settings
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import change_info, encode_bitmap
from labemu_nfs.xdr import Decoder
from labemu_store.file.types import FileKind, Key

_DEVICE = Struct(">II")
_SPECIAL = {
    FileType.BLK: FileKind.BLOCK,
    FileType.CHR: FileKind.CHARACTER,
    FileType.SOCK: FileKind.SOCKET,
    FileType.FIFO: FileKind.FIFO,
}


def create(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """CREATE: RFC 8881 18.4. The new node is the current one."""
    directory = compound.node
    kind = arguments.u32()
    target = arguments.string(MAX_PATH) if kind == FileType.LNK else b""
    device = arguments.unpack(_DEVICE) if kind in (FileType.BLK, FileType.CHR) else (0, 0)
    name = named(compound, directory, arguments)
    settings = decode_settings(arguments, compound.minor)
    if kind not in _SPECIAL and kind not in (FileType.DIR, FileType.LNK):
        raise Nfs4Error(Status.BADTYPE)  # RFC 8881 18.4.3
    before = require_change(directory)
    if settings.change.size is not None or (kind == FileType.LNK and (not target or b"\0" in target)):
        raise Nfs4Error(Status.INVAL)
    if compound.context.pseudo.crossing(directory.export, directory.key, name) is not None:
        raise Nfs4Error(Status.EXIST)
    key = _make(directory, FileType(kind), name, target, (device[0], device[1]), settings)
    made = Node(directory.export, key, directory.who)
    times = settings.times()
    if times is not None:
        directory.store.setattr(key, times)
    compound.go_to(made)
    directory.changed()

    def results() -> bytes:
        directory.changed()
        return change_info(before.change, directory.attributes.change) + encode_bitmap(settings.mask)

    return compound.durable([made, directory], results)


def _make(
    directory: Node, kind: FileType, name: bytes, target: bytes, device: tuple[int, int], settings: Settings
) -> Key:
    store, at, who = directory.store, directory.key, directory.who
    if kind == FileType.DIR:
        return store.mkdir(at, name, settings.owner(who, 0o755))
    if kind == FileType.LNK:
        return store.symlink(at, name, target, settings.owner(who, 0o777))
    if kind in (FileType.BLK, FileType.CHR) and who.uid:
        raise Nfs4Error(Status.PERM)
    return store.mknod(at, name, _SPECIAL[kind], device, settings.owner(who, 0o644))


OPS = (Op(Number.CREATE, create, once=True),)
