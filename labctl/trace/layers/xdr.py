"""scapy fields of XDR (RFC 4506) by a line of a table, as the layers of NFSv4 use them.

A row is words of the form `name:type`, in the order of the wire. The types:

- `u` 32 bits, `h` 64 bits, `b` a boolean, `V` a verifier of 8 bytes, `I` an identifier of 16;
- `o` bytes and `s` a name, their count before them (`NAME_length`, filled in where it is left out) and zeros behind;
- `B` an array of words (`NAME_count`), `S` a stateid (`NAME_seqid`, `NAME_other`), `T` a time (`NAME_seconds`, `NAME_nseconds`);
- `C` what changed in a folder (`NAME_atomic`, `NAME_before`, `NAME_after`), `F` attributes (`NAME_mask`, `NAME_length`);
- `$X` a structure X, `*X` an array of such (`NAME_count`), `+X` a list of such, a 1 before each and a 0 behind the last (`NAME_end`).

A word that begins with `{other=1|2,more!=0}` is there only where those fields have those values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

from scapy.fields import (
    ConditionalField,
    FieldLenField,
    FieldListField,
    IntEnumField,
    IntField,
    LongField,
    PacketField,
    PacketListField,
    SignedLongField,
    StrLenField,
    XIntField,
    XStrFixedLenField,
)
from scapy.packet import Packet

MOST: Final = 65536
"""Elements of an array; scapy's own limit of 100 is less than a directory has entries, and the bytes of a message set one besides."""

BOOLEAN: Final = {0: "FALSE", 1: "TRUE"}
_WORD: Final = re.compile(r"(?:\{(?P<when>[^}]*)\})?(?P<name>\w+):(?P<type>[a-zA-Z]|[$*+]\w+)")

Test = Callable[[Any], bool]


