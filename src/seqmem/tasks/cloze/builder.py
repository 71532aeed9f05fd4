"""Questions with a gap: twenty sentences, and the next one without one of its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.cloze.classes import CLASSES, word_classes
from seqmem.tasks.cloze.text import sentences_of

BLANK = "XXXXX"


class Cloze(NamedTuple):
    """``context``: sentences. ``query``: the sentence after them, with :data:`BLANK` for one word. ``candidates``: ten
    words of its class from both, the ``answer`` among them, in random order."""

    context: tuple[tuple[str, ...], ...]
    query: tuple[str, ...]
    answer: str
    candidates: tuple[str, ...]


def cloze_questions(
    book: str | Sequence[Sequence[str]],
    kind: str,
    generator: torch.Generator,
    *,
    count: int | None = None,
    context: int = 20,
    candidates: int = 10,
    classes: Mapping[str, str] | None = None,
) -> list[Cloze]:
    """Questions about gaps of one class ("entity", "noun", "verb", "preposition") in a book.

    book: plain text, or its sentences. count: so many at most, from all over the book; None: one for every ``context +
    1`` sentences that have one, without overlap. candidates: including the answer; a place whose sentences have fewer
    words of the class is passed over. The answer of a name, noun or verb is among the words of the context, or need
    not be, as the book has it. classes: word -> class, where a tagger or a lexicon of one's own knows better;
    default: :func:`word_classes` of the book.

    Raises InputError where the book gives none.
    """
    _check.choice("cloze", "kind", kind, CLASSES)
    sentences = [tuple(s) for s in (sentences_of(book) if isinstance(book, str) else book)]
    known = word_classes(sentences) if classes is None else classes
    step = context + 1
    starts = range(0, len(sentences) - context, step)
    if count is not None and count > len(starts):
        starts = range(len(sentences) - context)
    order = torch.rand(len(starts), generator=generator, dtype=torch.float64).argsort().tolist()
    made: list[Cloze] = []
    for n in order:
        if count is not None and len(made) == count:
            break
        part = sentences[starts[n] : starts[n] + step]
        question = _question(part[:-1], part[-1], kind, known, candidates, generator)
        if question is not None:
            made.append(question)
    if not made:
        raise InputError(
            f"cloze: {len(sentences)} sentences give no question about a word of class '{kind}', expected a book of at "
            f"least {step} sentences with {candidates} different words of that class in some {step} of them"
        )
    return made


def _question(
    context: Sequence[tuple[str, ...]],
    query: tuple[str, ...],
    kind: str,
    classes: Mapping[str, str],
    candidates: int,
    generator: torch.Generator,
) -> Cloze | None:
    def named(sentence: Sequence[str]) -> list[tuple[int, str]]:
        """(place, word as in ``classes``) of the words of the class."""
        found = []
        for place, word in enumerate(sentence):
            form = word if classes.get(word) == "entity" else word.lower()
            if classes.get(form) == kind:
                found.append((place, form))
        return found

    gaps = named(query)
    if not gaps:
        return None
    place, answer = gaps[int(torch.randint(len(gaps), (), generator=generator))]
    others = dict.fromkeys(word for sentence in (*context, query) for _, word in named(sentence) if word != answer)
    if len(others) < candidates - 1:
        return None
    picked = torch.rand(len(others), generator=generator, dtype=torch.float64).argsort()[: candidates - 1].tolist()
    listed = [answer, *(list(others)[n] for n in picked)]
    mixed = torch.rand(candidates, generator=generator, dtype=torch.float64).argsort().tolist()
    gapped = (*query[:place], BLANK, *query[place + 1 :])
    return Cloze(tuple(tuple(s) for s in context), gapped, answer, tuple(listed[n] for n in mixed))
