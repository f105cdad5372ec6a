"""The requests of full feature phase other than commands and their data: NOP, text, task management, logout (RFC 7143 clause 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from labemu_iscsi.errors import DataDigestError, InvalidField, NotSupported, ProtocolError, RejectPdu
from labemu_iscsi.events import TaskManagement
from labemu_iscsi.limits import BHS_LENGTH
from labemu_iscsi.link import Link
from labemu_iscsi.pdu import (
    NO_TAG,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Opcode,
    Reject,
    TaskManagementRequest,
    TextRequest,
    TextResponse,
)


def nop_out(link: Link, buffer: bytearray, start: int, data: memoryview) -> None:
    """RFC 7143 11.18: a ping is echoed; one without a tag answers a ping of ours, or only tells ExpStatSN."""
    request = NopOut.unpack(buffer, start)
    if request.itt == NO_TAG:
        if request.ttt not in (NO_TAG, link.ping_tag):
            raise InvalidField("an answer to a ping that there was not")
        return
    session = link.full
    pong = bytes(data[: link.sender.max_data])
    reply = NopIn(
        lun=request.lun,
        itt=request.itt,
        stat_sn=link.sender.next_stat_sn(),
        exp_cmd_sn=session.exp_cmd_sn,
        max_cmd_sn=session.max_cmd_sn,
    )
    link.sender.put(reply.pack(len(pong)), pong)


def text_request(link: Link, buffer: bytearray, start: int, data: memoryview) -> None:
    """RFC 7143 11.10."""
    request = TextRequest.unpack(buffer, start)
    session = link.full
    reply = link.text.handle(request, bytes(data), session, link.sender.max_data)
    link.sender.max_data = link.text.peer_max_data(link.sender.max_data)
    response = TextResponse(
        flags=reply.flags,
        lun=request.lun,
        itt=request.itt,
        ttt=reply.ttt,
        stat_sn=link.sender.next_stat_sn(),
        exp_cmd_sn=session.exp_cmd_sn,
        max_cmd_sn=session.max_cmd_sn,
    )
    link.sender.put(response.pack(len(reply.text)), reply.text)


def task_management(link: Link, buffer: bytearray, start: int, data: memoryview) -> None:
    """RFC 7143 11.5: an event; who does it answers it."""
    request = TaskManagementRequest.unpack(buffer, start)
    if link.full.nexus is None:
        raise NotSupported("task management in a discovery session")
    link.events.append(
        TaskManagement(
            function=request.flags & 0x7F,
            lun=request.lun,
            itt=request.itt,
            referenced_tag=request.referenced_tag,
            cmd_sn=request.cmd_sn,
            ref_cmd_sn=request.ref_cmd_sn,
        )
    )


def logout(link: Link, buffer: bytearray, start: int, data: memoryview) -> None:
    """RFC 7143 11.14: close the session or one connection; reason 2, for recovery, needs error recovery level 2."""
    request = LogoutRequest.unpack(buffer, start)
    session = link.full
    reason = request.flags & 0x7F
    if reason > 2:
        raise InvalidField(f"logout reason {reason}")
    leaving = [each for each in session.connections if reason == 0 or each.cid == request.cid]
    code = 2 if reason == 2 else 0 if leaving else 1  # 11.15.1: no recovery; closed; CID not found
    reply = LogoutResponse(
        response=code,
        itt=request.itt,
        stat_sn=link.sender.next_stat_sn(),
        exp_cmd_sn=session.exp_cmd_sn,
        max_cmd_sn=session.max_cmd_sn,
        time2wait=session.parameters.time2wait,
        time2retain=session.parameters.time2retain,
    )
    link.sender.put(reply.pack())
    if code == 0:
        for connection in leaving:
            if connection is not link:
                connection.abort("logout")
        if link in leaving:
            link.close("logout", failed=False)


def login_again(link: Link, buffer: bytearray, start: int, data: memoryview) -> None:
    """RFC 7143 6.3: a login request has no place in full feature phase."""
    raise ProtocolError("a login request in full feature phase")


def reject(link: Link, error: RejectPdu, buffer: bytearray, start: int) -> None:
    """RFC 7143 11.17: the header of what is rejected goes back."""
    session = link.session
    if session is None:
        link.close(str(error))
        return
    header = bytes(buffer[start : start + BHS_LENGTH])
    answer = Reject(
        reason=error.reason,
        stat_sn=link.sender.next_stat_sn(),
        exp_cmd_sn=session.exp_cmd_sn,
        max_cmd_sn=session.max_cmd_sn,
    )
    link.sender.put(answer.pack(BHS_LENGTH), header)
    if error.fatal and not (link.recovery is not None and isinstance(error, DataDigestError)):
        link.close(str(error))


Handler = Callable[[Link, bytearray, int, memoryview], None]
HANDLERS: Final[dict[int, Handler]] = {
    Opcode.NOP_OUT: nop_out,
    Opcode.TASK_MANAGEMENT_REQUEST: task_management,
    Opcode.TEXT_REQUEST: text_request,
    Opcode.LOGOUT_REQUEST: logout,
    Opcode.LOGIN_REQUEST: login_again,
}
"""What a target takes in full feature phase, besides commands, and Data-Out and SNACK, which carry no CmdSN."""
