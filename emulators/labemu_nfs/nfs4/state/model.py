"""The things that are remembered: clients, their owners and sessions, files, and the states that join a client to a file.

Rules: this module holds data and how it hangs together, and takes no decision. Whatever hangs in two places (a state in its client, its
file and the table) is put there and taken away in one method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from labemu_nfs.nfs4.state.owners import Sequence
from labemu_nfs.nfs4.state.ranges import RangeLocks
from labemu_nfs.nfs4.state.shares import BOTH, READ, Share, union
from labemu_nfs.nfs4.state.slots import Slot
from labemu_nfs.nfs4.state.stateids import Stateid, following
from labemu_nfs.nfs4.status import Status
from labemu_nfs.rpc.link import Link

FileId = tuple[int, bytes]
"""A file: its export's fsid, and its key in the store."""

Principal = tuple[int, int]
"""Who calls: the credential's flavour and uid. What another one may do to a client's records is limited."""


class CallbackPath(Protocol):
    """A way to the client for the server's own calls; its end in the protocol and the network is no matter of the state's."""

    @property
    def up(self) -> bool:
        """Whether calls may be expected to arrive."""

    def recall(self, delegation: Delegation) -> None:
        """Ask for a delegation to be returned (CB_RECALL); where that does not arrive, `sent` is made False again."""

    def ask_attributes(self, delegation: Delegation, answered: Callable[[int, int], None]) -> None:
        """Ask the holder of a write delegation for change and size (CB_GETATTR); `answered` gets both, or is not called."""

    def offloaded(self, offload: Offload, verifier: bytes, answered: Callable[[bool], None]) -> None:
        """Tell that a copy has ended (CB_OFFLOAD), and the write verifier; `answered` gets whether the client has taken it."""


class Dialer(Protocol):
    """Makes connections to clients, at once or later; only where the server itself is (its network namespace)."""

    def dial(self, host: str, port: int) -> Link:
        """A connection that was begun; calls made meanwhile wait for it."""


class Client:
    """A client, confirmed or not.

    Args:
        number: its clientid4.
        name: nfs_client_id4.id or co_ownerid.
        verifier: other ones tell that the client was restarted.
        principal: who made the record.
        minor: 0, or 1 for 4.1 and 4.2.
        now: seconds.
    """

    def __init__(self, number: int, name: bytes, verifier: bytes, principal: Principal, minor: int, now: float) -> None:
        self.number = number
        self.name = name
        self.verifier = verifier
        self.principal = principal
        self.minor = minor
        self.renewed = now
        self.confirmed = False
        self.expired = False
        self.reclaimed = False
        self.confirmation = b""
        self.callback: CallbackPath | None = None
        self.open_owners: dict[bytes, OpenOwner] = {}
        self.lock_owners: dict[bytes, LockOwner] = {}
        self.states: dict[bytes, State] = {}
        self.sessions: dict[bytes, Session] = {}
        self.creation = Slot()
        self.revoked = 0
        self.delegated = 0


class Session:
    """A session of 4.1 (RFC 8881 2.10).

    Args:
        number: its sessionid4.
        client: whose.
        slots: how many.
        max_request, max_reply, max_cached: bytes of a COMPOUND and of its reply.
        max_operations: of a COMPOUND.
    """

    def __init__(
        self,
        number: bytes,
        client: Client,
        *,
        slots: int,
        max_request: int,
        max_reply: int,
        max_cached: int,
        max_operations: int,
    ) -> None:
        self.number = number
        self.client = client
        self.slots = [Slot() for _ in range(slots)]
        self.max_request = max_request
        self.max_reply = max_reply
        self.max_cached = max_cached
        self.max_operations = max_operations
        self.callback: CallbackPath | None = None
        self.connections: set[Link] = set()


class OpenOwner:
    """Who opens files: a process of the client, as a rule."""

    __slots__ = ("client", "closed", "confirmed", "name", "opens", "sequence", "used")

    def __init__(self, client: Client, name: bytes) -> None:
        self.client = client
        self.name = name
        self.confirmed = client.minor > 0
        self.sequence = Sequence()
        self.opens: dict[FileId, Open] = {}
        self.closed: Open | None = None
        self.used = 0.0


