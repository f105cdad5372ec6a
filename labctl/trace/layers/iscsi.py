"""iSCSI's PDUs (RFC 7143 clause 11) as scapy layers.

`ISCSI(data)` makes a packet of the class that its opcode says; PDUs that follow are its payload. Lengths and padding are filled in where
they are left out, and taken as they are where they are given, so that illegal ones can be built. Digests are there when `digests` says so:
it is negotiated at login and stands in no PDU.
"""

from __future__ import annotations

from typing import Any, ClassVar

import crc32c
from scapy.fields import (
    BitEnumField,
    BitField,
    ByteEnumField,
    ByteField,
    ConditionalField,
    IntField,
    ShortField,
    StrFixedLenField,
    StrLenField,
    ThreeBytesField,
    XIntField,
    XLEIntField,
    XLongField,
)
from scapy.layers.inet import TCP
from scapy.packet import Packet, bind_layers

from labctl.trace.protocols.iscsi import words
from labctl.trace.protocols.iscsi.wire import BHS, KINDS

PORT = 3260
NO_TAG = 0xFFFFFFFF


class ISCSI(Packet):
    """Any PDU; what is made of bytes is of the class of its opcode."""

    name = "iSCSI PDU"
    digests: ClassVar[tuple[bool, bool]] = False, False
    """Whether headers and data have digests; set it on a class or a packet."""
    fields_desc: ClassVar[list[Any]] = []

    @classmethod
    def dispatch_hook(cls, _pkt: bytes | None = None, *_args: Any, **_kargs: Any) -> type[Packet]:
        """The class for these bytes."""
        if cls is not ISCSI or not _pkt:
            return cls
        return BY_OPCODE.get(_pkt[0] & 0x3F, Unknown)

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Fill in what was left out: lengths, padding, digests."""
        raw = bytearray(pkt)
        if self.ahs_length is None:
            raw[4] = len(self.ahs) // 4
        if self.data_length is None:
            raw[5:8] = len(self.data).to_bytes(3, "big")
        head_end = BHS + len(self.ahs)
        if self.digests[0] and self.header_digest is None:
            raw[head_end : head_end + 4] = crc32c.crc32c(bytes(raw[:head_end])).to_bytes(4, "little")
        if self.digests[1] and self.data and self.data_digest is None:
            raw[-4:] = crc32c.crc32c(bytes(raw[head_end + 4 * self.digests[0] : -4])).to_bytes(4, "little")
        return bytes(raw) + pay

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Another PDU follows."""
        return ISCSI if len(payload) >= BHS else Packet.guess_payload_class(self, payload)

    def do_build_payload(self) -> bytes:
        """The PDUs that follow."""
        return bytes(Packet.do_build_payload(self))


def _padding(packet: Any) -> int:
    return -(packet.data_length if packet.data_length is not None else len(packet.data)) % 4


class _Padded(StrLenField):
    """Zeros up to four bytes, where they are not given."""

    def addfield(self, pkt: Any, s: bytes, val: bytes | None) -> bytes:
        return s + (bytes(-len(pkt.data) % 4) if val is None else val)

    def i2len(self, pkt: Any, val: bytes | None) -> int:
        return -len(pkt.data) % 4 if val is None else len(val)

    def i2repr(self, pkt: Any, val: bytes | None) -> str:
        return repr(val or b"")


def _opcode(number: int) -> list[Any]:
    return [
        BitField("reserved0", 0, 1),
        BitField("I", 1 if number in (3, 6) else 0, 1),
        BitEnumField("opcode", number, 6, KINDS),
    ]


def _lengths() -> list[Any]:
    return [ByteField("ahs_length", None), ThreeBytesField("data_length", None)]  # type: ignore[arg-type]  # filled in when built


def _rest() -> list[Any]:
    return [
        StrLenField("ahs", b"", length_from=lambda packet: 4 * (packet.ahs_length or 0)),
        ConditionalField(XLEIntField("header_digest", None), lambda packet: packet.digests[0]),
        StrLenField("data", b"", length_from=lambda packet: packet.data_length or 0),
        _Padded("padding", None, length_from=_padding),  # type: ignore[arg-type]  # likewise
        ConditionalField(
            XLEIntField("data_digest", None),
            lambda packet: packet.digests[1] and bool(packet.data_length or packet.data),
        ),
    ]


