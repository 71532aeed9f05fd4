"""What a model falls back to when it is asked for more than it knows: the items of a generated list, one by one.

From Loops to Oops: Fallback Behaviors of Language Models Under Uncertainty (2024), arXiv 2407.06071.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from seqmem.errors import InputError

LABELS = ("correct", "repetition", "degenerate", "hallucination")


def _normal(item: str) -> str:
    return " ".join(item.lower().split())


def classify_items(items: Sequence[str], gold: Iterable[str], *, similar: float = 0.8) -> list[str]:
    """One of :data:`LABELS` for every item of a generated list, in order.

    repetition: an earlier item, word for word (whatever it was before); degenerate: nearly one (similarity, of
    ``difflib``, of at least ``similar``, where the item is no answer itself), or nothing at all; correct: one of
    ``gold``; hallucination: anything else, which is new, well formed and wrong. Case and blanks do not count.
    """
    if not 0 < similar <= 1:
        raise InputError(f"similar is {similar!r}, expected a number above 0 and at most 1")
    answers = {_normal(answer) for answer in gold}
    labels: list[str] = []
    seen: list[str] = []
    for item in map(_normal, items):
        if item in seen and item:
            labels.append("repetition")
        elif item in answers:
            labels.append("correct")
        elif not item or any(SequenceMatcher(None, item, old, autojunk=False).ratio() >= similar for old in seen):
            labels.append("degenerate")
        else:
            labels.append("hallucination")
        seen.append(item)
    return labels


def first_of_each(labels: Sequence[str]) -> dict[str, int]:
    """The position at which each label first occurs; labels that do not occur are left out."""
    return {label: list(labels).index(label) for label in LABELS if label in labels}


def follows_shift_order(labels: Sequence[str]) -> bool | None:
    """Whether hallucination, degenerate text and repetition first occur in this order. None where fewer than two of
    them occur, and the order says nothing."""
    first = first_of_each(labels)
    positions = [first[label] for label in ("hallucination", "degenerate", "repetition") if label in first]
    return None if len(positions) < 2 else positions == sorted(positions)
