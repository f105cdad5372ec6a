"""A login on its connection: responses numbered and sent, and the way into full feature phase (RFC 7143 6.3)."""

from __future__ import annotations

from labemu_iscsi import multiple
from labemu_iscsi.errors import LoginFailed
from labemu_iscsi.events import LoggedIn
from labemu_iscsi.limits import FULL_BUFFER, MAX_RECEIVE_DATA
from labemu_iscsi.link import Link, Phase
from labemu_iscsi.login import LoginResult
from labemu_iscsi.negotiation import format_text
from labemu_iscsi.pdu import LoginRequest, LoginResponse
from labemu_iscsi.recovery import Recovery
from labemu_iscsi.retaining import RetainingSender
from labemu_iscsi.session import Parameters


def login_request(link: Link, request: LoginRequest, data: bytes) -> None:
    """Take one request of the login phase, and answer it.

    Raises:
        LoginFailed: it is refused, and was answered with the status; the connection ends.
    """
    login = link.login
    assert login is not None
    if not login.begun:
        link.cid = request.cid
        link.sender.stat_sn = request.exp_stat_sn
    try:
        reply = login.handle(request, data)
        link.node.admit(login.initiator, login.target_name, link.peer, link.portal)
        if login.result is not None:
            _open(link, login.result)
    except LoginFailed as error:
        _respond(link, request, flags=request.flags & 0x0C, text=format_text(list(error.answers)), status=error.status)
        raise
    _respond(link, request, flags=reply.flags, text=reply.text)
    if login.result is not None:
        _enter(link, login.result)


def _open(link: Link, result: LoginResult) -> None:
    if result.tsih:
        session = multiple.check(link.node, result.tsih, result.isid, result.initiator, result.target, link.cid)
        link.session = session
        multiple.join(session, link)
        return
    link.session = link.node.open_session(
        link,
        initiator=result.initiator,
        isid=result.isid,
        target=result.target,
        parameters=Parameters.of(result.negotiator),
        cmd_sn=result.cmd_sn,
    )


def _enter(link: Link, result: LoginResult) -> None:
    """Full feature phase: what was negotiated holds from the next PDU on."""
    negotiator = result.negotiator
    link.framer.grow(max_data=MAX_RECEIVE_DATA, capacity=FULL_BUFFER)
    for end in (link.framer, link.sender):
        end.header_digest = negotiator.results["HeaderDigest"] == "CRC32C"
        end.data_digest = negotiator.results["DataDigest"] == "CRC32C"
    link.sender.max_data = negotiator.number("MaxRecvDataSegmentLength")
    link.text.negotiator = negotiator
    link.login = None
    link.phase = Phase.FULL_FEATURE
    if link.full.parameters.recovery_level:
        link.sender = sender = RetainingSender(link.sender)
        link.recovery = Recovery(sender, link.full)
    link.events.append(LoggedIn(session=link.full))


def _respond(
    link: Link, request: LoginRequest, *, flags: int, text: bytes = b"", status: tuple[int, int] = (0, 0)
) -> None:
    session = link.session
    exp_cmd_sn = request.cmd_sn if session is None else session.exp_cmd_sn
    response = LoginResponse(
        flags=flags,
        lun=request.isid + (request.tsih if session is None else session.tsih).to_bytes(2, "big"),
        itt=request.itt,
        stat_sn=link.sender.next_stat_sn(),
        exp_cmd_sn=exp_cmd_sn,
        max_cmd_sn=exp_cmd_sn if session is None else session.max_cmd_sn,
        status_class=status[0],
        status_detail=status[1],
    )
    link.sender.put(response.pack(len(text)), text)
