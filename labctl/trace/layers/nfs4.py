"""NFSv4's COMPOUND (RFC 7530, 8881, 7862 and 8276) as scapy layers: the arguments and results of each operation, and each attribute.

The classes have the names of RFC 7531, 5662 and 7863, and so have their fields: `COMPOUND4args(argarray=[PUTROOTFH4args(),
LOOKUP4args(objname=b"dir"), GETFH4args()])`. Counts and lengths are filled in where they are left out, and taken as they are otherwise.
`attributes(size=4096, mode=0o644)` makes the mask and the values of an operation that sets some.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import Any, ClassVar, Final

from scapy.contrib.oncrpc import RPC_Call
from scapy.fields import FieldLenField, IntEnumField, IntField, PacketListField, StrField
from scapy.packet import Packet, bind_layers

from labctl.trace.layers import nfs4_rows as rows
from labctl.trace.layers.xdr import MOST, Grammar, Struct, XdrBytes, bitmap, packet
from labctl.trace.protocols.rpc.nfs4_words import OPERATIONS, STATUS

PROGRAM: Final = 100003
VERSION: Final = 4
COMPOUND: Final = 1

_HERE: Final = sys.modules[__name__]


def _attribute(number: int) -> type[Packet] | None:
    return ATTRIBUTES.get(number, Unread)


class Unread(Struct):
    """What nobody here knows, and all that is behind it: where it ends cannot be known."""

    name = "unread"
    fields_desc: ClassVar[list[Any]] = [StrField("rest", b"")]


_GRAMMAR: Final = Grammar(rows.STRUCTS, rows.ENUMS, _attribute)
ATTRIBUTES: Final[dict[int, type[Packet]]] = {}
"""An attribute's class by its number (RFC 8881 5.8); its name is the RFC's."""

ARGUMENTS: Final[dict[int, type[Packet]]] = {}
"""The class of an operation's arguments by the operation's number."""

RESULTS: Final[dict[int, type[Packet]]] = {}
"""The class of an operation's results."""


_ANYWAY: Final = ("SETATTR",)
"""Operations whose result is there with any status (RFC 7530 16.32)."""


def _named(kind: type[Packet]) -> type[Packet]:
    kind.__module__ = __name__
    setattr(_HERE, kind.__name__, kind)
    return kind


def _make() -> None:
    for number, (name, row) in rows.ATTRIBUTES.items():
        ATTRIBUTES[number] = packet(name, _GRAMMAR.fields(row))
    for number, name in OPERATIONS.items():
        head = IntEnumField("opcode", number, OPERATIONS)
        unread = [StrField("rest", b"")]
        asked, answered = rows.ARGUMENTS.get(name), rows.RESULTS.get(name)
        body = unread if asked is None else _GRAMMAR.fields(asked)
        ARGUMENTS[number] = _named(packet(f"{name}4args", [head, *body]))
        status = IntEnumField("status", 0, STATUS)
        body = (
            unread if answered is None else _GRAMMAR.fields(answered, otherwise="" if name in _ANYWAY else "status=0")
        )
        RESULTS[number] = _named(packet(f"{name}4res", [head, status, *body]))
    for name in rows.STRUCTS:
        _named(_GRAMMAR.struct(name))


_make()


class UnknownArguments(Struct):
    """An operation that nobody here knows, and all that is behind it."""

    name = "unknown operation"
    fields_desc: ClassVar[list[Any]] = [IntField("opcode", 0), StrField("rest", b"")]


class UnknownResult(Struct):
    """Its result."""

    name = "unknown operation"
    fields_desc: ClassVar[list[Any]] = [IntField("opcode", 0), IntEnumField("status", 0, STATUS), StrField("rest", b"")]


def _following(classes: dict[int, type[Packet]], unknown: type[Packet], counter: str) -> Any:
    def following(packet: Any, before: list[Any], current: Any, remain: bytes) -> type[Packet] | None:
        if len(remain) < 4 or len(before) + (current is not None) >= (packet.getfieldval(counter) or 0):
            return None
        return classes.get(int.from_bytes(remain[:4], "big"), unknown)

    return following


def _tag() -> list[Any]:
    length = FieldLenField("tag_length", None, length_of="tag", fmt="!I")
    return [length, XdrBytes("tag", b"", length_from=lambda packet: packet.tag_length or 0)]


class COMPOUND4args(Packet):
    """A COMPOUND's call."""

    name = "NFSv4 COMPOUND call"
    fields_desc: ClassVar[list[Any]] = [
        *_tag(),
        IntField("minorversion", 0),
        FieldLenField("argarray_count", None, count_of="argarray", fmt="!I"),
        PacketListField(
            "argarray", [], next_cls_cb=_following(ARGUMENTS, UnknownArguments, "argarray_count"), max_count=MOST
        ),
    ]


class COMPOUND4res(Packet):
    """A COMPOUND's reply."""

    name = "NFSv4 COMPOUND reply"
    fields_desc: ClassVar[list[Any]] = [
        IntEnumField("status", 0, STATUS),
        *_tag(),
        FieldLenField("resarray_count", None, count_of="resarray", fmt="!I"),
        PacketListField(
            "resarray", [], next_cls_cb=_following(RESULTS, UnknownResult, "resarray_count"), max_count=MOST
        ),
    ]


bind_layers(RPC_Call, COMPOUND4args, program=PROGRAM, pversion=VERSION, procedure=COMPOUND)


def attributes(name: str = "obj_attributes", /, **values: Any) -> dict[str, Any]:
    """The fields of attributes to set: `SETATTR4args(**attributes(size=0))`, `CREATE4args(**attributes("createattrs", mode=0o755))`.

    Args:
        name: the field's name.
        values: by the attributes' names; a dictionary for one of several fields (`time_modify_set={"how": 0}`).

    Raises:
        KeyError: there is no attribute of that name.
    """
    numbers = {word: number for number, (word, _) in rows.ATTRIBUTES.items()}
    chosen = sorted((numbers[word], value) for word, value in values.items())
    parts = [ATTRIBUTES[number](**(value if isinstance(value, dict) else {"value": value})) for number, value in chosen]
    return {f"{name}_mask": bitmap(*(number for number, _ in chosen)), name: parts}


def __getattr__(name: str) -> type[Packet]:
    """The classes that are made of tables are there by their names; this is for the others, and for type checkers."""
    close = get_close_matches(name, vars(_HERE), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise AttributeError(f"NFSv4 has no {name}{hint}")
