"""From the words of `labctl fault add` to a rule as labemu_faults.wire reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from labctl.errors import UsageError
from labctl.model.json import JsonObject
from labctl.model.quantity import parse_bytes, parse_seconds
from labctl.model.suggest import did_you_mean
from labemu_faults.wire import CORRUPTIBLE
from labemu_nfs.faults import ERRORS
from labemu_scsi.faults import SENSES, STATUSES

BLOCK: Final = 512
"""Bytes of a logical block of every LUN that an array makes."""

REFUSALS: Final[Mapping[str, tuple[int, int]]] = {
    "authentication": (2, 1),
    "authorization": (2, 2),
    "not-found": (2, 3),
    "removed": (2, 4),
    "target-error": (3, 0),
    "unavailable": (3, 1),
    "out-of-resources": (3, 2),
}
"""Login statuses by word: class and detail (RFC 7143 11.13.5)."""

_TRIPLE = re.compile(r"(?:0x)?([0-9a-f]{1,2})/(?:0x)?([0-9a-f]{1,2})/(?:0x)?([0-9a-f]{1,2})", re.IGNORECASE)
_PAIR = re.compile(r"(\d{1,3})/(\d{1,3})")


def latency(text: str) -> JsonObject:
    """`20ms`, or `20ms:p99=80ms`. Raises UsageError."""
    average, colon, tail = text.partition(":")
    word, _, value = tail.partition("=")
    if colon and word != "p99":
        raise UsageError(f'"{text}" is not a latency', hint="write 20ms, or 20ms:p99=80ms")
    seconds = _seconds(average, "--latency")
    action: dict[str, Any] = {"kind": "latency", "average": seconds}
    if colon:
        action["p99"] = _seconds(value, "--latency")
        if action["p99"] <= seconds:
            raise UsageError(
                f"a p99 of {value} is not above the average of {average}", hint="one in a hundred is slower than p99"
            )
    return action


def error(text: str, protocol: str | None) -> JsonObject:
    """A word (`medium`, `busy`, `stale`), a sense triple (`03/11/00`, in hex) or an nfsstat's number.

    Args:
        text: it.
        protocol: what the place speaks; None where it may be both.

    Raises:
        UsageError: it is none of these.
    """
    word = text.casefold().replace("_", "-").removeprefix("nfs3err-").removeprefix("nfs4err-")
    if protocol != "nfs":
        triple = _TRIPLE.fullmatch(text)
        if triple is not None:
            return {"kind": "sense", "code": [int(part, 16) for part in triple.groups()]}
        if word in SENSES:
            return {"kind": "sense", "code": [int(part) for part in SENSES[word]]}
        if word in STATUSES:
            return {"kind": "status", "code": [int(STATUSES[word])]}
    if protocol != "iscsi":
        for name in (word, word.replace("-", "_"), word.replace("-", "")):
            if name in ERRORS:
                return {"kind": "error", "code": [int(ERRORS[name])]}
        if text.isdecimal() and int(text):
            return {"kind": "error", "code": [int(text)]}
    known = [*(() if protocol == "nfs" else (*SENSES, *STATUSES)), *(() if protocol == "iscsi" else ERRORS)]
    raise UsageError(
        f'there is no error "{text}"' + ("" if protocol is None else f" over {_SPOKEN[protocol]}"),
        hint=did_you_mean(word, known, what="the errors"),
    )


_SPOKEN: Final = {"iscsi": "iSCSI", "nfs": "NFS"}


def refusal(text: str) -> JsonObject:
    """A word (`unavailable`), or class and detail (`3/1`). Raises UsageError."""
    pair = _PAIR.fullmatch(text)
    if pair is not None:
        return {"kind": "refuse", "code": [int(part) for part in pair.groups()]}
    if text not in REFUSALS:
        raise UsageError(f'there is no login status "{text}"', hint=did_you_mean(text, REFUSALS, what="the statuses"))
    return {"kind": "refuse", "code": list(REFUSALS[text])}


def corruption(text: str) -> JsonObject:
    """What to corrupt. Raises UsageError."""
    if text not in CORRUPTIBLE:
        raise UsageError(f'there is no "{text}" to corrupt', hint=did_you_mean(text, CORRUPTIBLE, what="the parts"))
    return {"kind": "corrupt", "what": text}


def size(text: str, option: str) -> int:
    """Bytes. Raises UsageError."""
    try:
        return parse_bytes(text)
    except ValueError as problem:
        raise UsageError(f"{option}: {problem}") from None


def span(text: str) -> JsonObject:
    """Bytes from and to: `0-1GiB`, `4KiB-` up to the end. Raises UsageError."""
    first, dash, last = text.partition("-")
    if not dash:
        raise UsageError(f'"{text}" is not a range', hint="write 0-1GiB, or 1GiB- up to the end")
    return _span(size(first, "--range"), size(last, "--range") if last else None, text)


def blocks(text: str) -> JsonObject:
    """Logical blocks from and to, the last one included: `100-199`, or one. Raises UsageError."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (last and not last.isdecimal()):
        raise UsageError(f'"{text}" is not a range of blocks', hint="write 2048, 2048-4095, or 2048- up to the end")
    end = None if dash and not last else (int(last or first) + 1) * BLOCK
    return _span(int(first) * BLOCK, end, text)


def _span(start: int, end: int | None, text: str) -> JsonObject:
    if end is not None and end <= start:
        raise UsageError(f'the range "{text}" is empty', hint="its end comes after its start")
    return {"start": start, "end": end}


def _seconds(text: str, option: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as problem:
        raise UsageError(f"{option}: {problem}") from None


def seconds(text: str, option: str) -> float:
    """A duration above 0. Raises UsageError."""
    found = _seconds(text, option)
    if not found:
        raise UsageError(f"{option} must be above 0", hint="write 30s or 5m")
    return found


def clients(
    wanted: Sequence[str], hosts: Mapping[str, Iterable[str]], others: Iterable[str], lab: str, prefix: str
) -> list[str]:
    """Names and addresses of initiators from what a user calls them.

    Args:
        wanted: names of hosts, or iSCSI names, addresses and globs of them, which are taken as they are.
        hosts: addresses by host.
        others: other resources' names, which people may take for initiators.
        lab: the lab's name.
        prefix: the naming authority of initiators.

    Raises:
        UsageError: a word that is none of these.
    """
    found: list[str] = []
    for word in wanted:
        if word in hosts:
            found += [f"{prefix}.{lab}:{word}", *hosts[word]]
        elif re.match(r"(iqn|eui|naa)\.", word) or re.search(r"[*?\[:]", word) or re.fullmatch(r"[\d.]+", word):
            found.append(word)
        elif word in others:
            raise UsageError(f"{word} is not an initiator", hint="hosts are: their VMs' disks are reached through them")
        else:
            raise UsageError(f"there is no host {word}", hint=did_you_mean(word, hosts, what="the hosts"))
    return found
