"""One client's TCP connection: bytes into the engine, replies out, Jobs to threads.

Why not asyncio's transports: until Python 3.12 their writelines joins all buffers into a new one, and a Protocol gets its bytes in one
more copy. Here the kernel writes into the engine's buffer, and all the replies of one receive leave in one sendmsg.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from errno import EIO
from functools import partial
from time import perf_counter

from labemu_faults.rule import Armed
from labemu_io.linger import MOMENT, STEPS, Linger
from labemu_nfs.errors import ProtocolError
from labemu_nfs.io.cutter import Cutter
from labemu_nfs.io.disk import Disk
from labemu_nfs.rpc.message import Buffer
from labemu_nfs.rpc.program import Hold
from labemu_nfs.rpc.server import Pending, RpcConnection
from labemu_nfs.rpc.watch import Watch
from labemu_stages.feed import Feed

_log = logging.getLogger(__name__)

_MAX_BUFFERS = 1024
"""IOV_MAX: buffers of one sendmsg."""


class Connection:
    """Owns a connected, non-blocking socket from construction to `close`.

    Args:
        loop: the event loop; used from its thread only.
        sock: the socket.
        engine: its engine.
        disk: runs Jobs.
        linger: the server's.
        tell: called with the engines that have something to send because of a Job of this one.
        closed: called once, when the connection is over.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        engine: RpcConnection,
        *,
        disk: Disk,
        linger: Linger,
        tell: Callable[[list[RpcConnection]], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._socket = sock
        self.engine = engine
        self._disk = disk
        self._linger = linger
        self._tell = tell
        self._closed = closed
        self._unsent: list[Buffer] = []
        self._reading = False
        self._waits = False
        self._open = True
        self._advancing = False
        self.frozen = False
        self._cutter: Cutter | None = None
        self._take, self._received = engine.data_to_send, engine.received  # a Cutter's while faults want it
        engine.wake = self._wake
        self._read_when_free()

    @property
    def address(self) -> str:
        """The client's."""
        return self.engine.caller.address

    def note(self, feed: Feed | None) -> None:
        """Note the stages of calls there, or (None) no more."""
        try:
            peer, here = self._socket.getpeername(), self._socket.getsockname()
        except OSError:  # it is over, and will be known to be
            return
        self.engine.watch = None if feed is None else Watch(_format(*peer[:2]), _format(*here[:2]), feed)

    def limit(self, rules: Sequence[Armed]) -> None:
        """Drop the connection where these rules say; none takes the limit away."""
        if self._cutter is not None and rules:
            self._cutter.rules = tuple(rules)
            return
        if self._cutter is not None and self._cutter.cut:
            return
        self._cutter = Cutter(self.engine, rules) if rules else None
        source = self.engine if self._cutter is None else self._cutter
        self._take, self._received = source.data_to_send, source.received

    def freeze(self) -> None:
        """Go silent, as if the cable were cut: nothing is read or sent, the socket stays."""
        if self._open and not self.frozen:
            self.frozen = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._reading = self._waits = False

    def thaw(self) -> None:
        """Go on where it stopped."""
        if self._open and self.frozen:
            self.frozen = False
            self._send()
            if self._open:
                self._advance(self.engine.proceed)

    def _read_when_free(self) -> None:
        """Listen for input exactly while there is somewhere to put what comes of it."""
        want = not self._unsent and not self.engine.busy and not self.frozen
        if want and not self._reading:
            self._loop.add_reader(self._socket, self._readable)
        elif self._reading and not want:
            self._loop.remove_reader(self._socket)
        self._reading = want

    def _readable(self) -> None:
        """Take what came, and where the client makes one call at a time, wait a moment for the next (linger.py)."""
        engine, linger, wait = self.engine, self._linger, 0.0
        for _ in range(STEPS):
            before = engine.calls
            if not self._receive(wait):
                if wait:
                    linger.missed()
                return
            if not self._reading:
                return
            if not linger.worthwhile(self, single=engine.calls - before == 1 and engine.idle):
                return
            wait = MOMENT

    def _receive(self, wait: float) -> bool:
        """Receive once and do what that asks for; False when nothing has come for so many seconds."""
        space, receive = self.engine.space(), self._socket.recv_into
        until = perf_counter() + wait if wait else 0.0
        while True:
            try:
                size = receive(space)
                break
            except (BlockingIOError, InterruptedError):
                if not wait or perf_counter() >= until:
                    return False
            except OSError:
                self.close()
                return True
        if not size:
            self.close()
            return True
        if wait:
            self._linger.found()
        self._advance(lambda now: self._received(size, now))
        return True

    def _advance(self, work: Callable[[float], list[Pending]]) -> None:
        """Let the engine work and send what it says, again while it had to stop only because its replies were not taken."""
        try:
            while True:
                was_busy = self._begin(work)
                self.flush()
                if not was_busy or self._unsent or self.engine.busy or not self._open:
                    break
                work = self.engine.proceed
        except ProtocolError as error:
            _log.warning("%s: closed: %s", self.engine.caller.address, error)
            self.close()
        except Exception:  # a bug of ours must not leave a connection that is half alive
            _log.exception("%s: closed: this should not have happened", self.engine.caller.address)
            self.close()

    def _begin(self, work: Callable[[float], list[Pending]]) -> bool:
        """Let the engine work, and start its Jobs; whether it stopped because it has enough to do."""
        self._advancing = True  # what is done on the spot is sent with the rest
        try:
            for pending in work(self._loop.time()):
                self._start(pending)
        finally:
            self._advancing = False
        return self.engine.busy

    def proceed(self) -> None:
        """Something of this connection is done: send it, and work on."""
        if self._open:
            self._advance(self.engine.proceed)

    def _wake(self) -> None:
        """The engine has something to send that nothing received here has brought about."""
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send all that the engine has."""
        output = self._take()
        if not self._open:
            return
        if output:
            if self._unsent:
                self._unsent += output
            else:
                self._unsent = output
                self._send()
        if self._cutter is not None and self._cutter.cut and not self._unsent:
            self.close()
        if self._open:
            self._read_when_free()

    def _send(self) -> None:
        """Send as much as the socket takes; wait for it to take more if need be."""
        if self.frozen:
            return
        buffers = self._unsent
        while buffers:
            try:
                sent = self._socket.sendmsg(buffers if len(buffers) <= _MAX_BUFFERS else buffers[:_MAX_BUFFERS])
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return
            buffers = _rest(buffers, sent)
        if buffers and not self._waits:
            self._loop.add_writer(self._socket, self._writable)
        self._waits = bool(buffers)
        self._unsent = buffers

    def _writable(self) -> None:
        self._send()
        if self._open and not self._unsent:
            self._loop.remove_writer(self._socket)
            self._advance(self.engine.proceed)

    def _start(self, pending: Pending) -> None:
        job = pending.job
        if isinstance(job, Hold):
            self._hold(pending, job)
            return
        self._disk.run(pending.work, partial(self._finished, pending))

    def _hold(self, pending: Pending, hold: Hold) -> None:
        """Let a call wait as a fault has ordered, without a thread."""
        if hold.silent:
            self.engine.forget(pending)
        then = self.close if hold.silent else partial(self._resume, pending)
        gate = hold.gate
        arrive = then if gate is None else partial(gate.wait, then)
        if hold.delay > 0:
            self._loop.call_later(hold.delay, arrive)
        else:
            arrive()

    def _resume(self, pending: Pending) -> None:
        try:
            outcome = self.engine.resume(pending)
        except Exception:  # as in _advance
            _log.exception("%s: closed: this should not have happened", self.address)
            self.close()
            return
        if isinstance(outcome, Pending):
            self._start(outcome)
            return
        self._tell(outcome)

    def _finished(self, pending: Pending, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, OSError):
            _log.error("a job failed in a way that it must not", exc_info=error)
            error = OSError(EIO, str(error))
        told = self.engine.complete(pending, error, self._loop.time())
        if not told:
            self._start(pending)  # also after the connection is closed: what was begun is finished
            return
        if self._advancing:
            told = [engine for engine in told if engine is not self.engine]
        if told:
            self._tell(told)

    def close(self) -> None:
        """Close the socket. Jobs under way still end, and their replies are kept for whoever asks again."""
        if not self._open:
            return
        self._open = self._reading = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._unsent = []
        self.engine.link.close()
        self._closed(self)


def _format(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _rest(buffers: list[Buffer], sent: int) -> list[Buffer]:
    """What remains of the buffers after `sent` bytes of them."""
    for at, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[at + 1 :]] if sent else buffers[at:]
        sent -= len(buffer)
    return []
