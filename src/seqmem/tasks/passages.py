"""Passages that are written into the weights under a name, and read from them: as a whole, or one sentence alone.

Source: Beyond Memorization: The Challenge of Random Memory Access in Language Models (2024), arXiv 2403.07805.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

BLANK, WRITE, RECITE, SELECT, EQUALS, QUESTION, FIRST_MARK = range(7)


@dataclass(frozen=True)
class Passages(Task):
    """A fixed table of random passages, each with a name; every sentence begins with its mark, [1], [2], ...

        writing:    write  name = [1] a b c d  [2] e f g h  ...     the whole text is said
        full:       recite name = [1] a b c d  [2] e f g h  ...     the same
        sentence=2: select name = [2] e f g h                       what follows the mark

    Training writes all passages (every other row) and reads those that are not held out, in turns in full and one
    sentence. Test examples read the held-out ones, which have been written but never read; validation examples read
    what training reads. Steps left over are blank, at the end. Greedy own words are right where every answer is, given
    the right ones before it.

    Options:
        passages, held_out: how many there are, and how many of them (the last) are held out.
        sentences, tokens: sentences of a passage, and words of a sentence.
        vocabulary: number of different words.
        writing: plain; permuted, in every row a sentence drawn at random is moved to the front, mark and all; or none:
            training only reads.
        reading: selective, or recited: ``recite name = [1] a b c d [2] e f g h ... ? [2] e f g h``, the whole passage
            before the sentence.
        table: the seed that the passages are drawn from.
    """

    changes: ClassVar[Changes] = {"sentences": (6, 8), "passages": (240, 480), "vocabulary": (80,)}

    passages: int = 120
    held_out: int = 24
    sentences: int = 4
    tokens: int = 4
    vocabulary: int = 40
    writing: Literal["plain", "permuted", "none"] = "plain"
    reading: Literal["selective", "recited"] = "selective"
    table: int = 0

    def __post_init__(self) -> None:
        for option in ("held_out", "sentences", "tokens"):
            _check.integer("passages", option, getattr(self, option), at_least=1)
        _check.integer("passages", "vocabulary", self.vocabulary, at_least=2)
        _check.integer("passages", "table", self.table, at_least=0)
        if _check.integer("passages", "passages", self.passages, at_least=2) <= self.held_out:
            raise InputError(
                f"task 'passages': held_out={self.held_out} of passages={self.passages} leaves none to be read in "
                "training; hold out fewer"
            )
        _check.choice("passages", "writing", self.writing, ("plain", "permuted", "none"))
        _check.choice("passages", "reading", self.reading, ("selective", "recited"))

    @property
    def _text(self) -> int:
        """Tokens of a passage with its marks."""
        return self.sentences * (1 + self.tokens)

    @property
    def first_word(self) -> int:
        """Words are the tokens from this number on, then come the names."""
        return FIRST_MARK + self.sentences

    @property
    def first_name(self) -> int:
        """The name of passage i is this token plus i."""
        return self.first_word + self.vocabulary

    @property
    def vocab_size(self) -> int:
        return self.first_name + self.passages

    @property
    def train_length(self) -> int:
        """Of the longest example without its last token, which nothing follows."""
        return 2 + self._text + (2 + self.tokens if self.reading == "recited" else 0)

    @property
    def test_lengths(self) -> tuple[int, ...]:
        return (self.train_length,)

    @property
    def slices(self) -> tuple[str, ...]:
        return ("writing", "full", *(f"sentence={n + 1}" for n in range(self.sentences)))

    @property
    def chance(self) -> float:
        """Of a guess at a word."""
        return 1 / self.vocabulary

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows; the kinds go round from a random start, passages are drawn."""
        _check.request("passages", batch_size, length, generator, split)
        if length != self.train_length:
            raise InputError(f"task 'passages': length={length}, expected {self.train_length}, that of its options")
        writes = split == "train" and self.writing != "none"
        start = torch.randint(4 * self.sentences, (), generator=generator)
        turn = torch.arange(batch_size) + start
        reads = turn // (2 if writes else 1)  # every other row is written
        groups = torch.where(reads % 2 == 0, 1, 2 + reads // 2 % self.sentences)
        if writes:
            groups = torch.where(turn % 2 == 0, 0, groups)
        drawn = torch.rand(batch_size, generator=generator, dtype=torch.float64)
        front = torch.randint(self.sentences, (batch_size,), generator=generator)
        readable = self.passages - self.held_out
        read = (drawn * self.held_out).long() + readable if split == "test" else (drawn * readable).long()
        passage = torch.where(groups == 0, (drawn * self.passages).long(), read)
        kind = self.sentences - 1 + groups
        kind = torch.where(groups == 0, front if self.writing == "permuted" else 0, kind)
        inputs, targets = _examples(self)
        return Batch(inputs[kind, passage], targets[kind, passage], groups)

    def text(self) -> Tensor:
        """(passage, sentence, 1 + tokens) token ids, the mark first."""
        size = (self.passages, self.sentences, self.tokens)
        words = torch.randint(self.vocabulary, size, generator=torch.Generator().manual_seed(self.table))
        marks = (FIRST_MARK + torch.arange(self.sentences))[None, :, None].expand(self.passages, -1, 1)
        return torch.cat([marks, self.first_word + words], 2)

    def example(self, generator: torch.Generator) -> str:
        """A held-out passage, read as a whole and one sentence of it; words as numbers."""
        passage = int(torch.randint(self.passages - self.held_out, self.passages, (), generator=generator))
        kind = self.sentences + 1 + int(torch.randint(self.sentences, (), generator=generator))
        inputs, targets = _examples(self)
        return "  ".join(self._shown(inputs[k, passage], targets[k, passage]) for k in (self.sentences, kind))

    def _shown(self, inputs: Tensor, targets: Tensor) -> str:
        signs = {WRITE: "write", RECITE: "recite", SELECT: "select", EQUALS: "=", QUESTION: "?"}
        signs |= {FIRST_MARK + n: f"[{n + 1}]" for n in range(self.sentences)}
        signs |= {self.first_name + n: f"p{n}" for n in range(self.passages)}
        said = [token for token in inputs.tolist() if token != BLANK]
        last = int(targets[targets != IGNORE][-1])
        words = [signs.get(token, str(token - self.first_word)) for token in (*said, last)]
        return " ".join(words)


@lru_cache(8)
def _examples(task: Passages) -> tuple[Tensor, Tensor]:
    """Inputs and targets of all there are, (kind, passage, time): kinds are writing with each sentence in front, the
    passage in full, and each sentence."""
    text = task.text()
    name = task.first_name + torch.arange(task.passages)[:, None]

    def all_passages(*tokens: int) -> Tensor:
        return torch.tensor(tokens).expand(task.passages, -1)

    def example(mode: int, *parts: tuple[Tensor, bool]) -> tuple[Tensor, Tensor]:
        """What is said from the mode on; parts with whether they are asked."""
        parts = ((torch.cat([all_passages(mode), name, all_passages(EQUALS)], 1), False), *parts)
        said = torch.cat([tokens for tokens, _ in parts], 1)  # (passage, tokens)
        asked = torch.cat([torch.full_like(tokens, int(ask)) for tokens, ask in parts], 1).bool()
        blank = torch.full((task.passages, task.train_length + 1 - said.shape[1]), BLANK)
        answers = said.masked_fill(~asked, IGNORE)[:, 1:]
        return torch.cat([said[:, :-1], blank], 1), torch.cat([answers, torch.full_like(blank, IGNORE)], 1)

    whole = (text.flatten(1), True)
    found = []
    for front in range(task.sentences):
        order = [front, *(n for n in range(task.sentences) if n != front)]
        found.append(example(WRITE, (text[:, order].flatten(1), True)))
    found.append(example(RECITE, whole))
    recited = task.reading == "recited"
    before = [whole, (all_passages(QUESTION), False)] if recited else []
    for n in range(task.sentences):
        mode = RECITE if recited else SELECT
        found.append(example(mode, *before, (text[:, n, :1], False), (text[:, n, 1:], True)))
    inputs, targets = (torch.stack(part) for part in zip(*found, strict=True))
    return inputs, targets
