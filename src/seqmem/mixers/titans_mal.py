"""Titans, memory as a layer:  y = attention([P | norm(x + M(x))]):  the memory first, then a windowed attention."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from seqmem.mixers._persistent import WindowAttention
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer
from seqmem.mixers.titans import Titans
from seqmem.mixers.titans_mag import TitansBranches


class TitansMAL(Mixer):
    """The block of Titans in which a windowed attention reads what the neural memory gives (Titans: Learning to
    Memorize at Test Time, 2024, arXiv 2501.00663).

    The memory is a :class:`seqmem.mixers.titans.Titans` with ``memory_layers``, ``chunk`` and ``conv`` on a residual
    stream, whose normalised sum the attention reads over ``window`` positions and ``persistent`` learned tokens P. What
    P would write into the memory is in its learned beginning. State: as in :mod:`seqmem.mixers.titans_mag`.

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
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.short_term = WindowAttention(width, heads, window, persistent, rope_base, "TitansMAL")

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
        y, short_term = self.short_term(self.norm(x + remembered), state.short_term, mask, reset)
        return y, TitansBranches(long_term, short_term)
