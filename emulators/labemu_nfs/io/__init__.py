"""The NFS server: sockets, threads, clocks and files around the engines."""

from labemu_nfs.io.server import NfsServer, ServerStats

__all__ = ["NfsServer", "ServerStats"]
