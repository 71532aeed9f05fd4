"""Path-star: which arm of a star leads to the goal? Easy from the goal backwards, and a trap for teacher forcing.

Source: The pitfalls of next-token prediction (2024), arXiv 2403.06963.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

BLANK, EDGE, QUESTION, ANSWER, DUMMY, FIRST_NODE = range(6)


@dataclass(frozen=True)
class PathStar(Task):
    """A graph of ``arms`` disjoint arms that begin in one centre, as a shuffled list of edges; then the centre and the
    end of one arm, and the path between them is asked.

        a b | c d | ... e f / centre goal =        ->  centre ... goal

    With n nodes in an arm, the centre among them, there are arms (n - 1) edges and (3 arms + 1) (n - 1) + 3 positions.
    The arms are as long as the length allows; positions left over are blank, in front. Token 5 + i is node i.

    Given the answer so far, every step but the one after the centre is copied from an edge. Teacher forcing rewards
    that, and what is left to learn, the choice of the arm, must be found from its end all at once.

    Options:
        length: time steps of a training example.
        arms: how many arms; with several numbers every batch mixes them evenly. Each is a slice, ``"arms=2"``.
        nodes: number of node labels; 0: as many as the longest test needs, at least 20.
        order: ``"forward"``, from the centre to the goal, or ``"backward"``, where every step can be copied.
        teacher: the input holds the true answer so far; False: a dummy token in its place, so that all of the answer
            is said at once.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; the arms grow.
    """

    changes: ClassVar[Changes] = {"arms": (3,), "length": (48, 96)}

    length: int = 24
    arms: tuple[int, ...] = (2,)
    nodes: int = 0
    order: Literal["forward", "backward"] = "forward"
    teacher: bool = True
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("path_star", "length", self.length, at_least=1)
        object.__setattr__(self, "arms", _check.integers("path_star", "arms", self.arms, at_least=2))
        _check.choice("path_star", "order", self.order, ("forward", "backward"))
        _check.boolean("path_star", "teacher", self.teacher)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("path_star", self.test_lengths, length))
        needed = max(self._needed(one) for one in self.test_lengths)
        if _check.integer("path_star", "nodes", self.nodes, at_least=0) == 0:
            object.__setattr__(self, "nodes", max(20, needed))
        for one in self.test_lengths:
            self._check_length(one)

    def nodes_per_arm(self, arms: int, length: int) -> int:
        """How many nodes each of ``arms`` arms has in ``length`` positions, the centre among them."""
        return (length - 3) // (3 * arms + 1) + 1

    def _needed(self, length: int) -> int:
        """Nodes of the largest graph that fits."""
        return max(arms * (self.nodes_per_arm(arms, length) - 1) + 1 for arms in self.arms)

    def _check_length(self, length: int) -> None:
        most = max(self.arms)
        if self.nodes_per_arm(most, length) < 3:
            raise InputError(
                f"task 'path_star': length={length} is too short for arms={most}, expected at least {6 * most + 5} "
                "(arms of a centre, a step and a goal); use fewer arms or a greater length"
            )
        if self._needed(length) > self.nodes:
            raise InputError(
                f"task 'path_star': nodes={self.nodes} are too few for length={length}, expected at least "
                f"{self._needed(length)}; use more nodes or a smaller length"
            )

    @property
    def vocab_size(self) -> int:
        return FIRST_NODE + self.nodes

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(f"arms={count}" for count in self.arms)

    @property
    def chance(self) -> float:
        """Of a guess that has not read the graph. One that has, and guesses the arm, is right in 1 / arms of the steps
        after the centre, and with a teacher everywhere else."""
        return 1 / self.nodes

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps. The number of arms goes round ``arms`` from row to row,
        from a random start."""
        _check.request("path_star", batch_size, length, generator, split)
        self._check_length(length)
        groups = _draw.in_turn(batch_size, len(self.arms), generator)
        inputs = torch.empty(batch_size, length, dtype=torch.int64)
        targets = torch.empty(batch_size, length, dtype=torch.int64)
        for group, arms in enumerate(self.arms):
            rows = (groups == group).nonzero().squeeze(1)
            inputs[rows], targets[rows] = self._stars(len(rows), length, arms, generator)
        return Batch(inputs, targets, groups)

    def _stars(self, rows: int, length: int, arms: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and targets, (rows, length) each, of graphs with ``arms`` arms; the first arm has the goal."""
        steps = self.nodes_per_arm(arms, length) - 1
        count = arms * steps + 1
        drawn = FIRST_NODE + _draw.shuffled(_draw.subsets(rows, count, self.nodes, generator), generator)
        centre, heads = drawn[:, :1], drawn[:, 1:].view(rows, arms, steps)
        tails = torch.cat([centre[:, None].expand(rows, arms, 1), heads[..., :-1]], 2)
        bar = torch.full_like(heads, EDGE)
        edges = torch.stack([tails, heads, bar], 3).view(rows, arms * steps, 3)  # (rows, edge, token)
        order = _draw.shuffled(torch.arange(arms * steps).expand(rows, -1), generator)
        edges = edges.gather(1, order[..., None].expand_as(edges)).flatten(1)

        path = torch.cat([centre, heads[:, 0]], 1)  # (rows, steps + 1)
        answer = path if self.order == "forward" else path.flip(1)
        said = answer[:, :-1] if self.teacher else torch.full_like(answer[:, :-1], DUMMY)
        question, equals = torch.full_like(centre, QUESTION), torch.full_like(centre, ANSWER)
        read = torch.cat([edges[:, :-1], question, centre, path[:, -1:], equals, said], 1)
        inputs = torch.full((rows, length), BLANK)
        inputs[:, length - read.shape[1] :] = read
        targets = torch.full((rows, length), IGNORE)
        targets[:, length - steps - 1 :] = answer
        return inputs, targets

    def example(self, generator: torch.Generator) -> str:
        """Edges as a>b, nodes as numbers."""
        batch = self.sample(1, self.length, generator)
        words = [str(token - FIRST_NODE) for token in batch.inputs[0].tolist()]
        answer = [str(token - FIRST_NODE) for token in batch.targets[0].tolist() if token != IGNORE]
        end = self.length - len(answer)  # where the answer is asked
        first = int((batch.inputs[0] != BLANK).nonzero()[0])
        edges = "  ".join(f"{words[t]}>{words[t + 1]}" for t in range(first, end - 3, 3))
        return f"{edges}  |  {words[end - 2]} to {words[end - 1]}? ->  {' '.join(answer)}"


def own_answers(logits_of: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
    """What a model says when it goes on from its own words, not the teacher's: greedy, (batch, time), IGNORE where
    nothing is asked.

    logits_of: token ids (batch, time) -> logits (batch, time, vocabulary), causal. In a batch without a teacher dummies
    stand where own words would, so one call says everything. The answers of all rows end at the last position, as
    those of :class:`PathStar` do.
    """
    asked = batch.targets != IGNORE
    own = (batch.inputs != DUMMY) & asked & asked.roll(1, 1)  # inputs that repeat the answer so far
    inputs, said = batch.inputs.clone(), torch.full_like(batch.targets, IGNORE)
    if not own.any():
        return torch.where(asked, logits_of(inputs).argmax(-1), said)
    for t in range(int(asked.any(0).nonzero()[0]), inputs.shape[1]):
        said[:, t] = torch.where(asked[:, t], logits_of(inputs[:, : t + 1])[:, -1].argmax(-1), IGNORE)
        if t + 1 < inputs.shape[1]:
            inputs[:, t + 1] = torch.where(own[:, t + 1], said[:, t], inputs[:, t + 1])
    return said
