"""iSCSI's headers (RFC 7143 11): where things stand, what they are called, and whether bytes can be one at all."""

from __future__ import annotations

import struct
from typing import Final

BHS: Final = 48
HEAD: Final = struct.Struct(">BBBBIQI7I")
"""Opcode, flags, bytes 2 and 3, AHS length and data length, LUN (or ISID and TSIH), task tag, and the words from byte 20 on."""
NO_TAG: Final = 0xFFFFFFFF
FINAL: Final = 0x80

NOP_OUT: Final = 0x00
COMMAND: Final = 0x01
TASK_REQUEST: Final = 0x02
LOGIN_REQUEST: Final = 0x03
TEXT_REQUEST: Final = 0x04
DATA_OUT: Final = 0x05
LOGOUT_REQUEST: Final = 0x06
SNACK: Final = 0x10
NOP_IN: Final = 0x20
RESPONSE: Final = 0x21
TASK_RESPONSE: Final = 0x22
LOGIN_RESPONSE: Final = 0x23
TEXT_RESPONSE: Final = 0x24
DATA_IN: Final = 0x25
LOGOUT_RESPONSE: Final = 0x26
R2T: Final = 0x31
ASYNC: Final = 0x32
REJECT: Final = 0x3F

KINDS: Final = {
    NOP_OUT: "NOP-Out",
    COMMAND: "SCSI Command",
    TASK_REQUEST: "Task Management Function Request",
    LOGIN_REQUEST: "Login Request",
    TEXT_REQUEST: "Text Request",
    DATA_OUT: "Data-Out",
    LOGOUT_REQUEST: "Logout Request",
    SNACK: "SNACK Request",
    NOP_IN: "NOP-In",
    RESPONSE: "SCSI Response",
    TASK_RESPONSE: "Task Management Function Response",
    LOGIN_RESPONSE: "Login Response",
    TEXT_RESPONSE: "Text Response",
    DATA_IN: "Data-In",
    LOGOUT_RESPONSE: "Logout Response",
    R2T: "R2T",
    ASYNC: "Asynchronous Message",
    REJECT: "Reject",
}
"""RFC 7143 11.2.1.2."""

WITH_DATA: Final = frozenset((LOGIN_REQUEST, LOGIN_RESPONSE, TEXT_REQUEST, TEXT_RESPONSE, RESPONSE, ASYNC, REJECT))
"""PDUs whose data segment says something to us; that of the others is the disk's."""

SMALL: Final = 4096
"""Data up to here is kept even of those: parameter lists and what INQUIRY and READ CAPACITY return."""

_CLEAR: Final = {  # opcode: (bits of byte 1 that are reserved, bits of byte 1 that are set)
    NOP_OUT: (0x7F, 0x80),
    COMMAND: (0x18, 0x00),
    TASK_REQUEST: (0x00, 0x80),
    LOGIN_REQUEST: (0x30, 0x00),
    TEXT_REQUEST: (0x3F, 0x00),
    DATA_OUT: (0x7F, 0x00),
    LOGOUT_REQUEST: (0x00, 0x80),
    SNACK: (0x70, 0x80),
    NOP_IN: (0x7F, 0x80),
    RESPONSE: (0x61, 0x80),
    TASK_RESPONSE: (0x7F, 0x80),
    LOGIN_RESPONSE: (0x30, 0x00),
    TEXT_RESPONSE: (0x3F, 0x00),
    DATA_IN: (0x38, 0x00),
    LOGOUT_RESPONSE: (0x7F, 0x80),
    R2T: (0x7F, 0x80),
    ASYNC: (0x7F, 0x80),
    REJECT: (0x7F, 0x80),
}
_RESERVED_WORD: Final = frozenset((NOP_OUT, TASK_REQUEST, TEXT_REQUEST, DATA_OUT, SNACK, NOP_IN, R2T, ASYNC))
"""PDUs whose bytes 2 and 3 are reserved."""
_WITHOUT_DATA: Final = frozenset((TASK_REQUEST, LOGOUT_REQUEST, SNACK, TASK_RESPONSE, LOGOUT_RESPONSE, R2T))
MAX_PLAUSIBLE: Final = 4 << 20
"""A data segment that is believed where the place in the stream is not known."""


def plausible(buffer: bytes | bytearray | memoryview, at: int, *, towards_server: bool | None = None) -> bool:
    """Whether 48 bytes can be the header of a PDU in that direction (None: in either)."""
    first, flags, byte2, byte3, lengths, lun, tag, *_ = HEAD.unpack_from(buffer, at)
    opcode = first & 0x3F
    rule = _CLEAR.get(opcode)
    if rule is None or first & 0x80 or (first & 0x40 and opcode >= NOP_IN):
        return False
    if towards_server is not None and towards_server != (opcode < NOP_IN):
        return False
    clear, needed = rule
    if flags & clear or flags & needed != needed or (byte2 | byte3 and opcode in _RESERVED_WORD):
        return False
    data = lengths & 0xFFFFFF
    if data > MAX_PLAUSIBLE or (data and opcode in _WITHOUT_DATA) or (lengths >> 24 and opcode != COMMAND):
        return False
    if opcode in (LOGIN_REQUEST, LOGIN_RESPONSE):
        return not byte2 | byte3
    if opcode == COMMAND:
        return bool(not byte2 | byte3 | lun & 0xFFFFFFFFFFFF and tag != NO_TAG)
    return not (opcode in (DATA_IN, DATA_OUT, RESPONSE, R2T) and tag == NO_TAG)
