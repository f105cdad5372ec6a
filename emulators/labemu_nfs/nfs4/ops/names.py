"""LOOKUP, LOOKUPP, REMOVE, RENAME, LINK (RFC 7530 16.13, 16.14, 16.25, 16.26, 16.9; RFC 8881 18.13, 18.14, 18.25, 18.26, 18.9)."""

from __future__ import annotations

from contextlib import suppress

from labemu_nfs.exports import Export
from labemu_nfs.nfs4.compound import Compound, Op, Wait
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import change_info, decode_component
from labemu_nfs.xdr import Decoder
from labemu_store.file import access
from labemu_store.file.types import Attributes, FileKind, Key


def named(compound: Compound, node: Node, arguments: Decoder) -> bytes:
    """The name that comes next, in a directory."""
    return decode_component(arguments, node.store.capabilities.max_name)


def find(compound: Compound, node: Node, name: bytes) -> tuple[Export, Key]:
    """What a name in a directory leads to: a node, or the root of another export (RFC 8881 7.5). Raises Nfs4Error, OSError."""
    attributes = node.require_directory()
    access.require(attributes, node.who, access.EXECUTE)
    inner = compound.context.pseudo.crossing(node.export, node.key, name)
    if inner is not None:
        return inner, inner.store.root
    return node.export, node.store.lookup(node.key, name)


def lookup(compound: Compound, arguments: Decoder) -> bytes:
    """LOOKUP: RFC 8881 18.13; the server follows no symlink."""
    node = compound.node
    name = named(compound, node, arguments)
    export, key = find(compound, node, name)
    if export is node.export:
        found = Node(export, key, node.who)
        found.attributes  # noqa: B018 # whether it is still there
    else:
        found = compound.context.node(export, key, compound.caller, compound.credential)
    compound.go_to(found)
    return b""


def above(compound: Compound, node: Node) -> Node:
    """The directory above a directory, out of an export too. Raises Nfs4Error NOENT above the server's root (RFC 8881 18.14.3)."""
    if node.attributes.kind is not FileKind.DIRECTORY:
        raise Nfs4Error(Status.NOTDIR)
    access.require(node.attributes, node.who, access.EXECUTE)
    if node.key != node.store.root:
        return Node(node.export, node.store.parent(node.key), node.who)
    outer = compound.context.pseudo.above(node.export)
    if outer is None:
        raise Nfs4Error(Status.NOENT)
    return compound.context.node(*outer, compound.caller, compound.credential)


def lookupp(compound: Compound, arguments: Decoder) -> bytes:
    """LOOKUPP: RFC 8881 18.14."""
    compound.go_to(above(compound, compound.node))
    return b""


def require_change(node: Node) -> Attributes:
    """The attributes of a directory in which names may be made and removed. Raises Nfs4Error, OSError."""
    attributes = node.attributes
    if attributes.kind is not FileKind.DIRECTORY:
        raise Nfs4Error(Status.NOTDIR)
    node.require_writable()
    access.require(attributes, node.who, access.WRITE | access.EXECUTE)
    return attributes


def _victim(compound: Compound, directory: Node, name: bytes) -> tuple[Key, Attributes]:
    """What is to be removed or replaced, once that is allowed."""
    if compound.context.pseudo.crossing(directory.export, directory.key, name) is not None:
        raise Nfs4Error(Status.FILE_OPEN)  # an export covers it
    key, attributes = directory.store.peek(directory.key, name)
    access.require_removal(directory.attributes, attributes, directory.who)
    compound.context.states.check_change(compound, (directory.export.fsid, key))
    return key, attributes


def remove(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """REMOVE: RFC 8881 18.25, of files and empty directories alike."""
    node = compound.node
    name = named(compound, node, arguments)
    before = require_change(node)
    _, victim = _victim(compound, node, name)
    if victim.kind is FileKind.DIRECTORY:
        node.store.rmdir(node.key, name)
    else:
        node.store.unlink(node.key, name)
    return compound.durable([node], lambda: change_info(before.change, node.attributes.change))


def rename(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """RENAME: RFC 8881 18.26: from the saved directory to the current one."""
    source, target = compound.saved_node, compound.node
    name, to_name = named(compound, source, arguments), named(compound, target, arguments)
    for directory in (source, target):
        if directory.attributes.kind is not FileKind.DIRECTORY:
            raise Nfs4Error(Status.NOTDIR)
    if source.export is not target.export:
        raise Nfs4Error(Status.XDEV)
    before, to_before = require_change(source), require_change(target)
    key, moved = _victim(compound, source, name)
    with suppress(FileNotFoundError):  # nothing is in the way
        there, victim = _victim(compound, target, to_name)
        if key == there:  # two names of one file: nothing is done (RFC 8881 18.26.3)
            return change_info(before.change, before.change) + change_info(to_before.change, to_before.change)
        if (moved.kind is FileKind.DIRECTORY) is not (victim.kind is FileKind.DIRECTORY):
            raise Nfs4Error(Status.EXIST)  # RFC 8881 18.26.3
    source.store.rename(source.key, name, target.key, to_name)

    def results() -> bytes:
        return change_info(before.change, source.attributes.change) + change_info(
            to_before.change, target.attributes.change
        )

    return compound.durable([source] if source.key == target.key else [source, target], results)


def link(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """LINK: RFC 8881 18.9: another name, in the current directory, for the saved file."""
    file, directory = compound.saved_node, compound.node
    name = named(compound, directory, arguments)
    if directory.attributes.kind is not FileKind.DIRECTORY:
        raise Nfs4Error(Status.NOTDIR)
    if file.attributes.kind is FileKind.DIRECTORY:
        raise Nfs4Error(Status.ISDIR)
    if file.export is not directory.export:
        raise Nfs4Error(Status.XDEV)
    before = require_change(directory)
    compound.context.states.check_change(compound, file.file)
    file.store.link(file.key, directory.key, name)
    return compound.durable([directory, file], lambda: change_info(before.change, directory.attributes.change))


OPS = (
    Op(Number.LOOKUP, lookup),
    Op(Number.LOOKUPP, lookupp),
    Op(Number.REMOVE, remove, once=True),
    Op(Number.RENAME, rename, once=True),
    Op(Number.LINK, link, once=True),
)