def _final(rest: int = 7, default: int = 1) -> list[Any]:
    return [BitField("F", default, 1), BitField("reserved1", 0, rest)]


class Unknown(ISCSI):
    """An opcode that RFC 7143 does not have."""

    name = "iSCSI, unknown opcode"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x1F), StrFixedLenField("specific", b"", 3), *_lengths(), XLongField("lun", 0), XIntField("itt", 0),
        StrFixedLenField("rest", b"", 28), *_rest(),
    ]  # fmt: skip


class NopOut(ISCSI):
    """11.18."""

    name = "NOP-Out"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x00), *_final(), ShortField("reserved2", 0), *_lengths(), XLongField("lun", 0), XIntField("itt", 0),
        XIntField("ttt", NO_TAG), IntField("cmd_sn", 0), IntField("exp_stat_sn", 0), StrFixedLenField("reserved3", b"", 16), *_rest(),
    ]  # fmt: skip


class ScsiCommand(ISCSI):
    """11.3."""

    name = "SCSI Command"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x01), BitField("F", 1, 1), BitField("R", 0, 1), BitField("W", 0, 1), BitField("reserved1", 0, 2),
        BitEnumField("attr", 1, 3, {0: "untagged", 1: "simple", 2: "ordered", 3: "head of queue", 4: "ACA"}),
        ShortField("reserved2", 0), *_lengths(), XLongField("lun", 0), XIntField("itt", 0), IntField("edtl", 0),
        IntField("cmd_sn", 0), IntField("exp_stat_sn", 0), StrFixedLenField("cdb", b"", 16), *_rest(),
    ]  # fmt: skip


class TaskManagementRequest(ISCSI):
    """11.5."""

    name = "Task Management Function Request"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x02), BitField("F", 1, 1), BitEnumField("function", 1, 7, words.TASK_FUNCTIONS), ShortField("reserved2", 0),
        *_lengths(), XLongField("lun", 0), XIntField("itt", 0), XIntField("referenced_tag", NO_TAG), IntField("cmd_sn", 0),
        IntField("exp_stat_sn", 0), IntField("ref_cmd_sn", 0), IntField("exp_data_sn", 0), StrFixedLenField("reserved3", b"", 8),
        *_rest(),
    ]  # fmt: skip


_STAGES = {0: "security", 1: "operational", 3: "full feature"}


class LoginRequest(ISCSI):
    """11.12."""

    name = "Login Request"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x03), BitField("T", 0, 1), BitField("C", 0, 1), BitField("reserved1", 0, 2), BitEnumField("csg", 0, 2, _STAGES),
        BitEnumField("nsg", 0, 2, _STAGES), ByteField("version_max", 0), ByteField("version_min", 0), *_lengths(),
        StrFixedLenField("isid", b"\x80", 6), ShortField("tsih", 0), XIntField("itt", 0), ShortField("cid", 0),
        ShortField("reserved2", 0), IntField("cmd_sn", 0), IntField("exp_stat_sn", 0), StrFixedLenField("reserved3", b"", 16), *_rest(),
    ]  # fmt: skip


class TextRequest(ISCSI):
    """11.10."""

    name = "Text Request"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x04), BitField("F", 1, 1), BitField("C", 0, 1), BitField("reserved1", 0, 6), ShortField("reserved2", 0), *_lengths(),
        XLongField("lun", 0), XIntField("itt", 0), XIntField("ttt", NO_TAG), IntField("cmd_sn", 0), IntField("exp_stat_sn", 0),
        StrFixedLenField("reserved3", b"", 16), *_rest(),
    ]  # fmt: skip


class DataOut(ISCSI):
    """11.7."""

    name = "Data-Out"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x05), *_final(), ShortField("reserved2", 0), *_lengths(), XLongField("lun", 0), XIntField("itt", 0),
        XIntField("ttt", NO_TAG), IntField("reserved3", 0), IntField("exp_stat_sn", 0), IntField("reserved4", 0), IntField("data_sn", 0),
        IntField("offset", 0), IntField("reserved5", 0), *_rest(),
    ]  # fmt: skip


