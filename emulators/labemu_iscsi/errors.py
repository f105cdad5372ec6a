"""Two families: `LocalError`, a bug in whoever drives the engine, and `PeerError`, what the peer did.

What goes on the wire sits on the class: a Reject's reason, a login's status.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar


class LocalError(RuntimeError):
    """The engine was driven wrongly; a bug of ours."""


class PeerError(Exception):
    """The peer broke the protocol in a way that ends the connection."""


class HeaderDigestError(PeerError):
    """A header that does not match its CRC32C: nothing in it can be trusted (RFC 7143 7.7)."""


class RejectReason(IntEnum):
    """RFC 7143 11.17.1."""

    DATA_DIGEST_ERROR = 0x02
    SNACK_REJECT = 0x03
    PROTOCOL_ERROR = 0x04
    COMMAND_NOT_SUPPORTED = 0x05
    IMMEDIATE_REJECT = 0x06
    TASK_IN_PROGRESS = 0x07
    INVALID_DATA_ACK = 0x08
    INVALID_PDU_FIELD = 0x09
    LONG_OPERATION_REJECT = 0x0A
    WAITING_FOR_LOGOUT = 0x0C


class RejectPdu(PeerError):
    """A PDU that is answered with a Reject; the connection goes on unless `fatal`."""

    reason: ClassVar[RejectReason] = RejectReason.PROTOCOL_ERROR
    fatal: ClassVar[bool] = False


class ProtocolError(RejectPdu):
    """Legal bytes at an illegal moment: answered, and the connection ends (error recovery level 0, RFC 7143 7.1.4)."""

    fatal = True


class InvalidField(RejectPdu):
    """A field of the header that cannot be."""

    reason = RejectReason.INVALID_PDU_FIELD


class NotSupported(RejectPdu):
    """An opcode that is not for targets, or not for this session."""

    reason = RejectReason.COMMAND_NOT_SUPPORTED


class TooManyImmediate(RejectPdu):
    """More immediate commands than we hold."""

    reason = RejectReason.IMMEDIATE_REJECT


class SnackRejected(RejectPdu):
    """SNACK at error recovery level 0, or for what is not kept."""

    reason = RejectReason.SNACK_REJECT


class InvalidDataAck(RejectPdu):
    """A DataACK SNACK that answers no A bit of ours."""

    reason = RejectReason.INVALID_DATA_ACK


class DataDigestError(RejectPdu):
    """A data segment that does not match its CRC32C."""

    reason = RejectReason.DATA_DIGEST_ERROR
    fatal = True


class LoginFailed(PeerError):
    """A login that is refused: a Login Response with this status, then the connection ends (RFC 7143 11.13.5).

    Args:
        message: for the log.
    """

    status: ClassVar[tuple[int, int]] = (0x02, 0x00)
    answers: Sequence[tuple[str, str]] = ()  # the text that goes with it


class AuthenticationFailed(LoginFailed):
    """The initiator could not prove who it is."""

    status = (0x02, 0x01)


class AuthorizationFailed(LoginFailed):
    """The initiator may not use this target."""

    status = (0x02, 0x02)


class TargetNotFound(LoginFailed):
    """No such target here."""

    status = (0x02, 0x03)


class TargetMoved(LoginFailed):
    """The target is to be had elsewhere for now (RFC 7143 11.13.5).

    Args:
        address: where, for the TargetAddress of the response.
    """

    status = (0x01, 0x01)

    def __init__(self, address: str) -> None:
        super().__init__(f"redirected to {address}")
        self.answers = (("TargetAddress", address),)


class TooManyConnections(LoginFailed):
    """The session has as many connections as were agreed on."""

    status = (0x02, 0x06)


class MissingParameter(LoginFailed):
    """InitiatorName or TargetName was not sent."""

    status = (0x02, 0x07)


class CannotInclude(LoginFailed):
    """A connection that does not belong into the session that it names."""

    status = (0x02, 0x08)


class SessionTypeNotSupported(LoginFailed):
    """Neither Normal nor Discovery."""

    status = (0x02, 0x09)


class SessionDoesNotExist(LoginFailed):
    """A TSIH that is not one of ours."""

    status = (0x02, 0x0A)


class InvalidDuringLogin(LoginFailed):
    """A request that is illegal in this stage."""

    status = (0x02, 0x0B)


class UnsupportedVersion(LoginFailed):
    """Not version 00h."""

    status = (0x02, 0x05)


class LoginRefused(LoginFailed):
    """An ordered fault refuses it.

    Args:
        status: class and detail (RFC 7143 11.13.5).
    """

    def __init__(self, status: tuple[int, int]) -> None:
        super().__init__("refused by an ordered fault")
        self.status = status  # type: ignore[misc]  # of the class in all others


class OutOfResources(LoginFailed):
    """The target has as many sessions as it takes."""

    status = (0x03, 0x02)
