"""Every number with its reason. What a peer can make us hold is the product of numbers on this page."""

from __future__ import annotations

from typing import Final

BHS_LENGTH: Final = 48
"""RFC 7143 11.2: the basic header segment."""

MAX_AHS: Final = 255 * 4
"""RFC 7143 11.2.1.5: what one byte of four-byte words can say."""

MAX_RECEIVE_DATA: Final = 256 << 10
"""MaxRecvDataSegmentLength that we declare: large enough that headers cost nothing; LIO and libiscsi use the same."""

LOGIN_RECEIVE_DATA: Final = 8192
"""RFC 7143 13.12: what holds until the key was declared."""

LOGIN_BUFFER: Final = 16 << 10
"""Receive buffer of a connection that has not logged in; twice the largest PDU, so that thousands of them are cheap."""

FULL_BUFFER: Final = 1 << 20
"""Receive buffer in full feature phase: one receive takes many commands, or four of the largest PDUs."""

MAX_BURST: Final = 1 << 20
"""MaxBurstLength that we offer: one R2T for each MiB."""

FIRST_BURST: Final = 256 << 10
"""FirstBurstLength that we offer: writes up to this size need no round trip for an R2T."""

MAX_OUTSTANDING_R2T: Final = 8
"""R2Ts of one command that may be open; more hide no more latency than this."""

COMMAND_WINDOW: Final = 128
"""Commands of a session under way; Linux queues 32 to 128, tgt and LIO allow 128 and 64."""

MAX_IMMEDIATE_TASKS: Final = 16
"""Immediate commands under way: they are outside of the command window (RFC 7143 4.2.2.1)."""

MAX_TASK_DATA: Final = 16 << 20
"""Data-out of one command that is ever asked for; the SCSI layer's largest transfer."""

SESSION_DATA: Final = 64 << 20
"""Data-out held for a session's commands, from their first R2T to their status; commands beyond wait for their R2T."""

NODE_DATA: Final = 512 << 20
"""The same for all sessions of a node; beyond it a session still gets one burst at a time, so that all go on."""

MAX_TEXT: Final = 64 << 10
"""Text of a negotiation spread over several PDUs."""

MAX_KEYS: Final = 256
"""Keys in one negotiation step; the standard knows about 30."""

MAX_KEY_NAME: Final = 63
"""RFC 7143 6.1."""

MAX_NAME: Final = 223
"""RFC 7143 4.2.7.1: bytes of an iSCSI name."""

MAX_LOGIN_EXCHANGES: Final = 64
"""Request and response pairs until a login must be through; security and operational parameters need about 6."""

LOGIN_TIMEOUT: Final = 15.0
"""Seconds from the connection to full feature phase; Linux gives a login 15."""

MAX_CONNECTIONS: Final = 4096
"""Of one server, logged in or not."""

OUTPUT_HIGH_WATER: Final = 4 << 20
"""Bytes waiting to be sent beyond which no further command is started."""

MAX_SESSION_CONNECTIONS: Final = 8
"""MaxConnections that we offer (RFC 7143 13.2); LIO and tgt take one or a few, and no client is known to use more than four."""

ERROR_RECOVERY_LEVEL: Final = 1
"""The highest that we do (RFC 7143 7.1.4): lost and damaged PDUs are recovered within their connection."""

TIME2RETAIN: Final = 0
"""Seconds that tasks outlive their connection (RFC 7143 13.16): tasks can be reassigned only at error recovery level 2."""

MAX_STRETCHES: Final = 1024
"""Pieces of one command's data-out that may lie apart, where they need not come in order; a burst of 1 MiB in 1 KiB pieces."""

MAX_HEADER_ERRORS: Final = 2
"""Header digest errors in a row that end a connection also at error recovery level 1: lengths can no longer be trusted then."""

PING_AFTER: Final = 60.0
"""Seconds of silence after which an initiator is asked whether it is there; Linux asks its target every 5, and answers."""

PING_TIMEOUT: Final = 30.0
"""Seconds that it has to say anything at all; then the connection is dropped, so that dead peers do not keep their reservations."""

DATA_TIMEOUT: Final = 5.0
"""Seconds without data-out that was asked for, after which error recovery level 1 asks for it again (RFC 7143 7.2.2)."""

MAX_REQUESTS: Final = 3
"""How often; then the command ends with DATA PHASE ERROR."""

RETAINED_PDUS: Final = 4096
"""Responses kept for a status SNACK until they are acknowledged; Linux acknowledges with its next command."""

RETAINED_DATA: Final = 16 << 20
"""Bytes of data-in kept for a data SNACK; beyond it the oldest go, and a SNACK for them is rejected (RFC 7143 11.16)."""

LANE_BUFFER: Final = 512 << 10
"""Replies of the fast lane that wait at a time: well within a CPU's second cache, and several of the usual large transfers."""

LANE_RUN: Final = 512
"""Neighbouring transfers in one vectored call; the kernel takes 1,024 (IOV_MAX)."""