class LogoutRequest(ISCSI):
    """11.14."""

    name = "Logout Request"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x06), BitField("F", 1, 1), BitEnumField("reason", 0, 7, words.LOGOUT_REASONS), ShortField("reserved2", 0),
        *_lengths(), StrFixedLenField("reserved3", b"", 8), XIntField("itt", 0), ShortField("cid", 0), ShortField("reserved4", 0),
        IntField("cmd_sn", 0), IntField("exp_stat_sn", 0), StrFixedLenField("reserved5", b"", 16), *_rest(),
    ]  # fmt: skip


class SnackRequest(ISCSI):
    """11.16."""

    name = "SNACK Request"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x10), BitField("F", 1, 1), BitField("reserved1", 0, 3),
        BitEnumField("kind", 0, 4, dict(enumerate(words.SNACKS))), ShortField("reserved2", 0), *_lengths(), XLongField("lun", 0),
        XIntField("itt", NO_TAG), XIntField("ttt", NO_TAG), IntField("reserved3", 0), IntField("exp_stat_sn", 0),
        StrFixedLenField("reserved4", b"", 8), IntField("begin", 0), IntField("run_length", 0), *_rest(),
    ]  # fmt: skip


class NopIn(ISCSI):
    """11.19."""

    name = "NOP-In"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x20), *_final(), ShortField("reserved2", 0), *_lengths(), XLongField("lun", 0), XIntField("itt", NO_TAG),
        XIntField("ttt", NO_TAG), IntField("stat_sn", 0), IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0),
        StrFixedLenField("reserved3", b"", 12), *_rest(),
    ]  # fmt: skip


class ScsiResponse(ISCSI):
    """11.4."""

    name = "SCSI Response"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x21), BitField("F", 1, 1), BitField("reserved1", 0, 2), BitField("o", 0, 1), BitField("u", 0, 1), BitField("O", 0, 1),
        BitField("U", 0, 1), BitField("reserved2", 0, 1), ByteEnumField("response", 0, words.RESPONSES), ByteField("status", 0),
        *_lengths(), StrFixedLenField("reserved3", b"", 8), XIntField("itt", 0), XIntField("snack_tag", 0), IntField("stat_sn", 0),
        IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0), IntField("exp_data_sn", 0), IntField("bidi_residual", 0),
        IntField("residual", 0), *_rest(),
    ]  # fmt: skip


class TaskManagementResponse(ISCSI):
    """11.6."""

    name = "Task Management Function Response"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x22), *_final(), ByteEnumField("response", 0, words.TASK_RESPONSES), ByteField("reserved2", 0), *_lengths(),
        StrFixedLenField("reserved3", b"", 8), XIntField("itt", 0), IntField("reserved4", 0), IntField("stat_sn", 0),
        IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0), StrFixedLenField("reserved5", b"", 12), *_rest(),
    ]  # fmt: skip


class LoginResponse(ISCSI):
    """11.13."""

    name = "Login Response"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x23), BitField("T", 0, 1), BitField("C", 0, 1), BitField("reserved1", 0, 2), BitEnumField("csg", 0, 2, _STAGES),
        BitEnumField("nsg", 0, 2, _STAGES), ByteField("version_max", 0), ByteField("version_active", 0), *_lengths(),
        StrFixedLenField("isid", b"\x80", 6), ShortField("tsih", 0), XIntField("itt", 0), IntField("reserved2", 0),
        IntField("stat_sn", 0), IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0), ByteField("status_class", 0),
        ByteField("status_detail", 0), StrFixedLenField("reserved3", b"", 10), *_rest(),
    ]  # fmt: skip


class TextResponse(ISCSI):
    """11.11."""

    name = "Text Response"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x24), BitField("F", 1, 1), BitField("C", 0, 1), BitField("reserved1", 0, 6), ShortField("reserved2", 0), *_lengths(),
        XLongField("lun", 0), XIntField("itt", 0), XIntField("ttt", NO_TAG), IntField("stat_sn", 0), IntField("exp_cmd_sn", 0),
        IntField("max_cmd_sn", 0), StrFixedLenField("reserved3", b"", 12), *_rest(),
    ]  # fmt: skip


