"""What the RWKV layers share: the previous position beside the present one, and the ramps they begin with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.ops import causal_conv


def token_shift(x: Tensor, last: Tensor, mask: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Tensor]:
    """(x_{t-1} for every t, the newest position to go on from), both of real positions of the same document, else 0.

    x: (batch, time, width); last: (batch, 1, width). The convolution whose two taps are 1 and 0.
    """
    taps = torch.tensor([1.0, 0.0], dtype=x.dtype, device=x.device).expand(x.shape[-1], 2)
    return causal_conv(x, taps, None, last, mask=mask, reset=reset)


def lerp(x: Tensor, previous: Tensor, share: Tensor) -> Tensor:
    """x with a ``share`` of the previous position in place of so much of its own."""
    return x + (previous - x) * share


class Depth:
    """Where a layer stands in its network: the beginnings of RWKV's weights depend on it."""

    def __init__(self, layer: int, depth: int, owner: str) -> None:
        if not 0 <= layer < depth:
            raise InputError(f"{owner}: layer is {layer} of depth {depth}, expected a number from 0 to depth - 1")
        self.rising = layer / max(depth - 1, 1)  # 0 in the first layer, 1 in the last
        self.falling = 1 - layer / depth  # 1 in the first layer, next to 0 in the last
        self.grown = (1 + layer) / depth


def ramp(width: int) -> Tensor:
    """i / width for every channel i."""
    return torch.arange(width) / width


def full_ramp(width: int) -> Tensor:
    """i / (width - 1) for every channel i: from 0 to 1."""
    return torch.arange(width) / max(width - 1, 1)


def zigzag(width: int) -> Tensor:
    """0, 1, -1, 0, 1, -1, ..."""
    return (torch.arange(width) + 1) % 3 - 1.0


class LowRank(nn.Module):
    """base + f(x A) B, with A = 0 at the beginning, so that nothing depends on x yet."""

    def __init__(self, width: int, rank: int, base: Tensor | None, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        out = width if base is None else len(base)
        self.base = None if base is None else nn.Parameter(base.clone())
        self.down = nn.Parameter(torch.zeros(width, rank))
        self.up = nn.Parameter(torch.empty(rank, out).uniform_(-0.01, 0.01))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., width) -> (..., out)."""
        y = self.activation(x @ self.down) @ self.up
        return y if self.base is None else y + self.base


def checked_rank(rank: int | None, default: int, option: str, owner: str) -> int:
    """``rank``, by default ``default``; InputError below 1."""
    rank = default if rank is None else rank
    if rank < 1:
        raise InputError(f"{owner}: {option} is {rank}, expected None or at least 1")
    return rank
