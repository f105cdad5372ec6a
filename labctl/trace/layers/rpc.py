"""ONC RPC, NFSv3, MOUNT and the port mapper: scapy's own layers, put together; and NFSv4's COMPOUND, which is ours.

A reply does not say which procedure it is of; scapy takes it for raw bytes. `dissect` takes the call beside it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from scapy.contrib import mount, nfs, portmap
from scapy.contrib.oncrpc import RPC, RM_Header, RPC_Call, RPC_Reply
from scapy.packet import Packet, Raw

from labctl.trace.layers import nfs4
from labctl.trace.protocols.rpc.nfs3 import PROCEDURES

__all__ = ["RPC", "RM_Header", "RPC_Call", "RPC_Reply", "dissect"]

_HEAD = 8  # XID and message type
_MOUNT = {0: "NULL", 1: "MOUNT", 3: "UNMOUNT"}
_PORTMAP = {0: "NULL", 3: "GETPORT", 4: "DUMP"}


def dissect(record: bytes, call: bytes = b"") -> Packet:
    """A record, without its mark, as layers.

    Args:
        record: all of it.
        call: for a reply: the call that it answers.
    """
    head = RPC(record[:_HEAD])
    if head.mtype == 0:
        return head / _safely(RPC_Call, record[_HEAD:])
    reply = _safely(RPC_Reply, record[_HEAD:])
    kind = _reply_class(call)
    if kind is not None and isinstance(reply.payload, Raw):
        body = bytes(reply.payload)
        reply.remove_payload()
        reply = reply / _safely(kind, body)
    return head / reply


def _safely(kind: type[Packet], data: bytes) -> Packet:
    """A layer of these bytes; what scapy cannot read is raw."""
    try:
        return kind(data)
    except Exception:  # scapy's layers raise whatever Python does on bytes that are cut
        return Raw(data)


def _reply_class(call: bytes) -> type[Packet] | None:
    if len(call) < 24:  # up to the procedure
        return None
    program, version, procedure = (int.from_bytes(call[at : at + 4], "big") for at in (12, 16, 20))
    if (program, version, procedure) == (nfs4.PROGRAM, nfs4.VERSION, nfs4.COMPOUND):
        return nfs4.COMPOUND4res
    names: dict[tuple[int, int], tuple[ModuleType, Any]] = {
        (100003, 3): (nfs, dict(enumerate(PROCEDURES))),
        (100005, 3): (mount, _MOUNT),
        (100000, 2): (portmap, _PORTMAP),
    }
    module, procedures = names.get((program, version), (nfs, {}))
    return getattr(module, f"{procedures.get(procedure)}_Reply", None)
