"""The arguments of NFSv4's operations, as far as each must be understood to find the next one (RFC 7531, RFC 5662, RFC 7863, RFC 8276).

Most are a line of a table: kinds of values in their order, some with the name that they get among a command's details.
`u` 32 bits, `h` 64 bits, `b` a boolean, `s` a name, `o` bytes, `S` a stateid, `V` a verifier, `B` a bitmap, `F` attributes (bitmap and
bytes), `T` a time, `C` what changed (RFC 7530 14.2.2), `I` a session's identifier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from labctl.trace.protocols.rpc.xdr import Reader, ShortError

Values = dict[str, Any]


class UnknownError(Exception):
    """Nobody here knows this operation; what is behind it cannot be found."""


SKIP: Final[dict[str, Callable[[Reader], Any]]] = {
    "u": Reader.uint,
    "h": Reader.hyper,
    "b": lambda reader: bool(reader.uint()),
    "s": Reader.text,
    "o": Reader.skip_opaque,
    "S": lambda reader: reader.fixed(16).hex(),
    "V": lambda reader: reader.skip(8),
    "B": Reader.words,
    "F": lambda reader: (reader.words(), reader.skip_opaque())[0],
    "T": lambda reader: reader.skip(12),
    "C": lambda reader: reader.skip(20),
    "I": lambda reader: reader.fixed(16).hex(),
}

TABLE: Final = {
    "ACCESS": "access:u", "CLOSE": "u stateid:S", "COMMIT": "offset:h length:u", "DELEGPURGE": "h", "DELEGRETURN": "stateid:S",
    "GETATTR": "B", "GETFH": "", "LINK": "name:s", "LOCKT": "locktype:u offset:h length:h h o",
    "LOCKU": "locktype:u u stateid:S offset:h length:h", "LOOKUP": "name:s", "LOOKUPP": "", "NVERIFY": "F", "OPENATTR": "b",
    "OPEN_CONFIRM": "stateid:S u", "OPEN_DOWNGRADE": "stateid:S u access:u deny:u", "PUTPUBFH": "", "PUTROOTFH": "",
    "READ": "stateid:S offset:h length:u", "READDIR": "cookie:h V u count:u B", "READLINK": "", "REMOVE": "name:s",
    "RENAME": "name:s new_name:s", "RENEW": "h", "RESTOREFH": "", "SAVEFH": "", "SECINFO": "name:s", "SETATTR": "stateid:S F",
    "SETCLIENTID": "V o u netid:s address:s u", "SETCLIENTID_CONFIRM": "clientid:h V", "VERIFY": "F",
    "WRITE": "stateid:S offset:h stable:u sent:o", "RELEASE_LOCKOWNER": "h o", "BIND_CONN_TO_SESSION": "session:I u b",
    "DESTROY_SESSION": "session:I", "FREE_STATEID": "stateid:S", "GET_DIR_DELEGATION": "b B T T B B", "GETDEVICEINFO": "I u u B",
    "GETDEVICELIST": "u u h V", "LAYOUTGET": "b u u offset:h length:h h stateid:S u", "SECINFO_NO_NAME": "u",
    "SEQUENCE": "session:I sequence:u slot:u highest_slot:u cache:b", "SET_SSV": "o o", "DESTROY_CLIENTID": "clientid:h",
    "RECLAIM_COMPLETE": "one_fs:b", "ALLOCATE": "stateid:S offset:h length:h", "DEALLOCATE": "stateid:S offset:h length:h",
    "IO_ADVISE": "stateid:S offset:h length:h B", "OFFLOAD_CANCEL": "stateid:S", "OFFLOAD_STATUS": "stateid:S",
    "READ_PLUS": "stateid:S offset:h length:u", "SEEK": "stateid:S offset:h what:u",
    "WRITE_SAME": "stateid:S stable:u offset:h h h h u h o",
    "CLONE": "S stateid:S source_offset:h offset:h length:h", "GETXATTR": "name:s", "SETXATTR": "option:u name:s sent:o",
    "LISTXATTRS": "cookie:h count:u", "REMOVEXATTR": "name:s", "ILLEGAL": "",
}  # fmt: skip

_PLANS: Final = {
    name: tuple((field.rpartition(":")[0], SKIP[field.rpartition(":")[2]]) for field in row.split())
    for name, row in TABLE.items()
}


def read(name: str, reader: Reader) -> Values:
    """An operation's arguments.

    Raises:
        ShortError: they end too early.
        UnknownError: nobody here knows it.
    """
    plan = _PLANS.get(name)
    if plan is None:
        special = _SPECIAL.get(name)
        if special is None:
            raise UnknownError(name)
        return special(reader)
    return run(plan, reader)


def run(plan: tuple[tuple[str, Callable[[Reader], Any]], ...], reader: Reader) -> Values:
    """Values by their names, in the order of a plan."""
    found: Values = {}
    for name, take in plan:
        value = take(reader)
        if name:
            found[name] = value
    return found


def _create(reader: Reader) -> Values:
    kind = reader.uint()
    found: Values = {"type": kind}
    if kind == 5:  # NF4LNK
        found["link"] = reader.text()
    elif kind in (3, 4):  # a device
        reader.skip(8)
    found["name"] = reader.text()
    reader.words()
    reader.skip_opaque()
    return found


def _lock(reader: Reader) -> Values:
    found: Values = {"locktype": reader.uint(), "reclaim": bool(reader.uint())}
    found |= {"offset": reader.hyper(), "length": reader.hyper()}
    if reader.uint():  # a new owner
        reader.skip(4 + 16 + 4 + 8)
        reader.skip_opaque()
    else:
        reader.skip(16 + 4)
    return found


def _open(reader: Reader) -> Values:
    """RFC 7530 16.16, RFC 8881 18.16."""
    reader.uint()
    found: Values = {"access": reader.uint(), "deny": reader.uint()}
    reader.skip(8)
    reader.skip_opaque()  # the owner
    if reader.uint():  # OPEN4_CREATE
        mode = reader.uint()
        found["create"] = ("UNCHECKED4", "GUARDED4", "EXCLUSIVE4", "EXCLUSIVE4_1")[mode] if mode < 4 else mode
        if mode in (2, 3):
            reader.skip(8)
        if mode != 2:
            reader.words()
            reader.skip_opaque()
    claim = found["claim"] = reader.uint()
    if claim == 0:
        found["name"] = reader.text()
    elif claim == 1:
        reader.uint()
    elif claim == 2:
        reader.skip(16)
        found["name"] = reader.text()
    elif claim == 3:
        found["name"] = reader.text()
    elif claim == 5:
        reader.skip(16)
    return found


def _security(reader: Reader) -> None:
    """callback_sec_parms4<> (RFC 8881 18.33)."""
    for _ in range(_count(reader)):
        flavor = reader.uint()
        if flavor == 1:
            reader.uint()
            reader.skip_opaque()
            reader.skip(8)
            reader.words()
        elif flavor == 6:
            reader.uint()
            reader.skip_opaque()
            reader.skip_opaque()


def _count(reader: Reader) -> int:
    count = reader.uint()
    if count > reader.left // 4:
        raise ShortError
    return count


def channel(reader: Reader) -> None:
    """channel_attrs4."""
    reader.skip(24)
    reader.words()


def _exchange_id(reader: Reader) -> Values:
    reader.skip(8)
    owner = reader.opaque()
    found: Values = {"owner": owner.decode(errors="replace")[:128], "flags": reader.uint()}
    protection = reader.uint()
    if protection:
        reader.words()
        reader.words()
    if protection == 2:  # SP4_SSV
        for _ in range(2):
            for _ in range(_count(reader)):
                reader.skip_opaque()
        reader.skip(8)
    implementation(reader)
    return found


def implementation(reader: Reader) -> None:
    """nfs_impl_id4<1>."""
    for _ in range(_count(reader)):
        reader.skip_opaque()
        reader.skip_opaque()
        reader.skip(12)


def _create_session(reader: Reader) -> Values:
    found: Values = {"clientid": reader.hyper()}
    reader.uint()
    found["flags"] = reader.uint()
    channel(reader)
    channel(reader)
    reader.uint()
    _security(reader)
    return found


def _backchannel(reader: Reader) -> Values:
    reader.uint()
    _security(reader)
    return {}


def _layout_commit(reader: Reader) -> Values:
    found: Values = {"offset": reader.hyper(), "length": reader.hyper()}
    reader.skip(4 + 16)
    if reader.uint():
        reader.skip(8)
    if reader.uint():
        reader.skip(12)
    reader.uint()
    reader.skip_opaque()
    return found


def _layout_return(reader: Reader) -> Values:
    reader.skip(12)
    if reader.uint() == 1:
        reader.skip(16 + 16)
        reader.skip_opaque()
    return {}


def _test_stateid(reader: Reader) -> Values:
    count = _count(reader)
    reader.skip(16 * count)
    return {"count": count}


def location(reader: Reader) -> None:
    """netloc4 (RFC 7862 4.7)."""
    kind = reader.uint()
    reader.skip_opaque()
    if kind == 3:
        reader.skip_opaque()


def _copy(reader: Reader) -> Values:
    reader.skip(16)
    found: Values = {"stateid": reader.fixed(16).hex(), "source_offset": reader.hyper()}
    found |= {"offset": reader.hyper(), "length": reader.hyper()}
    found |= {"consecutive": bool(reader.uint()), "synchronous": bool(reader.uint())}
    for _ in range(_count(reader)):
        location(reader)
    return found


def _copy_notify(reader: Reader) -> Values:
    reader.skip(16)
    location(reader)
    return {}


_SPECIAL: Final[dict[str, Callable[[Reader], Values]]] = {
    "CREATE": _create,
    "LOCK": _lock,
    "OPEN": _open,
    "EXCHANGE_ID": _exchange_id,
    "CREATE_SESSION": _create_session,
    "BACKCHANNEL_CTL": _backchannel,
    "LAYOUTCOMMIT": _layout_commit,
    "LAYOUTRETURN": _layout_return,
    "TEST_STATEID": _test_stateid,
    "COPY": _copy,
    "COPY_NOTIFY": _copy_notify,
}
