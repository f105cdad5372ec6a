"""Sense data (SPC-4 4.5): every condition is an exception that carries its own triple.

Handlers raise, the device server turns what they raise into a response, in fixed or descriptor format as the control mode page says.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import ClassVar

from labemu_store.errors import UNREACHABLE


class SenseKey(IntEnum):
    """SPC-4 table 43."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE


class CheckCondition(Exception):  # noqa: N818 - the standard's own word for it
    """A command that ends with CHECK CONDITION.

    Args:
        information: the INFORMATION field: an LBA, or an offset into the data.
        pointer: byte of the CDB or parameter list at fault, for the sense-key specific field.
        bit: of that byte, 7 to 0.
    """

    key: ClassVar[SenseKey]
    code: tuple[int, int]
    in_cdb: ClassVar[bool] = True

    def __init__(self, *, information: int | None = None, pointer: int | None = None, bit: int | None = None) -> None:
        super().__init__(information, pointer, bit)
        self.information = information
        self.pointer = pointer
        self.bit = bit

    def sense(self, *, descriptor_format: bool = False) -> bytes:
        """The sense data's bytes."""
        if descriptor_format:
            return self._descriptor_format()
        return self._fixed_format()

    def _fixed_format(self) -> bytes:
        """SPC-4 4.5.3: 18 bytes."""
        sense = bytearray(18)
        fits = self.information is not None and self.information < 1 << 32
        sense[0] = 0x70 | (0x80 if fits else 0)
        sense[2] = self.key
        if self.information is not None and fits:
            sense[3:7] = self.information.to_bytes(4, "big")
        sense[7] = 10
        sense[12:14] = bytes(self.code)
        sense[15:18] = self._specific()
        return bytes(sense)

    def _descriptor_format(self) -> bytes:
        """SPC-4 4.5.2: a header, then descriptors."""
        descriptors = b""
        if self.information is not None:
            descriptors += b"\x00\x0a\x80\x00" + self.information.to_bytes(8, "big")
        specific = self._specific()
        if specific[0]:
            descriptors += b"\x02\x06\x00\x00" + specific + b"\x00"
        return bytes((0x72, self.key, *self.code, 0, 0, 0, len(descriptors))) + descriptors

    def _specific(self) -> bytes:
        """SPC-4 4.5.2.4.2: which field was wrong."""
        if self.pointer is None:
            return bytes(3)
        flags = 0x80 | (0x40 if self.in_cdb else 0)
        if self.bit is not None:
            flags |= 0x08 | self.bit
        return bytes((flags,)) + self.pointer.to_bytes(2, "big")


class IllegalRequest(CheckCondition):
    """The command itself is at fault."""

    key = SenseKey.ILLEGAL_REQUEST


class InvalidOpcode(IllegalRequest):
    """INVALID COMMAND OPERATION CODE."""

    code = (0x20, 0x00)


class InvalidField(IllegalRequest):
    """INVALID FIELD IN CDB."""

    code = (0x24, 0x00)


class InvalidParameter(IllegalRequest):
    """INVALID FIELD IN PARAMETER LIST."""

    code = (0x26, 0x00)
    in_cdb = False


class InvalidRelease(IllegalRequest):
    """INVALID RELEASE OF PERSISTENT RESERVATION."""

    code = (0x26, 0x04)
    in_cdb = False


class ParameterListLength(IllegalRequest):
    """PARAMETER LIST LENGTH ERROR."""

    code = (0x1A, 0x00)


class InvalidDataOut(IllegalRequest):
    """INVALID FIELD IN COMMAND INFORMATION UNIT: the data sent is not as long as the CDB says."""

    code = (0x0E, 0x03)


class OutOfRange(IllegalRequest):
    """LOGICAL BLOCK ADDRESS OUT OF RANGE."""

    code = (0x21, 0x00)


class UnitNotSupported(IllegalRequest):
    """LOGICAL UNIT NOT SUPPORTED: no such LUN (any more)."""

    code = (0x25, 0x00)


class SavingNotSupported(IllegalRequest):
    """SAVING PARAMETERS NOT SUPPORTED."""

    code = (0x39, 0x00)


class RemovalPrevented(IllegalRequest):
    """MEDIUM REMOVAL PREVENTED."""

    code = (0x53, 0x02)


class OutOfRegistrations(IllegalRequest):
    """INSUFFICIENT REGISTRATION RESOURCES."""

    code = (0x55, 0x04)


class TooManyTargets(IllegalRequest):
    """TOO MANY TARGET DESCRIPTORS."""

    code = (0x26, 0x06)
    in_cdb = False


class UnsupportedTarget(IllegalRequest):
    """UNSUPPORTED TARGET DESCRIPTOR TYPE CODE."""

    code = (0x26, 0x07)
    in_cdb = False


class TooManySegments(IllegalRequest):
    """TOO MANY SEGMENT DESCRIPTORS."""

    code = (0x26, 0x08)
    in_cdb = False


