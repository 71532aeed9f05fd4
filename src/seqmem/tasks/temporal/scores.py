"""Scores of answers about time; each as its benchmark's own script defines it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from seqmem.errors import InputError

MEANS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


class Pairs(NamedTuple):
    """Of ``count`` questions with their contradictory twins:

    accuracy: both answers of the pair are right. incoherence: exactly one is right, of the pairs with a usable answer
    (the authors' script). contradiction: exactly one is right or both answers are the same, of the same pairs (the
    paper's words). The two differ where an answer is not usable, or twins have one answer. usable: the share of pairs
    with at least one "yes" or "no". single: the share of single answers that are right.
    """

    accuracy: float
    incoherence: float
    contradiction: float
    usable: float
    single: float
    count: int  # type: ignore[assignment] # a field, not tuple's method


def yes_or_no(said: str) -> str | None:
    """The first of yes, no, true and false in a text, as "yes" or "no"; None where it has none of them."""
    for word in re.findall(r"[a-z]+", said.lower()):
        if word in MEANS:
            return MEANS[word]
    return None


def score_pairs(
    said: Sequence[str], twin_said: Sequence[str], answers: Sequence[str], twin_answers: Sequence[str]
) -> Pairs:
    """said, twin_said: what a model answered to each question and to its twin, in any words with a yes or no in them.
    answers, twin_answers: "yes" or "no"."""
    if not len(said) == len(twin_said) == len(answers) == len(twin_answers) or not said:
        raise InputError(
            f"{len(said)} and {len(twin_said)} answers to {len(answers)} and {len(twin_answers)} questions, expected "
            "as many of each, and some"
        )
    both = one = same = usable = single = 0
    for a, b, right_a, right_b in zip(
        map(yes_or_no, said), map(yes_or_no, twin_said), answers, twin_answers, strict=True
    ):
        right = (a == right_a) + (b == right_b)
        single += right
        both += right == 2
        if a or b:
            usable += 1
            one += right == 1
            same += right == 1 or a == b
    count = len(said)
    of_usable = (one / usable, same / usable) if usable else (float("nan"),) * 2
    return Pairs(both / count, *of_usable, usable / count, single / (2 * count), count)


def read_order(said: str, events: Sequence[str]) -> list[str]:
    """The events in the order in which a text first names them; those that it does not name are left out."""
    places = {event: said.lower().find(event.lower()) for event in events}
    return sorted((event for event in events if places[event] >= 0), key=lambda event: places[event])


def pairwise_order(said: Sequence[str], gold: Sequence[str]) -> float:
    """The share of pairs of ``gold`` events that ``said`` has in the same order; pairs that it lacks count as wrong."""
    if len(gold) < 2 or len(set(gold)) < len(gold):
        raise InputError(f"gold is {list(gold)}, expected two or more different events")
    place = {event: n for n, event in enumerate(said)}
    pairs = list(combinations(gold, 2))
    return sum(a in place and b in place and place[a] < place[b] for a, b in pairs) / len(pairs)


def score_candidates(said: Sequence[Sequence[bool]], gold: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """(strict accuracy, F1) over questions with several right candidates, as McTACO scores them: a question counts if
    all its candidates are judged rightly; F1 is of those judged right, averaged over the questions, where precision is
    1 if none is judged right and recall is 1 if none is right."""
    if len(said) != len(gold) or not gold or any(len(a) != len(b) for a, b in zip(said, gold, strict=False)):
        raise InputError(
            f"{[len(a) for a in said][:5]} judgements of {[len(b) for b in gold][:5]} candidates, expected as many for "
            "each question"
        )
    strict = total = 0.0
    for judged, right in zip(said, gold, strict=True):
        strict += list(judged) == list(right)
        hits = sum(a and b for a, b in zip(judged, right, strict=True))
        precision = hits / sum(judged) if any(judged) else 1.0
        recall = hits / sum(right) if any(right) else 1.0
        total += 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return strict / len(gold), total / len(gold)
