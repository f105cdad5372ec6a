"""What a program offers the RPC layer: a table of procedures, and calls that have to wait for the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from labemu_faults.gate import Gate
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.link import Link
from labemu_nfs.rpc.message import Body
from labemu_nfs.xdr import Decoder


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a call came from: the peer's IP address, the transport (`tcp`, `udp`), and the connection to call back over."""

    address: str
    transport: str = "tcp"
    link: Link | None = field(default=None, compare=False)


class Job:
    """Work that blocks and so goes to a thread.

    Args:
        run: what to do there; it raises OSError and nothing else.
        finish: makes the results, back in the engine, from the error or None; or another Job, where there is more to wait for.
    """

    __slots__ = ("finish", "run")

    def __init__(self, run: Callable[[], object], finish: Callable[[OSError | None], Body | Job]) -> None:
        self.run = run
        self.finish = finish


class Hold(Job):
    """A call that an ordered fault keeps waiting before it is done.

    The driver lets `delay` pass and the gate open, without a thread, and calls `RpcConnection.resume` then; one that knows no waiting and
    runs it as any Job does it at once.

    Args:
        proceed: does the call; raises XdrError for arguments that do not decode.
        delay: seconds.
        gate: what it waits at after that.
        silent: it is not done even then; the connection ends when the gate opens, so that the client asks again.
    """

    __slots__ = ("delay", "gate", "proceed", "silent")

    def __init__(
        self,
        proceed: Callable[[], Body | Job],
        *,
        delay: float = 0.0,
        gate: Gate | None = None,
        silent: bool = False,
    ) -> None:
        super().__init__(_nothing, lambda _: proceed())
        self.proceed = proceed
        self.delay = delay
        self.gate = gate
        self.silent = silent


def _nothing() -> None:
    """What blocks in a Hold."""


Handler = Callable[[Caller, Credential, Decoder], Body | Job]


@dataclass(frozen=True, slots=True, eq=False)
class Procedure:
    """One procedure.

    Args:
        name: as the RFC has it.
        handler: raises XdrError for arguments that do not decode, and nothing else.
        once: it must not be done twice for one call, so its reply is kept; or what tells that from a message and where its arguments begin.
    """

    name: str
    handler: Handler
    once: bool | Callable[[memoryview, int], bool] = False


@dataclass(frozen=True, slots=True)
class Program:
    """A program by number, with a table of procedures for each version.

    Args:
        number: as assigned.
        name: for people.
        versions: procedure tables; a procedure's number is its index, None where there is none.
        transports: where it may be called.
    """

    number: int
    name: str
    versions: Mapping[int, tuple[Procedure | None, ...]]
    transports: frozenset[str] = field(default=frozenset({"tcp", "udp"}))


def null(caller: Caller, credential: Credential, arguments: Decoder) -> Body:
    """Procedure 0 of every program: does nothing (RFC 5531 12.1)."""
    return []
