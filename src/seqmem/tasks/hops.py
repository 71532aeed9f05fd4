"""Hops: pairs that link symbols to chains, in any order, and questions for the symbol so many links on.

Source: Mechanism and Emergence of Stacked Attention Heads in Multi-Layer Transformers (2024), arXiv 2411.12118, its
retrieval problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task


class Asked(NamedTuple):
    """Every symbol asked at once. inputs: (batch, time), the links, then each of their symbols. answers: (batch,
    symbol, hops), the symbol so many links on; IGNORE where the chain has ended."""

    inputs: Tensor
    answers: Tensor


@dataclass(frozen=True)
class Hops(Task):
    """Chains of distinct symbols are read as their links, pairs of neighbours in a random order; then questions come,
    each a number of hops and a symbol, at which the symbol so many links on is asked.

        c d  a b  b c  x y  y z  w x  ...   2 a -> c   1 x -> y   2 b -> d   ...

    Each question is drawn anew among those that have an answer; the hops go round. A model that is asked for few and
    many hops learns the many by the few; one that is asked for many alone has no such curriculum. By the
    paper's bound t layers of attention reach D hops only where 3^t >= 2 D. :meth:`ask_all` asks every symbol at all
    numbers of hops, which teaches far more per example.

    Options:
        hops: the numbers of hops that are asked for, each at most ``links``.
        chains, links: how many chains there are, and links in each.
        vocabulary: number of symbols; 0: as many as the chains have. Tokens from ``vocabulary`` on are hops 1, 2, ...
        length: time steps of a training example, an even number, two for every link and every question; 0: with 16
            questions.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``: more questions.
    """

    changes: ClassVar[Changes] = {"hops": ((1, 2, 3), (1, 2, 3, 4)), "chains": (3, 4), "links": (6, 8)}

    hops: tuple[int, ...] = (1, 2)
    chains: int = 2
    links: int = 4
    vocabulary: int = 0
    length: int = 0
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "hops", _check.integers("hops", "hops", self.hops, at_least=1))
        _check.integer("hops", "chains", self.chains, at_least=1)
        if _check.integer("hops", "links", self.links, at_least=1) < max(self.hops):
            raise InputError(
                f"task 'hops': links={self.links} with hops={list(self.hops)}, expected chains of at least "
                f"{max(self.hops)} links"
            )
        if _check.integer("hops", "vocabulary", self.vocabulary, at_least=0) == 0:
            object.__setattr__(self, "vocabulary", self._symbols)
        if self.vocabulary < self._symbols:
            raise InputError(
                f"task 'hops': vocabulary={self.vocabulary}, expected at least {self._symbols}, the symbols of "
                "all chains"
            )
        if _check.integer("hops", "length", self.length, at_least=0) == 0:
            object.__setattr__(self, "length", self.context + 32)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("hops", self.test_lengths, self.length))
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def _symbols(self) -> int:
        """Of all chains."""
        return self.chains * (self.links + 1)

    @property
    def context(self) -> int:
        """Time steps before the first question."""
        return 2 * self.chains * self.links

    @property
    def vocab_size(self) -> int:
        return self.vocabulary + max(self.hops)

    @property
    def chance(self) -> float:
        return 1 / self.vocabulary

    def _check_length(self, length: int) -> None:
        if length % 2 or length < self.context + 2 * len(self.hops):
            raise InputError(
                f"task 'hops': length={length}, expected an even number of at least "
                f"{self.context + 2 * len(self.hops)}: {self.context} for the links, and two for a question of "
                "each number of hops"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps; the questions' hops go round from a random start."""
        _check.request("hops", batch_size, length, generator, split)
        self._check_length(length)
        chain, context = self._told(batch_size, generator)
        drawn = chain.flatten(1)

        count = (length - self.context) // 2
        start = torch.randint(len(self.hops), (batch_size, 1), generator=generator)
        hops = torch.tensor(self.hops)[(start + torch.arange(count)) % len(self.hops)]  # (batch, question)
        where, which = (torch.rand(batch_size, count, generator=generator, dtype=torch.float64) for _ in range(2))
        place = (where * (self.links + 1 - hops)).long() + (which * self.chains).long() * (self.links + 1)
        asked, answer = (drawn.gather(1, at) for at in (place, place + hops))
        questions = torch.stack([self.vocabulary - 1 + hops, asked], 2).flatten(1)
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, self.context + 1 :: 2] = answer
        return Batch(torch.cat([context, questions], 1), targets)

    def ask_all(self, batch_size: int, generator: torch.Generator) -> Asked:
        """Fresh links, then every symbol of theirs once, in a random order and without a number of hops: all of
        ``hops`` are asked of it at once, as by a readout for each."""
        _check.request("hops", batch_size, self.length, generator, "train")
        chain, context = self._told(batch_size, generator)
        answers = [F.pad(chain[..., hop:], (0, hop), value=IGNORE).flatten(1) for hop in self.hops]
        order = _draw.shuffled(torch.arange(self._symbols).expand(batch_size, -1), generator)
        inputs = torch.cat([context, chain.flatten(1).gather(1, order)], 1)
        return Asked(inputs, torch.stack([answer.gather(1, order) for answer in answers], 2))

    def _told(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Chains (batch, chain, symbol), and their links in a random order, (batch, context)."""
        drawn = _draw.shuffled(_draw.subsets(batch_size, self._symbols, self.vocabulary, generator), generator)
        chain = drawn.view(batch_size, self.chains, self.links + 1)
        links = torch.stack([chain[..., :-1], chain[..., 1:]], 3).flatten(1, 2)  # (batch, link, 2)
        order = _draw.shuffled(torch.arange(links.shape[1]).expand(batch_size, -1), generator)
        return chain, links.gather(1, order[..., None].expand_as(links)).flatten(1)

    def example(self, generator: torch.Generator) -> str:
        """The links, and a question of each number of hops; symbols as numbers."""
        batch = self.sample(1, self.context + 2 * len(self.hops), generator)
        said, answers = batch.inputs[0].tolist(), batch.targets[0].tolist()
        links = "  ".join(f"{a}>{b}" for a, b in _pairs(said[: self.context]))
        questions = zip(_pairs(said[self.context :]), answers[self.context + 1 :: 2], strict=True)
        asked = "  ".join(f"{hop - self.vocabulary + 1} from {x}? -> {answer}" for (hop, x), answer in questions)
        return f"{links}  |  {asked}"


def _pairs(tokens: list[int]) -> list[tuple[int, int]]:
    return list(zip(tokens[::2], tokens[1::2], strict=True))
