"""A pass over the whole medium, step by step: what SANITIZE and FORMAT UNIT have in common.

While it runs, and after it failed, the unit answers nothing but questions (SBC-3 4.11.3, SPC-4 5.6). It ends on the event loop, goes on
when its command is aborted, its nexus lost or its unit reset, and does not outlive the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from labemu_scsi.limits import WIPE_STEP_BYTES, WIPE_STEPS
from labemu_scsi.sense import CheckCondition, Underway, WipeFailed

_FULL: Final = 0x10000
_INQUIRY, _REQUEST_SENSE, _REPORT_LUNS, _LOG_SENSE, _OPCODES = 0x12, 0x03, 0xA0, 0x4D, 0xA3
_ALLOWED: Final = frozenset((_INQUIRY, _REQUEST_SENSE, _REPORT_LUNS, _LOG_SENSE, _OPCODES))

Part = Callable[[int, int], None]


class Wipe:
    """One of them.

    Args:
        size: bytes of the medium.
        block_size: steps begin and end on blocks.
        passes: what is done to each part of the medium, as offset and length; one after the other.
        underway: ASC and ASCQ while it runs.
        failure: ASC and ASCQ after it failed.
        remedies: opcodes that are taken after it failed.
        lenient: a failure may be left without another try (AUSE).
    """

    def __init__(
        self,
        size: int,
        block_size: int,
        passes: Sequence[Part],
        *,
        underway: tuple[int, int],
        failure: tuple[int, int],
        remedies: frozenset[int],
        lenient: bool = False,
    ) -> None:
        steps = max(WIPE_STEPS, -(-size // WIPE_STEP_BYTES))
        self._stride = max(block_size, size // steps & -block_size)
        self._size = size
        self._passes = passes
        self._underway = underway
        self._failure = failure
        self._remedies = remedies
        self.lenient = lenient
        self.failed = False
        self.steps = -(-size // self._stride) * len(passes)
        self.done = 0
        self._parts = self._walk()

    def _walk(self) -> Iterator[tuple[Part, int, int]]:
        for part in self._passes:
            for offset in range(0, self._size, self._stride):
                yield part, offset, min(self._stride, self._size - offset)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.done == self.steps

    def step(self) -> None:
        """Do the next part; what the store raises is a failure for good."""
        part, offset, length = next(self._parts)
        try:
            part(offset, length)
        except OSError:
            self.failed = True
            raise
        self.done += 1

    def condition(self) -> CheckCondition:
        """What REQUEST SENSE tells of it."""
        if self.failed:
            return WipeFailed(self._failure)
        return Underway(self._underway, min(self.done * _FULL // self.steps, _FULL - 1))

    def check(self, opcode: int) -> None:
        """Raise its condition unless the command is taken all the same."""
        if opcode not in _ALLOWED and not (self.failed and opcode in self._remedies):
            raise self.condition()
