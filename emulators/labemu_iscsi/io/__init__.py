"""The iSCSI server: sockets, threads and time around the engine."""

from labemu_iscsi.io.server import IscsiServer, SessionInfo

__all__ = ["IscsiServer", "SessionInfo"]
