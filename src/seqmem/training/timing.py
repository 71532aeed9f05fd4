"""How much a model remembers, in bytes, and how long one more token takes it."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import torch
from torch import nn

from seqmem.mixers.state import state_bytes
from seqmem.tasks.base import Task
from seqmem.training.evaluate import DATA_SEED
from seqmem.training.seeds import generator


class Decoding(NamedTuple):
    """state_bytes: per sequence, after reading the longest test length. microseconds: per greedy token from there."""

    state_bytes: int
    microseconds: float


@torch.no_grad()
def measure_decoding(model: nn.Module, task: Task, tokens: int = 50, warm_up: int = 5) -> Decoding:
    """Read one sequence of the longest test length, then write ``tokens`` more, one at a time, carrying the state;
    median time of one."""
    was_training = model.training
    model.eval()
    try:
        inputs = task.sample(
            1, max(task.test_lengths), generator(DATA_SEED, "decode"), split="test"
        ).inputs  # (1, time)
        logits, state = model.run(inputs)  # type: ignore[operator]
        held = state_bytes(state)
        seconds = []
        for _ in range(warm_up + tokens):
            start = time.perf_counter()
            token = logits[:, -1:].argmax(-1)  # (1, 1)
            logits, state = model.run(token, state)  # type: ignore[operator]
            seconds.append(time.perf_counter() - start)
    finally:
        model.train(was_training)
    return Decoding(held, 1e6 * statistics.median(seconds[warm_up:]))
