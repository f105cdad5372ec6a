"""What all COMPOUNDs share, and how a filehandle becomes a node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from labemu_nfs.context import Context
from labemu_nfs.exports import Export
from labemu_nfs.handles import BadHandleError
from labemu_nfs.limits import LEASE_TIME
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.pseudo import PseudoRoot
from labemu_nfs.nfs4.state.api import FileStates
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.program import Caller, Job
from labemu_store.file.types import Key


class Context4:
    """What all COMPOUNDs share.

    Args:
        shared: exports, handles and verifier, shared with NFSv3.
        states: opens, locks and delegations.
        clock: seconds on a clock that never goes back.
        lease: seconds, as clients are told.
    """

    def __init__(
        self, shared: Context, states: FileStates, clock: Callable[[], float], *, lease: int = LEASE_TIME
    ) -> None:
        self.shared = shared
        self.exports = shared.exports
        self.handles = shared.handles
        self.states = states
        self.clock = clock
        self.lease = lease
        self.pseudo = PseudoRoot(shared.exports)
        self.background: Callable[[Job], None] | None = None
        """Begins work that no call waits for, not before it returns; set by whoever can do that, and taken away when the server ends."""

        self.operations: defaultdict[str, int] = defaultdict(int)
        """How often each operation was begun."""

    def open(self, handle: bytes, caller: Caller, credential: Credential) -> Node:
        """The node of a handle.

        Raises:
            Nfs4Error: BADHANDLE, STALE, ACCESS where the client is not admitted, WRONGSEC where its credential is not.
            OSError: ESTALE.
        """
        try:
            fsid, key = self.handles.open(handle)
        except BadHandleError:
            raise Nfs4Error(Status.BADHANDLE) from None
        export = self.exports.by_fsid(fsid)
        if export is None:
            if fsid != self.pseudo.export.fsid:
                raise Nfs4Error(Status.STALE)
            export = self.pseudo.export
        return self.node(export, key, caller, credential)

    def node(self, export: Export, key: Key, caller: Caller, credential: Credential) -> Node:
        """A node of an export; raises as `open`."""
        if not export.admits(caller.address):
            raise Nfs4Error(Status.ACCESS)
        who = export.identity(credential)
        if who is None:
            raise Nfs4Error(Status.WRONGSEC)
        node = Node(export, key, who)
        if export.refer:
            return node
        node.attributes  # noqa: B018 # a node that is gone is STALE here already (RFC 8881 18.19.3)
        return node

    def handle(self, node: Node) -> bytes:
        """nfs_fh4 of a node, without its length."""
        return self.handles.make(node.export.fsid, node.key)
