"""Pings from the target (RFC 7143 11.19): an initiator that says nothing is asked whether it is there, and dropped if it stays silent."""

from __future__ import annotations

from labemu_iscsi.link import Link
from labemu_iscsi.pdu import NO_TAG, NopIn


def check(link: Link, now: float) -> None:
    """Ask, or give up, as its time has come."""
    after, timeout = link.node.ping_after, link.node.ping_timeout
    if not after or now - link.heard < after:
        link.ping_tag = NO_TAG
    elif link.ping_tag == NO_TAG:
        send(link)
        link.ping_deadline = now + timeout
    elif now >= link.ping_deadline:
        link.close(f"silent for {now - link.heard:.0f} seconds, also when asked")


def send(link: Link) -> None:
    """A NOP-In that wants an answer: it has a tag of ours, and the next StatSN without taking it."""
    session = link.full
    link.ping_tag = session.new_ttt()
    request = NopIn(
        ttt=link.ping_tag,
        stat_sn=link.sender.stat_sn,
        exp_cmd_sn=session.exp_cmd_sn,
        max_cmd_sn=session.max_cmd_sn,
    )
    link.sender.put(request.pack())
    link.wake()
