"""minGRU:  h_t = (1 - z_t) h_{t-1} + z_t g(W_h x_t),   z_t = sigmoid(W_z x_t)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._shared import (
    at_padding,
    diagonal_attention,
    positive,
    read_diagonal,
    resume,
    scaled_width,
    scan_backend,
)
from seqmem.mixers.base import Mixer
from seqmem.ops import linear_scan


class MinGRUState(NamedTuple):
    """hidden: (batch, hidden)."""

    hidden: Tensor


class MinGRU(Mixer):
    """A GRU whose update gate sees the input alone, so that the whole sequence is one scan (Were RNNs All We Needed?,
    2024, arXiv 2410.01201).

    ``expansion``: the hidden size is round(expansion * width); an output projection without bias always leads back to
    ``width``. ``bias``: of gate and candidate. The candidate passes through g(x) = x + 1/2 (x >= 0), sigmoid(x) (x <
    0), the values of the paper's logarithmic form; they are scanned as they are, with the gates in logarithms. An empty
    memory is h_0 = 0.

    form: "parallel" is the scan, "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel", which for
    one position is the single step.
    """

    def __init__(self, width: int, *, expansion: float = 1.0, bias: bool = True) -> None:
        super().__init__(width)
        self.hidden = scaled_width(width, expansion, "MinGRU", "expansion")
        self.candidate_and_gate = nn.Linear(width, 2 * self.hidden, bias=bias)
        self.out = nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch_size: int) -> MinGRUState:
        """Zeros: nothing was read."""
        return MinGRUState(self.out.weight.new_zeros(batch_size, self.hidden))

    def forward(
        self,
        x: Tensor,
        state: MinGRUState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, MinGRUState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        log_keep, write, candidate = self._gates(x, mask)
        hidden, last = linear_scan(
            log_keep, write * candidate, state.hidden, reset=reset, log=True, backend=scan_backend(form)
        )  # (batch, time, hidden)
        return self.out(hidden), MinGRUState(last)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, hidden, time, time): the weight of candidate j in h_t, from an empty memory; one head per hidden
        unit.
        """
        self.check_input(x, mask, reset, "auto")
        log_keep, write, _ = self._gates(x, mask)
        return diagonal_attention(log_keep, write, reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self.out(read_diagonal(attention, self._gates(x, mask)[2]))

    def _gates(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """log(1 - z), z and the candidate, each (batch, time, hidden); at padding z = 0."""
        candidate, gate = self.candidate_and_gate(x).to(self.out.weight.dtype).chunk(2, -1)
        gate = at_padding(gate, mask, -torch.inf)
        return F.logsigmoid(-gate), torch.sigmoid(gate), positive(candidate)
