"""Text negotiation (RFC 7143 clause 6): key=value pairs in, results and answers out. It knows no PDU and no stage."""

from __future__ import annotations

import re
from collections.abc import Iterable

from labemu_iscsi.errors import LoginFailed
from labemu_iscsi.keys import BY_NAME, DEFAULTS, Key, Rule
from labemu_iscsi.limits import MAX_KEY_NAME, MAX_KEYS

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
REJECT = "Reject"
IRRELEVANT = "Irrelevant"
NOT_UNDERSTOOD = "NotUnderstood"

Pairs = list[tuple[str, str]]


def parse_text(data: bytes) -> Pairs:
    """Pairs of a text data segment, in their order.

    Raises:
        LoginFailed: malformed, or more keys than are taken.
    """
    pairs: Pairs = []
    for item in data.split(b"\0"):
        if not item:
            continue
        name, equals, value = item.partition(b"=")
        if not equals or len(name) > MAX_KEY_NAME or len(pairs) >= MAX_KEYS:
            raise LoginFailed("malformed text: not key=value, or too much of it")
        try:
            pairs.append((name.decode("ascii"), value.decode("utf-8")))
        except UnicodeDecodeError as error:
            raise LoginFailed("text is not UTF-8") from error
    return pairs


def format_text(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Pairs as a text data segment."""
    return b"".join(f"{name}={value}\0".encode() for name, value in pairs)


def parse_number(value: str) -> int | None:
    """RFC 7143 6.1: decimal or hexadecimal; None for anything else."""
    if not _NUMBER.fullmatch(value) or len(value) > 18:
        return None
    return int(value, 16 if value[:2].lower() == "0x" else 10)


_CONSTANTS = frozenset((NOT_UNDERSTOOD, REJECT, IRRELEVANT))


class Negotiator:
    """The target's side of one connection's negotiation.

    `results` maps every operational key to its outcome, from its default on; `declared` holds the peer's declarations. `discovery` is
    set for a discovery session, and `leading` cleared for a session's further connections.
    """

    def __init__(self, *, discovery: bool = False, leading: bool = True) -> None:
        self.results: dict[str, str] = dict(DEFAULTS)
        self.declared: dict[str, str] = {}
        self.discovery = discovery
        self.leading = leading
        self._settled: set[str] = set()

    def number(self, name: str) -> int:
        """The outcome of a numeric key."""
        return int(self.results[name])

    def flag(self, name: str) -> bool:
        """The outcome of a boolean key."""
        return self.results[name] == "Yes"

    def answer(self, name: str, value: str, *, full_feature: bool = False) -> str | None:
        """Take the peer's offer; the value to answer with, or None for a declaration.

        Raises:
            LoginFailed: a key negotiated twice (RFC 7143 6.3).
        """
        key = BY_NAME.get(name)
        if key is None:  # RFC 7143 6.2: also X- keys; 6.2.1: what answers a key of ours is not answered again
            return None if value in _CONSTANTS else NOT_UNDERSTOOD
        if full_feature and not key.full_feature:
            return REJECT
        if not full_feature:
            if name in self._settled:
                raise LoginFailed(f"{name} was negotiated twice")
            self._settled.add(name)
        if self.discovery and key.normal_only:
            return IRRELEVANT
        if key.rule is Rule.REFUSED or (key.leading_only and not self.leading and name != "SessionType"):
            return REJECT
        if key.rule is Rule.DECLARED:
            return self._declare(key, value)
        if name == "FirstBurstLength" and not self._unsolicited():
            return IRRELEVANT  # RFC 7143 13.14
        result = _agree(key, value)
        if result is None:
            return REJECT
        self.results[name] = result
        return result

    def _unsolicited(self) -> bool:
        """Whether there can be unsolicited data at all, as far as both keys were settled before."""
        settled = {"InitialR2T", "ImmediateData"} <= self._settled
        return not settled or not self.flag("InitialR2T") or self.flag("ImmediateData")

    def _declare(self, key: Key, value: str) -> str | None:
        if key.high:
            number = parse_number(value)
            if number is None or not key.low <= number <= key.high:
                return None if value in _CONSTANTS else REJECT
            self.results[key.name] = str(number)
        else:
            self.declared[key.name] = value
        return None


def _agree(key: Key, value: str) -> str | None:
    """The result of both offers, or None when the peer's is not a legal one."""
    ours = key.ours[0]
    if key.rule in (Rule.AND, Rule.OR):
        if value not in ("Yes", "No"):
            return None
        decisive = "No" if key.rule is Rule.AND else "Yes"
        return decisive if decisive in (value, ours) else value
    if key.rule is Rule.LIST:
        return next((each for each in value.split(",") if each in key.ours), None)
    number = parse_number(value)
    if number is None or not key.low <= number <= key.high:
        return None
    return str(min(number, int(ours)) if key.rule is Rule.MINIMUM else max(number, int(ours)))
