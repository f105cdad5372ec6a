"""A rule in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labctl.model.quantity import MIB, format_bytes
from labctl_storage.faults.words import REFUSALS
from labemu_nfs.faults import ERRORS
from labemu_scsi.faults import SENSES, STATUSES


def action(rule: Mapping[str, Any]) -> str:
    """What it does: `latency 20 ms, p99 80 ms`."""
    does = rule["action"]
    kind = str(does["kind"])
    code = tuple(does.get("code", ()))
    if kind == "latency":
        tail = f", p99 {_time(does['p99'])}" if does.get("p99") else ""
        return f"latency {_time(does['average'])}{tail}"
    if kind == "rate":
        return f"rate {format_bytes(does['rate'])}/s"
    if kind == "sense":
        word = next((name for name, known in SENSES.items() if tuple(map(int, known)) == code), "")
        return f"error {word or '/'.join(f'{part:02x}' for part in code)}"
    if kind in ("status", "error"):
        words = STATUSES if kind == "status" else ERRORS
        return f"error {next((name for name, known in words.items() if (int(known),) == code), code[0])}"
    if kind == "refuse":
        return f"login refused: {next((n for n, known in REFUSALS.items() if known == code), '/'.join(map(str, code)))}"
    if kind == "drop":
        if not does.get("after"):
            return "drop the connection"
        return f"drop after {format_bytes(does['after'])} {'received' if does.get('received') else 'sent'}"
    if kind == "corrupt":
        return f"corrupt {does['what']}"
    if kind == "silence":
        return "silent, new connections reset" if does.get("reset") else "silent"
    return {"readonly": "read-only", "pause": "paused", "reorder": "responses reordered"}[kind]


def selection(rule: Mapping[str, Any]) -> str:
    """What it strikes: `write, bytes 0 to 1 GiB, 1 in 10`; empty where it strikes everything."""
    parts = []
    if rule.get("operations"):
        parts.append(" ".join(rule["operations"]))
    if rule.get("start") or rule.get("end") is not None:
        end = rule.get("end")
        parts.append(f"bytes {_size(rule.get('start', 0))} to {'the end' if end is None else _size(end)}")
    if rule.get("probability", 1.0) < 1.0:
        parts.append(f"{rule['probability']:.3g} of them")
    if rule.get("count") is not None:
        parts.append(f"{rule['count']} times")
    if rule.get("clients"):
        names = [client.rpartition(":")[2] if client.startswith("iqn.") else client for client in rule["clients"]]
        parts.append(f"from {names[0]}")
    return ", ".join(parts)


def sentence(rule: Mapping[str, Any], where: str) -> str:
    """All of it: `latency 20 ms on gold/web1-disk0 (write)`."""
    chosen = selection(rule)
    return f"{action(rule)} on {where}" + (f" ({chosen})" if chosen else "")


def _size(size: int) -> str:
    return format_bytes(size) if size % MIB == 0 and size else str(size)


def _time(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
