"""What the layers of Titans share: the network M that learns while it reads, and how fast it learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._shared import at_padding, scaled_width
from seqmem.mixers.base import split_heads
from seqmem.ops import MemoryState, memory_update
from seqmem.ops.memory_update import recall

STARTS = (-3.0, 0.0, -4.0)  # of the biases of theta, eta and alpha: near 1/20, 1/2 and 1/50


class NeuralMemory(nn.Module):
    """M(x) = x W, or x + SiLU(x W1) W2, one for each head; empty (W or W2 = 0) at the beginning.

    theta, eta and alpha are functions of an input (batch, time, width). Written and read by :meth:`update`.
    momentum, forget: False leaves out eta, alpha (they are 0).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        expand: float,
        chunk: int,
        owner: str,
        *,
        momentum: bool = True,
        forget: bool = True,
    ) -> None:
        super().__init__()
        key = split_heads(width, heads, owner)
        if layers not in (1, 2):
            raise InputError(f"{owner}: memory_layers is {layers!r}, expected 1 or 2")
        if not isinstance(chunk, int) or chunk < 1:
            raise InputError(f"{owner}: the chunk is {chunk!r}, expected a whole number of at least 1")
        self.heads, self.chunk, self.residual = heads, chunk, layers == 2
        inner = scaled_width(key, expand, owner, "expand")
        first = [] if layers == 1 else [torch.randn(heads, key, inner) * key**-0.5]
        last = torch.zeros(heads, key if layers == 1 else inner, key)
        self.weights = nn.ParameterList([nn.Parameter(w) for w in (*first, last)])
        self.present = (True, momentum, forget)
        starts = torch.tensor([start for start, has in zip(STARTS, self.present, strict=True) if has])
        self.rates = nn.Linear(width, len(starts) * heads)
        with torch.no_grad():
            self.rates.bias.copy_(starts.repeat_interleave(heads))

    def initial_state(self, batch_size: int) -> MemoryState:
        """The learned beginning, without momentum."""
        weights = tuple(w.expand(batch_size, *w.shape) for w in self.weights)
        still = tuple(torch.zeros_like(w) for w in weights)
        return MemoryState(weights, still, weights, weights[0].new_zeros(batch_size, dtype=torch.long))

    def update(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: MemoryState, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, MemoryState]:
        """(M_t(q_t) (batch, time, heads, key), state): learns k -> v at the rates that x (batch, time, width) asks for.
        q, k, v: (batch, time, heads, key).
        """
        rates = torch.sigmoid(self.rates(x).to(self.rates.weight.dtype))
        learned = iter(at_padding(rates, mask, 0).split(self.heads, -1))
        theta, eta, alpha = (next(learned) if has else None for has in self.present)
        assert theta is not None
        target = v - k if self.residual else v
        y, state = memory_update(
            q, k, target, theta, tuple(self.weights), state,
            momentum=eta, forget=alpha, chunk=self.chunk, mask=mask, reset=reset,
        )  # fmt: skip
        return (q + y if self.residual else y), state

    def read(self, q: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        """M(q), nothing learned; q: (batch, time, heads, key), weights: of a :class:`MemoryState`."""
        y = recall(q, weights)
        return q + y if self.residual else y
