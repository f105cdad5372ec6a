"""Faults of an NFS server: what ordered rules do to its operations.

`Faults.decide` is asked for each operation, of whatever version of the protocol, while rules are set; it knows neither versions nor
messages. Statuses are numbers: nfsstat3 and nfsstat4 mean the same by the same number (RFC 1813 2.6, RFC 7530 13), JUKEBOX being
DELAY.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from labemu_faults.action import ActionKind
from labemu_faults.errors import FaultError, unknown
from labemu_faults.gate import Gate
from labemu_faults.rule import Armed, Rule
from labemu_faults.table import FaultTable
from labemu_nfs.nfs3.status import Status

ACTIONS: Final = frozenset(
    (
        ActionKind.LATENCY,
        ActionKind.RATE,
        ActionKind.ERROR,
        ActionKind.READONLY,
        ActionKind.SILENCE,
        ActionKind.PAUSE,
        ActionKind.DROP,
    )
)
"""What a server can do."""

ERRORS: Final[dict[str, int]] = {
    **{status.name.casefold(): int(status) for status in Status if status is not Status.OK},
    "delay": Status.JUKEBOX,  # NFSv4's name of it
    "access": Status.ACCES,
}
"""Statuses by the word that users order them with: their own names, and the usual others."""

CHANGING: Final = frozenset(
    (
        *("SETATTR", "WRITE", "CREATE", "MKDIR", "SYMLINK", "MKNOD", "REMOVE", "RMDIR", "RENAME", "LINK"),
        *("ALLOCATE", "DEALLOCATE", "CLONE", "COPY", "SETXATTR", "REMOVEXATTR"),  # NFSv4.2
    )
)
"""Operations of any version that a read-only file system refuses."""

HANDLE: Final = "handle:"
"""What a rule's path begins with that is a glob of a filehandle in hex, for files whose path is not known."""

_ALIASES: Final = {"COMMIT": "flush", "COPY": "write", "READ_PLUS": "read", "ALLOCATE": "write", "DEALLOCATE": "unmap"}


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with an operation.

    Args:
        status: fail with this nfsstat instead of doing it; 0 is to do it.
        delay: seconds to wait first.
        gate: what to wait at after that.
        silent: never answer; the connection ends when the gate opens.
        drop: end the connection at once.
    """

    status: int = 0
    delay: float = 0.0
    gate: Gate | None = None
    silent: bool = False
    drop: bool = False


def is_transport(rule: Rule) -> bool:
    """Whether it is about whole connections: all silent, or dropped after so many bytes."""
    if rule.operations or rule.path or rule.ranged:
        return False
    return rule.action.kind is ActionKind.SILENCE or (rule.action.kind is ActionKind.DROP and rule.action.after > 0)


def check_rule(rule: Rule, operations: Iterable[str]) -> None:
    """Refuse what no NFS server can do.

    Args:
        rule: what was ordered.
        operations: the names of those that there are.

    Raises:
        FaultError: with a hint.
    """
    kind = rule.action.kind
    if kind not in ACTIONS:
        raise FaultError(f"{kind} is nothing that an NFS server can do", hint=f"it can: {', '.join(sorted(ACTIONS))}")
    if rule.lun is not None or rule.target:
        raise FaultError("an NFS server has no targets and LUNs", hint="select by path: /export/file*")
    if kind is ActionKind.DROP and rule.action.after and not is_transport(rule):
        raise FaultError(
            "bytes are counted for a whole connection", hint="leave out the operations and the path, or the bytes"
        )
    known = [word for name in operations for word in words_of(name)]
    for word in rule.operations:
        if not any(Armed(Rule(id="", action=rule.action, operations=(word,))).concerns((each,)) for each in known):
            raise unknown("operation", word, known)


def words_of(operation: str) -> tuple[str, ...]:
    """What rules may call an operation: its name, and `flush` for COMMIT."""
    word = operation.casefold()
    alias = _ALIASES.get(operation)
    return (word, alias) if alias else (word,)


class Faults:
    """A server's rules.

    Args:
        changed: called after rules came, went or were spent.
        now: the driver's clock, in seconds; RATE paces by it.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None, now: Callable[[], float] = lambda: 0.0) -> None:
        self.table = FaultTable(changed)
        self.now = now

    @property
    def rules(self) -> tuple[Armed, ...]:
        """Those that `decide` asks."""
        return tuple(armed for armed in self.table.active if not is_transport(armed.rule))

    @property
    def wants_paths(self) -> bool:
        """Whether any rule selects by path; if not, `decide` can be given an empty one."""
        return any(armed.rule.path for armed in self.rules)

    def decide(
        self,
        operation: str,
        path: str,
        client: str,
        *,
        handle: bytes = b"",
        ranges: Sequence[tuple[int, int]] = (),
    ) -> Decision | None:
        """What to do with an operation.

        Args:
            operation: its name as its RFC has it, in capitals.
            path: of the file, the export's path first; of the name in it, for operations on a directory and a name.
            client: its address.
            handle: the filehandle.
            ranges: (offset, length) of the bytes that are read or written.

        Returns:
            None to do it as always.
        """
        words = words_of(operation)
        delay = 0.0
        for armed in self.rules:
            if not self._selects(armed, operation, words, path, client, handle, ranges) or not armed.strike():
                continue
            action = armed.rule.action
            if action.kind is ActionKind.ERROR:
                return Decision(status=action.code[0], delay=delay)
            if action.kind is ActionKind.READONLY:
                return Decision(status=Status.ROFS, delay=delay)
            if action.kind is ActionKind.DROP:
                return Decision(drop=True)
            if action.kind in (ActionKind.SILENCE, ActionKind.PAUSE):
                return Decision(delay=delay, gate=armed.gate, silent=action.kind is ActionKind.SILENCE)
            delay += armed.delay(sum(length for _, length in ranges), self.now())
        return Decision(delay=delay) if delay else None

    @staticmethod
    def _selects(
        armed: Armed,
        operation: str,
        words: tuple[str, ...],
        path: str,
        client: str,
        handle: bytes,
        ranges: Sequence[tuple[int, int]],
    ) -> bool:
        rule = armed.rule
        if not armed.concerns(words) or not armed.admits(client):
            return False
        if rule.action.kind is ActionKind.READONLY and operation not in CHANGING:
            return False
        if rule.ranged and armed.overlaps(ranges) is None:
            return False
        if rule.path.startswith(HANDLE):
            return armed.matches(rule.path.removeprefix(HANDLE), handle.hex())
        return armed.matches(rule.path, path)
