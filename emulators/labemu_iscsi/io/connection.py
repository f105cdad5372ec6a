"""One socket and its engine.

The socket is used directly, through the loop's add_reader and add_writer, and not through an asyncio transport: a transport joins
the buffers that it is given into one (a copy of every payload), where sendmsg takes them as they are. One receive is one batch:
all its commands are executed, and their replies leave in one sendmsg.

Back pressure: when more output waits than OUTPUT_HIGH_WATER, no further command is started and nothing is read until it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from labemu_faults.rule import Armed
from labemu_io.linger import MOMENT, STEPS, Linger
from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.events import Event, LoggedIn
from labemu_iscsi.io.executor import WorkExecutor
from labemu_iscsi.limits import LOGIN_TIMEOUT, OUTPUT_HIGH_WATER
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import Buffer
from labemu_iscsi.service import Service
from labemu_iscsi.tamper import Tamper
from labemu_iscsi.watch import WatchedService
from labemu_stages.feed import Feed

logger = logging.getLogger(__name__)

_MAX_BUFFERS: Final = 1024  # IOV_MAX of Linux


class SocketConnection:
    """Moves bytes between a socket and its engine.

    Args:
        loop: the loop.
        sock: connected and non-blocking; closed by this object.
        node: what the engine serves.
        executor: deferred work.
        linger: the server's.
        peer: the initiator's address.
        portal: where it came in.
        closed: called once, at the end.
        logged_in: called when it enters full feature phase.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        node: Node,
        executor: WorkExecutor,
        linger: Linger,
        peer: str,
        portal: str,
        closed: Callable[[SocketConnection], None],
        logged_in: Callable[[SocketConnection], None] = lambda _: None,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._closed = closed
        self._told = logged_in
        self._linger = linger
        self._commands = 0
        self.target = TargetConnection(node, peer=peer, portal=portal, now=loop.time(), wake=self._wake, fast=True)
        self.engine: TargetConnection | Tamper = self.target  # a Tamper in its place while faults are ordered
        self.frozen = False
        self._executor = executor
        self._service = Service(self.target, executor, self._wake)
        self._feed: Feed | None = None
        self._events: deque[Event] = deque()
        self._output: deque[Buffer] = deque()
        self._reading = True
        self._writing = False
        self._woken = False
        self._open = True
        self._deadline: asyncio.TimerHandle | None = loop.call_later(LOGIN_TIMEOUT, self._check_login)
        loop.add_reader(sock, self._readable)

    def _check_login(self) -> None:
        self._deadline = None
        self.engine.check_deadline(self._loop.time())
        self._work()

    def check_silence(self) -> None:
        """Ask an initiator that says nothing whether it is there, and give it up when it does not answer."""
        if self.frozen:
            return  # an ordered fault keeps us from hearing it
        self.target.check_deadline(self._loop.time())
        if self.target.pending or self.target.closed:
            self._wake()

    def _wake(self) -> None:
        """Deferred responses of one turn of the loop leave together."""
        if not self._woken and self._open:
            self._woken = True
            self._loop.call_soon(self._woken_up)

    def _woken_up(self) -> None:
        self._woken = False
        self._events.extend(self.target.take_events())
        self._work()

    def _readable(self) -> None:
        """Take what came, and where the initiator goes step by step, wait a moment for its next step (linger.py)."""
        linger, wait = self._linger, 0.0
        for _ in range(STEPS):
            if not self._receive(wait):
                break
            session = self.target.session
            if session is None or self._events or not self._reading or not self._open:
                return
            commands, self._commands = self._commands, session.commands
            if not linger.worthwhile(self, single=session.commands - commands == 1):
                return
            wait = MOMENT
        else:
            return
        if wait:
            linger.missed()

    def _receive(self, wait: float) -> bool:
        """Receive once, and do what that asks for; False when nothing has come, for so many seconds."""
        engine = self.engine
        buffer = engine.receive_buffer()
        until = time.perf_counter() + wait if wait else 0.0
        while True:
            try:
                count = self._sock.recv_into(buffer)
                break
            except (BlockingIOError, InterruptedError):
                if time.perf_counter() >= until:
                    return False
            except OSError as error:
                self._lost(error.strerror or "receive failed")
                return True
        if not count:
            self._lost("the initiator closed the connection")
            return True
        if wait:
            self._linger.found()
        self._events.extend(engine.received(count, self._loop.time()))
        if self._feed is not None:
            self._service.arrived(self._events)
        self._work()
        return True

    def _work(self) -> None:
        """Execute what was received, as far as the output has room, and send."""
        if not self._open or self.frozen:
            return
        while True:
            if self._events:
                self._handle()
                if self.frozen or not self._open:
                    return
            if not self._send():
                self._pause()
                return
            if self._events:
                continue
            if not self.engine.more or not self._open:
                break
            self._events.extend(self.engine.proceed())
        if self.engine.closed:
            self.close()
        elif self._writing or not self._reading:
            self._resume()

    def _handle(self) -> None:
        events, engine, handle = self._events, self.engine, self._service.handle
        while events:
            if engine.pending > OUTPUT_HIGH_WATER and not (self._send() and self._open):
                break
            event = events.popleft()
            handle(event)
            if event.__class__ is LoggedIn:
                self._logged_in(event)
                if self.frozen:
                    return
                engine = self.engine

    def _logged_in(self, event: LoggedIn) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        session = event.session
        target = session.target.name if session.target is not None else "discovery"
        self._told(self)
        logger.info("%s logged in from %s: %s", session.initiator, self.engine.peer, target)

    def _send(self) -> bool:
        """Send what waits; whether all of it is gone."""
        output = self._output
        output.extend(self.engine.data_to_send())
        while output:
            batch = list(output) if len(output) <= _MAX_BUFFERS else [output[i] for i in range(_MAX_BUFFERS)]
            try:
                sent = self._sock.sendmsg(batch)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                self._lost(error.strerror or "send failed")
                return True
            if len(batch) == len(output) and sent == sum(map(len, batch)):
                output.clear()
            else:
                _consume(output, sent)
        return True

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._sock, self._work)

    def _resume(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock)
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._sock, self._readable)

    def tamper(self, rules: Sequence[Armed]) -> None:
        """Let these faults of the transport work on the connection; none gives it back to its engine."""
        if isinstance(self.engine, Tamper):
            if rules:
                self.engine.rules = tuple(rules)
                return
            if self.engine.closed:  # it was dropped, and ends as soon as the rest is sent
                return
            self._output.extend(self.engine.release())
            self.engine = self.target
            self._wake()
        elif rules:
            self.engine = Tamper(self.target, rules, now=self._loop.time, wake_at=self._wake_at)

    def watch(self, feed: Feed | None) -> None:
        """Note the stages of commands here, or no more."""
        self._feed = feed
        if feed is None:
            self._service = Service(self.target, self._executor, self._wake)
        else:
            self._service = WatchedService(self.target, self._executor, self._wake, feed)

    def _wake_at(self, when: float) -> None:
        self._loop.call_at(when, self._wake)

    def freeze(self) -> None:
        """Go silent, as if the cable were cut: nothing is read or sent, the socket stays."""
        if self.frozen or not self._open:
            return
        self.frozen = True
        if self._reading:
            self._loop.remove_reader(self._sock)
        if self._writing:
            self._loop.remove_writer(self._sock)
        self._reading = self._writing = False

    def thaw(self) -> None:
        """Go on where it stopped: what came meanwhile is read, what waits is sent."""
        if not self.frozen or not self._open:
            return
        self.frozen = False
        self._reading = True
        self._loop.add_reader(self._sock, self._readable)
        self._work()

    def _lost(self, reason: str) -> None:
        self.engine.connection_lost(reason)
        self._output.clear()
        self._events.clear()
        self.close()

    def close(self) -> None:
        """Close the socket; what was not sent is lost."""
        if not self._open:
            return
        self._open = False
        if self._deadline is not None:
            self._deadline.cancel()
        if self._reading:
            self._loop.remove_reader(self._sock)
        if self._writing:
            self._loop.remove_writer(self._sock)
        self._sock.close()
        self.engine.connection_lost("closed")
        logger.info("%s left: %s", self.engine.peer, self.engine.error)
        self._closed(self)


def _consume(output: deque[Buffer], sent: int) -> None:
    while sent:
        size = len(output[0])
        if sent < size:
            output[0] = memoryview(output[0])[sent:]
            return
        sent -= size
        output.popleft()
