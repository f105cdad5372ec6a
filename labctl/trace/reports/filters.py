"""Which commands are meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

import numpy as np

from labctl.trace.columns.plain import Plain
from labctl.trace.command import Command, Owner
from labctl.trace.naming import Names
from labctl.trace.protocols.rpc.nfs4_words import CARRIERS


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What is asked for; what is empty asks for nothing.

    Args:
        hosts: names of hosts.
        vms: names of VMs.
        datastores: names of datastores.
        operations: `WRITE` is WRITE(6) to WRITE(16) and NFS's WRITE; `*` stands for anything.
        slower: nanoseconds that they took at least.
        failed: only those that did not do what was asked.
        carriers: also those operations that only lead to the others of their COMPOUND.
    """

    hosts: Sequence[str] = ()
    vms: Sequence[str] = ()
    datastores: Sequence[str] = ()
    operations: Sequence[str] = ()
    slower: int = 0
    failed: bool = False
    carriers: bool = False

    def test(self) -> Callable[[Command], bool]:
        """A function that says whether a command is meant."""

        def meant(command: Command) -> bool:
            if not self.carriers and not self.operations and command.operation in CARRIERS and command.good:
                return False
            return (
                self._kind(command.operation, command.owner)
                and (not self.slower or (command.latency or 0) >= self.slower)
                and (not self.failed or not command.good)
            )

        return meant

    def of(self, plain: Plain, names: Names) -> Plain:
        """Those of many commands that are meant."""
        if self == Filter(carriers=self.carriers):
            return plain
        kinds = [not self.failed and self._kind(kind.operation, kind.owner(names)) for kind in plain.kinds]
        return plain.only(np.array(kinds, dtype=bool)[plain.kind] & (plain.end - plain.start >= self.slower))

    def _kind(self, operation: str, owner: Owner) -> bool:
        wanted = [word.upper() for word in self.operations]
        return (
            (not self.hosts or owner.host in self.hosts)
            and (not self.vms or owner.vm in self.vms)
            and (not self.datastores or owner.datastore in self.datastores)
            and (not wanted or any(_is(operation, word) for word in wanted))
        )


EVERYTHING: Final = Filter(carriers=True)


def _is(operation: str, word: str) -> bool:
    operation = operation.upper()
    return operation == word or operation.startswith(f"{word}(") or fnmatchcase(operation, word)
