"""What a command does to the medium, in the eyes of reservations: a row of the opcode table says it, reservations judge by it."""

from __future__ import annotations

from enum import Enum


class Access(Enum):
    """How a command fares under another nexus's reservation (SPC-4 tables 54 and 55, SBC-3 table 13)."""

    ALWAYS = "always"
    READ = "read"
    WRITE = "write"