class Struct(Packet):
    """A part of a message: what is behind it is not its payload."""

    fields_desc: ClassVar[list[Any]] = []

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Nothing of what is behind belongs to it."""
        return b"", s


class XdrBytes(StrLenField):
    """Bytes and the zeros that fill them up to four; the zeros are no part of the value."""

    def addfield(self, pkt: Any, s: bytes, val: Any) -> bytes:
        """Put them behind `s`."""
        data = self.i2m(pkt, val)
        return s + data + bytes(-len(data) % 4)

    def getfield(self, pkt: Any, s: bytes) -> tuple[bytes, bytes]:
        """Take them from `s`; returns the rest and them."""
        length = (self.length_from or (lambda _: 0))(pkt)
        return s[length + 3 & ~3 :], self.m2i(pkt, s[:length])


class Grammar:
    """Turns rows into fields.

    Args:
        structs: the structures' rows, by the names that rows give them.
        enums: the words for the values of fields, by the fields' names.
        attributes: the class of the attribute of that number in a mask, or None.
    """

    def __init__(
        self,
        structs: Mapping[str, str],
        enums: Mapping[str, Mapping[int, str]],
        attributes: Callable[[int], type[Packet] | None],
    ) -> None:
        self._rows = structs
        self._enums = enums
        self._attributes = attributes
        self._structs: dict[str, type[Packet]] = {}

    def fields(self, row: str, *, otherwise: str = "") -> list[Any]:
        """The fields of a row.

        Args:
            row: see above.
            otherwise: the condition of those words that do not mention its field themselves.

        Raises:
            ValueError: a word is none.
        """
        return [field for word in row.split() for field in self._word(word, otherwise)]

    def struct(self, name: str) -> type[Packet]:
        """The class of a structure."""
        if name not in self._structs:
            self._structs[name] = packet(name, self.fields(self._rows[name]))
        return self._structs[name]

    def _word(self, word: str, otherwise: str) -> Iterator[Any]:
        found = _WORD.fullmatch(word)
        if found is None:
            raise ValueError(f"no field: {word}")
        when = found["when"] or ""
        if otherwise and not when.startswith(otherwise.partition("=")[0]):
            when = f"{otherwise},{when}".rstrip(",")
        for field in self._typed(found["name"], found["type"]):
            yield ConditionalField(field, condition(when)) if when else field

    def _typed(self, name: str, kind: str) -> list[Any]:
        if kind == "F":
            return self._attribute_list(name)
        if kind[0] == "$":
            inner = self.struct(kind[1:])
            return [PacketField(name, inner(), inner)]
        if kind[0] == "*":
            return [
                _count(name),
                PacketListField(name, [], self.struct(kind[1:]), count_from=_value(f"{name}_count"), max_count=MOST),
            ]
        if kind[0] == "+":
            return self._linked_list(name, kind[1:])
        if kind == "u" and name in self._enums:
            return [IntEnumField(name, 0, dict(self._enums[name]))]
        return _PLAIN[kind](name)

    def _linked_list(self, name: str, kind: str) -> list[Any]:
        link = packet(kind, [IntField("follows", 1), *self.fields(self._rows[kind])])

        def following(_packet: Any, _before: list[Any], _current: Any, remain: bytes) -> type[Packet] | None:
            return link if remain[:4] == b"\0\0\0\1" else None

        self._structs[kind] = link
        return [PacketListField(name, [], next_cls_cb=following, max_count=MOST), IntField(f"{name}_end", 0)]

    def _attribute_list(self, name: str) -> list[Any]:
        def following(packet: Any, before: list[Any], current: Any, remain: bytes) -> type[Packet] | None:
            numbers = bits(packet.getfieldval(f"{name}_mask"))
            at = len(before) + (current is not None)
            return self._attributes(numbers[at]) if remain and at < len(numbers) else None

        values = PacketListField(name, [], next_cls_cb=following, length_from=_value(f"{name}_length"), max_count=MOST)
        return [*_words(f"{name}_mask"), FieldLenField(f"{name}_length", None, length_of=name, fmt="!I"), values]


def packet(name: str, fields: list[Any], base: type[Packet] = Struct) -> type[Packet]:
    """A class of packets."""
    return type(name, (base,), {"name": name, "fields_desc": fields, "__module__": __name__})


def bits(words: list[int]) -> list[int]:
    """The numbers that a bitmap has (RFC 8881 3.2: word 0 first, its lowest bit first)."""
    return [32 * place + bit for place, word in enumerate(words or ()) for bit in range(32) if word >> bit & 1]


def bitmap(*numbers: int) -> list[int]:
    """The words of a bitmap with these numbers."""
    words = [0] * (max(numbers, default=-1) // 32 + 1)
    for number in numbers:
        words[number // 32] |= 1 << number % 32
    return words


def condition(text: str) -> Test:
    """What a word's condition asks of a packet: `a=1|2,b!=0`."""
    asked = []
    for part in text.split(","):
        name, _, values = part.partition("=")
        asked.append((name.rstrip("!"), name.endswith("!"), frozenset(int(value) for value in values.split("|"))))

    def test(found: Any) -> bool:
        return all((found.getfieldval(name) in values) is not negated for name, negated, values in asked)

    return test


def _value(name: str) -> Callable[[Any], int]:
    return lambda packet: int(packet.getfieldval(name) or 0)


def _count(name: str) -> Any:
    return FieldLenField(f"{name}_count", None, count_of=name, fmt="!I")


def _bytes(name: str) -> list[Any]:
    length = FieldLenField(f"{name}_length", None, length_of=name, fmt="!I")
    return [length, XdrBytes(name, b"", length_from=_value(f"{name}_length"))]


def _words(name: str) -> list[Any]:
    words = FieldListField(name, [], XIntField("", 0), count_from=_value(f"{name}_count"), max_count=MOST)
    return [_count(name), words]


def _changed(name: str) -> list[Any]:
    parts = [LongField(f"{name}_{word}", 0) for word in ("before", "after")]
    return [IntEnumField(f"{name}_atomic", 1, BOOLEAN), *parts]


_PLAIN: Final[dict[str, Callable[[str], list[Any]]]] = {
    "u": lambda name: [IntField(name, 0)],
    "h": lambda name: [LongField(name, 0)],
    "b": lambda name: [IntEnumField(name, 0, BOOLEAN)],
    "o": _bytes,
    "s": _bytes,
    "V": lambda name: [XStrFixedLenField(name, bytes(8), 8)],
    "I": lambda name: [XStrFixedLenField(name, bytes(16), 16)],
    "S": lambda name: [IntField(f"{name}_seqid", 0), XStrFixedLenField(f"{name}_other", bytes(12), 12)],
    "B": _words,
    "T": lambda name: [SignedLongField(f"{name}_seconds", 0), IntField(f"{name}_nseconds", 0)],
    "C": _changed,
}
