"""Names: what may be one, and the ranges that stand for many (`esx[1-3]`, `web[01-12]`, `san[1,3-4]`)."""

from __future__ import annotations

import itertools
import re

NAME = re.compile(r"[a-z][a-z0-9-]*")
"""A name ends up in host names, interface names and file names: what all of them allow."""

NAME_RULE = "a name starts with a letter a-z and has only a-z, 0-9 and -"

MAX_LAB_NAME = 20
"""Namespaces are called LAB-NODE, and unix sockets must fit into 108 bytes together with the lab's folder."""

MAX_RANGE = 10_000
"""More than a machine can hold; a mistyped range must not eat the memory."""

_RANGE = re.compile(r"\[([^\[\]]*)\]")
_PART = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def is_range(name: str) -> bool:
    """Whether a name stands for several."""
    return "[" in name or "]" in name


def expand(name: str) -> list[str]:
    """The names that a range stands for, in order; `[name]` where it is no range.

    Raises:
        ValueError: the range is malformed, empty or too large; the text says how to write it.
    """
    if not is_range(name):
        return [name]
    texts = _RANGE.split(name)  # text, range, text, range, …, text
    if any("[" in text or "]" in text for text in texts[::2]):
        raise ValueError(f'"{name}" has a bracket without its partner')
    choices = [[text] if number % 2 == 0 else _numbers(name, text) for number, text in enumerate(texts)]
    total = 1
    for choice in choices:
        total *= len(choice)
    if total > MAX_RANGE:
        raise ValueError(f'"{name}" stands for {total} names; {MAX_RANGE} are the most')
    return ["".join(parts) for parts in itertools.product(*choices)]


def _numbers(name: str, text: str) -> list[str]:
    numbers: list[str] = []
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f'"{name}" is not a range of names (write "esx[1-3]" or "esx[1,3]")')
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise ValueError(f'the range in "{name}" ends before it starts')
        if int(last) - int(first) >= MAX_RANGE:
            raise ValueError(f'"{name}" stands for too many names; {MAX_RANGE} are the most')
        width = len(first) if first.startswith("0") or len(first) == len(last) else 1
        numbers += [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    return numbers
