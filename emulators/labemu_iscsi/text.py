"""Text requests in full feature phase (RFC 7143 11.10): SendTargets, and declarations that may change later.

A long answer goes out in pieces, each asked for with the target transfer tag of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from labemu_iscsi.errors import InvalidField, LoginFailed
from labemu_iscsi.limits import MAX_TEXT
from labemu_iscsi.negotiation import REJECT, Negotiator, Pairs, format_text, parse_text
from labemu_iscsi.pdu import FINAL, NO_TAG, TextRequest

if TYPE_CHECKING:
    from labemu_iscsi.node import Node
    from labemu_iscsi.session import Session, Target

_CONTINUE: Final = 0x40


@dataclass(frozen=True, kw_only=True)
class TextReply:
    """A Text Response to be sent."""

    flags: int
    ttt: int = NO_TAG
    text: bytes = b""


class TextExchange:
    """One connection's text exchanges, one at a time.

    Args:
        node: whose targets are listed.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._request = b""
        self._rest = b""
        self._ttt = NO_TAG
        self._itt = NO_TAG
        self.negotiator: Negotiator | None = None

    def handle(self, request: TextRequest, data: bytes, session: Session, room: int) -> TextReply:
        """One request, and its answer in at most `room` bytes.

        Raises:
            InvalidField: it continues an exchange that there is not, or is malformed.
        """
        if request.ttt != NO_TAG and (request.ttt, request.itt) != (self._ttt, self._itt):  # RFC 7143 11.10.3
            raise InvalidField("no such text exchange")
        if request.ttt == NO_TAG:  # a new exchange resets the old one (RFC 7143 11.10.4)
            self._request, self._rest = b"", b""
            self._itt = request.itt
        if request.flags & _CONTINUE and request.flags & FINAL:  # RFC 7143 11.10.2
            raise InvalidField("both C and F are set")
        if self._rest and data:
            raise InvalidField("new text before all of the answer was taken")
        self._request += data
        if len(self._request) > MAX_TEXT:
            raise InvalidField("too much text")
        if request.flags & _CONTINUE:
            self._ttt = session.new_ttt()
            return TextReply(flags=0, ttt=self._ttt)
        if not self._rest:
            self._rest = self._answer(session)
        self._request = b""
        part, self._rest = self._rest[:room], self._rest[room:]
        if self._rest:
            self._ttt = session.new_ttt()
            return TextReply(flags=_CONTINUE, ttt=self._ttt, text=part)
        if not request.flags & FINAL:  # RFC 7143 11.10.1: the initiator has more to say, so the answer does not end it
            self._ttt = session.new_ttt()
            return TextReply(flags=0, ttt=self._ttt, text=part)
        self._ttt = NO_TAG
        return TextReply(flags=FINAL, text=part)

    def _answer(self, session: Session) -> bytes:
        try:
            pairs = parse_text(self._request)
            answers: Pairs = []
            for name, value in pairs:
                if name == "SendTargets":
                    answers += self._send_targets(value, session)
                elif self.negotiator is not None:
                    answer = self.negotiator.answer(name, value, full_feature=True)
                    answers += [] if answer is None else [(name, answer)]
        except LoginFailed as error:
            raise InvalidField(str(error)) from error
        return format_text(answers)

    def peer_max_data(self, now: int) -> int:
        """The peer's MaxRecvDataSegmentLength, which it may declare anew at any time."""
        return now if self.negotiator is None else self.negotiator.number("MaxRecvDataSegmentLength")

    def _send_targets(self, value: str, session: Session) -> Pairs:
        """RFC 7143 appendix C: All (discovery only), a name, or empty for the session's own target."""
        connection = session.connections[0]
        visible = self._node.visible(session.initiator, peer=connection.peer, tag=self._node.tag_at(connection.portal))
        if value == "All":
            if session.target is not None:
                return [("SendTargets", REJECT)]
            chosen = visible
        else:
            name = value or (session.target.name if session.target is not None else "")
            chosen = [target for target in visible if target.name == name]
        return [pair for target in chosen for pair in self._describe(target)]

    def _describe(self, target: Target) -> Pairs:
        addresses = [
            ("TargetAddress", f"{portal},{tag}")
            for portal in self._node.portals
            if (tag := self._node.tag_at(portal)) in target.groups
        ]
        return [("TargetName", target.name), *addresses]
