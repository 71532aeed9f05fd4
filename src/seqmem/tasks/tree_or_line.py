"""Tree or line: a rule of grammar that training leaves open, and sentences that decide which one was learned.

Sources: Does syntax need to grow on trees? (2020), arXiv 2001.03632 (the two transformations); Sometimes I am a Tree:
Data Drives Unstable Hierarchical Generalization (2024), arXiv 2412.04619 (what the other sentences do).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks._phrases import BLANK, Phrases, center_embedded, plain, right_branching
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

MOST_TYPES = 9  # distinct embedded clauses


class Contest(NamedTuple):
    """Sentences on which the two rules part. inputs: (rows, time). tree, line: (rows, time), the word that each rule
    says at the position where they part, IGNORE elsewhere."""

    inputs: Tensor
    tree: Tensor
    line: Tensor


class Shares(NamedTuple):
    """Of the contests: how often the tree's word is said, the line's, and another."""

    tree: float
    line: float
    other: float


@dataclass(frozen=True)
class TreeOrLine(Task):
    """A sentence, then the same again, or what becomes of it:

        the yak does see some newts . same    the yak does see some newts .
        the yak does see some newts . change  does the yak see some newts ?

    Everywhere in training the auxiliary that moves to the front is both the first word of its kind (line) and that of
    the main clause (tree). Test examples have a clause within the subject and two different auxiliaries:

        the yak that does run doesn't see some newts . change  ->  doesn't (tree), does (line)

    and ask for this one word; the tree's counts as right, :meth:`contest` has both. In kind tense sentences are put
    into the present; a verb agrees with its subject (tree) or with the noun before it (line):

        the yak near the newts slept . change the yak near the newts  ->  sleeps (tree), sleep (line)

    Sentences that are said again may have a clause within: centre-embedded in the subject ("the yak that does run does
    see some newts"), or right-branching at the object ("the yak does see some newts that do run"). Sentences that are
    changed have none or, every other, one at the object. Validation examples are changed as in training. At lengths
    above the training length, test sentences have clauses within clauses, as many as there is room for; blanks are
    behind.

    In kind question every other subject of training is "the yak near the newts", so that the auxiliary has no fixed
    place.

    Options:
        kind: question or tense.
        center: the share of centre-embedded sentences among those with a clause that are said again.
        embedded: the share of sentences with a clause among those that are said again.
        changed: the share of sentences that are changed.
        types: how many different clauses there are; from the fourth on they have clauses within. Test sentences have
            the first three.
        items: so many different training examples; 0: a new one every time.
        table: the seed that these are drawn from.
        test_lengths: lengths to test at, by default 1, 2 and 4 times the training length.
    """

    changes: ClassVar[Changes] = {"center": (0.5, 0.0), "types": (6, 9), "kind": ("tense",)}
    baseline: ClassVar[dict[str, float]] = {"center": 1.0}

    kind: Literal["question", "tense"] = "question"
    center: float = 0.5
    embedded: float = 0.75
    changed: float = 0.5
    types: int = 3
    items: int = 0
    table: int = 0
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        name = "tree_or_line"
        _check.choice(name, "kind", self.kind, ("question", "tense"))
        for option in ("center", "embedded", "changed"):
            object.__setattr__(self, option, _check.share(name, option, getattr(self, option)))
        if _check.integer(name, "types", self.types, at_least=1) > MOST_TYPES:
            raise InputError(f"task '{name}': types={self.types}, expected at most {MOST_TYPES}")
        for option in ("items", "table"):
            _check.integer(name, option, getattr(self, option), at_least=0)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test(name, self.test_lengths, self.train_length))

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary; the i-th word is token i."""
        return self._phrases(1).words

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    @property
    def train_length(self) -> int:
        """Of the longest example without its last token, which nothing follows."""
        return self._phrases(1).longest

    @property
    def slices(self) -> tuple[str, ...]:
        return ("same", "change")

    @property
    def chance(self) -> float:
        """Of a guess between the two words of the rules."""
        return 0.5

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows. In training everything is asked, in validation what is said second."""
        _check.request("tree_or_line", batch_size, length, generator, split)
        self._check_length(length)
        if split == "test":
            found = self.contest(batch_size, length, generator)
            return Batch(found.inputs, found.tree, torch.ones(batch_size, dtype=torch.int64))
        if split == "train" and self.items:
            kept = _kept(replace(self, test_lengths=()))
            assert kept.groups is not None
            chosen = (torch.rand(batch_size, generator=generator, dtype=torch.float64) * self.items).long()
            return _padded(Batch(kept.inputs[chosen], kept.targets[chosen], kept.groups[chosen]), length)
        return _padded(self._fresh(batch_size, generator, train=split == "train"), length)

    def _fresh(self, rows: int, generator: torch.Generator, train: bool = True) -> Batch:
        """Random rows of the training length: which kind of sentence, which clause, which words."""
        phrases = self._phrases(1)
        u = torch.rand(rows, 4, generator=generator, dtype=torch.float64)
        change = (u[:, 0] < self.changed) | (not train)
        clause = u[:, 1] < torch.where(change, 0.5, self.embedded)
        center = ~change & (u[:, 2] < self.center)
        among = torch.where(center, 2, 1).masked_fill(~clause, 0)  # plain, right-branching, centre-embedded
        first, count = phrases.spans[among].unbind(1)
        skeleton = first + (u[:, 3] * count).long()
        return phrases.written(skeleton, change, generator, whole=train)

    def contest(self, rows: int, length: int, generator: torch.Generator) -> Contest:
        """``rows`` sentences with a clause in the subject on which the two rules say different words."""
        _check.request("tree_or_line", rows, length, generator, "test")
        self._check_length(length)
        phrases = self._phrases(self._levels(length))
        first, count = phrases.spans[3].tolist()
        skeleton = first + (torch.rand(rows, generator=generator, dtype=torch.float64) * count).long()
        inputs, tree, line = phrases.parted(skeleton, generator)
        inputs = _wide(inputs, length, BLANK)
        tree, line = (_wide(rule, length, IGNORE) for rule in (tree, line))
        return Contest(inputs, tree, line)

    def example(self, generator: torch.Generator) -> str:
        """A sentence said again, and one of the test with both answers."""
        again = self._fresh(1, generator)
        test = self.contest(1, self.train_length, generator)
        said = " ".join(self.words[token] for token in again.inputs[0].tolist() if token != BLANK)
        at = int((test.tree[0] != IGNORE).nonzero())
        asked = " ".join(self.words[token] for token in test.inputs[0, : at + 1].tolist())
        tree, line = (self.words[int(rule[0, at])] for rule in (test.tree, test.line))
        return f"{said} {self.words[int(again.targets[again.targets != IGNORE][-1])]}   {asked}  ->  {tree} ({line})"

    def _phrases(self, levels: int) -> Phrases:
        return _phrases(self.kind, self.types, levels)

    def _levels(self, length: int) -> int:
        """How many clauses within clauses a test sentence of this length has room for."""
        levels = 1
        while self._phrases(levels + 1).longest <= length:
            levels += 1
        return levels

    def _check_length(self, length: int) -> None:
        if length < self.train_length:
            raise InputError(
                f"task 'tree_or_line': length={length} is too short, expected at least {self.train_length}, that of "
                "the longest sentence"
            )


@lru_cache(64)
def _phrases(kind: str, types: int, levels: int) -> Phrases:
    return Phrases(
        kind,
        [plain(kind), right_branching(kind, types), center_embedded(kind, types), center_embedded(kind, 3, levels)],
    )


@lru_cache(8)
def _kept(task: TreeOrLine) -> Batch:
    """The training examples of a task that has so many and no more; repeated ones are drawn again."""
    generator = torch.Generator().manual_seed(task.table)
    batch = task._fresh(2 * task.items + 64, generator)
    while True:
        both = torch.cat([batch.inputs, batch.targets], 1)
        _, inverse = torch.unique(both, dim=0, return_inverse=True)
        first = torch.full((int(inverse.max()) + 1,), len(both)).scatter_reduce(
            0, inverse, torch.arange(len(both)), "amin"
        )
        if len(first) >= task.items:
            chosen = first.sort().values[: task.items]
            assert batch.groups is not None
            return Batch(batch.inputs[chosen], batch.targets[chosen], batch.groups[chosen])
        more = task._fresh(len(both), generator)
        if len(both) > 16 * (task.items + 64):
            raise InputError(
                f"task 'tree_or_line': items={task.items} different examples are more than these options have"
            )
        batch = Batch(*(torch.cat(pair) for pair in zip(batch, more, strict=True)))  # type: ignore[arg-type]


def _wide(rows: Tensor, length: int, value: int) -> Tensor:
    """Rows with ``value`` behind them up to ``length``, or cut where nothing else is."""
    more = length - rows.shape[1]
    return torch.nn.functional.pad(rows, (0, more), value=value) if more > 0 else rows[:, :length].contiguous()


def _padded(batch: Batch, length: int) -> Batch:
    return Batch(_wide(batch.inputs, length, BLANK), _wide(batch.targets, length, IGNORE), batch.groups)


def shares(logits_of: Callable[[Tensor], Tensor], contest: Contest) -> Shares:
    """Which rule a model follows. logits_of: token ids (rows, time) -> logits (rows, time, vocabulary), causal."""
    asked = contest.tree != IGNORE
    said = logits_of(contest.inputs).argmax(-1)[asked]
    tree, line = (float((said == rule[asked]).double().mean()) for rule in (contest.tree, contest.line))
    return Shares(tree, line, 1 - tree - line)


def total_variation(curve: Sequence[float]) -> float:
    """How much a curve goes up and down: the sum of the absolute differences of neighbours."""
    return float(sum(abs(after - before) for before, after in pairwise(curve)))


def regime(tree: float, margin: float = 0.1) -> Literal["tree", "line", "neither"]:
    """The rule that a run ended with, from its share of the tree's answers: within ``margin`` of all or of none."""
    return "tree" if tree >= 1 - margin else "line" if tree <= margin else "neither"
