"""One NFSv3 call under way: whose it is, which nodes it is about, and what is told of them if it fails.

Theory: every result, also a failure, carries the attributes of the nodes concerned (RFC 1813 1.4: weak cache consistency). A Request
remembers its targets in the order of the arguments, so a procedure's table entry can say in one word how its failure looks.
"""

from __future__ import annotations

from collections.abc import Callable

from labemu_nfs.context import Context
from labemu_nfs.exports import Export
from labemu_nfs.handles import BadHandleError
from labemu_nfs.limits import MAX_HANDLE
from labemu_nfs.nfs3.status import Nfs3Error, Status, status_of
from labemu_nfs.nfs3.types import NO_WCC, post_op, pre_op
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Job
from labemu_nfs.xdr import FALSE, TRUE, Decoder, opaque, u32
from labemu_store.file.access import Identity
from labemu_store.file.protocol import FileStore
from labemu_store.file.types import Attributes, FileKind, Key

READ, WRITE, CHANGE = 1, 2, 4
"""What `require_free` asks for; CHANGE is of anything but the bytes."""


class Target:
    """A node that a call names by its handle, with its attributes as they were before the call."""

    __slots__ = ("before", "export", "key", "store", "who")

    def __init__(self, export: Export, key: Key, who: Identity) -> None:
        self.export = export
        self.key = key
        self.store: FileStore = export.store
        self.who = who
        self.before: Attributes = export.store.getattr(key)

    def post_op(self) -> bytes:
        """post_op_attr as of now."""
        try:
            return post_op(self.store.getattr(self.key), self.export.fsid)
        except OSError:
            return FALSE

    def wcc(self) -> bytes:
        """wcc_data: before and after."""
        return pre_op(self.before) + self.post_op()

    def require_directory(self) -> None:
        """Raise Nfs3Error NOTDIR for anything else."""
        if self.before.kind is not FileKind.DIRECTORY:
            raise Nfs3Error(Status.NOTDIR)

    def require_writable(self) -> None:
        """Raise Nfs3Error ROFS on a read-only export."""
        if self.export.read_only:
            raise Nfs3Error(Status.ROFS)


class Request:
    """One call: opens handles and keeps the targets."""

    __slots__ = ("caller", "context", "credential", "targets")

    def __init__(self, context: Context, caller: Caller, credential: Credential) -> None:
        self.context = context
        self.caller = caller
        self.credential = credential
        self.targets: list[Target] = []

    def target(self, decoder: Decoder) -> Target:
        """The node of the handle that comes next.

        Raises:
            Nfs3Error: BADHANDLE, STALE, ACCES where the client or its credential is not admitted.
            OSError: ESTALE.
        """
        try:
            fsid, key = self.context.handles.open(decoder.string(MAX_HANDLE))
        except BadHandleError:
            raise Nfs3Error(Status.BADHANDLE) from None
        export = self.context.exports.by_fsid(fsid)
        if export is None:
            raise Nfs3Error(Status.STALE)
        who = export.identity(self.credential) if export.admits(self.caller.address) else None
        if who is None:
            raise Nfs3Error(Status.ACCES)
        target = Target(export, key, who)
        self.targets.append(target)
        return target

    def require_free(self, target: Target, key: Key, use: int) -> None:
        """Raise Nfs3Error JUKEBOX while a share reservation or a delegation of NFSv4 forbids it: the client tries again.

        Args:
            target: a node of the same export.
            key: the node in question.
            use: READ, WRITE or CHANGE.
        """
        foreign = self.context.foreign
        if foreign is not None and not foreign((target.export.fsid, key), use):
            raise Nfs3Error(Status.JUKEBOX)

    def post_op_fh(self, target: Target, key: Key) -> bytes:
        """post_op_fh3 of another node of the target's export, present."""
        return TRUE + opaque(self.context.handles.make(target.export.fsid, key))

    def durable(
        self,
        changed: list[Target],
        finish: Callable[[], Body],
        failure: Callable[[Request], bytes] | None = None,
        *,
        made: Key | None = None,
    ) -> Body | Job:
        """Answer a change of names or attributes once it is on stable storage (RFC 1813 4.8), where the export says `sync`.

        Args:
            changed: what to make durable.
            finish: makes the results.
            failure: makes what follows the status if that fails; wcc_data of the first target unless given.
            made: a new node in the first of them, which got its owner and mode after its name.
        """
        if not changed[0].export.sync:
            return finish()
        syncs = [] if made is None else [changed[0].store.sync(made)]
        syncs += [target.store.sync(target.key) for target in changed]

        def run() -> None:
            for sync in syncs:
                sync()

        def finished(error: OSError | None) -> Body:
            return finish() if error is None else [u32(status_of(error)) + (failure or failed_wcc)(self)]

        return Job(run, finished)


def failed_plain(request: Request) -> bytes:
    """A failure that tells nothing more."""
    return b""


def failed_post_op(request: Request) -> bytes:
    """A failure with the first target's attributes."""
    return request.targets[0].post_op() if request.targets else FALSE


def failed_wcc(request: Request) -> bytes:
    """A failure with the first target's attributes before and after."""
    return request.targets[0].wcc() if request.targets else NO_WCC


def failed_rename(request: Request) -> bytes:
    """A failure with both directories before and after."""
    second = request.targets[1].wcc() if len(request.targets) > 1 else NO_WCC
    return failed_wcc(request) + second


def failed_link(request: Request) -> bytes:
    """A failure with the file's attributes, and the directory's before and after."""
    second = request.targets[1].wcc() if len(request.targets) > 1 else NO_WCC
    return failed_post_op(request) + second
