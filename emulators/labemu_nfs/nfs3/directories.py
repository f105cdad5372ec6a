"""READDIR and READDIRPLUS (RFC 1813 3.3.16, 3.3.17).

Cookies are the store's, valid as long as the directory, so the verifier is constant: zeros, and another one is BAD_COOKIE.
"""

from __future__ import annotations

from errno import EINVAL
from struct import Struct

from labemu_nfs.limits import MAX_READDIR
from labemu_nfs.nfs3.names import find
from labemu_nfs.nfs3.request import Request, Target
from labemu_nfs.nfs3.status import Nfs3Error, Status
from labemu_nfs.nfs3.types import post_op
from labemu_nfs.rpc.message import Body
from labemu_nfs.xdr import FALSE, TRUE, Decoder, opaque, u32, u64
from labemu_store.file import access
from labemu_store.file.types import DirectoryEntry

_OK = u32(Status.OK)
_VERIFIER = bytes(8)
_ARGUMENTS = Struct(">Q8sI")
_PLUS_ARGUMENTS = Struct(">Q8sII")
_OVERHEAD = 4 + 84 + 8 + 4 + 4
"""Bytes of the results without entries: attributes, verifier, the end of the list, eof."""

_PLUS_TO_RECORDS = 4
"""What an entryplus3 takes in a reply over what it takes in the store's listing: what would have no room is not listed."""

_NEARLY = 8
"""A reply is full enough with less than this part of it left."""

_NOTHING = FALSE + FALSE
"""Neither attributes nor handle."""

_DOTS = (b".", b"..")


def _directory(request: Request, arguments: Decoder) -> Target:
    directory = request.target(arguments)
    directory.require_directory()
    access.require(directory.before, directory.who, access.READ)
    return directory


def _require_verifier(cookie: int, verifier: object) -> None:
    if cookie and verifier != _VERIFIER:
        raise Nfs3Error(Status.BAD_COOKIE)


def _list(directory: Target, cookie: int, size: int) -> tuple[list[DirectoryEntry], bool]:
    try:
        return directory.store.readdir(directory.key, cookie, size)
    except OSError as error:
        if error.errno == EINVAL:  # not a position in this directory
            raise Nfs3Error(Status.BAD_COOKIE) from None
        raise


def _results(directory: Target, parts: list[bytes], *, more: bool, eof: bool) -> Body:
    """Raises Nfs3Error TOOSMALL where not even one entry had room."""
    if not parts and more:
        raise Nfs3Error(Status.TOOSMALL)
    end = FALSE + (FALSE if more or not eof else TRUE)
    return [b"".join((_OK, directory.post_op(), _VERIFIER, *parts, end))]


def readdir3(request: Request, arguments: Decoder) -> Body:
    """READDIR: RFC 1813 3.3.16."""
    directory = _directory(request, arguments)
    cookie, verifier, count = arguments.unpack(_ARGUMENTS)
    _require_verifier(cookie, verifier)
    left = min(count, MAX_READDIR) - _OVERHEAD
    entries, eof = _list(directory, cookie, left)
    parts: list[bytes] = []
    for entry in entries:
        part = TRUE + u64(entry.fileid) + opaque(entry.name) + u64(entry.cookie)
        left -= len(part)
        if left < 0:
            return _results(directory, parts, more=True, eof=eof)
        parts.append(part)
    return _results(directory, parts, more=False, eof=eof)


def readdirplus3(request: Request, arguments: Decoder) -> Body:
    """READDIRPLUS: RFC 1813 3.3.17: `dircount` bounds the names, `maxcount` everything."""
    directory = _directory(request, arguments)
    cookie, verifier, names, everything = arguments.unpack(_PLUS_ARGUMENTS)
    _require_verifier(cookie, verifier)
    everything = min(everything, MAX_READDIR) - _OVERHEAD
    names = min(names, everything)
    allowed = bool(access.permitted(directory.before, directory.who) & access.EXECUTE)
    enough = everything // _NEARLY
    parts: list[bytes] = []
    while True:
        entries, eof = _list(directory, cookie, max(1, min(names, everything // _PLUS_TO_RECORDS)))
        for fileid, text, cookie in entries:
            name = opaque(text)
            plus = _plus(request, directory, text) if allowed else _NOTHING
            part = b"".join((TRUE, u64(fileid), name, u64(cookie), plus))
            names -= len(name) + 16
            everything -= len(part)
            if everything < 0 or (names < 0 and parts):
                return _results(directory, parts, more=True, eof=eof)
            parts.append(part)
        if eof or everything <= enough or names <= 0:
            return _results(directory, parts, more=False, eof=eof)


def _plus(request: Request, directory: Target, name: bytes) -> bytes:
    """Attributes and handle of an entry; neither where it went away meanwhile."""
    store = directory.store
    try:
        if name in _DOTS:
            key = find(directory, name)
            attributes = store.getattr(key)
        else:
            key, attributes = store.peek(directory.key, name)
    except OSError:
        return _NOTHING
    return post_op(attributes, directory.export.fsid) + request.post_op_fh(directory, key)
