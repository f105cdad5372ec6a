"""Every number with a reason. A client can make the server hold no more than these allow."""

from __future__ import annotations

MAX_IO = 1 << 20
"""Bytes of one READ or WRITE: rtmax and wtmax. As knfsd and ganesha; QEMU and Linux take no more."""

PREFERRED_IO = 1 << 20
"""rtpref and wtpref."""

PREFERRED_READDIR = 65536
"""dtpref: what one listing of a local directory brings."""

MAX_READDIR = 1 << 20
"""Bytes of a READDIR or READDIRPLUS reply, whatever the client asks for."""

MAX_RECORD = MAX_IO + 4096
"""Bytes of an RPC message: the largest WRITE, its credential (800 at most, RFC 5531 8.2) and its handle fit."""

MAX_FRAGMENTS = 256
"""Fragments of one record (RFC 5531 11): 1 MiB in the 9,000 bytes of the Sun library makes 117."""

RECEIVE_BUFFER = 64 * 1024
"""Bytes that a connection's buffer begins with; it grows only for a larger record, up to MAX_RECORD and this."""

MAX_UNSENT = 4 << 20
"""Bytes of replies made but not yet taken: past it, no call of that connection is worked on."""

MAX_JOBS = 64
"""Calls of one connection that wait for the disk at once."""

MAX_DATAGRAM = 8800
"""Bytes of a call over UDP: UDPMSGSIZE of the Sun library, which every portmap client uses."""

MAX_CREDENTIAL = 400
"""Bytes of a credential's body (RFC 5531 8.2)."""

MAX_GROUPS = 16
"""Groups in an AUTH_SYS credential (RFC 5531 appendix A)."""

MAX_MACHINE_NAME = 255
"""Bytes of the machine name in an AUTH_SYS credential (RFC 5531 appendix A)."""

MAX_CREDENTIALS = 1024
"""Decoded credentials remembered."""

MAX_NAME = 255
"""Bytes of a file's name: what Linux file systems take. A longer one, up to MAX_PATH, gets NAMETOOLONG."""

MAX_PATH = 4096
"""Bytes of a symlink's target or of anything that may be a name: PATH_MAX."""

MAX_MOUNT_PATH = 1024
"""MNTPATHLEN (RFC 1813 5.1.2)."""

MAX_HANDLE = 64
"""NFS3_FHSIZE (RFC 1813 2.4)."""

MAX_HANDLES = 65536
"""Handles whose signature is remembered as good (some 20 MB)."""

MAX_REPLIES = 4096
"""Replies kept for calls that must not be done twice (over all clients); knfsd keeps about as many on a small machine."""

REPLY_LIFETIME = 120.0
"""Seconds that such a reply is kept: twice the 60 s after which Linux resends over TCP (nfs(5), timeo)."""

MAX_MOUNTS = 1024
"""Entries in the list that DUMP gives; it is advice only (RFC 1813 5.2.2), so the eldest are dropped."""

MAX_CONNECTIONS = 1024
"""Clients at once: with their buffers grown to a whole record they take 1.1 GiB."""

LISTEN_BACKLOG = 128
"""Connections that wait to be accepted: what the kernel takes by default."""

DISK_THREADS = 8
"""Threads that wait for the disk: a journal commits them together anyway."""
