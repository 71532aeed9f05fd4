"""Layers of somebody's own, for tests: one that works and is quick, and some that misbehave."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Toy(nn.Module):
    """``y_t = W tanh(mean of x_0 .. x_t)``; the state is the running sum and the count."""

    memory = "constant"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, width)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        weight = self.out.weight
        return weight.new_zeros(batch_size, weight.shape[0]), weight.new_zeros(batch_size, 1)

    def forward(
        self, x: Tensor, state: Any = None, *, mask: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        total, count = self.initial_state(len(x)) if state is None else state
        sums = total[:, None] + x.cumsum(1)  # (batch, time, width)
        counts = count[:, None] + torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[None, :, None]  # (batch, time, 1)
        return self.out(torch.tanh(sums / counts)), (sums[:, -1], counts[:, -1])


class Noisy(Toy):
    """Draws from torch's global generator in training, as dropout does, and prints."""

    def forward(self, x: Tensor, state: Any = None, **rest: Any) -> tuple[Tensor, Any]:
        if self.training:
            x = nn.functional.dropout(x, 0.1)
        print("a layer that prints")
        return super().forward(x, state, **rest)


class Wide(Toy):
    """Far more parameters than attention of the same width; accepts even widths only."""

    def __init__(self, width: int) -> None:
        if width % 2:
            raise ValueError("an even width is needed")
        super().__init__(width)
        self.spare = nn.Parameter(torch.zeros(24, width, width))


class Broken(Toy):
    """Cannot be run."""

    def forward(self, x: Tensor, state: Any = None, **rest: Any) -> tuple[Tensor, Any]:
        raise RuntimeError("two lines\nof trouble")


class Deadly(Toy):
    """Ends its process without a word after 30 calls, until it has done so as often as SEQMEM_TEST_DEATHS says."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.calls = 0

    def forward(self, x: Tensor, state: Any = None, **rest: Any) -> tuple[Tensor, Any]:
        self.calls += 1
        if self.calls == 30 and "SEQMEM_TEST_DEATHS" in os.environ:
            diary = Path(os.environ["SEQMEM_TEST_DIARY"])
            deaths = len(diary.read_text()) if diary.exists() else 0
            if deaths < int(os.environ["SEQMEM_TEST_DEATHS"]):
                diary.write_text("x" * (deaths + 1))
                self.die()
        return super().forward(x, state, **rest)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Hungry(Deadly):
    """Asks for more memory than there is instead."""

    def die(self) -> None:
        torch.empty(2**58)


class NotALayer:
    """No ``nn.Module``."""


class Killed(Toy):
    """Ends its process whenever it is read with."""

    def forward(self, x: Tensor, state: Any = None, **rest: Any) -> tuple[Tensor, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x, state, **rest)
