"""Stories of people who walk about and carry things, with a question at the end that needs one, two or three of the
sentences. The grammar is this library's own, the questions are of the kind of the bAbI tasks.

Kinds of question: Towards AI-Complete Question Answering: A Set of Prerequisite Toy Tasks (2015), arXiv 1502.05698.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks._walks import GRAMMAR, KINDS, PHRASE, SENTENCE, WORDS, tell
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task


class Told(NamedTuple):
    """Stories as a memory network reads them; word 0 is blank.

    sentences: (batch, sentence, word) int64, in the order of the story, words first, blanks after them. question:
    (batch, word) int64. answer: (batch,) int64, a word. support: (batch, fact) int64, the sentences that the answer
    follows from, in the order of the reasoning, -1 where there are no more. groups: (batch,) int64, the kind.
    """

    sentences: Tensor
    question: Tensor
    answer: Tensor
    support: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Stories(Task):
    """People walk to places, take things along and leave them; then there is one question with one word as its answer.

        one     where is anna ?                          her last walk
        two     where is the apple ?                     who last took or dropped it, and the last walk before that, or
                                                         the carrier's last walk
        three   where was the apple before the garden ?  who carried it there, that walk, and the one before
        north   what is north of the garden ?            in which of two sentences it is named, and in which place:
                what is the garden north of ?            the same words in another order have another answer

    :meth:`told` gives stories apart from questions, for memory networks; :meth:`sample` one row of words, blanks in
    front, where the answer is asked at the question mark. All sentences but those of ``north`` are distractors of the
    same kind as the facts.

    Options:
        length: time steps of a training example: 8 for every sentence, and 8 for the question.
        kinds: of question; with several every batch mixes them evenly. Each is a slice, ``"kind=two"``.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; the stories grow.
    """

    baseline: ClassVar[Mapping[str, Any]] = {"kinds": ("one",)}
    changes: ClassVar[Changes] = {"kinds": ("two", "three"), "length": (176, 352)}

    length: int = 88
    kinds: tuple[str, ...] = ("one", "two", "three")
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("stories", "length", self.length, at_least=1)
        object.__setattr__(self, "kinds", _check.choices("stories", "kinds", self.kinds, KINDS))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("stories", self.test_lengths, length))
        for one in self.test_lengths:
            self._sentences(one)

    def _sentences(self, length: int) -> int:
        count = length // (PHRASE + 1) - 1
        if count < 4:
            raise InputError(
                f"task 'stories': length={length} has room for {max(count, 0)} sentences, expected at least 4: "
                f"length={5 * (PHRASE + 1)} or more"
            )
        return count

    @property
    def words(self) -> tuple[str, ...]:
        """The word of every token; the first is blank."""
        return WORDS

    @property
    def vocab_size(self) -> int:
        return len(WORDS)

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(f"kind={kind}" for kind in self.kinds)

    @property
    def chance(self) -> float:
        """Every answer is a place."""
        return 1 / len(GRAMMAR.places)

    def told(self, batch_size: int, sentences: int, generator: torch.Generator) -> Told:
        """``batch_size`` fresh stories of so many sentences, at least 4. The kind goes round ``kinds`` from row to row,
        from a random start."""
        _check.integer("stories", "batch_size", batch_size, at_least=1)
        _check.integer("stories", "sentences", sentences, at_least=4)
        groups = _draw.in_turn(batch_size, len(self.kinds), generator)
        story = torch.zeros(batch_size, sentences, PHRASE, dtype=torch.int64)
        question = torch.zeros(batch_size, PHRASE, dtype=torch.int64)
        answer = torch.zeros(batch_size, dtype=torch.int64)
        support = torch.full((batch_size, 3), -1)
        for group, kind in enumerate(self.kinds):
            rows = (groups == group).nonzero().squeeze(1)
            story[rows], question[rows], answer[rows], support[rows] = tell(kind, len(rows), sentences, generator)
        return Told(story, question, answer, support, groups)

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("stories", batch_size, length, generator, split)
        told = self.told(batch_size, self._sentences(length), generator)
        return flat(told, length)

    def example(self, generator: torch.Generator) -> str:
        """The story in words; the facts that it is about are marked."""
        told = self.told(1, self._sentences(self.length), generator)
        marked = set(told.support[0].tolist())
        lines = [
            f"{'*' if n in marked else ' '} {written(sentence)}."
            for n, sentence in enumerate(told.sentences[0].tolist())
        ]
        return "\n".join([*lines, f"  {written(told.question[0].tolist())}? -> {WORDS[int(told.answer[0])]}"])


def written(tokens: Sequence[int]) -> str:
    """The words of one sentence or question."""
    return " ".join(WORDS[token] for token in tokens if token)


def flat(told: Told, length: int) -> Batch:
    """Stories as rows of ``length`` words, with a stop after each sentence and a question mark, where the answer is the
    target. Blanks come first; what is too long loses its beginning."""
    batch, sentences, _ = told.sentences.shape
    lines = torch.cat([told.sentences, told.question[:, None]], 1)  # (batch, sentence, word)
    ends = torch.full((batch, sentences + 1, 1), SENTENCE.stop)
    ends[:, -1] = SENTENCE.ask
    row = torch.cat([lines, ends], 2).flatten(1)
    row = torch.cat([torch.zeros(batch, length, dtype=torch.int64), row], 1)
    order = (row != 0).long().argsort(dim=1, stable=True)  # blanks first, words in their order
    inputs = row.gather(1, order)[:, -length:].contiguous()
    targets = torch.full((batch, length), IGNORE)
    targets[:, -1] = told.answer
    return Batch(inputs, targets, told.groups)
