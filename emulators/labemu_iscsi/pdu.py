"""The wire (RFC 7143 clause 11): where each byte of a PDU's basic header segment stands, and nothing of what it means.

A class names its fields in the order of the wire. All share byte 0 (opcode), the flags in byte 1, the lengths in bytes 4-7, the LUN's
place in 8-15 and the initiator task tag in 16-19; `head` is the struct format of bytes 2-3, `tail` that of bytes 20-47. The engine
reads and writes its hottest PDUs through the classes' `layout` directly, without making objects.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, fields
from enum import IntEnum
from typing import ClassVar, Final, TypeVar

from labemu_iscsi.errors import NotSupported
from labemu_iscsi.limits import BHS_LENGTH

NO_TAG: Final = 0xFFFFFFFF
NO_LUN: Final = bytes(8)
IMMEDIATE: Final = 0x40
FINAL: Final = 0x80
LENGTHS: Final = struct.Struct(">I")  # at byte 4: AHS words << 24 | data segment length
PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")  # by length modulo 4

Buffer = bytes | bytearray | memoryview


class Opcode(IntEnum):
    """RFC 7143 11.2.1.2."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_MANAGEMENT_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    DATA_OUT = 0x05
    LOGOUT_REQUEST = 0x06
    SNACK_REQUEST = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    R2T = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class AsyncEvent(IntEnum):
    """Asynchronous messages, RFC 7143 11.9.1."""

    SCSI = 0
    LOGOUT_REQUEST = 1
    CONNECTION_DROPPED = 2
    ALL_CONNECTIONS_DROPPED = 3
    NEGOTIATION_REQUEST = 4
    TASKS_TERMINATED = 5
    VENDOR = 255


_P = TypeVar("_P", bound="Pdu")


@dataclass(frozen=True, kw_only=True)
class Pdu:
    """A basic header segment.

    Args:
        flags: byte 1.
        lun: bytes 8-15; in login PDUs the ISID and TSIH.
        itt: the initiator task tag.
    """

    opcode: ClassVar[Opcode]
    head: ClassVar[str] = "2x"
    tail: ClassVar[str]
    layout: ClassVar[struct.Struct]

    immediate: bool = False
    flags: int = FINAL
    lun: bytes = NO_LUN
    itt: int = NO_TAG

    def __init_subclass__(cls) -> None:
        cls.layout = struct.Struct(f">BB{cls.head}I8sI{cls.tail}")
        if cls.layout.size != BHS_LENGTH:
            raise TypeError(f"{cls.__name__} has {cls.layout.size} bytes")

    @classmethod
    def _head_fields(cls) -> int:
        return sum(1 for letter in cls.head if letter.isalpha() and letter != "x")

    def pack(self, data_length: int = 0, ahs_length: int = 0) -> bytes:
        """The header, for a data segment of so many bytes (padding not counted)."""
        immediate, flags, lun, itt, *rest = astuple(self)
        first = self.opcode | (IMMEDIATE if immediate else 0)
        split = self._head_fields()
        lengths = ahs_length // 4 << 24 | data_length
        return self.layout.pack(first, flags, *rest[:split], lengths, lun, itt, *rest[split:])

    def encode(self, data: Buffer = b"") -> bytes:
        """The whole PDU without digests: header, data, padding."""
        return self.pack(len(data)) + bytes(data) + PADDING[len(data) & 3]

    @classmethod
    def unpack(cls: type[_P], buffer: Buffer, offset: int = 0) -> _P:
        """Read a header."""
        first, flags, *rest = cls.layout.unpack_from(buffer, offset)
        split = cls._head_fields()
        _, lun, itt = rest[split : split + 3]
        values = (bool(first & IMMEDIATE), flags, lun, itt, *rest[:split], *rest[split + 3 :])
        return cls(**dict(zip((field.name for field in fields(cls)), values, strict=True)))


@dataclass(frozen=True, kw_only=True)
class NopOut(Pdu):
    """RFC 7143 11.18."""

    opcode = Opcode.NOP_OUT
    tail = "III16x"
    ttt: int = NO_TAG
    cmd_sn: int = 0
    exp_stat_sn: int = 0


@dataclass(frozen=True, kw_only=True)
class ScsiCommand(Pdu):
    """RFC 7143 11.3."""

    opcode = Opcode.SCSI_COMMAND
    tail = "III16s"
    expected_length: int = 0
    cmd_sn: int = 0
    exp_stat_sn: int = 0
    cdb: bytes = bytes(16)


@dataclass(frozen=True, kw_only=True)
class TaskManagementRequest(Pdu):
    """RFC 7143 11.5; the function is in the flags' low seven bits."""

    opcode = Opcode.TASK_MANAGEMENT_REQUEST
    tail = "IIIII8x"
    referenced_tag: int = NO_TAG
    cmd_sn: int = 0
    exp_stat_sn: int = 0
    ref_cmd_sn: int = 0
    exp_data_sn: int = 0


@dataclass(frozen=True, kw_only=True)
class LoginRequest(Pdu):
    """RFC 7143 11.12; `lun` holds the ISID (6 bytes) and the TSIH (2)."""

    opcode = Opcode.LOGIN_REQUEST
    head = "BB"
    tail = "H2xII16x"
    version_max: int = 0
    version_min: int = 0
    cid: int = 0
    cmd_sn: int = 0
    exp_stat_sn: int = 0

    @property
    def isid(self) -> bytes:
        """The initiator's part of the session's identifier."""
        return self.lun[:6]

    @property
    def tsih(self) -> int:
        """The target's part; zero asks for a new session."""
        return int.from_bytes(self.lun[6:], "big")