class UnsupportedSegment(IllegalRequest):
    """UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE."""

    code = (0x26, 0x09)
    in_cdb = False


class InlineDataLength(IllegalRequest):
    """INLINE DATA LENGTH EXCEEDED."""

    code = (0x26, 0x0B)
    in_cdb = False


class OperationInProgress(IllegalRequest):
    """OPERATION IN PROGRESS: the list identifier belongs to a copy that is under way."""

    code = (0x00, 0x16)


class CopyAborted(CheckCondition):
    """EXTENDED COPY ended early (SPC-4 6.4.4); the information is the number of segments that were done.

    Args:
        segments: that number.
        code: ASC and ASCQ.
    """

    key = SenseKey.COPY_ABORTED
    code = (0x00, 0x00)

    def __init__(self, segments: int, code: tuple[int, int] = (0x00, 0x00)) -> None:
        super().__init__(information=segments)
        self.code = code


class Underway(CheckCondition):
    """NOT READY while an operation on the whole medium is under way; how far it is stands in the sense key specific field.

    Args:
        code: ASC and ASCQ of the operation.
        progress: in 65536ths (SPC-4 4.5.2.4.4).
    """

    key = SenseKey.NOT_READY

    def __init__(self, code: tuple[int, int], progress: int) -> None:
        super().__init__()
        self.code = code
        self.progress = progress

    def _specific(self) -> bytes:
        return b"\x80" + self.progress.to_bytes(2, "big")


class WipeFailed(CheckCondition):
    """An operation on the whole medium failed, and what the medium holds is anybody's guess.

    Args:
        code: ASC and ASCQ of the operation.
    """

    key = SenseKey.MEDIUM_ERROR

    def __init__(self, code: tuple[int, int]) -> None:
        super().__init__()
        self.code = code


class MediumNotPresent(CheckCondition):
    """MEDIUM NOT PRESENT."""

    key = SenseKey.NOT_READY
    code = (0x3A, 0x00)


class InTransition(CheckCondition):
    """LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION."""

    key = SenseKey.NOT_READY
    code = (0x04, 0x0A)


class PortStandby(InTransition):
    """LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE."""

    code = (0x04, 0x0B)


class PortUnavailable(InTransition):
    """LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE."""

    code = (0x04, 0x0C)


class Offline(InTransition):
    """LOGICAL UNIT NOT READY, OFFLINE."""

    code = (0x04, 0x12)


class BecomingReady(CheckCondition):
    """LOGICAL UNIT IS IN PROCESS OF BECOMING READY: what holds its data cannot be reached at present."""

    key = SenseKey.NOT_READY
    code = (0x04, 0x01)


class TargetFailure(CheckCondition):
    """INTERNAL TARGET FAILURE."""

    key = SenseKey.HARDWARE_ERROR
    code = (0x44, 0x00)


class WriteProtected(CheckCondition):
    """WRITE PROTECTED."""

    key = SenseKey.DATA_PROTECT
    code = (0x27, 0x00)


class SpaceExhausted(WriteProtected):
    """SPACE ALLOCATION FAILED WRITE PROTECT: the backing of a thin unit is full."""

    code = (0x27, 0x07)


class ReadError(CheckCondition):
    """UNRECOVERED READ ERROR."""

    key = SenseKey.MEDIUM_ERROR
    code = (0x11, 0x00)


class WriteError(ReadError):
    """WRITE ERROR."""

    code = (0x0C, 0x00)


class Miscompare(CheckCondition):
    """MISCOMPARE DURING VERIFY OPERATION; the information is the offset of the first byte that differs."""

    key = SenseKey.MISCOMPARE
    code = (0x1D, 0x00)


class DataPhaseError(CheckCondition):
    """DATA PHASE ERROR: the transport delivered data-out that was not as agreed on."""

    key = SenseKey.ABORTED_COMMAND
    code = (0x4B, 0x00)


class UnitAttention(CheckCondition):
    """Something happened that the initiator has to know before it goes on.

    Args:
        code: ASC and ASCQ of what happened.
    """

    key = SenseKey.UNIT_ATTENTION

    def __init__(self, code: tuple[int, int]) -> None:
        super().__init__()
        self.code = code


class NoSense(CheckCondition):
    """What REQUEST SENSE answers when there is nothing to tell."""

    key = SenseKey.NO_SENSE
    code = (0x00, 0x00)


def from_os_error(error: OSError, *, writing: bool) -> CheckCondition:
    """The condition that a store's failure stands for.

    What cannot be reached is NOT READY, so that initiators wait and try again; what refuses us is a fault of the target, which no trying
    mends; the rest is the medium's (SPC-4 annex F.2: 04/01, 44/00, 11/00, 0C/00).
    """
    if error.errno in UNREACHABLE:
        return BecomingReady()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpaceExhausted()
    if error.errno == errno.EACCES:
        return TargetFailure()
    if writing and error.errno in (errno.EROFS, errno.EPERM):
        return WriteProtected()
    return WriteError() if writing else ReadError()
