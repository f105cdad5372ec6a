"""A VM's going away: at most one migration at a time, and what must wait for it."""

from __future__ import annotations

import asyncio
import contextlib

from labctl.errors import ConflictError
from labctl_server.hostd.host import Host
from labctl_server.hostd.migration import Migration, Source
from labctl_server.hostd.store import Order

GIVE_UP_DEADLINE = 20.0
"""Seconds for a migration to end when its VM is to end."""


class Departure:
    """The migrations of one VM away from its host.

    Args:
        host: the host.
        source: the VM.
    """

    def __init__(self, host: Host, source: Source) -> None:
        self._host = host
        self._source = source
        self._last: Migration | None = None
        self._task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Have the migration that is under way end with the VM here.

        Raises:
            ConflictError: there is none, or it is too far.
        """
        if self._last is None or self._task is None or self._task.done():
            raise ConflictError(f"{self._source.name} is not being migrated")
        self._last.cancel()

    def begin(self, order: Order) -> Migration:
        """Begin to migrate, in the background."""
        self._source.note_migration(order)
        self._last = self._new(order)
        self._task = asyncio.create_task(self._last.run())
        return self._last

    def recover(self, order: Order) -> None:
        """Bring to an end what a killed predecessor had begun, in the background."""
        self._last = self._new(order)
        self._task = asyncio.create_task(self._last.recover())

    async def let_go(self) -> None:
        """Stop steering; the next hostd recovers."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def give_up(self) -> None:
        """The VM is to end: so does its migration.

        Raises:
            ConflictError: it is being handed over, and may run elsewhere already.
        """
        if self._task is None or self._task.done() or self._last is None:
            return
        with contextlib.suppress(ConflictError):  # too late: it is waited for
            self._last.cancel()
        await asyncio.wait({self._task}, timeout=GIVE_UP_DEADLINE)
        if not self._task.done():
            raise ConflictError(
                f"{self._source.name} is being handed over, and may run on the destination",
                hint="try again once that answers",
            )

    def _new(self, order: Order) -> Migration:
        made = Migration(
            self._source,
            order,
            host=self._host.name,
            peer=self._host.peer(order),
            publish=self._host.publish,
            credentials=self._host.credentials,
        )
        self._host.departures[self._source.name] = made.progress
        return made


def refuse_if_moving(name: str, migration: Order | None, moved_to: str | None, *, arriving: bool) -> None:
    """What is done to a VM that stays where it is must wait.

    Raises:
        ConflictError: it is on its way, or gone.
    """
    if migration is not None:
        raise ConflictError(
            f"{name} is being migrated to {migration.host}",
            hint=f"wait for the migration's end, or cancel it: labctl vm migrate {name} --cancel",
        )
    if moved_to is not None:
        raise ConflictError(f"{name} was migrated to {moved_to}", hint="try again")
    if arriving:
        raise ConflictError(f"{name} is on its way here", hint="wait for the migration's end")
