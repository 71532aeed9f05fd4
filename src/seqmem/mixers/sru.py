"""The simple recurrent unit. Simple Recurrent Units for Highly Parallelizable Recurrence (2018), arXiv 1709.02755."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._shared import at_padding, diagonal_attention, read_diagonal, resume, scan_backend
from seqmem.mixers.base import Mixer
from seqmem.ops import linear_scan, lstm


class SRUState(NamedTuple):
    """cell: (batch, width)."""

    cell: Tensor


class SRU(Mixer):
    """A recurrence without a matrix, and a highway around it (Training RNNs as Fast as CNNs, later Simple Recurrent
    Units for Highly Parallelizable Recurrence, 2017 and 2018, arXiv 1709.02755):

        f_t = sigmoid(W_f x_t + v_f * c_{t-1} + b_f)        r_t = sigmoid(W_r x_t + v_r * c_{t-1} + b_r)
        c_t = f_t * c_{t-1} + (1 - f_t) * W x_t             y_t = r_t * c_t + (1 - r_t) * x_t * alpha

    ``peephole=False``, the first version, has v = 0: the whole sequence is one scan, and c_t is an exact attention over
    W x_j. True, the final version, lets the gates see the memory. alpha = sqrt(1 + 2 exp(highway_bias)) keeps the
    variance of y at the start, where b_r = ``highway_bias`` and W is uniform with variance 1 / width (with peepholes,
    half of that for the gates, as for v).

    form: "parallel" is the scan (with peepholes the kernel of :func:`seqmem.ops.lstm`, of which this is a case, at the
    price of a product with zeros); "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel".
    """

    def __init__(self, width: int, *, peephole: bool = False, highway_bias: float = 0.0) -> None:
        super().__init__(width)
        self.candidate_and_gates = nn.Linear(width, 3 * width, bias=False)  # W, W_f, W_r
        self.bias = nn.Parameter(torch.zeros(2, width))  # b_f, b_r
        self.peephole = nn.Parameter(torch.empty(2, width)) if peephole else None  # v_f, v_r
        self.highway_scale = math.sqrt(1 + 2 * math.exp(highway_bias))  # alpha
        reach = math.sqrt(3 / width)
        nn.init.uniform_(self.candidate_and_gates.weight, -reach, reach)
        with torch.no_grad():
            self.bias[1] = highway_bias
            if self.peephole is not None:
                nn.init.uniform_(self.peephole, -math.sqrt(1.5), math.sqrt(1.5))
                self.candidate_and_gates.weight[width:] *= math.sqrt(0.5)

    def initial_state(self, batch_size: int) -> SRUState:
        """Zeros: nothing was read."""
        return SRUState(self.bias.new_zeros(batch_size, self.width))

    def forward(
        self,
        x: Tensor,
        state: SRUState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, SRUState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0).to(self.bias.dtype)
        forget, highway, candidate = self._inputs(x)
        if self.peephole is None:
            keep = at_padding(forget, mask, torch.inf)
            cell, last = linear_scan(
                F.logsigmoid(keep),
                torch.sigmoid(-keep) * candidate,
                state.cell,
                reset=reset,
                log=True,
                backend=scan_backend(form),
            )  # (batch, time, width)
        else:
            cell, last = self._with_peepholes(forget, candidate, state.cell, mask, reset, form)
            highway = highway + self.peephole[1] * _before(cell, state.cell, reset)
        return self._close(x, highway, cell), SRUState(last)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, width, time, time): the weight of W x_j in c_t, from an empty memory; one head per channel. With
        peepholes it holds for this input alone: other values of W x_j would lead to other gates.
        """
        self.check_input(x, mask, reset, "auto")
        keep = at_padding(self._gates(at_padding(x, mask, 0), mask, reset)[0], mask, torch.inf)
        return diagonal_attention(F.logsigmoid(keep), torch.sigmoid(-keep), reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        x = at_padding(x, mask, 0).to(self.bias.dtype)
        _, highway, candidate = self._gates(x, mask, reset)
        return self._close(x, highway, read_diagonal(attention, candidate))

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """W_f x + b_f, W_r x + b_r and W x, each (batch, time, width)."""
        candidate, forget, highway = self.candidate_and_gates(x).to(self.bias.dtype).chunk(3, -1)
        return forget + self.bias[0], highway + self.bias[1], candidate

    def _gates(self, x: Tensor, mask: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What the sigmoids of f and r are taken of, from an empty memory, and W x."""
        forget, highway, candidate = self._inputs(x)
        if self.peephole is not None:
            empty = self.initial_state(x.shape[0]).cell
            cell, _ = self._with_peepholes(forget, candidate, empty, mask, reset, "auto")
            before = _before(cell, empty, reset)
            forget, highway = forget + self.peephole[0] * before, highway + self.peephole[1] * before
        return forget, highway, candidate

    def _with_peepholes(
        self, forget: Tensor, candidate: Tensor, cell: Tensor, mask: Tensor | None, reset: Tensor | None, form: str
    ) -> tuple[Tensor, Tensor]:
        """Every c (batch, time, width) and the last: a coupled LSTM whose gate i = 1 - f sees c alone."""
        none = torch.zeros_like(candidate)
        peephole = torch.zeros_like(cell[:1]) if self.peephole is None else self.peephole[:1]
        cells, last = lstm(
            torch.cat([-forget, none, candidate, none], -1),
            self.bias.new_zeros(4 * self.width, self.width),
            (cell, cell),
            peephole=torch.cat([-peephole, torch.zeros_like(peephole), torch.zeros_like(peephole)]),
            output_gate=False,
            coupled=True,
            input_activation=False,
            output_activation=False,
            mask=mask,
            reset=reset,
            backend=scan_backend(form),
        )
        return cells, last.cell

    def _close(self, x: Tensor, highway: Tensor, cell: Tensor) -> Tensor:
        r = torch.sigmoid(highway)
        return r * cell + (1 - r) * x * self.highway_scale


def _before(cell: Tensor, start: Tensor, reset: Tensor | None) -> Tensor:
    """c_{t-1} at every position, for c (batch, time, width) from ``start``; 0 where a document begins."""
    before = torch.cat([start[:, None].to(cell.dtype), cell[:, :-1]], 1)
    return before if reset is None else before.masked_fill(reset[..., None], 0)
