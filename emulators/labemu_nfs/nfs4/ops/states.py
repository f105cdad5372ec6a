"""What the operations on state share: the state itself, who calls, and NFSv4.0's sequences."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

from labemu_nfs.nfs4.compound import Compound, Wait
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.state.model import Client, Principal
from labemu_nfs.nfs4.state.owners import Answer, Sequence
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.nfs4.status import Nfs4Error, Status, status_of
from labemu_nfs.rpc.message import Body
from labemu_nfs.xdr import Decoder, XdrError


def state_of(compound: Compound) -> NfsState:
    """The server's state."""
    states = compound.context.states
    assert isinstance(states, NfsState)
    return states


def principal_of(compound: Compound) -> Principal:
    """Who calls."""
    return compound.credential.flavor, compound.credential.uid


def client41(compound: Compound) -> Client:
    """The client of the session. Raises Nfs4Error OP_NOT_IN_SESSION."""
    if compound.session is None:
        raise Nfs4Error(Status.OP_NOT_IN_SESSION)
    return compound.session.client


def named_client(compound: Compound, number: int) -> Client:
    """The client of a clientid4 in an owner: 4.1 ignores it for the session's (RFC 8881 2.10.1, 18.10.3).

    Raises:
        Nfs4Error: STALE_CLIENTID, EXPIRED.
    """
    if compound.minor:
        return client41(compound)
    return state_of(compound).clients40.get(number, compound.now)


class Sequenced(Protocol):
    """An owner with a sequence."""

    @property
    def sequence(self) -> Sequence:
        """Its own."""


def fingerprint(arguments: Decoder, begin: int) -> bytes:
    """Of the arguments that were read since `begin`, to know them when they come again."""
    return blake2b(arguments.view[begin : arguments.at], digest_size=16).digest()


def sequenced(
    compound: Compound, owner: Sequenced, seqid: int, request: bytes, run: Callable[[], bytes | Wait]
) -> bytes | Wait:
    """Do an operation of 4.0 that has a seqid, exactly once (RFC 7530 9.1.7); in 4.1 the session has seen to that.

    Args:
        compound: under way.
        owner: whose sequence it is in.
        seqid: its number.
        request: its fingerprint.
        run: does it, and makes what follows OK in the results.

    Raises:
        Nfs4Error: BAD_SEQID; what `run` raises, OSError too; the failure that was the answer before.
    """
    if compound.minor:
        return run()
    again = owner.sequence.begin(seqid, request)
    if again is not None:
        return replayed(compound, again)
    result = _ended(compound, owner, seqid, request, run)
    if isinstance(result, bytes):
        return result
    wait = result

    def finish(error: OSError | None) -> bytes | Body:
        done = _ended(compound, owner, seqid, request, lambda: _joined(wait.finish(error)))
        assert isinstance(done, bytes)
        return done

    return Wait(wait.run, finish)


def _joined(result: bytes | Body) -> bytes:
    return result if isinstance(result, bytes) else b"".join(result)


def _ended(
    compound: Compound, owner: Sequenced, seqid: int, request: bytes, run: Callable[[], bytes | Wait]
) -> bytes | Wait:
    """Run, and remember the answer where there is one already."""
    try:
        result = run()
    except XdrError:
        owner.sequence.end(seqid, Status.BADXDR, Answer(Status.BADXDR, request, b""))
        raise
    except (OSError, Nfs4Error) as error:
        failure = error if isinstance(error, Nfs4Error) else Nfs4Error(status_of(error))
        owner.sequence.end(seqid, failure.status, Answer(failure.status, request, failure.body))
        raise failure from None
    if isinstance(result, bytes):
        owner.sequence.end(seqid, Status.OK, Answer(Status.OK, request, result, compound.current))
    return result


def replayed(compound: Compound, again: Answer) -> bytes:
    """The answer as it was. Raises Nfs4Error where it was a failure."""
    if again.status:
        raise Nfs4Error(Status(again.status), again.body)
    if isinstance(again.handle, Node):
        compound.current = again.handle
        again.handle.changed()
    return again.body
