"""Strings that name one value of every concept, in any order; some combinations are never seen in training.

After Capacity, Bandwidth, and Compositionality in Emergent Language Learning (2019), arXiv 1910.11424, and the authors'
code, where every concept has symbols of its own.
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

BLANK, ASK, FIRST_SYMBOL = range(3)
ORDERS = ("any", "cyclic", "fixed")
DIVISION = 20191024  # the seed of which combinations are held out, the same for everybody
MOST = 2**20  # combinations


@lru_cache(8)
def meanings(concepts: int, values: int) -> Tensor:
    """Every combination: (values^concepts, concepts) of 0 to values - 1."""
    return torch.cartesian_prod(*[torch.arange(values)] * concepts).reshape(-1, concepts)


@lru_cache(8)
def divided(concepts: int, values: int, held_out: float) -> tuple[Tensor, Tensor]:
    """The combinations of training, and the ``held_out`` share that is left for tests, drawn once and for all: as many
    from every diagonal of the grid (those whose values have the same sum modulo ``values``)."""
    every = meanings(concepts, values)
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(DIVISION))
    order = order[(every[order].sum(1) % values).argsort(stable=True)]
    rank = torch.arange(len(order)) % values ** (concepts - 1)  # within its diagonal
    test = rank < round(held_out * values ** (concepts - 1))
    return every[order[~test]], every[order[test]]


@dataclass(frozen=True)
class ConceptStrings(Task):
    """A symbol for each concept's value, the concepts in any order and blanks between them; then, for every concept in
    turn, which value was it?

    A symbol says which concept it is of, so that order carries nothing. ``seen`` rows are combinations of training,
    ``unseen`` rows are not; training has the former only.

    Options:
        concepts: how many there are, at least 2.
        values: of each concept, at least 2.
        order: "any": all orders are as likely; "cyclic": they begin anywhere and go round; "fixed".
        held_out: the share of combinations that is kept from training.
        length: time steps of a training example, at least 2 per concept; default as many.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; there are more blanks then.
    """

    changes: ClassVar[Changes] = {"concepts": (6, 8), "values": (6, 8)}

    concepts: int = 4
    values: int = 4
    order: Literal["any", "cyclic", "fixed"] = "any"
    held_out: float = 0.3
    length: int | None = None
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        name = "concept_strings"
        concepts = _check.integer(name, "concepts", self.concepts, at_least=2)
        values = _check.integer(name, "values", self.values, at_least=2)
        if values**concepts > MOST:
            raise InputError(
                f"task '{name}': values={values}, concepts={concepts}, expected {MOST} combinations at most"
            )
        _check.choice(name, "order", self.order, ORDERS)
        object.__setattr__(self, "held_out", _check.positive(name, "held_out", self.held_out, at_most=0.9))
        seen, unseen = self.combinations
        if not len(unseen) or any(len(seen[:, c].unique()) < values for c in range(concepts)):
            raise InputError(
                f"task '{name}': held_out={self.held_out} of {values**concepts} combinations leaves none for tests, or "
                "a value that training never shows; hold out another share, or use more concepts"
            )
        length = 2 * concepts if self.length is None else _check.integer(name, "length", self.length, at_least=1)
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test(name, self.test_lengths, length))
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def combinations(self) -> tuple[Tensor, Tensor]:
        """Those of training and those held out, (count, concepts) values each."""
        return divided(self.concepts, self.values, self.held_out)

    @property
    def vocab_size(self) -> int:
        return FIRST_SYMBOL + self.concepts * self.values

    @property
    def train_length(self) -> int:
        return int(self.length or 0)

    @property
    def slices(self) -> tuple[str, ...]:
        return ("seen", "unseen")

    @property
    def chance(self) -> float:
        return 1 / self.values

    def symbols(self, meaning: Tensor) -> Tensor:
        """(..., concepts) values to the tokens that name them, in the order of the concepts."""
        return FIRST_SYMBOL + self.values * torch.arange(self.concepts) + meaning

    def strings(self, meaning: Tensor, generator: torch.Generator) -> Tensor:
        """The tokens (rows, concepts) of these combinations, each row in an order that the grammar allows."""
        rows = len(meaning)
        if self.order == "fixed":
            return self.symbols(meaning)
        if self.order == "cyclic":
            first = torch.randint(self.concepts, (rows, 1), generator=generator)
            places = (first + torch.arange(self.concepts)) % self.concepts
        else:
            places = torch.rand(rows, self.concepts, generator=generator).argsort(1)
        return self.symbols(meaning).gather(1, places)

    def _check_length(self, length: int) -> None:
        if length < 2 * self.concepts:
            raise InputError(
                f"task 'concept_strings': length={length} is too short for concepts={self.concepts}, expected at least "
                f"{2 * self.concepts} (a symbol and a question for each)"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("concept_strings", batch_size, length, generator, split)
        self._check_length(length)
        groups = torch.zeros(batch_size, dtype=torch.long)
        if split != "train":
            groups = torch.randperm(batch_size, generator=generator) % 2
        seen, unseen = (
            part[torch.randint(len(part), (batch_size,), generator=generator)] for part in self.combinations
        )
        meaning = torch.where(groups[:, None] == 0, seen, unseen)
        body = length - self.concepts
        places = torch.rand(batch_size, body, generator=generator).argsort(1)[:, : self.concepts].sort(1).values
        inputs = torch.full((batch_size, length), BLANK)
        inputs.scatter_(1, places, self.strings(meaning, generator))
        inputs[:, body:] = ASK
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, body:] = self.symbols(meaning)
        return Batch(inputs, targets, groups)

    def example(self, generator: torch.Generator) -> str:
        """Concepts as letters, values as numbers: b3 is the fourth value of the second concept."""
        batch = self.sample(1, self.train_length, generator)

        def said(tokens: Tensor) -> str:
            places = [(token - FIRST_SYMBOL) for token in tokens.tolist() if token >= FIRST_SYMBOL]
            return " ".join(f"{chr(ord('a') + place // self.values)}{place % self.values}" for place in places)

        return f"{said(batch.inputs[0])}  -> {said(batch.targets[0])}"
