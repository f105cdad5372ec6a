"""The login phase (RFC 7143 clause 6.3): stages as a table, text gathered, authentication, negotiation.

It turns requests into responses; the connection numbers them and enters full feature phase when `result` is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from labemu_iscsi import multiple
from labemu_iscsi.auth import ChapTarget
from labemu_iscsi.errors import (
    AuthenticationFailed,
    CannotInclude,
    InvalidDuringLogin,
    LoginFailed,
    MissingParameter,
    SessionTypeNotSupported,
    UnsupportedVersion,
)
from labemu_iscsi.limits import LOGIN_RECEIVE_DATA, MAX_LOGIN_EXCHANGES, MAX_NAME, MAX_RECEIVE_DATA, MAX_TEXT
from labemu_iscsi.negotiation import Negotiator, Pairs, format_text, parse_text
from labemu_iscsi.pdu import LoginRequest

if TYPE_CHECKING:
    from labemu_iscsi.auth import Credentials
    from labemu_iscsi.node import Node
    from labemu_iscsi.session import Target

TRANSIT: Final = 0x80
CONTINUE: Final = 0x40


class Stage(IntEnum):
    """RFC 7143 11.12.3."""

    SECURITY = 0
    OPERATIONAL = 1
    FULL_FEATURE = 3


TRANSITIONS: Final[Mapping[Stage, frozenset[Stage]]] = {
    Stage.SECURITY: frozenset((Stage.OPERATIONAL, Stage.FULL_FEATURE)),
    Stage.OPERATIONAL: frozenset((Stage.FULL_FEATURE,)),
}
"""Where a stage may lead (RFC 7143 6.3.1)."""

_NAME = re.compile(r"(iqn|eui|naa)\.[^\s,\x00-\x1f]+")


@dataclass(frozen=True, kw_only=True)
class LoginResult:
    """A login that is through; `tsih` is that of the session to join, or zero for a new one."""

    initiator: str
    isid: bytes
    tsih: int
    target: Target | None
    negotiator: Negotiator
    cmd_sn: int


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A Login Response to be sent: its flags and text."""

    flags: int
    text: bytes = b""


