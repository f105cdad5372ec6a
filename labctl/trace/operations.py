"""The names of all operations that decoding knows, so that a misspelled one is found before anybody waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from labctl.trace.protocols.iscsi.cdb import name_of
from labctl.trace.protocols.iscsi.words import TASK_FUNCTIONS
from labctl.trace.protocols.rpc import nfs3, nfs4_words, others

_ISCSI: Final = ("LOGIN", "LOGOUT", "TEXT", "NOP-OUT", "NOP-IN", "ASYNC MESSAGE")


def _scsi() -> Iterator[str]:
    for opcode in range(256):
        for action in range(32):  # SPC-4 4.2.2: a service action has five bits where it has a name here
            name = name_of(opcode, action)
            if "0x" not in name:
                yield name


OPERATIONS: Final[frozenset[str]] = frozenset(
    (*_scsi(), *_ISCSI, *TASK_FUNCTIONS.values(), *nfs3.PROCEDURES, *nfs4_words.OPERATIONS.values(), *others.PROCEDURES)
)
"""As `Command.operation` has them."""
