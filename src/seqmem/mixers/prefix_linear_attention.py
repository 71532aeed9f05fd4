"""Prefix linear attention: the first M positions are read in both directions, what follows is read causally.

y_i = f(q_i)^T (sum_{j<=i} f(k_j) v_j^T + sum_{j<=M} f(k'_j) v'_j^T)
      / f(q_i)^T (sum_{j<=i} f(k_j)     + sum_{j<=M} f(k'_j))
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._matrix_memory import FORMS, explicit_attention, read_heads, write_and_read
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer, split_heads


class PrefixLinearAttentionState(NamedTuple):
    """memory: (batch, heads, 1 + features + features^2, value + 1), the sum of outer products of f(k) and v, prefix
    included; its last column is the sum of f(k). begun: (batch,) bool, whether a text has begun."""

    memory: Tensor
    begun: Tensor


def taylor(x: Tensor) -> Tensor:
    """f(x) = [1, x, vec(x x^T) / sqrt 2] of x / d^(1/4), so that f(q) . f(k) = 1 + s + s^2 / 2, positive, with
    s = q . k / sqrt d: (..., d) -> (..., 1 + d + d^2)."""
    x = x * x.shape[-1] ** -0.25
    square = (x[..., :, None] * x[..., None, :]).flatten(-2) * 2**-0.5
    return torch.cat([torch.ones_like(x[..., :1]), x, square], -1)


class PrefixLinearAttention(Mixer):
    """Linear attention with an encoder in its prefix (JRT-RNN; Just read twice, 2024, arXiv 2407.05483).

    prefix: M; the first M positions of a text write into the memory through keys and values of their own before any is
    read, so that a prompt of at most M tokens is seen as a whole by each of its positions. Afterwards the layer is a
    recurrence. With 0 it has no encoder and is causal: the linear attention of Based (2024, arXiv 2402.18668), whose
    feature map, a Taylor series of the exponential, both use. features: d, numbers of q and k per head. Projections
    without bias; no positions.

    The prefix comes in the call that begins the text: the whole of it, or what there is; a later call is causal. A
    shorter prompt is padded on the left with ``mask``. The prefix of the first document of a call counts, those of
    documents that begin at a later ``reset`` do not.

    form: "parallel" (the whole matrix, quadratic in time), "chunk" (pieces of 64), "recurrent" (the op ``ssd``,
    position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(self, width: int, *, heads: int = 2, features: int = 8, prefix: int = 0) -> None:
        super().__init__(width)
        for name, given, least in (("features", features, 1), ("prefix", prefix, 0)):
            if type(given) is not int or given < least:
                raise InputError(f"PrefixLinearAttention: {name} is {given!r}, expected a whole number from {least} on")
        self.heads, self.features, self.prefix = heads, features, prefix
        self.value = split_heads(width, heads, "PrefixLinearAttention")
        self.query = nn.Linear(width, heads * features, bias=False)
        self.write = nn.Linear(width, heads * (features + self.value), bias=False)  # k, v
        self.encode = nn.Linear(width, heads * (features + self.value), bias=False) if prefix else None  # k', v'
        self.out = nn.Linear(width, width, bias=False)

    @property
    def causal(self) -> bool:  # type: ignore[override]
        """Without a prefix."""
        return self.prefix == 0

    def initial_state(self, batch_size: int) -> PrefixLinearAttentionState:
        """Zeros: nothing was read."""
        size = 1 + self.features + self.features**2
        memory = self.out.weight.new_zeros(batch_size, self.heads, size, self.value + 1)
        return PrefixLinearAttentionState(memory, torch.zeros(batch_size, dtype=torch.bool, device=memory.device))

    def forward(
        self,
        x: Tensor,
        state: PrefixLinearAttentionState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, PrefixLinearAttentionState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0).to(self.out.weight.dtype)
        memory, begun = state
        if self.encode is not None:
            memory = self._encoded(x, memory, begun, mask, reset)
            reset = None if reset is None else F.pad(reset[:, 1:], (1, 0))  # the first was obeyed
        q = taylor(self.query(x).unflatten(-1, (self.heads, -1)))
        k, v = self._written(self.write(x), mask)
        o, memory = write_and_read(q, k, v, None, None, memory, reset=reset, form=form)
        weight = o[..., -1:].masked_fill(o[..., -1:] == 0, 1)  # padding before the first word has read nothing
        begun = torch.ones_like(begun) if mask is None else begun | mask.any(1)
        return self.out((o[..., :-1] / weight).flatten(-2)), PrefixLinearAttentionState(memory, begun)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): f(q_t) . f(k_j), each row divided by its sum, from an empty memory. InputError
        with a prefix, whose positions are read through two values each, which no one matrix does."""
        if self.prefix:
            raise InputError(f"PrefixLinearAttention: prefix is {self.prefix}; an attention matrix exists with 0 alone")
        self.check_input(x, mask, reset, "auto")
        q = taylor(self.query(x).unflatten(-1, (self.heads, -1)))
        weights = explicit_attention(q, self._written(self.write(x), mask)[0], None, None, reset)
        total = weights.sum(-1, keepdim=True)
        return weights / total.masked_fill(total == 0, 1)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        v = self._written(self.write(x), mask)[1]
        return self.out(read_heads(attention, v[..., :-1]).flatten(-2))

    def _encoded(self, x: Tensor, memory: Tensor, begun: Tensor, mask: Tensor | None, reset: Tensor | None) -> Tensor:
        """The memory with the prefix in it, in the rows where a text begins; emptied where the first position says."""
        assert self.encode is not None
        counts = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        if reset is not None:
            memory = memory.masked_fill(reset[:, 0, None, None, None], 0)
            begun = begun & ~reset[:, 0]
            counts = counts & F.pad(reset[:, 1:].cumsum(1) == 0, (1, 0), value=True)
        counts = (counts & ~begun[:, None])[:, : self.prefix]
        k, v = self._written(self.encode(x[:, : self.prefix]), counts)
        return memory + torch.einsum("bthk,bthv->bhkv", k, v)

    def _written(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """f(k) (batch, time, heads, key), 0 at padding, and v with a one at its end, which sums the weights."""
        k, v = x.unflatten(-1, (self.heads, -1)).split([self.features, self.value], -1)
        return at_padding(taylor(k), mask, 0), F.pad(v, (0, 1), value=1.0)
