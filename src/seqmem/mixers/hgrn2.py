"""HGRN2:  S_t = diag(f_t) S_{t-1} + (1 - f_t) i_t^T,   y_t = S_t^T o_t;   what is not kept is written."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._channel_memory import explicit_channel_attention, write_and_read_channels
from seqmem.mixers._matrix_memory import FORMS, read_heads
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer, split_heads


class HGRN2State(NamedTuple):
    """memory: (batch, heads, key, value), key = value = width / heads."""

    memory: Tensor


class HGRN2(Mixer):
    """A gated linear recurrence expanded by an outer product (HGRN2: Gated Linear RNNs with State Expansion, 2024,
    arXiv 2404.07904).

    Forget gate f_t = b + (1 - b) sigmoid(W_f x), input i_t = W_i x, output gate o_t = SiLU(W_o x). Forget and input
    gate are tied: 1 - f_t stands where linear attention has a key, so the layer needs no parameters beyond those of the
    vector recurrence. ``lower_bound`` is b, which keeps a layer from forgetting faster: the paper learns it jointly for
    all layers, 0 in the first and rising with depth; here it is a number for this layer. The output is RMS-normalised
    and projected; no biases.

    form: "parallel" (quadratic in time), "chunk" (pieces of 16), "recurrent" (the op ``gated_linear_attention``,
    position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(self, width: int, *, heads: int = 2, lower_bound: float = 0.0) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "HGRN2")
        if not 0 <= lower_bound < 1:
            raise InputError(f"HGRN2: lower_bound is {lower_bound!r}, expected a number from 0 to below 1")
        self.lower_bound = lower_bound
        self.ofi = nn.Linear(width, 3 * width, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> HGRN2State:
        """Zeros: nothing was read."""
        return HGRN2State(self.out.weight.new_zeros(batch_size, self.heads, self.key, self.key))

    def forward(
        self,
        x: Tensor,
        state: HGRN2State | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, HGRN2State]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        o, k, i, g = self._heads(x, mask)
        y, memory = write_and_read_channels(o, k, i, g, state.memory, reset=reset, form=form)
        return self.out(self.norm(y.flatten(-2))), HGRN2State(memory)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): o_t . (f_{j+1} ... f_t (1 - f_j)) for j <= t, else 0, from an empty memory."""
        self.check_input(x, mask, reset, "auto")
        o, k, _, g = self._heads(x, mask)
        return explicit_channel_attention(o, k, g, reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self.out(self.norm(read_heads(attention, self._heads(x, mask)[2]).flatten(-2)))

    def _heads(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """o, 1 - f, i and log f, each (batch, time, heads, key); 1 - f and log f are 0 at padding."""
        o, f, i = self.ofi(x).to(self.out.weight.dtype).unflatten(-1, (3, self.heads, self.key)).unbind(2)
        k = (1 - self.lower_bound) * (-f).sigmoid()
        # log f, exact also where f is next to 0 or to 1
        g = F.logsigmoid(f) if self.lower_bound == 0 else (-k).log1p()
        return F.silu(o), at_padding(k, mask, 0), i, at_padding(g, mask, 0)
