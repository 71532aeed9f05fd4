"""Titans, memory as a gate:  y = W_o (norm(attention([P | x])) * sigmoid(W_g norm(M(x))))."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.mixers._persistent import WindowAttention
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._softmax import AttentionState
from seqmem.mixers.base import Mixer
from seqmem.mixers.titans import Titans, TitansState


class TitansBranches(NamedTuple):
    """long_term: of the neural memory; short_term: of the windowed attention."""

    long_term: TitansState
    short_term: AttentionState


class TitansMAG(Mixer):
    """The block of Titans in which the neural memory gates a windowed attention beside it (Titans: Learning to Memorize
    at Test Time, 2024, arXiv 2501.00663).

    Both read x: attention the last ``window`` positions and ``persistent`` learned tokens P, the memory
    (:class:`seqmem.mixers.titans.Titans` with ``memory_layers``, ``chunk``, ``conv``) everything. What P would write
    into the memory is in its learned beginning. Both outputs are normalised; the paper leaves the gate's nonlinearity
    open, here it is a sigmoid of a linear map.

    form: "chunk"; there is no other.
    """

    convolves: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        window: int = 64,
        persistent: int = 4,
        memory_layers: int = 2,
        chunk: int = 16,
        conv: int = 4,
        rope_base: float = 10_000.0,
    ) -> None:
        super().__init__(width)
        self.long_term = Titans(width, heads=heads, memory_layers=memory_layers, chunk=chunk, conv=conv)
        self.short_term = WindowAttention(width, heads, window, persistent, rope_base, "TitansMAG")
        self.long_norm = nn.RMSNorm(width, eps=1e-6)
        self.short_norm = nn.RMSNorm(width, eps=1e-6)
        self.gate = nn.Linear(width, width)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> TitansBranches:
        """Nothing read."""
        return TitansBranches(self.long_term.initial_state(batch_size), self.short_term.initial_state(batch_size))

    def forward(
        self,
        x: Tensor,
        state: TitansBranches | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, TitansBranches]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        remembered, long_term = self.long_term(x, state.long_term, mask=mask, reset=reset)
        attended, short_term = self.short_term(x, state.short_term, mask, reset)
        dtype = self.out.weight.dtype
        gate = torch.sigmoid(self.gate(self.long_norm(remembered.to(dtype))))
        return self.out(self.short_norm(attended.to(dtype)) * gate), TitansBranches(long_term, short_term)
