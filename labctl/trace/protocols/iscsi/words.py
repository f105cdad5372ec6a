"""iSCSI's codes in words (RFC 7143 11)."""

from __future__ import annotations

from typing import Final

TASK_FUNCTIONS: Final = {  # 11.5.1, RFC 7144 5.1
    1: "ABORT TASK", 2: "ABORT TASK SET", 3: "CLEAR ACA", 4: "CLEAR TASK SET", 5: "LOGICAL UNIT RESET", 6: "TARGET WARM RESET",
    7: "TARGET COLD RESET", 8: "TASK REASSIGN", 9: "QUERY TASK", 10: "QUERY TASK SET", 11: "I_T NEXUS RESET", 12: "QUERY ASYNC EVENT",
}  # fmt: skip
TASK_RESPONSES: Final = {  # 11.6.1
    0: "Function complete", 1: "Task does not exist", 2: "LUN does not exist", 3: "Task still allegiant",
    4: "Task allegiance reassignment not supported", 5: "Task management function not supported",
    6: "Function authorization failed", 7: "Function succeeded", 255: "Function rejected",
}  # fmt: skip
RESPONSES: Final = {0: "Command completed at target", 1: "Target failure"}  # 11.4.3
LOGOUT_REASONS: Final = {0: "close session", 1: "close connection", 2: "remove connection for recovery"}  # 11.14.1
LOGOUT_RESPONSES: Final = {  # 11.15.1
    0: "Success", 1: "CID not found", 2: "connection recovery not supported", 3: "cleanup failed",
}  # fmt: skip
LOGIN_STATUS: Final = {  # 11.13.5
    0x0000: "Success", 0x0101: "Target moved temporarily", 0x0102: "Target moved permanently", 0x0200: "Initiator error",
    0x0201: "Authentication failure", 0x0202: "Authorization failure", 0x0203: "Not found", 0x0204: "Target removed",
    0x0205: "Unsupported version", 0x0206: "Too many connections", 0x0207: "Missing parameter", 0x0208: "Can't include in session",
    0x0209: "Session type not supported", 0x020A: "Session does not exist", 0x020B: "Invalid during login",
    0x0300: "Target error", 0x0301: "Service unavailable", 0x0302: "Out of resources",
}  # fmt: skip
STAGES: Final = ("SecurityNegotiation", "LoginOperationalNegotiation", "2", "FullFeaturePhase")  # 11.12.3
REJECTS: Final = {  # 11.17.1
    0x02: "Data (payload) digest error", 0x03: "SNACK Reject", 0x04: "Protocol Error", 0x05: "Command not supported",
    0x06: "Immediate command reject", 0x07: "Task in progress", 0x08: "Invalid data ack", 0x09: "Invalid PDU field",
    0x0A: "Long op reject", 0x0B: "Deprecated", 0x0C: "Waiting for Logout",
}  # fmt: skip
ASYNC_EVENTS: Final = {  # 11.9.1
    0: "SCSI asynchronous event", 1: "logout requested", 2: "connection will be dropped", 3: "all connections will be dropped",
    4: "negotiation requested", 5: "all active tasks for LU terminated", 255: "vendor-specific",
}  # fmt: skip
SNACKS: Final = ("Data/R2T", "Status", "DataACK", "R-Data")  # 11.16.1
