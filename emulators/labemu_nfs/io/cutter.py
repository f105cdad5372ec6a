"""Where a connection is to be cut: it counts bytes, and stands between a connection and its engine only while a rule drops it."""

from __future__ import annotations

from collections.abc import Sequence

from labemu_faults.rule import Armed
from labemu_nfs.rpc.message import Buffer
from labemu_nfs.rpc.server import Pending, RpcConnection


class Cutter:
    """Takes and gives an engine's bytes up to the one at which a rule drops the connection.

    Args:
        engine: the engine.
        rules: those that drop.
    """

    def __init__(self, engine: RpcConnection, rules: Sequence[Armed]) -> None:
        self._engine = engine
        self.rules = tuple(rules)
        self.cut = False
        self._counted: dict[Armed, int] = {}

    def received(self, size: int, now: float) -> list[Pending]:
        """As the engine's; nothing of what came with the last byte is done."""
        if self._over(size, incoming=True) is not None:
            self.cut = True
            return []
        return self._engine.received(size, now)

    def data_to_send(self) -> list[Buffer]:
        """As the engine's, up to the last byte."""
        if self.cut:
            return []
        output = self._engine.data_to_send()
        over = self._over(sum(map(len, output)), incoming=False)
        if over is None:
            return output
        self.cut = True
        stream = b"".join(output)
        return [stream[: len(stream) - over]]

    def _over(self, count: int, *, incoming: bool) -> int | None:
        """How many of these bytes are too many, or None."""
        for armed in self.rules:
            action = armed.rule.action
            if action.received is not incoming or not count:
                continue
            total = self._counted.get(armed, 0) + count
            self._counted[armed] = total
            if total >= action.after:
                self._counted[armed] = 0
                if armed.strike():
                    return min(total - action.after, count)
        return None
