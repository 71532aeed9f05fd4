"""Fast weights:  A_t = l A_{t-1} + n h_t h_t^T,   h_{t+1} = f(LN(z + A_t h'))  with  z = W h_t + C x_t,  h' = f(z)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._documents import hidden_size
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer
from seqmem.ops._matrix_state import compute_dtype


class FastWeightsState(NamedTuple):
    """hidden: (batch, hidden); weights: (batch, hidden, hidden), A."""

    hidden: Tensor
    weights: Tensor


class FastWeights(Mixer):
    """A recurrent network that attends to its own recent past through quickly changing weights (Using Fast Weights to
    Attend to the Recent Past, 2016, arXiv 1610.06258; after Learning to Control Fast-Weight Memories, 1992).

    A_t sums the outer products of recent hidden vectors, decaying at l = ``decay`` and written at n = ``rate``. Before
    the next hidden vector is settled, ``inner`` steps let A pull it towards those it resembles: h' = f(LN(z + A h')).
    f is ReLU and LN a layer norm with learned weights. W begins as 1/20 of the identity, C normal with deviation
    1 / sqrt(width). y = W_o h. (Without recurrence, and with keys and values of its own, the rule is
    :class:`seqmem.mixers.linear_attention.LinearAttention`.)

    Every step depends on the one before through f, so nothing runs in parallel over time: "recurrent", a loop in plain
    PyTorch, is the only form, and slow.
    """

    forms: ClassVar[tuple[str, ...]] = ("recurrent",)

    def __init__(
        self, width: int, *, hidden: int | None = None, decay: float = 0.95, rate: float = 0.5, inner: int = 1
    ) -> None:
        super().__init__(width)
        self.hidden = hidden_size(hidden, width, "FastWeights")
        if not 0 <= decay < 1:
            raise InputError(f"FastWeights: decay is {decay!r}, expected a number from 0 to below 1")
        if inner < 1:
            raise InputError(f"FastWeights: inner is {inner}, expected at least 1 step")
        self.decay, self.rate, self.inner = decay, rate, inner
        self.input = nn.Linear(width, self.hidden)  # C
        self.recurrent = nn.Parameter(0.05 * torch.eye(self.hidden))  # W
        self.norm = nn.LayerNorm(self.hidden)
        self.out = nn.Linear(self.hidden, width, bias=False)
        nn.init.normal_(self.input.weight, std=width**-0.5)
        nn.init.zeros_(self.input.bias)

    def initial_state(self, batch_size: int) -> FastWeightsState:
        """Zeros: nothing was read."""
        hidden = self.recurrent.new_zeros(batch_size, self.hidden)
        return FastWeightsState(hidden, hidden.new_zeros(batch_size, self.hidden, self.hidden))

    def forward(
        self,
        x: Tensor,
        state: FastWeightsState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, FastWeightsState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        dtype = compute_dtype(self.recurrent, *state)
        inputs = self.input(at_padding(x, mask, 0)).to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            hs, state = self._steps(inputs, FastWeightsState(*(s.to(dtype) for s in state)), mask, reset)
        return self.out(hs.to(self.out.weight.dtype)), state

    def _steps(
        self, inputs: Tensor, state: FastWeightsState, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, FastWeightsState]:
        """Every hidden vector (batch, time, hidden) and the last state; the equation as a loop."""
        (h, A), hs = state, []
        W, gain, bias = (p.to(inputs.dtype) for p in (self.recurrent, self.norm.weight, self.norm.bias))
        for t, c in enumerate(inputs.unbind(1)):
            if reset is not None:
                h, A = h.masked_fill(reset[:, t, None], 0), A.masked_fill(reset[:, t, None, None], 0)
            z = torch.addmm(c, h, W.mT)
            new = torch.relu(z)
            for _ in range(self.inner):
                attended = torch.baddbmm(z[..., None], A, new[..., None])[..., 0]
                new = torch.relu(F.layer_norm(attended, (self.hidden,), gain, bias))
            written = torch.baddbmm(A, new[..., None], new[:, None], beta=self.decay, alpha=self.rate)
            if mask is not None:
                new = torch.where(mask[:, t, None], new, h)
                written = torch.where(mask[:, t, None, None], written, A)
            h, A = new, written
            hs.append(h)
        return torch.stack(hs, 1), FastWeightsState(h, A)
