"""The opcode table: every group's rows, joined, and indexed by opcode for dispatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from labemu_scsi import (
    alua,
    atomic,
    capacity,
    control,
    extended_copy,
    inquiry,
    log,
    mode,
    persistent,
    provisioning,
    reserve,
    sanitize,
    transfer,
)
from labemu_scsi.cdb import CommandSpec

Entry = CommandSpec | Mapping[int, CommandSpec] | None


def index(rows: Sequence[CommandSpec]) -> list[Entry]:
    """256 entries: a row, a mapping from service action to row, or None."""
    table: list[Entry] = [None] * 256
    actions: dict[int, dict[int, CommandSpec]] = {}
    for row in rows:
        if row.action is None:
            table[row.opcode] = row
        else:
            actions.setdefault(row.opcode, {})[row.action] = row
    for opcode, by_action in actions.items():
        table[opcode] = by_action
    return table


UNIT_COMMANDS: Final = (
    *control.COMMANDS,
    *inquiry.COMMANDS,
    *capacity.COMMANDS,
    *mode.COMMANDS,
    *log.COMMANDS,
    *transfer.COMMANDS,
    *atomic.COMMANDS,
    *extended_copy.COMMANDS,
    *provisioning.COMMANDS,
    *sanitize.COMMANDS,
    *reserve.COMMANDS,
    *persistent.COMMANDS,
    *alua.COMMANDS,
)
"""Commands that need nothing but their unit."""
