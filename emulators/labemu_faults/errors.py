"""What is wrong with a rule, for whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class FaultError(ValueError):
    """A rule that makes no sense, or that is not there.

    Args:
        message: what is wrong.
        hint: what to write instead.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def unknown(what: str, word: str, known: Iterable[str]) -> FaultError:
    """The error of a word that is none of those known; it names the nearest, or else all of them."""
    words = sorted(set(known))
    near = get_close_matches(word.casefold(), words, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"they are: {', '.join(words)}"
    return FaultError(f'there is no {what} "{word}"', hint=hint)
