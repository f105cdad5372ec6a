"""What the engine tells its driver. A command that is ready to be executed is an event too: its `Task`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from labemu_iscsi.task import Task

if TYPE_CHECKING:
    from labemu_iscsi.session import Session


class Function(IntEnum):
    """Task management functions, RFC 7143 11.5.1."""

    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LOGICAL_UNIT_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    TASK_REASSIGN = 8
    QUERY_TASK = 9  # from here on RFC 7144 5, with iSCSIProtocolLevel 2
    QUERY_TASK_SET = 10
    I_T_NEXUS_RESET = 11
    QUERY_ASYNC_EVENT = 12


class FunctionResponse(IntEnum):
    """RFC 7143 11.6.1."""

    COMPLETE = 0
    NO_TASK = 1
    NO_LUN = 2
    STILL_ALLEGIANT = 3
    REASSIGN_NOT_SUPPORTED = 4
    NOT_SUPPORTED = 5
    AUTHORIZATION_FAILED = 6
    SUCCEEDED = 7  # RFC 7144 5.2
    REJECTED = 255


@dataclass(frozen=True, kw_only=True)
class LoggedIn:
    """A connection entered full feature phase.

    Args:
        session: the session.
    """

    session: Session


@dataclass(frozen=True, kw_only=True)
class TaskManagement:
    """A task management function to be done, then answered with `respond_task_management`.

    Args:
        function: which.
        lun: eight bytes.
        itt: the request's own tag.
        referenced_tag: of the task to abort.
        cmd_sn: the request's own number.
        ref_cmd_sn: that of the task to abort.
    """

    function: int
    lun: bytes
    itt: int
    referenced_tag: int
    cmd_sn: int = 0
    ref_cmd_sn: int = 0


Event = Task | LoggedIn | TaskManagement
