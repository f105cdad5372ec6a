"""Every number with a reason. A client can make the server hold no more than these allow."""

from __future__ import annotations

MAX_IO = 1 << 20
"""Bytes of one READ or WRITE: rtmax and wtmax. As knfsd and ganesha; QEMU and Linux take no more."""

MAX_COPY = 64 << 20
"""Bytes of one COPY (RFC 7862 15.2.3 lets a copy end early): a thread is done with them within a second on a plain disk."""

MAX_OFFLOADS = 16
MAX_CLIENT_OFFLOADS = 4
"""Copies that go on after COPY was answered, or of whose end a client is being told, of all clients and of one.

A COPY beyond that is done before it is answered.
"""

MAX_DONE_OFFLOADS = 16
"""Such copies of one client that are done and were not given back; the eldest are forgotten."""

PREFERRED_IO = 1 << 20
"""rtpref and wtpref."""

PREFERRED_READDIR = 65536
"""dtpref: what one listing of a local directory brings."""

MAX_READDIR = 1 << 20
"""Bytes of a READDIR or READDIRPLUS reply, whatever the client asks for."""

MAX_RECORD = MAX_IO + 128 * 1024
"""Bytes of an RPC message: the largest WRITE, its credential (800 at most, RFC 5531 8.2) and its handle fit. A WRITE somewhat above
maxwrite is still read, and done up to that: clients that never ask for maxwrite send 17 times 64 KiB and expect an answer."""

MAX_FRAGMENTS = 256
"""Fragments of one record (RFC 5531 11): 1 MiB in the 9,000 bytes of the Sun library makes 117."""

RECEIVE_BUFFER = 64 * 1024
"""Bytes that a connection's buffer begins with; it grows only for a larger record, up to MAX_RECORD and this."""

REPLIES_TOGETHER = 16
"""Replies that leave in one send: a client with many calls under way takes them while its other calls are worked on."""

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

MAX_CLIENTS = 4096
"""NFSv4 client records; beyond, those whose lease is over make room, eldest first (some 1 KB each)."""

MAX_STATES = 200_000
"""Opens, locks and delegations of all NFSv4 clients, and MAX_STATES ranges (some 500 bytes each)."""

MAX_OWNERS = 16384
"""Open-owners, and lock-owners, of one client: processes. Idle ones make room."""

MAX_SESSIONS = 16
"""Sessions of a client (RFC 8881 2.10); Linux and ESXi use one."""

MAX_SLOTS = 64
"""Slots of a session: what Linux asks for."""

MAX_CACHED_REPLY = 8192
"""Bytes kept for each slot (ca_maxresponsesize_cached): 512 KiB a session at most."""

MAX_OPERATIONS = 128
"""Operations of a COMPOUND (ca_maxoperations)."""

MAX_SESSION_CONNECTIONS = 64
"""Connections remembered as bound to a session: nconnect goes to 16."""

MAX_GHOSTS = 8192
"""Stateids remembered as expired, so that they are told from ones that never were."""

MAX_CLIENT_NAME = 1024
"""NFS4_OPAQUE_LIMIT (RFC 7530 2.1): bytes of a client's or an owner's name."""

LEASE_TIME = 90
"""Seconds of a lease (RFC 7530 9.5), and of the grace period after a restart, unless told otherwise: as Linux's server."""

MAX_PERIOD = 3600
"""Seconds of a lease or of a grace period: as Linux's server."""

RECALL_TIME = 45.0
"""Seconds to return a delegation in, before it is revoked: half a lease, so that whoever waits is not timed out."""

DELEGATION_PAUSE = 30.0
"""Seconds for which a file is not delegated again after a recall: two clients share it."""

MAX_LOCKS_OF_HOST = 16384
"""Lock owners times files that one NFSv3 host may hold locks with: some 10 MB."""

MAX_WAITING_LOCKS = 4096
"""Locks of NFSv3 that are waited for, over all hosts."""

GRACE_PERIOD = 20.0
"""Seconds after a restart for reclaiming NFSv3's locks, unless told otherwise: Linux's statd sends its own notifications again every 5."""

MAX_CALLBACKS = 1024
"""Calls to a client that wait for its answer, of one connection."""
