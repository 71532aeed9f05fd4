"""What a reader answers when the passage contradicts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.conflicts.items import Conflict, names_of, same_answer

#: (question, passage) pairs -> an answer for each; an empty passage asks the reader's memory
Reader = Callable[[Sequence[tuple[str, str]]], Sequence[str]]

ORIGINAL, SUBSTITUTE, OTHER = "original", "substitute", "other"


class Rates(NamedTuple):
    """p_o, p_s and p_other: the shares of ``asked`` conflicts that are answered with the original, with the substitute,
    and otherwise. ``memorisation``: M_R = p_o / (p_o + p_s), NaN where neither is ever said."""

    original: float
    substitute: float
    other: float
    memorisation: float
    asked: int


class Measured(NamedTuple):
    """``known``: the share of all conflicts whose original the reader answers, asked as ``measure_conflicts`` says.
    ``conflicts``, ``answers``, ``labels``: those, what was said, and which of the three it is."""

    rates: Rates
    known: float
    conflicts: list[Conflict]
    answers: list[str]
    labels: list[str]


def measure_conflicts(reader: Reader, conflicts: Sequence[Conflict], known: str = "passage") -> Measured:
    """Ask ``reader`` the conflicts whose original it knows.

    reader: takes a list of (question, passage) and gives an answer for each: a span, a generated text, anything;
    :func:`seqmem.decoding.reader_of` makes one of a causal language model. known: "passage" counts conflicts whose
    original is answered from the original passage, as the paper does; "memory" from no passage; "all" takes each.

    Raises InputError where none is left.
    """
    _check.choice("conflicts", "known", known, ("passage", "memory", "all"))
    kept = list(conflicts)
    if known != "all":
        asked = [(c.item.question, c.item.passage if known == "passage" else "") for c in conflicts]
        answers = _read(reader, asked)
        kept = [c for c, said in zip(conflicts, answers, strict=True) if _is(said, names_of(c.item))]
    if not kept:
        raise InputError(f"the reader answers none of {len(conflicts)} originals from {known}, expected some; "
                         "use known='all' for a reader that knows nothing")  # fmt: skip
    answers = _read(reader, [(c.item.question, c.passage) for c in kept])
    labels = [_label(c, said) for c, said in zip(kept, answers, strict=True)]
    return Measured(rates(labels), len(kept) / len(conflicts), kept, answers, labels)


def breakdown(measured: Measured, key: Callable[[Conflict], str]) -> dict[str, Rates]:
    """The rates of every group that ``key`` names, in order of name: ``lambda c: c.group`` for bins of popularity,
    ``lambda c: str(c.item.answer in answers_of_training)`` for overlap with the training set."""
    labels: dict[str, list[str]] = {}
    for conflict, label in zip(measured.conflicts, measured.labels, strict=True):
        labels.setdefault(key(conflict), []).append(label)
    return {group: rates(labels[group]) for group in sorted(labels)}


def rates(labels: Sequence[str]) -> Rates:
    """Of labels "original", "substitute" and "other"."""
    o, s, other = (labels.count(label) / len(labels) for label in (ORIGINAL, SUBSTITUTE, OTHER))
    return Rates(o, s, other, o / (o + s) if o + s else float("nan"), len(labels))


def _read(reader: Reader, asked: Sequence[tuple[str, str]]) -> list[str]:
    answers = list(reader(asked))
    if len(answers) != len(asked):
        raise InputError(f"the reader gave {len(answers)} answers to {len(asked)} questions, expected one for each")
    return answers


def _label(conflict: Conflict, said: str) -> str:
    if same_answer(said, conflict.substitute):
        return SUBSTITUTE
    return ORIGINAL if _is(said, names_of(conflict.item)) else OTHER


def _is(said: str, names: Sequence[str]) -> bool:
    return any(same_answer(said, name) for name in names)