@dataclass(frozen=True, kw_only=True)
class TextRequest(Pdu):
    """RFC 7143 11.10."""

    opcode = Opcode.TEXT_REQUEST
    tail = "III16x"
    ttt: int = NO_TAG
    cmd_sn: int = 0
    exp_stat_sn: int = 0


@dataclass(frozen=True, kw_only=True)
class DataOut(Pdu):
    """RFC 7143 11.7."""

    opcode = Opcode.DATA_OUT
    tail = "I4xI4xII4x"
    ttt: int = NO_TAG
    exp_stat_sn: int = 0
    data_sn: int = 0
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class LogoutRequest(Pdu):
    """RFC 7143 11.14; the reason is in the flags' low seven bits."""

    opcode = Opcode.LOGOUT_REQUEST
    tail = "H2xII16x"
    cid: int = 0
    cmd_sn: int = 0
    exp_stat_sn: int = 0


@dataclass(frozen=True, kw_only=True)
class SnackRequest(Pdu):
    """RFC 7143 11.16."""

    opcode = Opcode.SNACK_REQUEST
    tail = "I4xI8xII"
    ttt: int = NO_TAG
    exp_stat_sn: int = 0
    begin_run: int = 0
    run_length: int = 0


@dataclass(frozen=True, kw_only=True)
class NopIn(Pdu):
    """RFC 7143 11.19."""

    opcode = Opcode.NOP_IN
    tail = "IIII12x"
    ttt: int = NO_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0


@dataclass(frozen=True, kw_only=True)
class ScsiResponse(Pdu):
    """RFC 7143 11.4."""

    opcode = Opcode.SCSI_RESPONSE
    head = "BB"
    tail = "7I"
    response: int = 0
    status: int = 0
    snack_tag: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    exp_data_sn: int = 0
    bidi_residual: int = 0
    residual: int = 0


@dataclass(frozen=True, kw_only=True)
class TaskManagementResponse(Pdu):
    """RFC 7143 11.6."""

    opcode = Opcode.TASK_MANAGEMENT_RESPONSE
    head = "Bx"
    tail = "4xIII12x"
    response: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0


@dataclass(frozen=True, kw_only=True)
class LoginResponse(Pdu):
    """RFC 7143 11.13."""

    opcode = Opcode.LOGIN_RESPONSE
    head = "BB"
    tail = "4xIIIBB10x"
    version_max: int = 0
    version_active: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    status_class: int = 0
    status_detail: int = 0

    @property
    def tsih(self) -> int:
        """The session's handle."""
        return int.from_bytes(self.lun[6:], "big")


@dataclass(frozen=True, kw_only=True)
class TextResponse(Pdu):
    """RFC 7143 11.11."""

    opcode = Opcode.TEXT_RESPONSE
    tail = "IIII12x"
    ttt: int = NO_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0


@dataclass(frozen=True, kw_only=True)
class DataIn(Pdu):
    """RFC 7143 11.7."""

    opcode = Opcode.DATA_IN
    head = "xB"
    tail = "7I"
    status: int = 0
    ttt: int = NO_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    data_sn: int = 0
    offset: int = 0
    residual: int = 0


@dataclass(frozen=True, kw_only=True)
class LogoutResponse(Pdu):
    """RFC 7143 11.15."""

    opcode = Opcode.LOGOUT_RESPONSE
    head = "Bx"
    tail = "4xIII4xHH4x"
    response: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    time2wait: int = 0
    time2retain: int = 0


@dataclass(frozen=True, kw_only=True)
class ReadyToTransfer(Pdu):
    """RFC 7143 11.8."""

    opcode = Opcode.R2T
    tail = "7I"
    ttt: int = NO_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    r2t_sn: int = 0
    offset: int = 0
    length: int = 0


@dataclass(frozen=True, kw_only=True)
class AsyncMessage(Pdu):
    """RFC 7143 11.9."""

    opcode = Opcode.ASYNC_MESSAGE
    tail = "4xIIIBBHHH4x"
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    event: int = 0
    vendor_code: int = 0
    parameter1: int = 0
    parameter2: int = 0
    parameter3: int = 0


@dataclass(frozen=True, kw_only=True)
class Reject(Pdu):
    """RFC 7143 11.17."""

    opcode = Opcode.REJECT
    head = "Bx"
    tail = "4xIIII8x"
    reason: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    data_sn: int = 0


BY_OPCODE: Final[dict[int, type[Pdu]]] = {
    cls.opcode: cls
    for cls in (
        NopOut,
        ScsiCommand,
        TaskManagementRequest,
        LoginRequest,
        TextRequest,
        DataOut,
        LogoutRequest,
        SnackRequest,
        NopIn,
        ScsiResponse,
        TaskManagementResponse,
        LoginResponse,
        TextResponse,
        DataIn,
        LogoutResponse,
        ReadyToTransfer,
        AsyncMessage,
        Reject,
    )
}


def decode(header: Buffer) -> Pdu:
    """The PDU that 48 bytes of header are.

    Raises:
        NotSupported: an unknown opcode.
    """
    cls = BY_OPCODE.get(header[0] & 0x3F)
    if cls is None:
        raise NotSupported(f"opcode {header[0] & 0x3F:#04x}")
    return cls.unpack(header)