class DataIn(ISCSI):
    """11.7."""

    name = "Data-In"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x25), BitField("F", 1, 1), BitField("A", 0, 1), BitField("reserved1", 0, 3), BitField("O", 0, 1), BitField("U", 0, 1),
        BitField("S", 0, 1), ByteField("reserved2", 0), ByteField("status", 0), *_lengths(), XLongField("lun", 0), XIntField("itt", 0),
        XIntField("ttt", NO_TAG), IntField("stat_sn", 0), IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0), IntField("data_sn", 0),
        IntField("offset", 0), IntField("residual", 0), *_rest(),
    ]  # fmt: skip


class LogoutResponse(ISCSI):
    """11.15."""

    name = "Logout Response"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x26), *_final(), ByteEnumField("response", 0, words.LOGOUT_RESPONSES), ByteField("reserved2", 0), *_lengths(),
        StrFixedLenField("reserved3", b"", 8), XIntField("itt", 0), IntField("reserved4", 0), IntField("stat_sn", 0),
        IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0), IntField("reserved5", 0), ShortField("time2wait", 0),
        ShortField("time2retain", 0), IntField("reserved6", 0), *_rest(),
    ]  # fmt: skip


class R2T(ISCSI):
    """11.8."""

    name = "R2T"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x31), *_final(), ShortField("reserved2", 0), *_lengths(), XLongField("lun", 0), XIntField("itt", 0), XIntField("ttt", 0),
        IntField("stat_sn", 0), IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0), IntField("r2t_sn", 0), IntField("offset", 0),
        IntField("length", 0), *_rest(),
    ]  # fmt: skip


class AsyncMessage(ISCSI):
    """11.9."""

    name = "Asynchronous Message"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x32), *_final(), ShortField("reserved2", 0), *_lengths(), XLongField("lun", 0), XIntField("itt", NO_TAG),
        IntField("reserved3", 0), IntField("stat_sn", 0), IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0),
        ByteEnumField("event", 0, words.ASYNC_EVENTS), ByteField("vendor_code", 0),
        ShortField("parameter1", 0), ShortField("parameter2", 0), ShortField("parameter3", 0), IntField("reserved4", 0), *_rest(),
    ]  # fmt: skip


class Reject(ISCSI):
    """11.17."""

    name = "Reject"
    fields_desc: ClassVar[list[Any]] = [
        *_opcode(0x3F), *_final(), ByteEnumField("reason", 4, words.REJECTS), ByteField("reserved2", 0), *_lengths(),
        StrFixedLenField("reserved3", b"", 8), XIntField("itt", NO_TAG), IntField("reserved4", 0), IntField("stat_sn", 0),
        IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0), IntField("data_sn", 0), StrFixedLenField("reserved5", b"", 8), *_rest(),
    ]  # fmt: skip


BY_OPCODE: dict[int, type[ISCSI]] = {
    0x00: NopOut, 0x01: ScsiCommand, 0x02: TaskManagementRequest, 0x03: LoginRequest, 0x04: TextRequest, 0x05: DataOut,
    0x06: LogoutRequest, 0x10: SnackRequest, 0x20: NopIn, 0x21: ScsiResponse, 0x22: TaskManagementResponse, 0x23: LoginResponse,
    0x24: TextResponse, 0x25: DataIn, 0x26: LogoutResponse, 0x31: R2T, 0x32: AsyncMessage, 0x3F: Reject,
}  # fmt: skip
"""The class of each opcode (11.2.1.2)."""


def text(**keys: str) -> bytes:
    """Login and text keys as a data segment (RFC 7143 6.1): `text(InitiatorName="iqn…", SessionType="Normal")`."""
    return b"".join(f"{name}={value}".encode() + b"\0" for name, value in keys.items())


def keys(data: bytes) -> dict[str, str]:
    """A data segment's keys."""
    pairs = (part.decode(errors="replace").partition("=") for part in data.split(b"\0") if part)
    return {name: value for name, _, value in pairs}


bind_layers(TCP, ISCSI, dport=PORT)
bind_layers(TCP, ISCSI, sport=PORT)
