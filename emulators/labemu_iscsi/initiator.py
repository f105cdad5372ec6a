"""A small initiator's engine: what tests and tools join back to back with a target's, or put on a socket of their own.

It logs in with the keys that it is given, sends commands, answers R2Ts, and gathers results. It trusts its target: for work on
initiators' errors, write PDUs by hand with labemu_iscsi.pdu.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from labemu_iscsi.auth import chap_response, decode_binary
from labemu_iscsi.errors import LocalError
from labemu_iscsi.framing import Framer, digest
from labemu_iscsi.limits import BHS_LENGTH, FULL_BUFFER, MAX_RECEIVE_DATA
from labemu_iscsi.negotiation import format_text, parse_text
from labemu_iscsi.pdu import (
    FINAL,
    NO_TAG,
    PADDING,
    Buffer,
    DataIn,
    DataOut,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    NopIn,
    NopOut,
    Pdu,
    ReadyToTransfer,
    ScsiCommand,
    ScsiResponse,
    SnackRequest,
    TaskManagementRequest,
    TextRequest,
    decode,
)
from labemu_iscsi.task import READ, WRITE

_TRANSIT = 0x80
_ACKNOWLEDGE = 0x40
_CHALLENGE = bytes(range(100, 116))


@dataclass
class _Numbers:
    """What the connections of one session share."""

    cmd_sn: int = 1
    itt: int = 0


@dataclass(kw_only=True)
class Result:
    """A command and what became of it; `status` is None as long as it is under way."""

    status: int | None = None
    data: bytearray = field(default_factory=bytearray)
    sense: bytes = b""
    residual: int = 0
    residual_flags: int = 0
    data_out: bytes = b""

    @property
    def sense_triple(self) -> tuple[int, int, int]:
        """Key, ASC and ASCQ of fixed-format sense data."""
        return self.sense[2] & 0x0F, self.sense[12], self.sense[13]


class Initiator:
    """One connection of one session.

    Args:
        name: the initiator's name.
        target: the target's name; empty for a discovery session.
        isid: six bytes.
        keys: operational keys to offer, besides the defaults.
        chap: user and secret.
        mutual: the target's user and secret, which it is to prove.
        algorithms: what CHAP_A offers.
        leading: another connection of the session to join, logged in.
        cid: this connection's identifier.
        acknowledge: send ExpStatSN as it is, and acknowledge data when asked; without, the target never learns what arrived.
    """

    def __init__(
        self,
        *,
        name: str = "iqn.2026-11.lab:initiator",
        target: str = "",
        isid: bytes = b"\x80\0\0\0\0\x01",
        keys: Mapping[str, str] | None = None,
        chap: tuple[str, str] | None = None,
        mutual: tuple[str, str] | None = None,
        algorithms: str = "7,5",
        leading: Initiator | None = None,
        cid: int = 0,
        acknowledge: bool = True,
    ) -> None:
        self.name = name
        self.target = target
        self.isid = isid
        self.keys = dict(keys or {})
        self.chap = chap
        self.mutual = mutual
        self.algorithms = algorithms
        self.cid = cid
        self.acknowledge = acknowledge
        self.tsih: int = 0 if leading is None else leading.tsih
        self.exp_stat_sn = 0
        self.proven = False
        self.logged_in = False
        self.login_status: tuple[int, int] | None = None
        self.answers: dict[str, str] = {}
        self.received: list[tuple[Pdu, bytes]] = []
        self.results: dict[int, Result] = {}
        self._numbers: _Numbers = _Numbers() if leading is None else leading._numbers
        self._framer = Framer(max_data=MAX_RECEIVE_DATA, capacity=FULL_BUFFER)
        self._digests = (False, False)
        self._output: list[Buffer] = []

    @property
    def cmd_sn(self) -> int:
        """The next command's number, of the whole session."""
        return self._numbers.cmd_sn

    @cmd_sn.setter
    def cmd_sn(self, number: int) -> None:
        self._numbers.cmd_sn = number

    @property
    def last_itt(self) -> int:
        """The tag that was used last, of the whole session."""
        return self._numbers.itt

    def data_to_send(self) -> list[Buffer]:
        """Buffers to be sent, in their order."""
        output, self._output = self._output, []
        return output

    def send(self, pdu: Pdu, data: Buffer = b"", *, ahs: bytes = b"") -> None:
        """Send any PDU, with additional header segments of whole words."""
        if self.acknowledge and hasattr(pdu, "exp_stat_sn"):
            pdu = replace(pdu, exp_stat_sn=self.exp_stat_sn)  # type: ignore[call-arg]  # of the requests that have one
        header = pdu.pack(len(data), len(ahs)) + ahs
        self._output.append(header)
        if self._digests[0]:
            self._output.append(digest(header))
        if data:
            padding = PADDING[len(data) & 3]
            self._output += [data, padding]
            if self._digests[1]:
                self._output.append(digest(data, padding))

    def login(self) -> None:
        """Begin the login: names, and security if there are CHAP secrets; the rest follows on the responses."""
        pairs = [("InitiatorName", self.name)]
        pairs.append(("TargetName", self.target) if self.target else ("SessionType", "Discovery"))
        if self.chap is not None:
            self._login_request(0, None, [*pairs, ("AuthMethod", "CHAP")])
        else:
            self._login_request(1, 3, [*pairs, *self.keys.items()])

    def _login_request(self, stage: int, next_stage: int | None, pairs: list[tuple[str, str]]) -> None:
        flags = stage << 2 if next_stage is None else _TRANSIT | stage << 2 | next_stage
        lun = self.isid + self.tsih.to_bytes(2, "big")
        request = LoginRequest(immediate=True, flags=flags, lun=lun, itt=0, cid=self.cid, cmd_sn=self.cmd_sn)
        self.send(request, format_text(pairs))

    def command(
        self, cdb: bytes, *, lun: int = 0, read: int = 0, data: bytes = b"", expected: int | None = None
    ) -> Result:
        """Send a command; its result fills as answers come.

        Args:
            cdb: padded to 16 bytes here.
            lun: below 256.
            read: bytes of data-in expected.
            data: data-out; what does not go as immediate data waits for R2Ts.
            expected: the expected data transfer length, when it is to differ from the above.
        """
        if not self.logged_in:
            raise LocalError("not logged in")
        flags = FINAL | (READ if read else 0) | (WRITE if data else 0)
        length = expected if expected is not None else len(data) or read
        immediate = b""
        if data and self.answers.get("ImmediateData", "Yes") == "Yes":
            burst = min(int(self.answers.get(key, "65536")) for key in ("FirstBurstLength", "MaxBurstLength"))
            immediate = data[: min(burst, self._peer_max_data(), length)]
        result = Result(data_out=data)
        itt = self._next_itt()
        self.results[itt] = result
        self.send(
            ScsiCommand(
                flags=flags,
                lun=lun.to_bytes(2, "big") + bytes(6),
                itt=itt,
                expected_length=length,
                cmd_sn=self._next_cmd_sn(),
                cdb=cdb.ljust(16, b"\0"),
            ),
            immediate,
        )
        return result

    def ping(self, data: bytes = b"") -> int:
        """Send a NOP-Out; its tag."""
        itt = self._next_itt()
        self.send(NopOut(itt=itt, cmd_sn=self._next_cmd_sn()), data)
        return itt

    def text(self, pairs: Mapping[str, str]) -> None:
        """Send a text request."""
        self.send(TextRequest(itt=self._next_itt(), cmd_sn=self._next_cmd_sn()), format_text(pairs.items()))

    def manage(self, function: int, *, lun: int = 0, referenced_tag: int = 0xFFFFFFFF, ref_cmd_sn: int = 0) -> None:
        """Send an immediate task management request."""
        self.send(
            TaskManagementRequest(
                immediate=True,
                flags=FINAL | function,
                lun=lun.to_bytes(2, "big") + bytes(6),
                itt=self._next_itt(),
                referenced_tag=referenced_tag,
                cmd_sn=self.cmd_sn,
                ref_cmd_sn=ref_cmd_sn,
            )
        )

    def logout(self, reason: int = 0, cid: int = 0) -> None:
        """Ask for the end of the session (0), or of a connection (1)."""
        flags = FINAL | reason
        self.send(LogoutRequest(flags=flags, itt=self._next_itt(), cid=cid, cmd_sn=self._next_cmd_sn()))

    def snack(self, kind: int, *, itt: int = NO_TAG, ttt: int = NO_TAG, begin: int = 0, count: int = 0) -> None:
        """Ask for data (0) or status (1) again, or acknowledge data (2)."""
        self.send(SnackRequest(flags=FINAL | kind, itt=itt, ttt=ttt, begin_run=begin, run_length=count))

    def _next_itt(self) -> int:
        self._numbers.itt += 1
        return self._numbers.itt

    def _next_cmd_sn(self) -> int:
        number = self.cmd_sn
        self.cmd_sn += 1
        return number

    def _peer_max_data(self) -> int:
        return int(self.answers.get("MaxRecvDataSegmentLength", "8192"))

    def receive_data(self, data: Buffer) -> None:
        """Take bytes from the target, and answer what wants an answer."""
        view = memoryview(data)
        while view:
            room = self._framer.receive_buffer()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            view = view[count:]
            self._framer.received(count)
            while (found := self._framer.next()) is not None:
                start, segment = found
                pdu = decode(self._framer.buffer[start : start + BHS_LENGTH])
                payload = bytes(segment)
                self.received.append((pdu, payload))
                self._handle(pdu, payload)

    def _handle(self, pdu: Pdu, data: bytes) -> None:
        if isinstance(pdu, DataIn) and pdu.flags & _ACKNOWLEDGE and self.acknowledge:
            self.snack(2, ttt=pdu.ttt, begin=pdu.data_sn + 1)
        self._count(pdu)
        if isinstance(pdu, LoginResponse):
            self._login_response(pdu, data)
        elif isinstance(pdu, DataIn):
            result = self.results[pdu.itt]
            end = pdu.offset + len(data)
            result.data.extend(bytes(max(0, end - len(result.data))))
            result.data[pdu.offset : end] = data
            if pdu.flags & 0x01:
                result.status, result.residual, result.residual_flags = pdu.status, pdu.residual, pdu.flags & 0x06
        elif isinstance(pdu, ScsiResponse):
            result = self.results[pdu.itt]
            result.status, result.residual, result.residual_flags = pdu.status, pdu.residual, pdu.flags & 0x06
            result.sense = data[2:]
        elif isinstance(pdu, ReadyToTransfer):
            self._answer_r2t(pdu)

    def _count(self, pdu: Pdu) -> None:
        """Status that came in its order is acknowledged by what is sent next."""
        carries = not isinstance(pdu, ReadyToTransfer | DataIn) or (isinstance(pdu, DataIn) and pdu.flags & 0x01)
        number = getattr(pdu, "stat_sn", None)
        if isinstance(pdu, LoginResponse) or (isinstance(pdu, NopIn) and pdu.itt == NO_TAG):
            carries = isinstance(pdu, LoginResponse)
        if carries and (isinstance(pdu, LoginResponse) or number == self.exp_stat_sn):
            self.exp_stat_sn = (0 if number is None else number) + 1 & 0xFFFFFFFF
        if isinstance(pdu, NopIn) and pdu.itt == NO_TAG and pdu.ttt != NO_TAG:
            self.send(NopOut(immediate=True, lun=pdu.lun, ttt=pdu.ttt, cmd_sn=self.cmd_sn))

    def _login_response(self, response: LoginResponse, data: bytes) -> None:
        answers = dict(parse_text(data))
        self.answers.update(answers)
        self.login_status = (response.status_class, response.status_detail)
        if response.status_class:
            return
        if "CHAP_C" in answers and self.chap is not None:
            user, secret = self.chap
            challenge = decode_binary(answers["CHAP_C"])
            proof = chap_response(answers["CHAP_A"], int(answers["CHAP_I"]), secret, challenge)
            pairs = [("CHAP_N", user), ("CHAP_R", "0x" + proof.hex())]
            if self.mutual is not None:
                pairs += [("CHAP_I", "7"), ("CHAP_C", "0x" + _CHALLENGE.hex())]
            self._login_request(0, 1, pairs)
        elif answers.get("AuthMethod") == "CHAP":
            self._login_request(0, None, [("CHAP_A", self.algorithms)])
        elif response.flags & 0x83 == 0x81:
            if self.mutual is not None:
                wanted = chap_response(self.answers["CHAP_A"], 7, self.mutual[1], _CHALLENGE)
                proof = decode_binary(answers.get("CHAP_R", "0x"))
                self.proven = proof == wanted and answers.get("CHAP_N") == self.mutual[0]
            self._login_request(1, 3, list(self.keys.items()))
        elif response.flags & 0x83 == 0x83:
            self.logged_in = True
            self.tsih = response.tsih
            self._digests = (self.answers.get("HeaderDigest") == "CRC32C", self.answers.get("DataDigest") == "CRC32C")
            self._framer.header_digest, self._framer.data_digest = self._digests

    def _answer_r2t(self, r2t: ReadyToTransfer) -> None:
        data = self.results[r2t.itt].data_out
        offset, end, data_sn = r2t.offset, r2t.offset + r2t.length, 0
        while offset < end:
            part = data[offset : min(end, offset + self._peer_max_data())]
            last = offset + len(part) == end
            out = DataOut(
                flags=FINAL if last else 0, lun=r2t.lun, itt=r2t.itt, ttt=r2t.ttt, data_sn=data_sn, offset=offset
            )
            self.send(out, part)
            offset += len(part)
            data_sn += 1
