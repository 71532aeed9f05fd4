"""The sampling of tasks: what a planted clock gives, and a task that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from seqmem.bench.sampling import TOKENS, measure_sampling
from seqmem.tasks.base import Batch, Task


@dataclass(frozen=True)
class Slow(Task):
    """A batch takes a quarter of a second on the test's clock."""

    now: ClassVar[float] = 0.0

    @property
    def train_length(self) -> int:
        return 100

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: str = "train") -> Batch:  # type: ignore[override]
        Slow.now += 0.25
        return Batch(torch.zeros(batch_size, length), torch.zeros(batch_size, length))


@dataclass(frozen=True)
class Broken(Slow):
    def sample(self, *given: object, **more: object) -> Batch:  # type: ignore[override]
        raise RuntimeError("first line\nsecond line")


def test_tokens_over_seconds_of_the_clock() -> None:
    record = measure_sampling(f"{__name__}:Slow", 0.5, clock=lambda: Slow.now)
    assert (record["status"], record["length"], record["rows"]) == ("ok", 100, TOKENS // 100)
    assert record["tokens_per_cpu_second"] == pytest.approx(4 * 100 * (TOKENS // 100))


def test_a_task_that_fails_is_named() -> None:
    record = measure_sampling(f"{__name__}:Broken", 0.01)
    assert (record["status"], record["note"]) == ("failed", "failed: RuntimeError: first line second line")


def test_a_task_of_the_library() -> None:
    assert measure_sampling("mqar", 0.01)["tokens_per_cpu_second"] > 0
