"""The result of decoding: one `Command` for each request that was made of storage, with its response. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Protocol(StrEnum):
    """What a command was spoken in."""

    ISCSI = "iscsi"
    NFS3 = "nfs3"
    NFS4 = "nfs4"
    MOUNT = "mount"
    PORTMAP = "portmap"
    NLM = "nlm"
    NSM = "nsm"
    RPC = "rpc"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One side of a TCP connection: an address in its usual spelling, and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Whose a command was, as far as it is known; empty words for what is not.

    Args:
        host: the host that sent it (esx1).
        vm: the virtual machine whose disk it is for (web1).
        datastore: the datastore (gold).
        disk: the VM's disk (disk0), or the volume's name.
        network: the network that it crossed (storage).
        array: the array that served it (array1).
    """

    host: str = ""
    vm: str = ""
    datastore: str = ""
    disk: str = ""
    network: str = ""
    array: str = ""


@dataclass(kw_only=True, slots=True)
class Command:
    """One request and its response. To be treated as if it were frozen, which would make making millions of them three times as slow.

    A SCSI command is one; so is any other iSCSI request (login, text, task management, NOP); so is an RPC call. Of an NFSv4 COMPOUND
    each operation is one, and all of them share `tag`, `frames` and times; `part` counts them.

    Args:
        id: counts requests in the order of the capture, from 1; the same whenever the same file is read.
        protocol: what it was spoken in.
        operation: the standard's name: `WRITE(10)`, `COMPARE AND WRITE`, `LOGIN`, `READ`, `OPEN`, `READDIRPLUS`.
        client: who asked.
        server: who answered.
        start: when the request's first byte was seen, in nanoseconds since 1970.
        end: when the response's last byte was seen, or None where none was.
        frames: the packet of the request's first byte, and that of the response's last byte (of the request's last, without a response).
        session: iSCSI's `initiator name,target name`, or the connection's endpoints; the same for all commands that are paired together.
        tag: the initiator task tag, or the XID.
        part: the place in a COMPOUND, from 0; 0 for all others.
        target: what it works upon, as the wire says: `LUN 3`, a file's path or handle; may be empty.
        offset: the first byte that it reads or writes, or None where that means nothing.
        length: how many bytes, or None.
        sent: payload bytes towards the server.
        received: payload bytes from the server.
        status: the standard's name: `GOOD`, `CHECK CONDITION`, `NFS3_OK`, `NFS4ERR_STALE`, `Success`; empty without a response.
        sense: `MEDIUM ERROR 11/00 UNRECOVERED READ ERROR`, or empty.
        good: whether it did what was asked; False without a response.
        depth: how many other commands of its session were under way when it began.
        retransmissions: TCP segments of it that were seen more than once.
        round_trips: R2Ts, or 0.
        owner: whose it was.
        details: what the operation has beyond that, by name, in the standard's words (`ttt`, `cdb`, `stateid`, `name` …).
    """

    id: int
    protocol: Protocol
    operation: str
    client: Endpoint
    server: Endpoint
    start: int
    end: int | None
    frames: tuple[int, int]
    session: str
    tag: int
    part: int = 0
    target: str = ""
    offset: int | None = None
    length: int | None = None
    sent: int = 0
    received: int = 0
    status: str = ""
    sense: str = ""
    good: bool = False
    depth: int = 0
    retransmissions: int = 0
    round_trips: int = 0
    owner: Owner = field(default_factory=Owner)
    details: dict[str, object] = field(default_factory=dict)

    @property
    def latency(self) -> int | None:
        """Nanoseconds from the request's first byte to the response's last, or None without a response."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message of a command as it was on the wire: an iSCSI PDU or an RPC record.

    Args:
        time: when its first byte was seen, in nanoseconds since 1970.
        last: when its last byte was seen.
        frames: the packets of its first and last byte.
        towards_server: its direction.
        kind: the standard's name: `SCSI Command`, `R2T`, `Data-Out`, `SCSI Response`, `CALL`, `REPLY`.
        data: all of its bytes, an RPC record without its record marks.
        missing: bytes of it that the capture does not have; they read as zeros in `data`.
    """

    time: int
    last: int
    frames: tuple[int, int]
    towards_server: bool
    kind: str
    data: bytes
    missing: int = 0
