"""What a task is: data with a known answer, sampled through an explicit generator.

A task is a frozen dataclass whose fields are its options (so that a study file can name them); it samples batches, says
what is asked where, and what a guess would score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

IGNORE = -100  # the target where nothing is asked (the cross-entropy convention)

Split = Literal["train", "validation", "test"]
Metric = Literal["accuracy", "bits_per_byte"]
#: option -> values, easy to hard
Changes = Mapping[str, Sequence[Any]]


class Batch(NamedTuple):
    """inputs: (batch, time) int64 token ids. targets: (batch, time) int64, the token that is asked for *at* that
    position (no further shift), or IGNORE. groups: (batch,) int64, which of ``task.slices`` each row belongs to, or
    None when the task has no slices."""

    inputs: Tensor
    targets: Tensor
    groups: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """Base of the tasks. Fields are options; class variables describe the task."""

    metric: ClassVar[Metric] = "accuracy"
    #: accuracy on validation data from which on the task counts as solved and training may stop; None: never
    solved_at: ClassVar[float | None] = 0.995
    #: from what a model answers: its output "each" position, or the "last" vector alone, for all positions
    readout: ClassVar[Literal["each", "last"]] = "each"
    #: the easiest point of the difficulty grid (:mod:`seqmem.tasks.grid`); an option not named has its default
    baseline: ClassVar[Mapping[str, Any]] = {}
    #: its other points, each the baseline with this one option changed; when empty, two and four times its ``length``
    changes: ClassVar[Changes] = {}

    @property
    def vocab_size(self) -> int:
        """Number of token ids, inputs and targets together."""
        raise NotImplementedError

    @property
    def train_length(self) -> int:
        """Time steps of a training example: the option ``length``, where a task does not say otherwise."""
        return self.length  # type: ignore[attr-defined]

    @property
    def test_lengths(self) -> tuple[int, ...]:
        """Lengths to test at, the training length first, up to at least four times it where the task can."""
        raise NotImplementedError

    @property
    def slices(self) -> tuple[str, ...]:
        """Names of the groups that results are broken down by, such as ``"pairs=8"``; empty when there are none."""
        return ()

    @property
    def data_sha256(self) -> str | None:
        """SHA-256 of the data that a path among the options stands for; None where the options say everything."""
        return None

    @property
    def chance(self) -> float:
        """The metric's value for the best guess that has not read the input."""
        raise NotImplementedError

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` examples of ``length`` steps. The same generator state gives the same batch. ``split``
        matters only where the data are finite; synthetic tasks draw fresh examples."""
        raise NotImplementedError

    def right(self, batch: Batch, said: Tensor) -> Tensor:
        """Whether each answer counts as right under ``metric = "accuracy"``: ``said`` and the result (batch, time);
        where nothing is asked neither means anything. A task with more than one right answer says which they are."""
        return said == batch.targets

    def example(self, generator: torch.Generator) -> str:
        """One short example as a person would read it, with what is asked and the answer."""
        raise NotImplementedError
