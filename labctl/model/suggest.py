"""The nearest word: what someone who mistyped probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

CUTOFF = 0.6
"""difflib's own default: two of five letters may differ."""


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, or None where none is near. Deterministic; upper and lower case count as alike."""
    by_folded = {candidate.casefold(): candidate for candidate in sorted(candidates, reverse=True)}
    found = get_close_matches(word.casefold(), by_folded, n=1, cutoff=CUTOFF)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, candidates: Iterable[str], *, what: str = "") -> str | None:
    """A hint: the nearest candidate, else (where `what` names them and there are few) all of them.

    Args:
        word: what was written.
        candidates: what would have been right.
        what: the candidates in words, e.g. "the kinds".
    """
    known = sorted(set(candidates))
    found = nearest(word, known)
    if found is not None:
        return f'did you mean "{found}"?'
    if what and known:
        return f"{what} are: {', '.join(known)}" if len(known) > 1 else f"there is only {known[0]}"
    return None