class Login:
    """One connection's login.

    Args:
        node: whose targets it may ask for.
        peer: the initiator's address, for access lists.
        portal: the address that it came in at, which tells the portal group.
    """

    def __init__(self, node: Node, *, peer: str = "", portal: str = "") -> None:
        self._node = node
        self._peer = peer
        self._tag = node.tag_at(portal)
        self._stage: Stage | None = None
        self._exchanges = 0
        self._text = b""
        self._rest = b""
        self._negotiator = Negotiator()
        self._method = ""
        self._chap: ChapTarget | None = None
        self._declared = False
        self._first: LoginRequest | None = None
        self._target: Target | None = None
        self.initiator = ""
        self.result: LoginResult | None = None

    @property
    def target_name(self) -> str:
        """The target that is asked for, once that is known; empty in discovery."""
        return "" if self._target is None else self._target.name

    @property
    def begun(self) -> bool:
        """Whether the first request came."""
        return self._first is not None

    def handle(self, request: LoginRequest, data: bytes) -> Reply:
        """One request, and the answer to it.

        Raises:
            LoginFailed: it is refused; the exception carries the status.
        """
        self._exchanges += 1
        if self._exchanges > MAX_LOGIN_EXCHANGES:
            raise LoginFailed("the login does not end")
        stage, next_stage = self._check(request)
        self._text += data
        if len(self._text) > MAX_TEXT:
            raise LoginFailed("too much login text")
        if request.flags & CONTINUE:  # RFC 7143 6.2: an empty response asks for the rest
            if request.flags & TRANSIT:  # RFC 7143 11.12.2
                raise InvalidDuringLogin("both C and T are set")
            return Reply(flags=stage << 2)
        pairs, self._text = parse_text(self._text), b""
        if self._rest:  # RFC 7143 6.2: an empty request asks for the rest of ours
            if pairs:
                raise InvalidDuringLogin("new text before all of the answer was taken")
            return self._reply(request, stage, next_stage)
        answers: Pairs = []
        if self._stage is None:
            answers += self._open(request, pairs)
        self._stage = stage
        answers += self._security(pairs) if stage is Stage.SECURITY else self._operational(pairs)
        self._rest = format_text(answers)
        return self._reply(request, stage, next_stage)

    def _check(self, request: LoginRequest) -> tuple[Stage, Stage | None]:
        """The header: version, stages, and that nothing changed since the first request."""
        if request.version_min > 0:  # RFC 7143 11.12.5
            raise UnsupportedVersion("only version 0 is spoken here")
        try:
            stage = Stage(request.flags >> 2 & 3)
            next_stage = Stage(request.flags & 3) if request.flags & TRANSIT else None
        except ValueError as error:
            raise InvalidDuringLogin("stage 2 does not exist") from error
        if stage is Stage.FULL_FEATURE or (next_stage is not None and next_stage not in TRANSITIONS[stage]):
            raise InvalidDuringLogin(f"illegal transition {stage.name} to {next_stage}")
        if self._stage is not None and stage is not self._stage:  # RFC 7143 11.12.3: both sides stand in one stage
            raise InvalidDuringLogin(f"the login is in stage {self._stage.name}, not {stage.name}")
        if self._first is None:
            self._negotiator.leading = not request.tsih
            self._first = request
        elif (request.lun, request.cid, request.itt) != (self._first.lun, self._first.cid, self._first.itt):
            raise InvalidDuringLogin("ISID, TSIH, CID or tag changed during login")
        elif stage is not (self._stage or Stage(self._first.flags >> 2 & 3)):
            raise InvalidDuringLogin("the stage changed between two parts of one text")
        return stage, next_stage

    def _open(self, request: LoginRequest, pairs: Pairs) -> Pairs:
        """The first request names both ends (RFC 7143 6.3.1), and with a TSIH the session that it is to join (6.3.2)."""
        values = dict(pairs)
        self.initiator = values.get("InitiatorName", "")
        if not self.initiator:
            raise MissingParameter("InitiatorName is missing")
        if len(self.initiator.encode()) > MAX_NAME or not _NAME.fullmatch(self.initiator):
            raise LoginFailed("InitiatorName is not an iSCSI name")
        kind = values.get("SessionType", "Normal")
        if kind not in ("Normal", "Discovery"):
            raise SessionTypeNotSupported(f"unknown session type {kind[:32]}")
        if kind == "Normal":
            name = values.get("TargetName", "")
            if not name:
                raise MissingParameter("TargetName is missing")
            self._target = self._node.find(name, self.initiator, peer=self._peer, tag=self._tag)
        self._negotiator.discovery = kind == "Discovery"
        if request.tsih:
            session = multiple.check(self._node, request.tsih, request.isid, self.initiator, self._target, request.cid)
            if session.tag != self._tag:  # RFC 7143 4.4.2: a session stays within its portal group
                raise CannotInclude("the session is of another portal group")
        return [] if self._target is None else [("TargetPortalGroupTag", str(self._tag))]

    def _security(self, pairs: Pairs) -> Pairs:
        values = dict(pairs)
        answers: Pairs = []
        credentials = self._credentials()
        if "AuthMethod" in values:
            if self._method:  # RFC 7143 6.3: a second challenge would be a second guess
                raise AuthenticationFailed("AuthMethod was negotiated twice")
            offered = values["AuthMethod"].split(",")
            method = "None" if credentials is None else "CHAP"
            if method not in offered:
                raise AuthenticationFailed(f"{method} is the only method here; {values['AuthMethod'][:64]} was offered")
            self._method = method
            answers.append(("AuthMethod", method))
            if credentials is not None:
                self._chap = ChapTarget(credentials, self._node.entropy)
        chap = {name: value for name, value in pairs if name.startswith("CHAP_")}
        if chap:
            if self._chap is None:
                raise AuthenticationFailed("CHAP was not agreed on")
            answers += self._chap.step(chap)
        known = {"AuthMethod", *chap}
        for name, value in pairs:
            if name not in known:
                answers += self._answer(name, value)
        return answers

    def _operational(self, pairs: Pairs) -> Pairs:
        self._require_authentication()
        answers: Pairs = []
        for name, value in pairs:
            answers += self._answer(name, value)
        if not self._declared:
            self._declared = True
            answers.append(("MaxRecvDataSegmentLength", str(MAX_RECEIVE_DATA)))
        return answers

    def _answer(self, name: str, value: str) -> Pairs:
        answer = self._negotiator.answer(name, value)
        return [] if answer is None else [(name, answer)]

    def _credentials(self) -> Credentials | None:
        if self._target is None:
            return self._node.discovery_credentials
        return self._target.credentials_for(self.initiator)

    def _require_authentication(self) -> None:
        if self._credentials() is not None and (self._chap is None or not self._chap.done):
            raise AuthenticationFailed("CHAP is wanted here")

    def _reply(self, request: LoginRequest, stage: Stage, next_stage: Stage | None) -> Reply:
        """As much of the answer as fits into one PDU; the stage ends with the last of it."""
        text, self._rest = self._rest[:LOGIN_RECEIVE_DATA], self._rest[LOGIN_RECEIVE_DATA:]
        if self._rest:
            return Reply(flags=CONTINUE | stage << 2, text=text)
        if next_stage is None:
            return Reply(flags=stage << 2, text=text)
        if stage is Stage.SECURITY and self._chap is not None and not self._chap.done:
            return Reply(flags=stage << 2, text=text)  # not yet: the exchange goes on
        self._require_authentication()
        self._stage = next_stage
        if next_stage is Stage.FULL_FEATURE:
            self.result = LoginResult(
                initiator=self.initiator,
                isid=request.isid,
                tsih=request.tsih,
                target=self._target,
                negotiator=self._negotiator,
                cmd_sn=request.cmd_sn,
            )
        return Reply(flags=TRANSIT | stage << 2 | next_stage, text=text)