class LockOwner:
    """Who locks bytes."""

    __slots__ = ("client", "locks", "name", "sequence")

    def __init__(self, client: Client, name: bytes) -> None:
        self.client = client
        self.name = name
        self.sequence = Sequence()
        self.locks: dict[Open, Lock] = {}


class FileState:
    """What is known of a file that anybody has open, locked or delegated."""

    __slots__ = ("delegations", "file", "kept", "locks", "opens", "recalled")

    def __init__(self, file: FileId) -> None:
        self.file = file
        self.opens: list[Open] = []
        self.delegations: list[Delegation] = []
        self.locks = RangeLocks()
        self.recalled = float("-inf")
        self.kept = False

    @property
    def in_use(self) -> bool:
        """Whether anybody has it open, or may without asking."""
        return bool(self.opens or self.delegations)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to know: NFSv3's locks are kept here too."""
        return not self.in_use and not len(self.locks)


class State:
    """What a stateid names.

    Args:
        other: the lasting part of its stateid.
        client: whose.
        file: of what.
    """

    __slots__ = ("client", "dead", "file", "other", "seqid")

    def __init__(self, other: bytes, client: Client, file: FileState) -> None:
        self.other = other
        self.client = client
        self.file = file
        self.seqid = 1
        self.dead = Status.OK
        client.states[other] = self

    @property
    def access(self) -> int:
        """What may be read or written with it."""
        return 0

    @property
    def stateid(self) -> Stateid:
        """As it is now."""
        return Stateid(self.seqid, self.other)

    def bump(self) -> Stateid:
        """It has changed."""
        self.seqid = following(self.seqid)
        return self.stateid


class Open(State):
    """A file that an owner has open; `shares` are the OPENs that add up to it."""

    __slots__ = ("locks", "owner", "shares")

    def __init__(self, other: bytes, owner: OpenOwner, file: FileState) -> None:
        super().__init__(other, owner.client, file)
        self.owner = owner
        self.shares: frozenset[Share] = frozenset()
        self.locks: list[Lock] = []
        owner.opens[file.file] = self
        file.opens.append(self)

    @property
    def share(self) -> Share:
        """The access and deny bits in effect."""
        return union(self.shares)

    @property
    def access(self) -> int:
        """What may be done through it."""
        return self.share[0]


class Lock(State):
    """The bytes that a lock-owner has locked in an open file; the ranges are the file's."""

    __slots__ = ("open", "owner")

    def __init__(self, other: bytes, owner: LockOwner, opened: Open) -> None:
        super().__init__(other, owner.client, opened.file)
        self.owner = owner
        self.open = opened
        owner.locks[opened] = self
        opened.locks.append(self)

    @property
    def access(self) -> int:
        """What may be done through it: what its open may."""
        return self.open.access


class Delegation(State):
    """A promise that nobody else changes the file (or, to a writer, looks at it) without the client being told (RFC 8881 10.4)."""

    __slots__ = ("answer", "asked", "recalled", "sent", "write")

    def __init__(self, other: bytes, client: Client, file: FileState, *, write: bool) -> None:
        super().__init__(other, client, file)
        self.write = write
        self.recalled: float | None = None
        self.sent = False
        self.asked: float | None = None
        self.answer: tuple[int, int] | None = None
        file.delegations.append(self)
        client.delegated += 1

    @property
    def access(self) -> int:
        """What may be done through it."""
        return BOTH if self.write else READ


class Offload:
    """A copy that goes on after COPY was answered (RFC 7862 4.8).

    Attributes:
        stateid: names it; its seqid never changes.
        client: whose it is.
        file: what is written.
        copied: bytes so far.
        status: how it ended; None while it goes on.
        telling: whether the client is being told of that.
    """

    __slots__ = ("client", "copied", "file", "stateid", "status", "telling")

    def __init__(self, other: bytes, client: Client, file: FileId) -> None:
        self.stateid = Stateid(1, other)
        self.client = client
        self.file = file
        self.copied = 0
        self.status: Status | None = None
        self.telling = False

    @property
    def busy(self) -> bool:
        """Whether there is still something to be done for it."""
        return self.status is None or self.telling
