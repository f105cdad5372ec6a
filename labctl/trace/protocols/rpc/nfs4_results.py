"""The results of NFSv4's operations, likewise; the tables' letters are those of `nfs4_args`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from labctl.trace.protocols.rpc.nfs4_args import SKIP, UnknownError, Values, channel, implementation, location, run
from labctl.trace.protocols.rpc.xdr import Reader, ShortError

DENIED: Final = 10010
_TOO_SMALL: Final = 10005
_IN_USE: Final = 10017
_REQUIREMENTS: Final = 10094

TABLE: Final = {
    "ACCESS": "supported:u granted:u", "CLOSE": "stateid:S", "COMMIT": "V", "CREATE": "C B", "DELEGPURGE": "", "DELEGRETURN": "",
    "GETATTR": "F", "LINK": "C", "LOCK": "stateid:S", "LOCKT": "", "LOCKU": "stateid:S", "LOOKUP": "", "LOOKUPP": "", "NVERIFY": "",
    "OPENATTR": "", "OPEN_CONFIRM": "stateid:S", "OPEN_DOWNGRADE": "stateid:S", "PUTFH": "", "PUTPUBFH": "", "PUTROOTFH": "",
    "READ": "eof:b received:o", "READLINK": "link:s", "REMOVE": "C", "RENAME": "C C", "RENEW": "", "RESTOREFH": "", "SAVEFH": "",
    "SETCLIENTID": "clientid:h V", "SETCLIENTID_CONFIRM": "", "VERIFY": "", "WRITE": "length:u committed:u V", "RELEASE_LOCKOWNER": "",
    "BACKCHANNEL_CTL": "", "BIND_CONN_TO_SESSION": "I u b", "DESTROY_SESSION": "", "FREE_STATEID": "", "GETDEVICEINFO": "u o B",
    "SEQUENCE": "I u u u u flags:u", "SET_SSV": "o", "TEST_STATEID": "states:B", "DESTROY_CLIENTID": "", "RECLAIM_COMPLETE": "",
    "ALLOCATE": "", "DEALLOCATE": "", "IO_ADVISE": "B", "OFFLOAD_CANCEL": "", "OFFLOAD_STATUS": "length:h B", "SEEK": "eof:b found:h",
    "CLONE": "", "GETXATTR": "received:o", "SETXATTR": "C", "REMOVEXATTR": "C", "ILLEGAL": "",
}  # fmt: skip
_PLANS: Final = {
    name: tuple((field.rpartition(":")[0], SKIP[field.rpartition(":")[2]]) for field in row.split())
    for name, row in TABLE.items()
}


def read(name: str, status: int, reader: Reader) -> Values:
    """An operation's results, behind its status.

    Raises:
        ShortError: they end too early.
        UnknownError: nobody here knows it.
    """
    if name == "SETATTR":  # with any status (RFC 7530 16.32)
        reader.words()
        return {}
    if status:
        return _failed(name, status, reader)
    plan = _PLANS.get(name)
    if plan is not None:
        return run(plan, reader)
    special = _SPECIAL.get(name)
    if special is None:
        raise UnknownError(name)
    return special(reader)


def _failed(name: str, status: int, reader: Reader) -> Values:
    if name in ("LOCK", "LOCKT") and status == DENIED:
        found: Values = {"conflict_offset": reader.hyper(), "conflict_length": reader.hyper()}
        reader.skip(4 + 8)
        reader.skip_opaque()
        return found
    if name == "SETCLIENTID" and status == _IN_USE:
        return {"in_use_by": f"{reader.text()} {reader.text()}"}
    if (name == "COPY" and status == _REQUIREMENTS) or (name == "GETDEVICEINFO" and status == _TOO_SMALL):
        reader.skip(8 if name == "COPY" else 4)
    return {}


def _count(reader: Reader) -> int:
    count = reader.uint()
    if count > reader.left // 4:
        raise ShortError
    return count


def _getfh(reader: Reader) -> Values:
    return {"handle": reader.opaque()}


def _open(reader: Reader) -> Values:
    """RFC 8881 18.16.2."""
    found: Values = {"stateid": reader.fixed(16).hex()}
    reader.skip(20)
    found["flags"] = reader.uint()
    reader.words()
    kind = reader.uint()
    if kind in (1, 2):
        found["delegation"] = "read" if kind == 1 else "write"
        reader.skip(16 + 4)
        if kind == 2:
            reader.skip(4 + 8)  # a size, or blocks and their size
        reader.skip(12)
        reader.skip_opaque()
    elif kind == 3 and reader.uint() in (1, 2):
        reader.uint()
    return found


def _readdir(reader: Reader) -> Values:
    begin = reader.at
    reader.skip(8)
    count = 0
    while reader.uint():
        reader.skip(8)
        reader.skip_opaque()
        reader.words()
        reader.skip_opaque()
        count += 1
    return {"entries": count, "eof": bool(reader.uint()), "received": reader.at - begin}


def _secinfo(reader: Reader) -> Values:
    flavors = []
    for _ in range(_count(reader)):
        flavors.append(reader.uint())
        if flavors[-1] == 6:
            reader.skip_opaque()
            reader.skip(8)
    return {"flavors": flavors}


def _exchange_id(reader: Reader) -> Values:
    found: Values = {"clientid": reader.hyper()}
    reader.uint()
    found["flags"] = reader.uint()
    protection = reader.uint()
    if protection:
        reader.words()
        reader.words()
    if protection == 2:
        reader.skip(16)
        for _ in range(_count(reader)):
            reader.skip_opaque()
    reader.skip(8)
    reader.skip_opaque()
    reader.skip_opaque()
    implementation(reader)
    return found


def _create_session(reader: Reader) -> Values:
    found: Values = {"session": reader.fixed(16).hex()}
    reader.skip(8)
    channel(reader)
    channel(reader)
    return found


def _written(reader: Reader) -> Values:
    """write_response4 (RFC 7862 15.2.2)."""
    found: Values = {}
    for _ in range(_count(reader)):
        found["callback"] = reader.fixed(16).hex()
    found |= {"copied": reader.hyper(), "committed": reader.uint()}
    reader.skip(8)
    return found


def _copy(reader: Reader) -> Values:
    found = _written(reader)
    reader.skip(8)
    return found


def _copy_notify(reader: Reader) -> Values:
    reader.skip(12 + 16)
    for _ in range(_count(reader)):
        location(reader)
    return {}


def _read_plus(reader: Reader) -> Values:
    found: Values = {"eof": bool(reader.uint()), "received": 0, "holes": 0}
    for _ in range(_count(reader)):
        kind, _offset = reader.uint(), reader.hyper()
        if kind == 0:
            found["received"] += reader.skip_opaque()
        else:
            reader.skip(8)
            found["holes"] += 1
    return found


def _list_xattrs(reader: Reader) -> Values:
    reader.skip(8)
    names = [reader.text() for _ in range(_count(reader))]
    return {"entries": len(names), "eof": bool(reader.uint())}


def _layout_get(reader: Reader) -> Values:
    reader.skip(4 + 16)
    for _ in range(_count(reader)):
        reader.skip(24)
        reader.skip_opaque()
    return {}


def _optional(size: int) -> Callable[[Reader], Values]:
    def read_it(reader: Reader) -> Values:
        if reader.uint():
            reader.skip(size)
        return {}

    return read_it


_SPECIAL: Final[dict[str, Callable[[Reader], dict[str, Any]]]] = {
    "GETFH": _getfh,
    "OPEN": _open,
    "READDIR": _readdir,
    "SECINFO": _secinfo,
    "SECINFO_NO_NAME": _secinfo,
    "EXCHANGE_ID": _exchange_id,
    "CREATE_SESSION": _create_session,
    "COPY": _copy,
    "WRITE_SAME": _written,
    "COPY_NOTIFY": _copy_notify,
    "READ_PLUS": _read_plus,
    "LISTXATTRS": _list_xattrs,
    "LAYOUTGET": _layout_get,
    "LAYOUTCOMMIT": _optional(8),
    "LAYOUTRETURN": _optional(16),
}
