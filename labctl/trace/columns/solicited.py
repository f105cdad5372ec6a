"""Data that targets ask for: R2T and Data-Out by the column (RFC 7143 11.7, 11.8)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from labctl.trace.columns.pairing import NEVER, Pairs, counted, need, ranks
from labctl.trace.files.batch import Integers
from labctl.trace.protocols.iscsi import wire
from labctl.trace.protocols.iscsi.session import Task

_NONE: Final = np.zeros(0, dtype=np.int64)


class Solicited:
    """The R2Ts and Data-Outs of a batch. Making one raises NotPlainError where one of them breaks a rule.

    Args:
        pairs: the batch's commands.
        carried: those of them that were under way before.
        expected: how many bytes each command has.
        r2t_sn: the R2TSN that comes next, of each.
        r2t: headers of R2Ts; of: their commands; came: when.
        out: headers of Data-Outs; went: when.

    Attributes:
        sent: bytes of Data-Out, for each command.
        trips: R2Ts, for each command.
    """

    def __init__(
        self,
        pairs: Pairs,
        carried: list[Task],
        expected: Integers,
        r2t_sn: Integers,
        *,
        r2t: NDArray[Any],
        of: Integers,
        came: Integers,
        out: NDArray[Any],
        went: Integers,
    ) -> None:
        number, offset, length = (r2t[name].astype(np.int64) for name in ("w36", "w40", "w44"))
        need((r2t_sn[of] >= 0) & (number == r2t_sn[of] + ranks(of)))
        need(offset + length <= expected[of])
        self.trips = counted(of, pairs.count)
        to = pairs.whose(out["tag"].astype(np.int64), went)
        need(went < pairs.end_at[to])
        bytes_out = out["lengths"].astype(np.int64)
        self.sent = counted(to, pairs.count, bytes_out)
        known = [(index, tag, *ask) for index, task in enumerate(carried) for tag, ask in (task.asked or {}).items()]
        before = np.array(known, dtype=np.int64).reshape(-1, 6).T
        self._of = np.concatenate((before[0], of))
        self._tag = np.concatenate((before[1], r2t["w20"].astype(np.int64)))
        self._offset = np.concatenate((before[2], offset))
        self._length = np.concatenate((before[3], length))
        self._next = np.concatenate((before[4], np.zeros_like(of)))
        self._at = np.concatenate((np.full(len(known), -1, dtype=np.int64), came))
        asked_for = np.flatnonzero(out["w20"] != wire.NO_TAG)
        self._answer(out[asked_for], to[asked_for], went[asked_for], bytes_out[asked_for])
        self._left = np.flatnonzero((self._over == NEVER) & ~pairs.over[self._of]).tolist()

    def _answer(self, out: NDArray[Any], to: Integers, went: Integers, length: Integers) -> None:
        """Find the R2T that each Data-Out answers: the last one with its command and tag; and hold them to each other."""
        tags = np.unique(np.concatenate((self._tag, out["w20"].astype(np.int64))), return_inverse=True)[1].astype(
            np.int64
        )
        span = len(tags) + 1
        mine, its = self._of * span + tags[: len(self._tag)], to * span + tags[len(self._tag) :]
        latest = int(max(self._at.max(initial=0), went.max(initial=0))) + 2
        keys = mine * latest + self._at + 1
        order = np.argsort(keys)
        place = np.searchsorted(keys[order], its * latest + went + 1) - 1
        need(place >= 0)
        answers = order[place]
        need(mine[answers] == its)
        need(out["w36"].astype(np.int64) == self._next[answers] + ranks(answers))
        offset = out["w40"].astype(np.int64)
        need((offset >= self._offset[answers]) & (offset + length <= (self._offset + self._length)[answers]))
        final = out["flags"] & wire.FINAL != 0
        need(counted(answers[final], len(mine)) <= 1)
        self._over = np.full(len(mine), NEVER)
        self._over[answers[final]] = went[final]
        need(went <= self._over[answers])
        need((mine[order[:-1]] != mine[order[1:]]) | (self._over[order[:-1]] < self._at[order[1:]]))
        self._next = self._next + counted(answers, len(mine))

    def left(self, command: int) -> dict[int, list[int]]:
        """The R2Ts of a command that are still being answered, as `Task.asked` has them."""
        return {
            int(self._tag[each]): [
                int(column[each]) for column in (self._offset, self._length, self._next, self._offset)
            ]
            for each in self._left
            if self._of[each] == command
        }
